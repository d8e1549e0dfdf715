/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a thread keeps in DRAM: spans of its own, from which it reserves without a lock, and its
 * lane of the log.
 *
 * A block given back by another thread than its span's owner goes through the span's `remote`
 * bitmap, without a lock.  The owner looks there when it runs out of blocks: in the current
 * span, then in some of its full ones, the longest full first.
 */
#ifndef DH_CACHE_H
#define DH_CACHE_H

#include <stdatomic.h>
#include <stdint.h>

#include "daxheap.h"
#include "heap.h"
#include "space.h"

#define DH_TAGGED	16u	/* current spans of tagged blocks, by hash */

/* A block that stays reserved until the horizon has passed @seq. */
struct dh_deferred {
	uint64_t seq;
	uint64_t offset;
	uint64_t size;
};

struct dh_cache {
	_Alignas(DH_LINE_SIZE) struct daxheap *heap;
	struct dh_lane *lane;
	struct dh_traffic traffic;
	/* Never NULL: a span without a free block where there is none. */
	struct dh_span *current[DH_CLASSES];
	struct dh_span *tagged[DH_TAGGED];
	struct dh_span_list partial[DH_CLASSES];	/* with a free block */
	struct dh_span_list full[DH_CLASSES];
	struct dh_span *all;		/* that it owns */
	unsigned empty_units;		/* of empty spans among the partial ones */

	/* A ring of blocks that actions used for their entries; grows when full. */
	struct dh_deferred *deferred;
	uint64_t deferred_bytes;
	uint32_t deferred_first, deferred_count, deferred_capacity;

	/* By the registry's lock. */
	struct dh_cache *next_in_heap;
	struct dh_cache *next_of_thread;
	struct dh_cache **thread;	/* its list; NULL: no thread's */
	bool exiting;			/* its thread gives its spans back */
};

struct dh_tls {
	uint64_t heap_id;
	struct dh_cache *cache;
};
extern __thread struct dh_tls dh_tls
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Finds or makes the calling thread's cache; NULL with an error message. */
struct dh_cache *dh_cache_find(struct daxheap *heap, int *err);

/*
 * The calling thread's cache of a heap that is open for writing.  NULL: *err is -EROFS, -EPERM
 * (in a forked child) or -ENOMEM.
 */
static __always_inline struct dh_cache *dh_cache_of(struct daxheap *heap, int *err)
{
	if (__builtin_expect(dh_tls.heap_id == heap->id, 1))
		return dh_tls.cache;
	return dh_cache_find(heap, err);
}

/* Gives up all caches of a heap that is being closed. */
void dh_caches_close(struct daxheap *heap);
/* In a child after fork(): no cache is its own. */
void dh_caches_forked(void);

/* Sums of all caches and of the heap itself. */
void dh_caches_traffic(struct daxheap *heap, uint64_t *fences, uint64_t *flushed_lines);

/* When the current span has no free block in the cursor's word: another word, or span. */
int dh_cache_refill(struct dh_cache *cache, unsigned class, uint16_t tag,
		    struct dh_span **current);

/* Where the current span of tagged blocks is kept. */
struct dh_span **dh_cache_tagged(struct dh_cache *cache, unsigned class, uint16_t tag);

/*
 * When there is no room: all that the cache has and does not use goes back to the space, and
 * what waits for the horizon as well.  True if there was any.
 */
bool dh_cache_reclaim(struct dh_cache *cache);

/* Of a span that is not current, and became empty or is full no more. */
void dh_cache_settle(struct dh_cache *cache, struct dh_span *span);

/* A block of a span that is not the cache's own, or a huge one. */
void dh_cache_release_other(struct dh_cache *cache, const struct dh_found *found);

/* Gives back a block that is neither free nor live. */
static __always_inline void dh_cache_release(struct dh_cache *cache,
					     const struct dh_found *found)
{
	struct dh_span *span = found->span;
	atomic_uint_fast64_t *word;

	if (__builtin_expect(!span || atomic_load_explicit(&span->owner, memory_order_relaxed) !=
					      cache, 0)) {
		dh_cache_release_other(cache, found);
		return;
	}
	word = &span->free[found->index / 64];
	atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) |
					    UINT64_C(1) << found->index % 64,
			      memory_order_relaxed);
	span->used--;
	if (span->state != DH_SPAN_CURRENT && (span->state == DH_SPAN_FULL || !span->used))
		dh_cache_settle(cache, span);
}

/* Notes that the record @seq freed the block; before it is released. */
void dh_cache_note_freed(struct dh_cache *cache, const struct dh_found *found, uint64_t seq);

/* Releases the block of @size bytes at @offset when the horizon has passed @seq. */
void dh_cache_defer(struct dh_cache *cache, uint64_t offset, uint64_t size, uint64_t seq);
/*
 * Makes sure that the next dh_cache_defer() can't fail, and releases what can be; advances the
 * horizon when much is waiting for it.
 */
int dh_cache_prepare_defer(struct dh_cache *cache);

/* Reserves a block of a class. */
static __always_inline int dh_cache_reserve(struct dh_cache *cache, unsigned class, uint16_t tag,
					    uint64_t *offset)
{
	struct dh_span **current = &cache->current[class];
	struct dh_span *span;
	uint64_t free;
	unsigned bit;

	if (tag)
		current = dh_cache_tagged(cache, class, tag);
	span = *current;
	free = atomic_load_explicit(&span->free[span->cursor], memory_order_relaxed);
	if (__builtin_expect(!free || (tag && (span->class != class || span->tag != tag)), 0)) {
		int err = dh_cache_refill(cache, class, tag, current);

		if (err)
			return err;
		span = *current;
		free = atomic_load_explicit(&span->free[span->cursor], memory_order_relaxed);
	}
	bit = (unsigned)__builtin_ctzll(free);
	atomic_store_explicit(&span->free[span->cursor], free & (free - 1),
			      memory_order_relaxed);
	span->used++;
	*offset = dh_span_offset(span, span->cursor * 64 + bit);
	return 0;
}

#endif
