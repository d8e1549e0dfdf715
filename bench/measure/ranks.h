/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What may be said of percentiles, from rounds.
 *
 * Operations of one round are no independent samples: they share a file, a layout, a moment.  So
 * the unit is the round.  The interval of a percentile is the bootstrap over rounds: rounds are
 * drawn with replacement, their histograms merged, the percentile taken; with the few rounds that
 * there are the bare percentile interval is too narrow, and it is widened as Student's t asks for
 * (Hesterberg's "expanded percentile interval").
 *
 * Whether two results differ is decided by the rank-sum test of Mann, Whitney and Wilcoxon on the
 * rounds' own percentiles: exact, with ties, by counting all permutations; of more values than can
 * be counted in no time, by the normal distribution.
 */
#ifndef MEASURE_RANKS_H
#define MEASURE_RANKS_H

#include <stdbool.h>

#include "histogram.h"

#define RANKS_ROUNDS_MIN 5u	/* with fewer nothing is said */
#define RANKS_ROUNDS_MAX 1000u	/* more cost memory and time, and tell no more */
#define RANKS_EXACT_MAX	 64u	/* values of both groups */

struct interval {
	double low, high;
};

/* Of each of @percents, with 95 % of confidence.  False with too few rounds. */
bool ranks_intervals(const struct histogram *rounds, unsigned count, const double *percents,
		     unsigned percent_count, struct interval *intervals);

/* Of the quotient of a percentile of @b's by that of @a's. */
bool ranks_quotient(const struct histogram *a, unsigned a_count, const struct histogram *b,
		    unsigned b_count, double percent, struct interval *interval);

/* How likely two groups of values from one distribution differ in rank by as much as these do or
 * more; two-sided. */
double ranks_test(const double *a, unsigned a_count, const double *b, unsigned b_count);

/* Holm's correction of @p for being many: in place. */
void ranks_correct(double *p, unsigned count);

#endif
