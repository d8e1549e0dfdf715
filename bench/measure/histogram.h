/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How often a value was seen, in log-linear bins: each octave is cut into 128 of equal width, so
 * that a bin is less than 0.8 % as wide as the values in it, and its middle is off by less than
 * 0.4 %.  Up to 255 every value has a bin of its own.
 *
 * This is the public design of HdrHistogram.  Its C library is in no package of Debian 12, and the
 * one package of npm that carries its sources needs 400 others of Debian's to be fetched with, at
 * each build by hand too; what is used here of it is less than the code that would fetch it.
 */
#ifndef MEASURE_HISTOGRAM_H
#define MEASURE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS  7u
/* Of ns: 18 minutes.  What is larger is counted in the last bin; the maximum stays exact. */
#define HISTOGRAM_MAX_BITS  40u
#define HISTOGRAM_BINS	    ((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
	uint64_t count;
	uint64_t min, max;		/* exact; of no values: 0 */
	double sum, squares;
	uint64_t bins[HISTOGRAM_BINS];
};

/* The bin of a value, and the smallest value and the middle of a bin. */
unsigned histogram_bin(uint64_t value);
uint64_t histogram_low(unsigned bin);
uint64_t histogram_middle(unsigned bin);

/* @count times @value. */
void histogram_add(struct histogram *histogram, uint64_t value, uint64_t count);
void histogram_merge(struct histogram *into, const struct histogram *from);

/* Which of @count sorted values, from 1, is the percentile: at least so many do not exceed it. */
uint64_t histogram_rank(uint64_t count, double percent);

/* The smallest value that at least @percent of all do not exceed, to the width of a bin; 0 of no
 * values.  100: the maximum, exact. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);

double histogram_mean(const struct histogram *histogram);
double histogram_deviation(const struct histogram *histogram);

#endif
