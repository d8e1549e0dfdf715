/* SPDX-License-Identifier: BSD-3-Clause */
/* Reservations: alloc, cancel, and what they have. */
#include <errno.h>
#include <string.h>

#include "change.h"

#define ALIGNMENT_MAX	DH_CHUNK_SIZE
/* Spans of more than a block start at units; blocks of one class are aligned to what divides
 * their size, up to that. */
#define ALIGNMENT_IN_SPANS DH_UNIT_SIZE

static int reserve_huge(struct dh_cache *cache, size_t size, uint16_t tag, void **block)
{
	struct dh_space *space = &cache->heap->space;
	uint64_t offset;
	int err = dh_space_reserve_huge(space, &cache->traffic, size, tag, &offset);

	if ((err == -ENOMEM || err == -ENOSPC) && dh_cache_reclaim(cache))
		err = dh_space_reserve_huge(space, &cache->traffic, size, tag, &offset);
	if (!err)
		*block = cache->heap->base + offset;
	return err;
}

static __attribute__((noinline)) int reserve(struct daxheap *heap, size_t size, uint16_t tag,
					     void **block)
{
	int err;
	struct dh_cache *cache = dh_cache_of(heap, &err);

	if (!cache)
		return err;
	if (!size)
		return dh_fail(EINVAL, "a block has at least 1 byte");
	if (size > DH_CLASS_SIZE_MAX)
		return reserve_huge(cache, size, tag, block);
	return dh_cache_reserve(cache, dh_class_of(size), tag, block);
}

DAXHEAP_API int daxheap_alloc(struct daxheap *heap, size_t size, void **block)
{
	/* The common case; all else is reserve()'s. */
	if (__builtin_expect(dh_tls.heap_id == heap->id && size - 1 < DH_CLASS_SIZE_MAX &&
				     dh_cache_take(heap,
						   &dh_tls.cache->current[dh_class_of(size)],
						   block), 1))
		return 0;
	return reserve(heap, size, 0, block);
}

DAXHEAP_API int daxheap_calloc(struct daxheap *heap, size_t count, size_t size, void **block)
{
	size_t bytes;
	int err;

	if (__builtin_mul_overflow(count, size, &bytes))
		return dh_fail(EINVAL, "%zu elements of %zu bytes are more than there can be",
			       count, size);
	err = reserve(heap, bytes, 0, block);
	if (!err)
		memset(*block, 0, bytes);
	return err;
}

DAXHEAP_API int daxheap_alloc_as(struct daxheap *heap, size_t size, size_t alignment,
				 uint16_t tag, void **block)
{
	if (alignment & (alignment - 1) || alignment > ALIGNMENT_MAX)
		return dh_fail(EINVAL, "an alignment is a power of two up to 2 MiB, not %zu",
			       alignment);
	/* A multiple of the alignment has a class whose size is one as well. */
	if (alignment && size) {
		if (size > SIZE_MAX - alignment)
			size = SIZE_MAX;
		else
			size = (size + alignment - 1) & ~(alignment - 1);
	}
	/* A huge block is aligned to its chunk. */
	if (alignment > ALIGNMENT_IN_SPANS && size && size <= DH_CLASS_SIZE_MAX)
		size = DH_CLASS_SIZE_MAX + 1;
	return reserve(heap, size, tag, block);
}

static __attribute__((noinline)) int give_back(struct daxheap *heap, void *at)
{
	struct dh_found found;
	int err;
	struct dh_cache *cache = dh_cache_of(heap, &err);

	if (!cache)
		return err;
	err = dh_find_start(heap, at, &found);
	if (err)
		return err;
	if (!dh_found_used(&found) || dh_found_live(&found))
		return dh_not_reserved(at, &found);
	dh_cache_release(cache, &found);
	dh_trim_if_due(cache);
	return 0;
}

/*
 * The common case of give_back() alone: a block of a span that never had a live one, so that
 * nothing on media needs to be looked at.  False: it is not that.
 */
static __always_inline bool give_back_reserved(struct daxheap *heap, struct dh_cache *cache,
					       const void *at)
{
	uint64_t offset = (uint64_t)((uintptr_t)at - (uintptr_t)heap->base), index, free, bit;
	atomic_uint_fast64_t *word;
	struct dh_span *span;
	bool starts;

	if (offset >= heap->sb.size)
		return false;
	span = dh_span_at(&heap->space, offset);
	if (!span || atomic_load_explicit(&span->has_live, memory_order_relaxed))
		return false;
	index = dh_span_index(span, offset, &starts);
	if (index >= span->blocks || !starts)
		return false;
	word = &span->free[index / 64];
	free = atomic_load_explicit(word, memory_order_relaxed);
	bit = UINT64_C(1) << index % 64;
	if (free & bit || dh_bit(dh_span_remote(span), index))
		return false;
	if (atomic_load_explicit(&span->owner, memory_order_relaxed) == cache)
		dh_cache_store_free(cache, span, word, free | bit);
	else
		dh_space_release_remote(&heap->space, span, index);
	return true;
}

DAXHEAP_API int daxheap_cancel(struct daxheap *heap, void *at)
{
	if (__builtin_expect(dh_tls.heap_id == heap->id &&
				     give_back_reserved(heap, dh_tls.cache, at), 1))
		return 0;
	return give_back(heap, at);
}

DAXHEAP_API int64_t daxheap_usable_size(struct daxheap *heap, const void *at)
{
	struct dh_found found;
	int err = dh_check_usable(heap);

	if (!err)
		err = dh_find_start(heap, at, &found);
	if (err)
		return err;
	if (!dh_found_used(&found))
		return dh_fail(EINVAL, "the block at %p is free", at);
	return (int64_t)dh_found_size(&found);
}
