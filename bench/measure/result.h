/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What was measured: a result has facts about the run and series, a series is one thing measured
 * in several rounds.  It is written as JSON, read again, compared, drawn.
 *
 * The JSON of a series has, under "lat_ns", what fio's has: min, max, mean, stddev, N, percentile,
 * bins.  The key of a bin is the smallest value in it.
 */
#ifndef MEASURE_RESULT_H
#define MEASURE_RESULT_H

#include <json-c/json.h>
#include <stdbool.h>

#include "histogram.h"
#include "noise.h"
#include "ranks.h"

#define RESULT_FORMAT	   1
#define RESULT_PERCENTILES 4u	/* those below the maximum */
#define RESULT_BEYOND	   5u	/* values, for a percentile to mean something */

extern const double result_percents[RESULT_PERCENTILES];	/* 50, 90, 99, 99.9 */

struct series {
	char *name;
	struct json_object *params;	/* "size", "pins", ...: what it may be drawn against */
	char *refused;			/* why there are no figures; NULL: there are */
	unsigned batch;			/* operations that a value is the time of; mostly 1 */
	char *note;			/* what to know of the figures; NULL: nothing */
	unsigned round_count;
	struct histogram *rounds;	/* ns */
	struct histogram all;
	struct histogram harness;	/* ns: the same loop with nothing in it */
	struct noise noise;		/* of all rounds */
	struct json_object *verified;	/* what was seen besides time; NULL: nothing */
	struct json_object *raw;	/* values by round, where asked for; else NULL */
	/* By series_conclude(): */
	bool has_intervals;
	struct interval intervals[RESULT_PERCENTILES];
	double steady;			/* how likely the medians of the first and the second half
					 * of the rounds are from one distribution */
};

struct result {
	char *verb;
	bool interrupted;
	struct json_object *facts;
	unsigned count;
	struct series *series;
};

/* Adds one round's; the histogram is copied. */
void series_add_round(struct series *series, const struct histogram *round);
/* Once all rounds are there. */
void series_conclude(struct series *series);
/* Whether enough values lie beyond the percentile to speak of it: five. */
bool series_knows(const struct series *series, double percent);

/* How many series drifted while they were measured (at a level of 1 %), if these are more than
 * chance makes of them; else 0.  Then the machine was not the same all the time, and will not be
 * the same the next time: intervals are too narrow. */
unsigned result_drifted(const struct result *result);

/* What figures are of, where values are of several: "page" (a series that has the parameter "pages")
 * or "operation"; NULL: each value is of one. */
const char *result_unit(const struct result *result);

/* NULL: there is none. */
const struct series *result_find(const struct result *result, const char *name);
void result_free(struct result *result);

/* result_json.c */
struct json_object *result_to_json(const struct result *result);
/* 0, or -errno with a sentence in @wrong. */
int result_read(const char *path, struct result *result, char *wrong, size_t room);

/* result_table.c */
void result_print(const struct result *result);

#endif
