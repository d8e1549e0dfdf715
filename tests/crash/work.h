/* SPDX-License-Identifier: BSD-3-Clause */
/* An operation while it is under way: planned, prepared, carried out. */
#ifndef CRASH_WORK_H
#define CRASH_WORK_H

#include "ops.h"
#include "report.h"

struct work {
	struct life *life;
	unsigned actor;
	uint64_t random;
	struct op op;
	uint16_t tops;			/* that it changes something of */
	bool huge;			/* of OP_SLOT: a block of whole chunks comes or goes */
};

#define HUGE	(2u << 20)
#define TRIES	20			/* to plan it, or the changes of an action */

/* What must not fail while the heap is right. */
static inline void must(int err, const char *what)
{
	if (err)
		violation("%s: %d, %s", what, err, daxheap_errormsg());
}

/*
 * plan.c: chooses changes by what the pool holds, and claims them.  False if there is nothing of
 * that kind to do; then some may have been claimed.
 */
bool plan(struct work *work, enum op_kind kind);

/* prepare.c: reserves and fills the blocks; false without memory. */
bool prepare_blocks(struct work *work);
void cancel_blocks(struct work *work);
/* The roots of top slots that have theirs; and where the changes go, false if a node is gone. */
void make_roots(struct work *work);
bool find_places(struct work *work);

/* carry.c: does it, as one call or as an action, and compares. */
void carry_out(struct work *work);

#endif
