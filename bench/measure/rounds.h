/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How it is measured: in rounds, each of which goes through all cells (things to be measured) in
 * an order of its own, so that what disturbs the machine for a while, or slowly drifts, hits all
 * alike and shows in the intervals.  A cell is measured in a process of its own each time, on a
 * new file, pinned to CPUs; the first round is thrown away.
 */
#ifndef MEASURE_ROUNDS_H
#define MEASURE_ROUNDS_H

#include "noise.h"
#include "result.h"

#define ROUNDS_FIGURES 8u	/* what a verb counts besides time */

/* One round of a cell, in memory shared with the process that measures it.  Values are stored
 * one after the other, which disturbs caches least, and counted afterwards. */
struct record {
	char refused[512];		/* not empty: why it can't be measured */
	bool not_huge;			/* that reason is for the doctor to explain */
	bool hopeless;			/* not to be tried again */
	char note[256];
	struct noise noise;
	uint64_t figures[ROUNDS_FIGURES];
	unsigned room, count;		/* of values; of all threads together */
	unsigned empty_count;
	uint64_t *ticks, *empty;
};

struct cell {
	char name[96];
	struct json_object *params;
	unsigned room;			/* values of a round, at most */
	unsigned batch;			/* operations of a value; 0: one */
	void *what;			/* the verb's own description */
};

struct plan {
	const char *verb;
	const struct options *options;
	unsigned count;
	struct cell *cells;
	/* In a process of its own, in the folder of plan->options.  What can't be is said by
	 * record_refuse() and return. */
	void (*measure)(const struct plan *plan, const struct cell *cell, struct record *record);
	/* In the parent, after the last round: makes series->verified of the sums of figures; may
	 * add to the reason why there are no figures.  NULL: nothing. */
	void (*conclude)(const struct plan *plan, const struct cell *cell, struct series *series,
			 const uint64_t *figures, bool not_huge);
	/* In the parent, after each process, should it have died.  NULL: nothing. */
	void (*clean)(const struct plan *plan, int child);
	/* In the parent, below the table: more to print.  NULL: nothing. */
	void (*remark)(const struct plan *plan, const struct result *result);
};

/* Adds a cell of that name, with a copy of the @what_size bytes at @what; NULL if --only leaves it
 * out.  The pointer is good until the next one is added. */
__attribute__((format(printf, 4, 5))) struct cell *plan_add(struct plan *plan, const void *what,
							    size_t what_size,
							    const char *name, ...);

/* All rounds, with progress on a terminal, into a result for each folder; these take turns.  On
 * SIGINT or SIGTERM what there is until then. */
void rounds_run(const struct plan *plan, const char *const *dirs, unsigned dir_count,
		struct result *results);

/* Frees the cells, and what they have. */
void plan_free(struct plan *plan);

/* rounds_report.c: all of it, in the folders that the options name, with the tables and the JSON
 * that they ask for: the exit status.  Frees the cells. */
int rounds_report(struct plan *plan);

/* For measure(): */
__attribute__((format(printf, 2, 3))) void record_refuse(struct record *record,
							 const char *format, ...);
/* The harness alone: the loop of a cell with nothing in it, as often as there is room. */
void record_empty(struct record *record);

#endif
