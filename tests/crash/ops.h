/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operations, random by a number: each is planned by what the pool holds at the time, claimed
 * (so that the program keeps its own rules while other threads are at work), prepared, and
 * done between model_begin() and model_end().
 */
#ifndef CRASH_OPS_H
#define CRASH_OPS_H

#include "life.h"

enum op_kind {
	OP_SLOT,			/* publish, free or replace, as the slot stands */
	OP_REALLOC,
	OP_SET,				/* words, in an action */
	OP_ACTION,			/* any changes of several slots and words */
	OP_FAMILY,			/* a node and its children appear in an action */
	OP_RAZE,			/* the children go */
	OP_STOCK,			/* a reservation begins or is cancelled */
	OP_TRIM,			/* space goes back to the file system */
	OP_LEAVE,			/* the thread ends; another takes its place */
	OP_KINDS
};

enum op_kind ops_random_kind(uint64_t *random);

/* Large blocks too. */
extern bool ops_large;
/* Who frees trims. */
extern bool ops_policy;
#define OPS_TRIM_LIMIT_MS 600000u
/* The slot and action in which another thread is at work is chosen so often (in 16). */
extern unsigned ops_races;

/* Runs in the thread of @actor. */
void ops_run(struct life *life, unsigned actor, enum op_kind kind, uint64_t random);

#endif
