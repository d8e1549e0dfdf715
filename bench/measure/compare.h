/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MEASURE_COMPARE_H
#define MEASURE_COMPARE_H

#include "bench.h"
#include "result.h"

/* Prints whether B is slower than A; each has a name for the reader.  The exit status: 0, 1 if
 * something is slower or can't be measured any more, 2 if they are not to be compared. */
int compare_results(const struct options *options, const char *a_name, const struct result *a,
		    const char *b_name, const struct result *b);

#endif
