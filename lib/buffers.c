/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registered buffers: the pool's chunks in the ring's table.  Their pages are pinned for as long
 * as they are registered, so a chunk's count of that keeps it from being trimmed (space.h).  A
 * chunk is registered while a block of it is in use, so it can't be on its way out; free units of
 * it can.  Behind the chunks' slots are those of the staging buffers, which the kernel takes also
 * where it refuses the pool's memory.
 */
#include <errno.h>
#include <stdlib.h>

#include "spare.h"
#include "uring.h"

#define SLOTS_MAX ((UINT64_C(1) << 14) - DH_STAGING_MAX)	/* of the kernel's table */

/* 0 or an errno. */
static int update(struct daxheap_uring *uring, uint32_t slot, void *at, size_t size)
{
	const struct iovec iov = {.iov_base = at, .iov_len = size};
	const __u64 tag = 0;
	int done = io_uring_register_buffers_update_tag(uring->ring, slot, &iov, &tag, 1);

	return done == 1 ? 0 : done < 0 ? -done : EIO;
}

/* Whether the kernel takes the pool's memory: by its first page.  0 or an errno. */
static int probe(struct daxheap_uring *uring)
{
	int err = update(uring, 0, uring->heap->base, DH_PAGE_SIZE);

	return err ? err : update(uring, 0, NULL, 0);
}

void dh_buffers_open(struct daxheap_uring *uring)
{
	const struct daxheap *heap = uring->heap;
	struct dh_buffers *buffers = &uring->buffers;
	uint64_t slots = heap->media.chunks < SLOTS_MAX ? heap->media.chunks : SLOTS_MAX;

	/* A device has no file system that could want pages back. */
	if (!(uring->flags & DAXHEAP_URING_REGISTER) && !heap->mapping.is_device)
		buffers->reason = ECANCELED;
	else if (heap->flags & DAXHEAP_READ_ONLY)
		buffers->reason = EROFS;
	else
		buffers->reason = -io_uring_register_buffers_sparse(
			uring->ring, (unsigned)slots + DH_STAGING_MAX);
	if (buffers->reason)
		return;
	buffers->has_table = true;
	buffers->slots = (uint32_t)slots;
	buffers->reason = probe(uring);
	if (!buffers->reason) {
		buffers->chunks = calloc(slots, sizeof(*buffers->chunks));
		if (!buffers->chunks)
			buffers->reason = ENOMEM;
	} else if (!uring->staging.wanted) {
		buffers->has_table = io_uring_unregister_buffers(uring->ring) != 0;
	}
}

void dh_buffers_close(struct daxheap_uring *uring)
{
	struct dh_buffers *buffers = &uring->buffers;

	/* If that fails, pages stay pinned for as long as the ring is there: so do the counts. */
	if (buffers->has_table && !io_uring_unregister_buffers(uring->ring))
		for (uint32_t i = 0; buffers->chunks && i < buffers->slots; i++)
			if (buffers->chunks[i])
				atomic_fetch_sub(&uring->heap->space.chunks[buffers->chunks[i]]
							  .registered, 1);
	free(buffers->chunks);
}

static int add(struct daxheap_uring *uring, uint32_t slot, uint32_t chunk)
{
	struct dh_buffers *buffers = &uring->buffers;
	struct dh_chunk *state = &uring->heap->space.chunks[chunk];
	const struct dh_units *units = atomic_load(&state->units);

	atomic_fetch_add(&state->registered, 1);
	/* Free units beside the block are on their way out: next time. */
	if (units && atomic_load(&units->busy)) {
		atomic_fetch_sub(&state->registered, 1);
		return -1;
	}
	buffers->reason = update(uring, slot, uring->heap->base + chunk * DH_CHUNK_SIZE,
				 DH_CHUNK_SIZE);
	/* Refused as well it may have got some. */
	dh_spare_fill_holes(&uring->heap->space, chunk);
	if (buffers->reason) {
		atomic_fetch_sub(&state->registered, 1);
		return -1;
	}
	buffers->chunks[slot] = chunk;
	buffers->count++;
	return (int)slot;
}

int dh_buffers_slot(struct daxheap_uring *uring, uint64_t offset, uint64_t size)
{
	const struct dh_buffers *buffers = &uring->buffers;
	uint32_t chunk = (uint32_t)(offset / DH_CHUNK_SIZE), slot;

	if (!buffers->chunks || (offset + size - 1) / DH_CHUNK_SIZE != chunk)
		return -1;
	slot = chunk % buffers->slots;
	if (buffers->chunks[slot] == chunk)
		return (int)slot;
	/* One that another chunk has stays: to change it would be a system call each time. */
	return buffers->chunks[slot] || buffers->reason ? -1 : add(uring, slot, chunk);
}

int dh_buffers_staging_slot(struct daxheap_uring *uring, int buffer)
{
	struct dh_buffers *buffers = &uring->buffers;
	const uint32_t bit = UINT32_C(1) << buffer, slot = buffers->slots + (uint32_t)buffer;

	if (!buffers->has_table)
		return -1;
	/* Refused once (RLIMIT_MEMLOCK) it is used as it is. */
	if (!(buffers->staging_tried & bit) &&
	    !update(uring, slot, dh_staging_at(uring, buffer), DH_STAGING_SIZE))
		buffers->staging |= bit;
	buffers->staging_tried |= bit;
	return buffers->staging & bit ? (int)slot : -1;
}
