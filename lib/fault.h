/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Deliberate mistakes, each of which breaks one rule of the protocol: the negative controls of
 * tests/crash and of the tests of the gate.  They exist in the library that the tests link; in the
 * one that is installed dh_faulty() is the constant false.
 */
#ifndef DH_FAULT_H
#define DH_FAULT_H

#include <stdbool.h>

enum dh_fault {
	DH_FAULT_NONE,
	DH_FAULT_SLOT_BEFORE_RECORD,	/* in-place stores first, then the record */
	DH_FAULT_OVERWRITE_EARLY,	/* ring entries are overwritten without a horizon */
	DH_FAULT_PASS_ANNOUNCED,	/* the horizon ignores announcements */
	DH_FAULT_HORIZON_BACK,		/* the horizon may go back */
	DH_FAULT_RETIRE_OWN,		/* only the own lane's lines are written back */
	DH_FAULT_NO_SLOT_LOCK,
	DH_FAULT_NO_RECOVERY_FENCE,	/* recovery acts on lines that are not durable yet */
	DH_FAULT_KEEP_TORN,		/* recovery leaves a torn record where it lies */
	DH_FAULT_NO_SORT,		/* replay in the order of lanes */
	DH_FAULT_NO_FREED_RULE,		/* replay stores into blocks that were freed later */
	DH_FAULT_REUSE_EARLY,		/* spans are formatted before the horizon passed them */
	DH_FAULT_NO_CONTINUATION,	/* an action's entries are not flushed */
	DH_FAULT_RELEASE_UNDER_IO,	/* a block is given out again while a device writes it */
	DH_FAULT_NO_GATE,		/* the gate closes whatever is in flight */
	DH_FAULT_GROWTH_NOT_SYNCED,	/* the file's new length is not durable before it is used */
	DH_FAULT_OPEN_NOT_SYNCED,	/* nor that which an open finds after a kill */
	DH_FAULT_TRIM_EARLY,		/* chunks are punched before their words are durable */
	DH_FAULT_TRIM_BEFORE_HORIZON,	/* and while the log may still name what is in them */
	DH_FAULT_FORGET_INTENT,		/* an open does not finish the trim that it finds */
};

#ifdef DH_TEST_HOOKS
extern enum dh_fault dh_fault;

static inline bool dh_faulty(enum dh_fault fault)
{
	return dh_fault == fault;
}
#else
static inline bool dh_faulty(enum dh_fault fault)
{
	(void)fault;
	return false;
}
#endif

#endif
