/* SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>

#include "error.h"
#include "gate.h"
#include "spare.h"

#define RUN_SPARE_MAX	128u		/* 256 MiB: what one punch takes is some milliseconds */
#define RUN_MAX		8192u		/* of a tail that is mostly holes */
#define LOADS_LOCKED	32u		/* chunks that are read before others get the lock */

static bool has_space(const struct dh_chunk *chunk)
{
	return chunk->space >= DH_SPACE_SOME;
}

static void count_spare(struct dh_space *space)
{
	if (++space->spare >= space->due_at)
		atomic_store_explicit(space->due, true, memory_order_relaxed);
}

uint64_t dh_spare_count(struct dh_space *space)
{
	uint64_t count;

	dh_lock(&space->lock);
	count = space->spare;
	dh_unlock(&space->lock);
	return count;
}

void dh_spare_set_due(struct dh_space *space, uint64_t count)
{
	dh_lock(&space->lock);
	space->due_at = count;
	atomic_store_explicit(space->due, space->spare >= count, memory_order_relaxed);
	dh_unlock(&space->lock);
}

void dh_spare_freed(struct dh_space *space, uint64_t index)
{
	struct dh_chunk *chunk = &space->chunks[index];

	if (!has_space(chunk))
		chunk->space = DH_SPACE_SOME;
	count_spare(space);
}

void dh_spare_used(struct dh_space *space, uint64_t index)
{
	if (has_space(&space->chunks[index]))
		space->spare--;
}

/* The chunk is free. */
static void set_space(struct dh_space *space, struct dh_chunk *chunk, enum dh_chunk_space state)
{
	bool had = has_space(chunk);

	chunk->space = state;
	if (!had && has_space(chunk))
		count_spare(space);
	else if (had && !has_space(chunk))
		space->spare--;
}

/* --- giving back --- */

static uint64_t present(const struct dh_space *space)
{
	uint64_t chunks = atomic_load(&space->mapping->length) / DH_CHUNK_SIZE;

	return chunks < space->end ? chunks : space->end;
}

int dh_spare_find(struct dh_space *space, uint64_t index, uint64_t to, uint64_t deadline)
{
	bool more = true;
	int err = 0;

	while (more && !err) {
		if (dh_now_ns() >= deadline)
			return dh_fail(ETIMEDOUT, "not all of the pool could be looked at in time: "
				       "give the trim more");
		dh_lock(&space->lock);
		if (to > present(space))
			to = present(space);
		for (unsigned i = 0; i < LOADS_LOCKED && !err && index < to; i++, index++) {
			struct dh_chunk *chunk = &space->chunks[index];

			if (!atomic_load(&chunk->loaded))
				err = dh_space_load_and_list(space, index);
			if (!err && chunk->space == DH_SPACE_UNKNOWN &&
			    dh_chunk_is_free(space, index))
				set_space(space, chunk, DH_SPACE_SOME);
		}
		more = index < to;
		dh_unlock(&space->lock);
	}
	return err;
}

/* Free, and with no pages that a ring has registered: these would be the file's no more. */
static bool is_free(struct dh_space *space, uint64_t index)
{
	return atomic_load(&space->chunks[index].loaded) && dh_chunk_is_free(space, index) &&
	       !atomic_load(&space->chunks[index].registered);
}

/* Grows the run to the front by what is free, and while @spare allows it by what is spare. */
static void extend(struct dh_space *space, uint64_t from, uint64_t spare, bool holes,
		   struct dh_run *run)
{
	while (run->first > from && run->count < RUN_MAX && is_free(space, run->first - 1)) {
		bool is_spare = has_space(&space->chunks[run->first - 1]);

		if (is_spare ? !spare : !holes)
			return;
		spare -= is_spare;
		run->first--;
		run->count++;
	}
}

#ifdef DH_DEBUG
static bool count_is_right(struct dh_space *space)
{
	uint64_t spare = 0;

	for (uint64_t i = space->media->first_chunk; i < space->media->chunks; i++)
		spare += atomic_load(&space->chunks[i].loaded) && dh_chunk_is_free(space, i) &&
			 has_space(&space->chunks[i]);
	return spare == space->spare;
}
#else
static bool count_is_right(struct dh_space *space)
{
	(void)space;
	return true;
}
#endif

static void take(struct dh_space *space, struct dh_run *run)
{
	for (uint64_t i = run->first; i < run->first + run->count; i++) {
		struct dh_chunk *chunk = &space->chunks[i];

		dh_chunk_forget_units(chunk);
		run->seq = dh_max(run->seq, atomic_load(&chunk->last_seq));
		set_space(space, chunk, DH_SPACE_NONE);
		atomic_store(&chunk->kind, DH_CHUNK_BUSY);
	}
	space->trimming++;
	if (run->is_tail)
		space->end = run->first;
}

/* What is taken behind the end must not be cut. */
static bool makes_longer(const struct dh_space *space, const struct dh_growth *growth)
{
	return growth->first + growth->count + growth->ahead > present(space);
}

bool dh_spare_take(struct dh_space *space, uint64_t from, uint64_t to, uint64_t keep,
		   struct dh_run *run)
{
	bool found, may_cut;
	uint64_t end, max;

