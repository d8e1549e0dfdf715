/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether one thing, measured in two ways in the same rounds, comes out alike. */
#ifndef MEASURE_AGREEMENT_H
#define MEASURE_AGREEMENT_H

#include "result.h"

enum agreement {
	AGREEMENT_UNKNOWN,		/* too few rounds or values, or no figures */
	AGREEMENT_YES,			/* the intervals of the medians overlap */
	AGREEMENT_WITHIN,		/* they don't, by no more than the clocks may make of it */
	AGREEMENT_NO,
	AGREEMENT_WIDE,			/* they overlap, but are so wide that this says nothing */
};

/* An interval whose upper end is this many times the lower one is that wide. */
#define AGREEMENT_WIDTH 1.25

extern const char *const agreement_words[];

/*
 * Of the medians of @a and @b, each of one operation.  @within_ns is what the two ways of taking
 * the time may differ by: the cost of stamps, the width of bins.  Unless it is unknown, @quotient
 * is that of b's median by a's.
 */
enum agreement agreement_of(const struct series *a, const struct series *b, double within_ns,
			    struct interval *quotient);

#endif
