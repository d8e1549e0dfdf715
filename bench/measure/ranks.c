/* SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "ranks.h"

#define DRAWS 2000u
#define SEED  UINT64_C(0x9E3779B97F4A7C15)	/* two looks at one result say the same */

/* Of rounds, the bins that any of them has: few of all. */
struct table {
	unsigned rounds, columns;
	unsigned *bins;		/* of each column */
	uint64_t *counts;	/* rounds x columns */
	uint64_t *drawn;	/* the sum of those that were drawn */
};

static struct table table_of(const struct histogram *rounds, unsigned count)
{
	struct table table = {.rounds = count};

	table.bins = calloc(HISTOGRAM_BINS, sizeof(*table.bins));
	table.drawn = calloc(HISTOGRAM_BINS, sizeof(*table.drawn));
	if (!table.bins || !table.drawn)
		die("out of memory");
	for (unsigned bin = 0; bin < HISTOGRAM_BINS; bin++)
		for (unsigned i = 0; i < count; i++)
			if (rounds[i].bins[bin]) {
				table.bins[table.columns++] = bin;
				break;
			}
	table.counts = calloc((size_t)count * table.columns + 1, sizeof(*table.counts));
	if (!table.counts)
		die("out of memory");
	for (unsigned i = 0; i < count; i++)
		for (unsigned column = 0; column < table.columns; column++)
			table.counts[(size_t)i * table.columns + column] =
				rounds[i].bins[table.bins[column]];
	return table;
}

static void table_free(struct table *table)
{
	free(table->bins);
	free(table->counts);
	free(table->drawn);
}

static void draw(struct table *table, uint64_t *seed)
{
	memset(table->drawn, 0, table->columns * sizeof(*table->drawn));
	for (unsigned i = 0; i < table->rounds; i++) {
		const uint64_t *round = table->counts +
					(size_t)random_below(seed, table->rounds) * table->columns;

		for (unsigned column = 0; column < table->columns; column++)
			table->drawn[column] += round[column];
	}
}

static double drawn_percentile(const struct table *table, double percent)
{
	uint64_t all = 0, seen = 0, rank;

	for (unsigned column = 0; column < table->columns; column++)
		all += table->drawn[column];
	rank = histogram_rank(all, percent);
	for (unsigned column = 0; column < table->columns; column++) {
		seen += table->drawn[column];
		if (seen && seen >= rank)
			return (double)histogram_middle(table->bins[column]);
	}
	return 0;
}

/* The 97.5th percentile of Student's t; 8 and more degrees to better than 1 %. */
static double student(unsigned degrees)
{
	static const double few[] = {12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365};
	double n = degrees;

	if (degrees <= sizeof(few) / sizeof(few[0]))
		return few[degrees - 1];
	return 1.95996 + 2.3723 / n + 2.8225 / (n * n) + 2.5559 / (n * n * n);
}

