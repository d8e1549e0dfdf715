/* SPDX-License-Identifier: BSD-3-Clause */
/* What the processes of a run tell each other: figures, and the violation. */
#ifndef CRASH_REPORT_H
#define CRASH_REPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit status of a case. */
enum { CASE_RIGHT = 0, CASE_VIOLATION = 3, CASE_BROKEN = 4 };

struct totals {
	atomic_uint_fast64_t images, distinct, operations, recoveries, cases, checks;
};

struct violation {
	char text[4096];
	uint64_t images;		/* of the case, before it */
	unsigned step;			/* the last one begun */
};

/* In memory that all processes of the run share. */
extern struct totals *totals;
/* Of the process that runs the case. */
extern struct violation *violated;
/* What is told of a case while it runs, as comments of TAP. */
extern enum telling { TELL_NOTHING, TELL_OPERATIONS, TELL_EVENTS } telling;

void *shared_memory(size_t size);

/* The heap is wrong: ends the case. */
__attribute__((noreturn, format(printf, 1, 2))) void violation(const char *format, ...);
/* The explorer can't go on. */
__attribute__((noreturn, format(printf, 1, 2))) void broken(const char *format, ...);
/* Told of each violation before the process ends, to add what it knows. */
extern void (*on_violation)(char *text, size_t size);

/*
 * The images seen by all processes, as a set of their hashes; counts in totals->distinct.
 * A set that is full, or is not there, counts none.
 */
void seen_init(uint64_t images);
void seen_add(uint64_t hash);

#endif
