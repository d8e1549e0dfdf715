/* SPDX-License-Identifier: BSD-3-Clause */
#include "agreement.h"

#define MEDIAN 0u		/* among the percentiles of a result */

const char *const agreement_words[] = {
	[AGREEMENT_UNKNOWN] = "too few values",
	[AGREEMENT_YES] = "agree",
	[AGREEMENT_WITHIN] = "agree, but for the clocks",
	[AGREEMENT_NO] = "differ",
	[AGREEMENT_WIDE] = "too uncertain to tell",
};

static bool has_median(const struct series *series)
{
	return !series->refused && series->has_intervals &&
	       series_knows(series, result_percents[MEDIAN]);
}

static struct interval of_one(const struct series *series)
{
	const struct interval *all = &series->intervals[MEDIAN];

	return (struct interval){all->low / series->batch, all->high / series->batch};
}

enum agreement agreement_of(const struct series *a, const struct series *b, double within_ns,
			    struct interval *quotient)
{
	double scale = (double)a->batch / b->batch, gap;
	struct interval of_a, of_b, found;

	if (!has_median(a) || !has_median(b) ||
	    !ranks_quotient(a->rounds, a->round_count, b->rounds, b->round_count,
			    result_percents[MEDIAN], &found))
		return AGREEMENT_UNKNOWN;
	*quotient = (struct interval){found.low * scale, found.high * scale};
	of_a = of_one(a);
	of_b = of_one(b);
	gap = of_a.low > of_b.high ? of_a.low - of_b.high : of_b.low - of_a.high;
	if (gap > 0)
		return gap <= within_ns ? AGREEMENT_WITHIN : AGREEMENT_NO;
	return quotient->high > quotient->low * AGREEMENT_WIDTH ? AGREEMENT_WIDE : AGREEMENT_YES;
}
