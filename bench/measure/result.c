/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "result.h"

const double result_percents[RESULT_PERCENTILES] = {50, 90, 99, 99.9};

void series_add_round(struct series *series, const struct histogram *round)
{
	series->rounds = reallocarray(series->rounds, series->round_count + 1, sizeof(*round));
	if (!series->rounds)
		die("out of memory");
	series->rounds[series->round_count++] = *round;
	histogram_merge(&series->all, round);
}

static double compare_halves(const struct series *series)
{
	unsigned half = series->round_count / 2, rest = series->round_count - half;
	double *medians = calloc(series->round_count + 1, sizeof(*medians)), p;

	if (!medians)
		die("out of memory");
	for (unsigned i = 0; i < series->round_count; i++)
		medians[i] = (double)histogram_percentile(&series->rounds[i], 50);
	p = ranks_test(medians, half, medians + half, rest);
	free(medians);
	return p;
}

unsigned result_drifted(const struct result *result)
{
	unsigned drifted = 0, measured = 0;

	for (unsigned i = 0; i < result->count; i++) {
		const struct series *series = &result->series[i];

		measured += series->round_count > 0;
		drifted += series->round_count > 0 && series->steady < 0.01;
	}
	return drifted > 1 + measured / 20 ? drifted : 0;
}

void series_conclude(struct series *series)
{
	series->steady = compare_halves(series);
	series->has_intervals = ranks_intervals(series->rounds, series->round_count,
						result_percents, RESULT_PERCENTILES,
						series->intervals);
}

bool series_knows(const struct series *series, double percent)
{
	/* Five are five, whatever 0.1 % is in binary. */
	return (double)series->all.count * (100 - percent) / 100 >= RESULT_BEYOND - 1e-6;
}

const char *result_unit(const struct result *result)
{
	for (unsigned i = 0; i < result->count; i++)
		if (result->series[i].batch > 1)
			return json_object_object_get(result->series[i].params, "pages") ?
				       "page" : "operation";
	return NULL;
}

const struct series *result_find(const struct result *result, const char *name)
{
	for (unsigned i = 0; i < result->count; i++)
		if (!strcmp(result->series[i].name, name))
			return &result->series[i];
	return NULL;
}

void result_free(struct result *result)
{
	for (unsigned i = 0; i < result->count; i++) {
		struct series *series = &result->series[i];

		free(series->name);
		free(series->refused);
		free(series->note);
		free(series->rounds);
		json_object_put(series->params);
		json_object_put(series->verified);
		json_object_put(series->raw);
	}
	free(result->series);
	free(result->verb);
	json_object_put(result->facts);
	*result = (struct result){0};
}
