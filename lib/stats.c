/* SPDX-License-Identifier: BSD-3-Clause */
/* What is known only by looking at all of the pool. */
#include <errno.h>
#include <sys/stat.h>

#include "cache.h"
#include "error.h"

static uint64_t count_live(const struct dh_span *span)
{
	uint64_t live = 0;

	for (unsigned i = 0; i * DH_WORD_BITS < span->blocks; i++)
		live += (unsigned)__builtin_popcountll(dh_word_payload(
			__atomic_load_n(&span->bitmap[i], __ATOMIC_RELAXED)));
	return live;
}

/* Live and reserved. */
static uint64_t count_used(const struct dh_span *span)
{
	uint64_t used = 0;

	for (unsigned i = 0; i * 64 < span->blocks; i++) {
		uint64_t free = atomic_load_explicit(&span->free[i], memory_order_relaxed) |
				atomic_load_explicit(&dh_span_remote(span)[i],
						     memory_order_relaxed);

		used += (unsigned)__builtin_popcountll(~free & dh_span_word_mask(span, i));
	}
	return used;
}

struct walk {
	const struct dh_space *space;
	struct daxheap_stats *stats;
	struct daxheap_class_stats *class_stats;	/* of DH_CLASSES */
	uint64_t run, longest_run;			/* free chunks */
};

static void add_span(struct walk *walk, const struct dh_span *span, uint64_t used)
{
	struct daxheap_class_stats *of_class = &walk->class_stats[span->class];
	uint64_t live = count_live(span);
	uint64_t reserved = used > live ? used - live : 0;

	of_class->spans++;
	of_class->blocks += span->blocks;
	of_class->live_blocks += live;
	of_class->reserved_blocks += reserved;
	walk->stats->spans++;
	walk->stats->span_bytes += span->units * DH_UNIT_SIZE;
	walk->stats->live_blocks += live;
	walk->stats->live_bytes += live * span->size;
	walk->stats->reserved_blocks += reserved;
	walk->stats->reserved_bytes += reserved * span->size;
	if (used < span->blocks && span->size > walk->stats->largest_free)
		walk->stats->largest_free = span->size;
}

/* The largest class of which a span fits into the chunk's free units, a bit for each. */
static uint64_t largest_in_units(uint32_t units)
{
	for (unsigned class = DH_CLASSES; class-- > 0;) {
		unsigned count = dh_class_units(class);
		uint32_t mask = (uint32_t)((UINT64_C(1) << count) - 1);
		uint64_t first;

		for (unsigned unit = 0; unit + count <= DH_UNITS_PER_CHUNK; unit++)
			if ((units >> unit & mask) == mask &&
			    dh_span_blocks(class, unit, &first))
				return dh_class_size(class);
	}
	return 0;
}

/* Spans without a block in use, which threads keep for the next, count as free. */
static uint32_t add_spans(struct walk *walk, const struct dh_units *units, uint64_t chunk)
{
	uint32_t free = units->free;

	for (unsigned i = 0; i < DH_UNITS_PER_CHUNK; i++) {
		const struct dh_span *span = &units->spans[i];
		uint64_t used;

		if (dh_span_at(walk->space, chunk * DH_CHUNK_SIZE + i * DH_UNIT_SIZE) != span)
			continue;
		used = count_used(span);
		if (used)
			add_span(walk, span, used);
		else
			free |= (uint32_t)(((UINT64_C(1) << span->units) - 1) << i);
	}
	return free;
}

static void add_free_units(struct walk *walk, uint32_t free)
{
	uint64_t largest = largest_in_units(free);

	walk->stats->free_bytes += (unsigned)__builtin_popcount(free) * DH_UNIT_SIZE;
	if (largest > walk->stats->largest_free)
		walk->stats->largest_free = largest;
}

static void add_huge(struct walk *walk, struct dh_chunk *head)
{
	uint64_t bytes = atomic_load(&head->length) * DH_CHUNK_SIZE;
	bool live = atomic_load(&head->live);

	walk->stats->huge_blocks++;
	walk->stats->huge_bytes += bytes;
	*(live ? &walk->stats->live_blocks : &walk->stats->reserved_blocks) += 1;
	*(live ? &walk->stats->live_bytes : &walk->stats->reserved_bytes) += bytes;
}

static void add_chunk(struct walk *walk, uint64_t index)
{
	struct dh_chunk *chunk = &walk->space->chunks[index];
	struct dh_units *units = atomic_load(&chunk->units);
	unsigned kind = atomic_load(&chunk->kind);
	uint32_t free = 0;

	if (kind == DH_CHUNK_SPANS)
		free = add_spans(walk, units, index);
	else if (kind == DH_CHUNK_FREE || kind == DH_CHUNK_BUSY)
		free = UINT32_MAX;
	else if (kind == DH_CHUNK_HUGE_HEAD)
		add_huge(walk, chunk);
	walk->run = free == UINT32_MAX ? walk->run + 1 : 0;
	if (walk->run > walk->longest_run)
		walk->longest_run = walk->run;
	add_free_units(walk, free);
}

/* Under the space's lock. */
static int walk_chunks(struct daxheap *heap, struct walk *walk)
{
	for (uint64_t i = heap->media.first_chunk; i < heap->media.chunks; i++) {
		struct dh_chunk *chunk = &heap->space.chunks[i];
		int err = dh_space_load(&heap->space, i);

		if (!err && atomic_load(&chunk->kind) == DH_CHUNK_DAMAGED)
			err = dh_fail(EBADMSG, "the pool is damaged in chunk %llu: 'daxheap "
				      "check' tells more", (unsigned long long)i);
		if (err)
			return err;
		add_chunk(walk, i);
	}
	if (walk->longest_run)
		walk->stats->largest_free = walk->longest_run * DH_CHUNK_SIZE;
	return 0;
}

static int take_stats(struct daxheap *heap, struct daxheap_stats *stats,
		      struct daxheap_class_stats class_stats[DH_CLASSES])
{
	struct walk walk = {.space = &heap->space, .stats = stats, .class_stats = class_stats};
	struct stat st;
	int err = dh_check_usable(heap);

	if (err)
		return err;
	for (unsigned i = 0; i < DH_CLASSES; i++)
		class_stats[i] = (struct daxheap_class_stats){.block_size = dh_class_size(i)};
	*stats = (struct daxheap_stats){0};
	if (fstat(heap->mapping.fd, &st))
		return dh_fail_errno("can't tell the size of the pool's file");
	stats->file_bytes = heap->mapping.is_device ? heap->mapping.size :
						      (uint64_t)st.st_blocks * 512;
	dh_lock(&heap->space.lock);
	err = walk_chunks(heap, &walk);
	dh_unlock(&heap->space.lock);
	return err;
}

DAXHEAP_API int daxheap_get_stats(struct daxheap *heap, struct daxheap_stats *stats_out)
{
	struct daxheap_class_stats class_stats[DH_CLASSES];
	struct daxheap_stats stats;
	int err = take_stats(heap, &stats, class_stats);

	if (!err)
		*stats_out = stats;
	return err;
}

DAXHEAP_API int daxheap_get_class_stats(struct daxheap *heap,
					struct daxheap_class_stats *stats_out, unsigned count)
{
	struct daxheap_class_stats class_stats[DH_CLASSES];
	struct daxheap_stats stats;
	int err = take_stats(heap, &stats, class_stats);

	if (err)
		return err;
	for (unsigned i = 0; i < DH_CLASSES && i < count; i++)
		stats_out[i] = class_stats[i];
	return DH_CLASSES;
}
