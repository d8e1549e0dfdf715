/* SPDX-License-Identifier: BSD-3-Clause */
/* The verdicts of check, repair and open on a pool that was damaged, as TAP. */
#ifndef GENERATORS_CASES_H
#define GENERATORS_CASES_H

#include "content.h"
#include "pools.h"

enum verdict {
	CLEAN,		/* harmless: check finds nothing */
	FIXED,		/* damage; repair puts it right, and the next check finds nothing */
	KEPT,		/* the same, and repair says what it can't know */
	STAYS,		/* damage that repair leaves as it is */
	REFUSED,	/* no findings, but an error */
};

extern struct content contents[POOLS];	/* of the undamaged pools */

/* Each case begins with an undamaged pool. */
void start(enum pool kind);
/* The file was damaged since start(). */
void expect(const char *field, enum pool kind, enum verdict verdict, uint64_t offset);
/* One wrong bit of the byte at @offset. */
void expect_flip(const char *field, enum pool kind, enum verdict verdict, uint64_t offset);
/* That check alone finds damage at @offset. */
void expect_found(const char *field, uint64_t offset);
/*
 * Damage of the closed pool that no check can see: a case must fail by @problem, or its passing
 * would mean nothing.
 */
void expect_noticed(const char *name, const char *problem);

/* Prints the plan; the exit status. */
int cases_end(void);

#endif
