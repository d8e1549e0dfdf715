/* SPDX-License-Identifier: BSD-3-Clause */
/* A chart as SVG: curves of latencies, in ns on a logarithmic axis, over what the caller likes. */
#ifndef MEASURE_CHART_H
#define MEASURE_CHART_H

#include <stdbool.h>
#include <stdio.h>

#define CHART_CURVES_MAX 14u	/* that a person can tell apart */
#define CHART_ROOM	 256u	/* with companions, and those that are dropped again */
#define CHART_TICKS_MAX	 16u

struct chart_point {
	double x;			/* as the ticks count */
	double ns;
	double low, high;		/* of a band around it; low 0: none */
};

struct chart_curve {
	char *label;
	struct chart_point *points;
	unsigned count;
	bool dashed;			/* and without marks: a companion of the curve before it */
};

struct chart {
	const char *title, *subtitle, *x_label;
	struct {
		double at;
		char label[24];
	} ticks[CHART_TICKS_MAX];
	unsigned tick_count;
	struct chart_curve curves[CHART_ROOM];
	unsigned curve_count;
};

void chart_tick(struct chart *chart, double at, const char *label);
/* Takes both over. */
struct chart_curve *chart_curve(struct chart *chart, char *label, unsigned room);
void chart_write(const struct chart *chart, FILE *file);
void chart_free(struct chart *chart);

#endif
