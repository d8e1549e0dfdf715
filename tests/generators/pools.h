/* SPDX-License-Identifier: BSD-3-Clause */
/* The pools of which each case damages a copy, and what they are filled with. */
#ifndef GENERATORS_POOLS_H
#define GENERATORS_POOLS_H

#include "daxheap.h"
#include "format.h"

#define POOL_SIZE	(UINT64_C(6) * DH_CHUNK_SIZE)
#define LANES		2u
#define RING		8u
#define SLOTS		120u

/* Of the last two the newest record is to be torn: a single one, or an action. */
enum pool { POOL_CLOSED, POOL_CRASHED, POOL_TORN, POOL_ACTION, POOLS };

extern char *pools[POOLS];		/* their bytes */

void pools_make(void);

/* Ends the test if @result is an error. */
void must(int result, const char *what);
/* The slot of a root. */
daxheap_ref *root(struct daxheap *heap, const char *name);
/* Filled with a byte that its slot tells, so that what is there can be judged. */
void publish(struct daxheap *heap, daxheap_ref *slot, size_t size, uint16_t tag);
unsigned char byte_of(daxheap_ref slot_ref);

#endif