	dh_lock(&space->lock);
	assert(count_is_right(space));
	max = space->spare > keep ? space->spare - keep : 0;
	if (max > RUN_SPARE_MAX)
		max = RUN_SPARE_MAX;
	end = present(space);
	*run = (struct dh_run){.first = end, .is_tail = true};
	may_cut = to >= end && !makes_longer(space, &space->growth);
	if (may_cut)
		extend(space, from, max, true, run);
	found = run->count || (may_cut && dh_mapping_is_longer(space->mapping));
	if (!found && max) {
		run->first = to < end ? to : end;
		run->is_tail = false;
		while (run->first > from && !(is_free(space, run->first - 1) &&
					      has_space(&space->chunks[run->first - 1])))
			run->first--;
		extend(space, from, max, false, run);
		found = run->count;
	}
	if (found)
		take(space, run);
	dh_unlock(&space->lock);
	return found;
}

int dh_spare_clear(struct dh_space *space, struct dh_traffic *traffic, const struct dh_run *run)
{
	uint64_t *words = &space->media->table[run->first];
	int err;

	if (!run->count)
		return 0;
	/* daxheap_next() looks at the chunk of a word while it holds the lock. */
	dh_lock(&space->lock);
	for (uint64_t i = 0; i < run->count; i++)
		if (words[i])
			dh_store64(&words[i], 0);
	/* Those that are 0 already may be so in the CPU's cache alone, after a kill. */
	dh_flush(space->persist, traffic, words, run->count * sizeof(*words));
	err = dh_fence(space->persist, traffic);
	dh_unlock(&space->lock);
	return err;
}

static void give(struct dh_space *space, const struct dh_run *run, bool gone)
{
	for (uint64_t i = run->first; i < run->first + run->count; i++) {
		struct dh_chunk *chunk = &space->chunks[i];

		atomic_store(&chunk->kind, DH_CHUNK_FREE);
		if (!gone && dh_media_has(space->media, i, 1))
			set_space(space, chunk, DH_SPACE_SOME);
	}
	dh_space_lower_hints(space, run->first);
	if (run->is_tail)
		space->end = space->media->chunks;
}

void dh_spare_give(struct dh_space *space, const struct dh_run *run, bool gone)
{
	dh_lock(&space->lock);
	give(space, run, gone);
	space->trimming--;
	dh_unlock(&space->lock);
}

void dh_spare_abandon(struct dh_space *space)
{
	dh_lock(&space->lock);
	space->trimming--;
	space->left = true;
	dh_unlock(&space->lock);
}

/* --- free units of chunks in use --- */

/* All but the first, in which the chunk's header lies. */
static uint32_t free_units(const struct dh_units *units)
{
	return units->free & ~atomic_load(&units->busy) & ~UINT32_C(1);
}

/* False: the chunk is registered. */
static bool set_busy(const struct dh_chunk *chunk, struct dh_units *units, uint32_t mask)
{
	atomic_fetch_or(&units->busy, mask);
	/* Either this sees that the chunk is being registered, or who does it sees `busy`. */
	if (!atomic_load(&chunk->registered))
		return true;
	atomic_fetch_and(&units->busy, ~mask);
	return false;
}

uint32_t dh_spare_take_units(struct dh_space *space, uint64_t index, uint64_t *keep)
{
	struct dh_chunk *chunk = &space->chunks[index];
	struct dh_units *units;
	uint32_t mask = 0;

	dh_lock(&space->lock);
	units = atomic_load(&chunk->units);
	if (index < present(space) && units && !dh_chunk_is_free(space, index) &&
	    (unsigned)__builtin_popcount(units->free) > DH_UNITS_PER_CHUNK / 2)
		mask = free_units(units) & ~units->holes;
	for (; mask && *keep; --*keep)
		mask &= mask - 1;
	if (mask && !set_busy(chunk, units, mask))
		mask = 0;
	if (mask) {
		units->filled &= ~mask;
		if (chunk->space == DH_SPACE_ALL)
			chunk->space = DH_SPACE_SOME;
		space->trimming++;
	}
	dh_unlock(&space->lock);
	return mask;
}

static void give_units(struct dh_space *space, uint64_t index, uint32_t mask, bool gone)
{
	struct dh_units *units = atomic_load(&space->chunks[index].units);

	atomic_fetch_and(&units->busy, ~mask);
	if (gone)
		units->holes |= mask;
	/* The last blocks beside them were given back meanwhile. */
	if (dh_chunk_is_free(space, index))
		dh_spare_freed(space, index);
	dh_space_lower_hints(space, index);
}

void dh_spare_give_units(struct dh_space *space, uint64_t index, uint32_t mask, bool gone)
{
	dh_lock(&space->lock);
	give_units(space, index, mask, gone);
	space->trimming--;
	dh_unlock(&space->lock);
}

void dh_spare_fill_holes(struct dh_space *space, uint64_t index)
{
	struct dh_units *units;

	dh_lock(&space->lock);
	units = atomic_load(&space->chunks[index].units);
	if (units)
		units->holes = 0;
	dh_unlock(&space->lock);
}

void dh_spare_give_left(struct dh_space *space, const struct dh_run *run)
{
	dh_lock(&space->lock);
	if (run->units)
		give_units(space, run->first, run->units, false);
	else
		give(space, run, false);
	space->left = false;
	dh_unlock(&space->lock);
}
