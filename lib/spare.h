/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Spare chunks: free, and with space of the file system that a trim would give back.  All under
 * space.lock.
 *
 * Of a chunk in use, too, it is known whether the heap allocated all of it in this life (grow.h),
 * so that it is not asked for again when the chunk is next used.
 */
#ifndef DH_SPARE_H
#define DH_SPARE_H

#include "space.h"

/* A run of free chunks that is being given back; nobody else uses them meanwhile. */
struct dh_run {
	uint64_t first, count;
	uint64_t seq;			/* no greater one named something in them */
	bool is_tail;			/* the file ends behind it, and shall before it */
	uint32_t units;			/* not 0: these of the one chunk, and not the chunk */
};

/* So many chunks hold these bytes. */
static inline uint64_t dh_spare_chunks(uint64_t bytes)
{
	return bytes / DH_CHUNK_SIZE + (bytes % DH_CHUNK_SIZE != 0);
}

/* How many there are; and with how many space->due is told. */
uint64_t dh_spare_count(struct dh_space *space);
void dh_spare_set_due(struct dh_space *space, uint64_t count);

/* A chunk became free, or stopped to be. */
void dh_spare_freed(struct dh_space *space, uint64_t chunk);
void dh_spare_used(struct dh_space *space, uint64_t chunk);

/* Reads the chunks @from to @to that the file has, and counts those that are spare.  -ETIMEDOUT,
 * -ENOMEM. */
int dh_spare_find(struct dh_space *space, uint64_t from, uint64_t to, uint64_t deadline);

/*
 * The last run of chunks from @from on and before @to that are free: at the end of the file all of
 * them, else spare ones alone; so that @keep spare ones stay.  False: there is none.
 */
bool dh_spare_take(struct dh_space *space, uint64_t from, uint64_t to, uint64_t keep,
		   struct dh_run *run);
/* Their words say durably that they are free. */
int dh_spare_clear(struct dh_space *space, struct dh_traffic *traffic, const struct dh_run *run);
/* They can be used again; @gone: they have no space any more. */
void dh_spare_give(struct dh_space *space, const struct dh_run *run, bool gone);
/* What was abandoned, of which it is not known what they have. */
void dh_spare_give_left(struct dh_space *space, const struct dh_run *run);
/*
 * The free units of the chunk, a bit for each, if less than half of it is in use, but for the
 * first *@keep and those that were given back before; nobody uses them meanwhile.  0: there are
 * none.
 */
uint32_t dh_spare_take_units(struct dh_space *space, uint64_t chunk, uint64_t *keep);
void dh_spare_give_units(struct dh_space *space, uint64_t chunk, uint32_t mask, bool gone);
/* A ring registered the chunk's pages: those that were given back have space again. */
void dh_spare_fill_holes(struct dh_space *space, uint64_t chunk);

/* The kernel may still be at what was taken: it stays so, and nobody waits for it any more. */
void dh_spare_abandon(struct dh_space *space);

#endif
