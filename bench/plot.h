/* SPDX-License-Identifier: BSD-3-Clause */
/* daxbench plot: plot.c reads results, draws distributions and writes the picture; plot_against.c
 * draws latency over a parameter. */
#ifndef PLOT_H
#define PLOT_H

#include <stdbool.h>

#include "bench.h"
#include "chart.h"
#include "result.h"

struct picture {
	const struct options *options;
	const struct result *results;
	const char *const *paths;	/* of each result */
	unsigned count;
	struct chart chart;
	/* Of each curve against a parameter, its first series and the result that it is of. */
	const struct series *firsts[CHART_ROOM];
	const struct result *first_results[CHART_ROOM];
	char common[160];		/* what is said of all curves in the title */
	char title[320], subtitle[320], x_label[128];
};

bool plot_draws(const struct picture *picture, const struct series *series);
/* "RESULT: what", where there are several results; in memory of its own. */
char *plot_label(const struct picture *picture, const struct result *result, const char *what);
/* Ends with a sentence if there are no curves, or more than can be told apart. */
void plot_need_room(const struct picture *picture, unsigned wanted);

void plot_against(struct picture *picture);

#endif
