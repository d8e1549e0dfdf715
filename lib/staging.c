/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Staging: reads and recvs into DRAM, from where their completion copies past the cache into the
 * block.  That is faster than to flush each line that something else wrote (daxbench io), where
 * flushed lines are durable; and while such an operation waits for its data, no page of the pool is
 * pinned, so that the pool can be trimmed.
 *
 * The buffer given back last is taken first, as it is in the cache.
 */
#include <sys/mman.h>

#include "uring.h"

bool dh_staging_wanted(const struct daxheap_uring *uring)
{
	if (uring->flags & (DAXHEAP_URING_STAGE | DAXHEAP_URING_NO_STAGE))
		return uring->flags & DAXHEAP_URING_STAGE;
	return uring->heap->persist.flushes && !uring->heap->persist.syncs;
}

/* False: no memory, and none is tried for again. */
static bool make_buffers(struct daxheap_uring *uring)
{
	struct dh_staging *staging = &uring->staging;
	uint32_t count = uring->entries < DH_STAGING_MAX ? uring->entries :
							    DH_STAGING_MAX;
	void *memory;

	staging->wanted = false;
	memory = mmap(NULL, count * DH_STAGING_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	/* As the pool's memory: no page of it must be copied on write under I/O. */
	madvise(memory, count * DH_STAGING_SIZE, MADV_DONTFORK);
	staging->memory = memory;
	staging->count = count;
	while (staging->unused < count) {
		staging->stack[staging->unused] = (uint8_t)(count - 1 - staging->unused);
		staging->unused++;
	}
	staging->wanted = true;
	return true;
}

int dh_staging_take(struct daxheap_uring *uring, uint64_t size)
{
	struct dh_staging *staging = &uring->staging;

	if (!staging->wanted || size > DH_STAGING_SIZE)
		return -1;
	if (!staging->memory && !make_buffers(uring))
		return -1;
	return staging->unused ? staging->stack[--staging->unused] : -1;
}

void *dh_staging_at(const struct daxheap_uring *uring, int buffer)
{
	return uring->staging.memory + (unsigned)buffer * DH_STAGING_SIZE;
}

void dh_staging_put(struct daxheap_uring *uring, int buffer)
{
	struct dh_staging *staging = &uring->staging;

	staging->stack[staging->unused++] = (uint8_t)buffer;
}

void dh_staging_close(struct daxheap_uring *uring)
{
	if (uring->staging.memory)
		munmap(uring->staging.memory, uring->staging.count * DH_STAGING_SIZE);
}
