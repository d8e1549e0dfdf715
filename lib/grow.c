/* SPDX-License-Identifier: BSD-3-Clause */
#include "grow.h"
#include "spare.h"

/* --- under the lock --- */

/* Free chunks from @index on, @max at most. */
static uint64_t count_free(struct dh_space *space, uint64_t index, uint64_t max)
{
	uint64_t count = 0;

	while (count < max && index + count < space->end &&
	       !dh_space_load(space, index + count) && dh_chunk_is_free(space, index + count))
		count++;
	return count;
}

static bool have_all(const struct dh_space *space, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++)
		if (space->chunks[i].space != DH_SPACE_ALL)
			return false;
	return true;
}

/* All words of the table up to those of these chunks, in large steps. */
static uint64_t words_for(const struct dh_space *space, uint64_t chunks)
{
	const uint64_t step = UINT64_C(65536) / sizeof(uint64_t);
	uint64_t words = (chunks + step - 1) / step * step;

	return words < space->media->chunks ? words : space->media->chunks;
}

int dh_grow_chunks(struct dh_space *space, uint64_t first, uint64_t count)
{
	struct dh_growth *growth = &space->growth;
	uint64_t words = words_for(space, first + count), ahead;

	if (words <= space->words_allocated && have_all(space, first, count))
		return 0;
	if (growth->count)
		return -EAGAIN;
	ahead = dh_mapping_ahead(space->mapping, first * DH_CHUNK_SIZE) / DH_CHUNK_SIZE;
	*growth = (struct dh_growth){.first = first, .count = count, .words = words,
				     .ahead = count_free(space, first + count, ahead)};
	for (uint64_t i = first; i < first + count + growth->ahead; i++) {
		dh_spare_used(space, i);
		dh_chunk_forget_units(&space->chunks[i]);
		atomic_store(&space->chunks[i].kind, DH_CHUNK_BUSY);
	}
	return -EINPROGRESS;
}

int dh_grow_units(struct dh_space *space, uint64_t chunk, uint32_t mask)
{
	struct dh_units *units = atomic_load(&space->chunks[chunk].units);

	if ((units->filled & mask) == mask)
		return 0;
	if (space->growth.count)
		return -EAGAIN;
	space->growth = (struct dh_growth){.first = chunk, .count = 1, .units = mask};
	if (dh_chunk_is_free(space, chunk))
		dh_spare_used(space, chunk);
	atomic_fetch_or(&units->busy, mask);
	return -EINPROGRESS;
}

static void end_units(struct dh_space *space, const struct dh_growth *growth, int err)
{
	struct dh_units *units = atomic_load(&space->chunks[growth->first].units);

	atomic_fetch_and(&units->busy, ~growth->units);
	/* Of what was not had a part may have been. */
	units->holes &= ~growth->units;
	if (!err)
		units->filled |= growth->units;
	if (dh_chunk_is_free(space, growth->first))
		dh_spare_freed(space, growth->first);
}

/* @had: so many of them have all their space now. */
static void end_chunks(struct dh_space *space, const struct dh_growth *growth, uint64_t had)
{
	for (uint64_t i = 0; i < growth->count + growth->ahead; i++) {
		struct dh_chunk *chunk = &space->chunks[growth->first + i];

		atomic_store(&chunk->kind, DH_CHUNK_FREE);
		if (i < had)
			chunk->space = DH_SPACE_ALL;
		/* Of what was not had a part may have been. */
		if (i < had || dh_media_has(space->media, growth->first + i, 1))
			dh_spare_freed(space, growth->first + i);
	}
}

/* --- without it --- */

static int take_units(struct dh_space *space, const struct dh_growth *growth)
{
	unsigned first = (unsigned)__builtin_ctz(growth->units);
	unsigned count = (unsigned)__builtin_popcount(growth->units);
	uint64_t ahead = 0;

	return dh_mapping_allocate_ahead(space->mapping,
					 growth->first * DH_CHUNK_SIZE + first * DH_UNIT_SIZE,
					 count * DH_UNIT_SIZE, &ahead);
}

static int take_chunks(struct dh_space *space, const struct dh_growth *growth, uint64_t *had)
{
	uint64_t ahead = growth->ahead * DH_CHUNK_SIZE;
	int err = 0;

	if (growth->words > space->words_allocated)
		err = dh_mapping_allocate(space->mapping,
					  dh_media_offset(space->media, space->media->table),
					  growth->words * sizeof(uint64_t));
	if (!err)
		err = dh_mapping_allocate_ahead(space->mapping, growth->first * DH_CHUNK_SIZE,
						growth->count * DH_CHUNK_SIZE, &ahead);
	*had = err ? 0 : growth->count + ahead / DH_CHUNK_SIZE;
	return err;
}

/* Nobody else changes space->growth, or words_allocated, before it ends. */
static int grow(struct dh_space *space)
{
	struct dh_growth *growth = &space->growth;
	uint64_t had = 0;
	int err;

	dh_unlock(&space->lock);
	err = growth->units ? take_units(space, growth) : take_chunks(space, growth, &had);
	dh_lock(&space->lock);
	if (growth->units)
		end_units(space, growth, err);
	else
		end_chunks(space, growth, had);
	if (!err)
		space->words_allocated = dh_max(space->words_allocated, growth->words);
	dh_space_lower_hints(space, growth->first);
	*growth = (struct dh_growth){0};
	return err;
}

bool dh_grow_or_wait(struct dh_space *space, int *err, unsigned *round)
{
	if (*err == -EINPROGRESS) {
		*err = grow(space);
		return !*err;
	}
	if (*err != -EAGAIN)
		return false;
	dh_unlock(&space->lock);
	dh_wait((*round)++);
	dh_lock(&space->lock);
	return true;
}