/* Which part of the draws lies beyond each end of the interval. */
static double tail(unsigned rounds)
{
	double t = student(rounds - 1) * sqrt((double)rounds / (rounds - 1));

	return erfc(t / M_SQRT2) / 2;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static struct interval cut(double *draws, double beyond)
{
	qsort(draws, DRAWS, sizeof(*draws), by_value);
	return (struct interval){draws[(unsigned)(beyond * DRAWS)],
				 draws[DRAWS - 1 - (unsigned)(beyond * DRAWS)]};
}

bool ranks_intervals(const struct histogram *rounds, unsigned count, const double *percents,
		     unsigned percent_count, struct interval *intervals)
{
	uint64_t seed = SEED;
	struct table table;
	double *draws;

	if (count < RANKS_ROUNDS_MIN)
		return false;
	draws = calloc((size_t)DRAWS * percent_count, sizeof(*draws));
	if (!draws)
		die("out of memory");
	table = table_of(rounds, count);
	for (unsigned i = 0; i < DRAWS; i++) {
		draw(&table, &seed);
		for (unsigned p = 0; p < percent_count; p++)
			draws[(size_t)p * DRAWS + i] = drawn_percentile(&table, percents[p]);
	}
	for (unsigned p = 0; p < percent_count; p++)
		intervals[p] = cut(draws + (size_t)p * DRAWS, tail(count));
	table_free(&table);
	free(draws);
	return true;
}

bool ranks_quotient(const struct histogram *a, unsigned a_count, const struct histogram *b,
		    unsigned b_count, double percent, struct interval *interval)
{
	unsigned fewer = a_count < b_count ? a_count : b_count;
	struct table a_table, b_table;
	uint64_t seed = SEED;
	double *draws;

	if (fewer < RANKS_ROUNDS_MIN)
		return false;
	draws = calloc(DRAWS, sizeof(*draws));
	if (!draws)
		die("out of memory");
	a_table = table_of(a, a_count);
	b_table = table_of(b, b_count);
	for (unsigned i = 0; i < DRAWS; i++) {
		draw(&a_table, &seed);
		draw(&b_table, &seed);
		draws[i] = drawn_percentile(&b_table, percent) /
			   fmax(drawn_percentile(&a_table, percent), 1);
	}
	*interval = cut(draws, tail(fewer));
	table_free(&a_table);
	table_free(&b_table);
	free(draws);
	return true;
}

/* --- the rank-sum test --- */

struct ranked {
	double value;
	bool of_a;
	unsigned rank;		/* twice the rank, so that ties' means are whole numbers */
};

static int by_ranked_value(const void *a, const void *b)
{
	return by_value(&((const struct ranked *)a)->value, &((const struct ranked *)b)->value);
}

static void rank_all(struct ranked *all, unsigned count)
{
	qsort(all, count, sizeof(*all), by_ranked_value);
	for (unsigned i = 0, end; i < count; i = end) {
		for (end = i + 1; end < count && all[end].value == all[i].value;)
			end++;
		for (unsigned k = i; k < end; k++)
			all[k].rank = i + end + 1;
	}
}

/* In how many ways @chosen of @all have each sum of ranks: ways[chosen][sum]. */
static double *count_ways(const struct ranked *all, unsigned count, unsigned chosen, unsigned sums)
{
	double *ways = calloc((size_t)(chosen + 1) * sums, sizeof(*ways));

	if (!ways)
		die("out of memory");
	ways[0] = 1;
	for (unsigned i = 0; i < count; i++)
		for (unsigned k = chosen; k > 0; k--)
			for (unsigned sum = sums; sum-- > all[i].rank;)
				ways[(size_t)k * sums + sum] +=
					ways[(size_t)(k - 1) * sums + sum - all[i].rank];
	return ways;
}

static double test_exactly(const struct ranked *all, unsigned count, unsigned chosen, double off)
{
	unsigned sums = count * (count + 1) + 1;
	double *ways = count_ways(all, count, chosen, sums), total = 0, as_far = 0;
	double middle = (double)chosen * (count + 1);

	for (unsigned s = 0; s < sums; s++) {
		double here = ways[(size_t)chosen * sums + s];

		total += here;
		if (fabs(s - middle) >= off)
			as_far += here;
	}
	free(ways);
	return as_far / total;
}

/* By the normal distribution that the sum nears, with the variance that ties leave. */
static double test_nearly(const struct ranked *all, unsigned count, unsigned chosen, double off)
{
	double n = count, ties = 0, variance;

	for (unsigned i = 0, end; i < count; i = end) {
		for (end = i + 1; end < count && all[end].rank == all[i].rank;)
			end++;
		ties += pow(end - i, 3) - (end - i);
	}
	variance = (double)chosen * (n - chosen) / 12 * (n + 1 - ties / (n * (n - 1)));
	/* Ranks are doubled: so is the deviation, and the half that a step between two sums is. */
	return variance > 0 ? fmin(1, erfc((off - 1) / (2 * sqrt(variance)) / M_SQRT2)) : 1;
}

double ranks_test(const double *a, unsigned a_count, const double *b, unsigned b_count)
{
	unsigned count = a_count + b_count;
	struct ranked *all = calloc(count + 1, sizeof(*all));
	double sum = 0, off, p;

	if (!all)
		die("out of memory");
	for (unsigned i = 0; i < count; i++)
		all[i] = (struct ranked){i < a_count ? a[i] : b[i - a_count], i < a_count, 0};
	rank_all(all, count);
	for (unsigned i = 0; i < count; i++)
		sum += all[i].of_a ? all[i].rank : 0;
	off = fabs(sum - (double)a_count * (count + 1));
	p = count <= RANKS_EXACT_MAX ? test_exactly(all, count, a_count, off) :
				       test_nearly(all, count, a_count, off);
	free(all);
	return p;
}

static int by_target(const void *a, const void *b)
{
	return by_value(*(double *const *)a, *(double *const *)b);
}

void ranks_correct(double *p, unsigned count)
{
	double **order = calloc(count + 1, sizeof(*order)), least = 0;

	if (!order)
		die("out of memory");
	for (unsigned i = 0; i < count; i++)
		order[i] = &p[i];
	qsort(order, count, sizeof(*order), by_target);
	for (unsigned i = 0; i < count; i++) {
		least = fmax(least, fmin(1, *order[i] * (count - i)));
		*order[i] = least;
	}
	free(order);
}
