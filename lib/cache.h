/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a thread keeps in DRAM: spans of its own, from which it reserves without a lock, and its
 * lane of the log.
 *
 * A block given back by another thread than its span's owner goes through the span's remote
 * words, without a lock.  The owner looks there when it runs out of blocks: in the current
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

/*
 * Where the next block is taken from: the word of a span's `free` to which the last block was
 * given back, so that blocks are reused while they are in the CPU's cache; else any word.
 */
struct dh_current {
	atomic_uint_fast64_t *word;	/* never NULL: one without a free block */
	struct dh_span *span;		/* NULL: none */
};

struct dh_cache {
	_Alignas(DH_LINE_SIZE) struct daxheap *heap;
	struct dh_lane *lane;
	struct dh_traffic traffic;
	struct dh_current current[DH_CLASSES];
	struct dh_current tagged[DH_TAGGED];
	struct dh_current nowhere;	/* of spans that are not current; nothing is taken there */
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

/* When there is no free block in the current word: another word, or span. */
int dh_cache_refill(struct dh_cache *cache, unsigned class, uint16_t tag,
		    struct dh_current *current);

/* Where tagged blocks are taken from: maybe those of another class and tag. */
static inline struct dh_current *dh_cache_tagged(struct dh_cache *cache, unsigned class,
						 uint16_t tag)
{
	return &cache->tagged[(class + tag * 7u) % DH_TAGGED];
}

/*
 * When there is no room: all that the cache has and does not use goes back to the space, and
 * what waits for the horizon or was left by a trim as well.  True if there was any.
 */
bool dh_cache_reclaim(struct dh_cache *cache);

/* Of a span that may have become empty, or is full no more. */
void dh_cache_settle(struct dh_cache *cache, struct dh_span *span);

/* A block of a span that is not the cache's own or had I/O, or a huge one. */
void dh_cache_release_other(struct dh_cache *cache, const struct dh_found *found);

/* Stores to a word of `free` of a span of the cache what it is with a block given back. */
static __always_inline void dh_cache_store_free(struct dh_cache *cache, struct dh_span *span,
						atomic_uint_fast64_t *word, uint64_t free)
{
	atomic_store_explicit(word, free, memory_order_relaxed);
	span->current->word = word;
	/* Branches that random frees would mispredict are dh_cache_settle()'s. */
	if (__builtin_expect((span->state == DH_SPAN_FULL) | (free == UINT64_MAX), 0))
		dh_cache_settle(cache, span);
}

/* A block of an own span. */
static __always_inline void dh_cache_release_own(struct dh_cache *cache,
						 const struct dh_found *found)
{
	atomic_uint_fast64_t *word = &found->span->free[found->index / 64];

	dh_cache_store_free(cache, found->span, word,
			    atomic_load_explicit(word, memory_order_relaxed) |
				    UINT64_C(1) << found->index % 64);
}

/* Gives back a block that is neither free nor live. */
static __always_inline void dh_cache_release(struct dh_cache *cache,
					     const struct dh_found *found)
{
	const struct dh_span *span = found->span;

	if (__builtin_expect(!span || atomic_load_explicit(&span->owner, memory_order_relaxed) !=
					      cache ||
			     atomic_load_explicit(&span->had_io, memory_order_relaxed), 0))
		dh_cache_release_other(cache, found);
	else
		dh_cache_release_own(cache, found);
}

/* After an operation that released something. */
static __always_inline void dh_trim_if_due(struct dh_cache *cache)
{
	if (__builtin_expect(atomic_load_explicit(&cache->heap->trim_due, memory_order_relaxed),
			     0))
		dh_trim_by_policy(cache->heap, &cache->traffic);
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

/* A block from the current word, if there is one. */
static __always_inline bool dh_cache_take(struct daxheap *heap, const struct dh_current *current,
					  void **block)
{
	atomic_uint_fast64_t *word = current->word;
	const struct dh_span *span = current->span;
	uint64_t free = atomic_load_explicit(word, memory_order_relaxed), index;

	if (__builtin_expect(!free, 0))
		return false;
	index = (uint64_t)(word - span->free) * 64 + (unsigned)__builtin_ctzll(free);
	if (__builtin_expect(index >= span->blocks, 0))
		return false;
	atomic_store_explicit(word, free & (free - 1), memory_order_relaxed);
	*block = heap->base + dh_span_offset(span, index);
	return true;
}

/* Reserves a block of a class. */
static inline int dh_cache_reserve(struct dh_cache *cache, unsigned class, uint16_t tag,
				   void **block)
{
	struct dh_current *current = &cache->current[class];
	int err;

	if (tag) {
		current = dh_cache_tagged(cache, class, tag);
		if (current->span && (current->span->class != class || current->span->tag != tag))
			goto refill;
	}
	if (dh_cache_take(cache->heap, current, block))
		return 0;
refill:
	err = dh_cache_refill(cache, class, tag, current);
	if (!err)
		dh_cache_take(cache->heap, current, block);
	return err;
}

#endif
