/* SPDX-License-Identifier: BSD-3-Clause */
/* Making what the application stored durable. */
#include <errno.h>

#include "cache.h"
#include "error.h"

static int flush(struct dh_cache *cache, const void *addr, size_t size)
{
	struct daxheap *heap = cache->heap;

	if (__builtin_expect(!dh_in_pool(heap, addr, size), 0))
		return dh_fail(EINVAL, "%zu bytes at %p are not inside the pool", size, addr);
	if (size)
		dh_flush(&heap->persist, &cache->traffic, addr, size);
	return 0;
}

DAXHEAP_API int daxheap_flush(struct daxheap *heap, const void *addr, size_t size)
{
	int err;
	struct dh_cache *cache = dh_cache_of(heap, &err);

	return cache ? flush(cache, addr, size) : err;
}

DAXHEAP_API int daxheap_fence(struct daxheap *heap)
{
	int err;
	struct dh_cache *cache = dh_cache_of(heap, &err);

	return cache ? dh_fence(&heap->persist, &cache->traffic) : err;
}

DAXHEAP_API int daxheap_persist(struct daxheap *heap, const void *addr, size_t size)
{
	int err;
	struct dh_cache *cache = dh_cache_of(heap, &err);

	if (!cache)
		return err;
	err = flush(cache, addr, size);
	return err ? err : dh_fence(&heap->persist, &cache->traffic);
}
