/* SPDX-License-Identifier: BSD-3-Clause */
/* How daxbench keeps and judges latencies: histograms, intervals, tests, results as JSON. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agreement.h"
#include "bench.h"
#include "compare.h"
#include "facts.h"
#include "result.h"
#include "rounds.h"

#define VALUES 20000u

static struct histogram histogram, other;	/* too large for a stack */

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* From 0 to 1, 0 not among them. */
static double uniform(uint64_t *seed)
{
	return ((double)(next_random(seed) >> 11) + 1) / 9007199254740993.0;
}

/* Latencies as they come: even, with a long tail, of two kinds, or tiny. */
static uint64_t draw(unsigned kind, uint64_t *seed)
{
	switch (kind) {
	case 0:
		return (uint64_t)(uniform(seed) * 1e6);
	case 1:
		return (uint64_t)(1000 * exp(1.5 * -log(uniform(seed))));
	case 2:
		return next_random(seed) % 10 ? 500 + next_random(seed) % 50 :
						2000000 + next_random(seed) % 1000000;
	default:
		return next_random(seed) % 200;
	}
}

/* --- histograms --- */

/* Whether all percentiles are within 1 % of the exact ones of the sorted values. */
static bool agree(const struct histogram *found, const uint64_t *sorted)
{
	static const double percents[] = {0.1, 1, 10, 25, 50, 75, 90, 95, 99, 99.9, 99.99, 100};

	for (unsigned i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
		unsigned rank = (unsigned)ceil(percents[i] * VALUES / 100 - 1e-6);
		double exact = (double)sorted[rank ? rank - 1 : 0];
		double got = (double)histogram_percentile(found, percents[i]);

		if (fabs(got - exact) > 0.01 * exact + 1e-9)
			return false;
	}
	return true;
}

Test(measure, percentiles_are_within_one_per_cent)
{
	static uint64_t values[VALUES];

	for (unsigned kind = 0; kind < 4; kind++) {
		uint64_t seed = kind + 1;

		histogram = other = (struct histogram){0};
		for (unsigned i = 0; i < VALUES; i++) {
			values[i] = draw(kind, &seed);
			histogram_add(&histogram, values[i], 1);
			histogram_add(&other, values[i] + values[i] / 50 + 1, 1);
		}
		qsort(values, VALUES, sizeof(values[0]), by_value);
		cr_assert(agree(&histogram, values), "kind %u", kind);
		/* The oracle itself: 2 % too much is seen. */
		cr_assert_not(agree(&other, values), "kind %u", kind);
	}
}

Test(measure, bins_lie_side_by_side)
{
	for (unsigned bin = 0; bin + 1 < HISTOGRAM_BINS; bin++) {
		uint64_t low = histogram_low(bin), next = histogram_low(bin + 1);

		cr_assert_eq(histogram_bin(low), bin);
		cr_assert_eq(histogram_bin(next - 1), bin);
		cr_assert(histogram_middle(bin) >= low && histogram_middle(bin) < next);
		cr_assert(next - low <= 1 || (double)(next - low) / (double)low < 0.01);
	}
}

Test(measure, ends_are_exact_and_large_values_are_counted)
{
	histogram = (struct histogram){0};
	histogram_add(&histogram, 1001, 1);
	histogram_add(&histogram, UINT64_MAX / 2, 1);
	cr_assert_eq(histogram.min, 1001);
	cr_assert_eq(histogram.max, UINT64_MAX / 2);
	cr_assert_eq(histogram_percentile(&histogram, 100), UINT64_MAX / 2);
	cr_assert_eq(histogram_percentile(&histogram, 50), 1002);
	cr_assert_eq(histogram.count, 2);
}

Test(measure, ranks_are_not_off_by_one)
{
	cr_assert_eq(histogram_rank(1000, 99.9), 999);
	cr_assert_eq(histogram_rank(5000, 99.9), 4995);
	cr_assert_eq(histogram_rank(1001, 99.9), 1000);
	cr_assert_eq(histogram_rank(10, 50), 5);
	cr_assert_eq(histogram_rank(11, 50), 6);
	cr_assert_eq(histogram_rank(10, 100), 10);
	histogram = (struct histogram){0};
	for (unsigned i = 1; i <= 1000; i++)
		histogram_add(&histogram, i < 1000 ? 100 : 1000000, 1);
	cr_assert_eq(histogram_percentile(&histogram, 99.9), 100);
}

Test(measure, of_nothing_all_is_zero)
{
	histogram = (struct histogram){0};
	cr_assert_eq(histogram_percentile(&histogram, 50), 0);
	cr_assert_eq(histogram_mean(&histogram), 0);
	cr_assert_eq(histogram_deviation(&histogram), 0);
	histogram_add(&histogram, 5, 0);
	cr_assert_eq(histogram.count, 0);
}

Test(measure, merging_is_adding_all)
{
	static struct histogram both;
	uint64_t seed = 7;

	histogram = other = both = (struct histogram){0};
	for (unsigned i = 0; i < VALUES; i++) {
		uint64_t value = draw(1, &seed);

		histogram_add(i % 3 ? &histogram : &other, value, 1);
		histogram_add(&both, value, 1);
	}
	histogram_merge(&histogram, &other);
	cr_assert_arr_eq(histogram.bins, both.bins, sizeof(both.bins));
	cr_assert_eq(histogram.count, both.count);
	cr_assert_eq(histogram.min, both.min);
	cr_assert_eq(histogram.max, both.max);
	cr_assert_float_eq(histogram_deviation(&histogram), histogram_deviation(&both),
			   1e-9 * histogram_deviation(&both));
}

/* --- intervals and tests --- */

/* Rounds that differ among each other, around a median of @typical. */
static void fill_rounds(struct histogram *rounds, unsigned count, double typical, double spread,
			uint64_t *seed)
{
	memset(rounds, 0, count * sizeof(*rounds));
	for (unsigned i = 0; i < count; i++) {
		double shift = exp(spread * (uniform(seed) + uniform(seed) + uniform(seed) - 1.5));

		for (unsigned k = 0; k < 300; k++)
			histogram_add(&rounds[i],
				      (uint64_t)(typical * shift *
						 exp(0.2 * (uniform(seed) - 0.5))), 1);
	}
}

/* How many of 200 results' intervals hold the true median. */
static unsigned count_covering(unsigned round_count, bool pretend_one_round)
{
	struct histogram *rounds = calloc(round_count, sizeof(*rounds));
	const double percent = 50;
	struct interval interval;
	unsigned covering = 0;
	uint64_t seed = 11;

	for (unsigned i = 0; i < 200; i++) {
		fill_rounds(rounds, round_count, 10000, 0.1, &seed);
		/* As if all operations were independent: each round a copy of the same mixture,
		 * so that rounds do not seem to differ. */
		for (unsigned k = 1; pretend_one_round && k < round_count; k++)
			histogram_merge(&rounds[0], &rounds[k]);
		for (unsigned k = 1; pretend_one_round && k < round_count; k++)
			rounds[k] = rounds[0];
		cr_assert(ranks_intervals(rounds, round_count, &percent, 1, &interval));
		covering += interval.low <= 10000 * 1.004 && interval.high >= 10000 / 1.004;
	}
	free(rounds);
	return covering;
}

Test(measure, intervals_hold_the_truth_as_often_as_they_say)
{
	unsigned covering = count_covering(11, false);

	/* 190 of 200, give or take what chance does, and the width of a bin. */
	cr_assert(covering >= 180, "%u of 200", covering);
	/* Taking operations for independent ones does not. */
	cr_assert(count_covering(11, true) < 150);
}

Test(measure, few_rounds_have_no_interval)
{
	struct histogram *rounds = calloc(4, sizeof(*rounds));
	const double percent = 50;
	struct interval interval;
	uint64_t seed = 3;

	fill_rounds(rounds, 4, 10000, 0.1, &seed);
	cr_assert_not(ranks_intervals(rounds, 4, &percent, 1, &interval));
	cr_assert_not(ranks_quotient(rounds, 4, rounds, 4, 50, &interval));
	free(rounds);
}

Test(measure, quotients_are_found)
{
	struct histogram *a = calloc(11, sizeof(*a)), *b = calloc(11, sizeof(*b));
	struct interval interval;
	uint64_t seed = 5;

	fill_rounds(a, 11, 10000, 0.05, &seed);
	fill_rounds(b, 11, 12000, 0.05, &seed);
	cr_assert(ranks_quotient(a, 11, b, 11, 50, &interval));
	cr_assert(interval.low > 1.1 && interval.low < 1.2, "%f", interval.low);
	cr_assert(interval.high > 1.2 && interval.high < 1.3, "%f", interval.high);
	free(a);
	free(b);
}

/* Against tables of the test. */
Test(measure, rank_test_is_exact)
{
	const double low[] = {1, 2, 3, 4}, high[] = {5, 6, 7, 8}, mixed[] = {1, 4, 6, 7};
	const double rest[] = {2, 3, 5, 8}, same[] = {1, 1, 1, 1};

	cr_assert_float_eq(ranks_test(low, 4, high, 4), 2.0 / 70, 1e-12);
	cr_assert_float_eq(ranks_test(high, 4, low, 4), 2.0 / 70, 1e-12);
	cr_assert_float_eq(ranks_test(mixed, 4, rest, 4), 1, 1e-12);
	cr_assert_float_eq(ranks_test(same, 4, same, 4), 1, 1e-12);
	cr_assert_float_eq(ranks_test(low, 3, high, 3), 2.0 / 20, 1e-12);
}

Test(measure, rank_test_errs_as_seldom_as_it_says)
{
	unsigned rejected = 0, found = 0;
	uint64_t seed = 23;

	for (unsigned i = 0; i < 2000; i++) {
		double a[9], b[9], c[9];

		for (unsigned k = 0; k < 9; k++) {
			a[k] = uniform(&seed);
			b[k] = uniform(&seed);
			c[k] = uniform(&seed) + 0.6;
		}
		rejected += ranks_test(a, 9, b, 9) < 0.05;
		found += ranks_test(a, 9, c, 9) < 0.05;
	}
	cr_assert(rejected < 130, "%u of 2000", rejected);
	cr_assert(found > 1800, "%u of 2000", found);
}

/* What is too much to be counted is near what counting would say, and there at once. */
Test(measure, rank_test_takes_many_values)
{
	static double values[2 * RANKS_ROUNDS_MAX];
	const unsigned half = RANKS_EXACT_MAX / 2;
	unsigned rejected = 0;
	uint64_t seed = 29;

	for (unsigned i = 0; i < 500; i++) {
		double exact, nearly;

		/* With ties. */
		for (unsigned k = 0; k < RANKS_EXACT_MAX + 1; k++)
			values[k] = floor(40 * uniform(&seed)) + (k < half && i % 2 ? 8 : 0);
		exact = ranks_test(values, half, values + half, half);
		nearly = ranks_test(values, half, values + half, half + 1);
		cr_assert(fabs(exact - nearly) < 0.1 + 0.3 * exact, "%g %g", exact, nearly);
		rejected += i % 2 == 0 && nearly < 0.05;
	}
	cr_assert(rejected < 26, "%u of 250", rejected);
	for (unsigned k = 0; k < 2 * RANKS_ROUNDS_MAX; k++)
		values[k] = uniform(&seed) + (k < RANKS_ROUNDS_MAX ? 0 : 1);
	cr_assert_lt(ranks_test(values, RANKS_ROUNDS_MAX, values + RANKS_ROUNDS_MAX,
				RANKS_ROUNDS_MAX), 1e-100);
	memset(values, 0, sizeof(values));
	cr_assert_eq(ranks_test(values, RANKS_ROUNDS_MAX, values + RANKS_ROUNDS_MAX,
				RANKS_ROUNDS_MAX), 1);
}

Test(measure, many_tests_are_corrected)
{
	double p[] = {0.01, 0.04, 0.03, 0.9};

	ranks_correct(p, 4);
	cr_assert_float_eq(p[0], 0.04, 1e-12);
	cr_assert_float_eq(p[2], 0.09, 1e-12);
	cr_assert_float_eq(p[1], 0.09, 1e-12);
	cr_assert_float_eq(p[3], 0.9, 1e-12);
}

/* --- comparing --- */

/* As measured by turns: rounds differ by 3 %, whole runs do not.  The first series takes @factor
 * times as long. */
static struct result measure_series(unsigned series_count, unsigned round_count, double factor,
				    uint64_t *seed)
{
	struct result result = {.verb = strdup("fault"), .facts = json_object_new_object(),
				.count = series_count,
				.series = calloc(series_count, sizeof(struct series))};

	for (unsigned i = 0; i < series_count; i++) {
		struct series *series = &result.series[i];
		char name[16];

		snprintf(name, sizeof(name), "%u", i);
		series->name = strdup(name);
		series->batch = 1;
		for (unsigned k = 0; k < round_count; k++) {
			/* The sum of three has a deviation of 0.5. */
			double shift = exp(0.06 * (uniform(seed) + uniform(seed) + uniform(seed) -
						   1.5)) * (i ? 1 : factor);

			histogram = (struct histogram){0};
			for (unsigned n = 0; n < 48; n++)
				histogram_add(&histogram,
					      (uint64_t)(5000 * shift * (1 + 0.2 * uniform(seed))), 1);
			series_add_round(series, &histogram);
		}
	}
	return result;
}

/* How many of @runs comparisons say that something is slower. */
static unsigned count_slower(unsigned runs, unsigned series_count, unsigned round_count,
			     double factor, double threshold)
{
	const struct options options = {.threshold = threshold};
	unsigned slower = 0;
	uint64_t seed = 41;

	for (unsigned i = 0; i < runs; i++) {
		struct result a = measure_series(series_count, round_count, 1, &seed);
		struct result b = measure_series(series_count, round_count, factor, &seed);
		int status = compare_results(&options, "A", &a, "B", &b);

		cr_assert(status == 0 || status == 1);
		slower += status == 1;
		result_free(&a);
		result_free(&b);
	}
	return slower;
}

Test(measure, compare_finds_what_there_is, .init = cr_redirect_stdout)
{
	/* 10 % of one series in 24, each tested at three percentiles: always. */
	cr_assert_eq(count_slower(10, 24, 21, 1.1, 5), 10);
	/* Five rounds are too few for as many. */
	cr_assert_eq(count_slower(3, 24, 5, 1.1, 5), 0);
	/* But not for one. */
	cr_assert_geq(count_slower(10, 1, 5, 1.1, 0), 8);
}

Test(measure, compare_finds_nothing_where_nothing_is, .init = cr_redirect_stdout)
{
	/* Whatever the threshold, in at most 1 of 20 whole comparisons; faster ones are half. */
	unsigned found = count_slower(60, 8, 9, 1, 0);

	cr_assert(found <= 5, "%u of 60", found);
}

/* --- results --- */

static char path[64];

static void write_file(const char *text)
{
	FILE *file;
	int fd;

	strcpy(path, "/tmp/daxbench-test-XXXXXX");
	fd = mkstemp(path);
	file = fdopen(fd, "w");
	fputs(text, file);
	fclose(file);
}

static struct result make_result(void)
{
	struct result result = {.verb = strdup("fault"), .facts = json_object_new_object(),
				.count = 2, .series = calloc(2, sizeof(struct series))};
	uint64_t seed = 9;

	report_add_string(result.facts, "accelerator", "none");
	result.series[0].name = strdup("write");
	result.series[0].params = json_object_new_object();
	for (unsigned i = 0; i < 7; i++) {
		histogram = (struct histogram){0};
		for (unsigned k = 0; k < 500; k++)
			histogram_add(&histogram, draw(1, &seed), 1);
		series_add_round(&result.series[0], &histogram);
	}
	series_conclude(&result.series[0]);
	result.series[1].name = strdup("read");
	result.series[1].refused = strdup("no DAX");
	return result;
}

Test(measure, results_survive_json)
{
	struct result before = make_result(), after;
	struct json_object *json = result_to_json(&before);
	const struct series *a = &before.series[0], *b;
	char wrong[256];

	write_file(json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN));
	cr_assert_eq(result_read(path, &after, wrong, sizeof(wrong)), 0, "%s", wrong);
	b = result_find(&after, "write");
	cr_assert_not_null(b);
	cr_assert_eq(b->round_count, 7);
	cr_assert_arr_eq(a->all.bins, b->all.bins, sizeof(a->all.bins));
	cr_assert_eq(a->all.max, b->all.max);
	cr_assert_float_eq(a->intervals[0].low, b->intervals[0].low, 1e-9);
	cr_assert_str_eq(result_find(&after, "read")->refused, "no DAX");
	cr_assert_null(result_find(&after, "neither"));
	unlink(path);
	json_object_put(json);
	result_free(&before);
	result_free(&after);
}

static void expect_refused(const char *text, const char *word)
{
	struct result result;
	char wrong[256] = "";

	write_file(text);
	cr_assert_neq(result_read(path, &result, wrong, sizeof(wrong)), 0, "%s", text);
	cr_assert_not_null(strstr(wrong, word), "%s: %s", text, wrong);
	unlink(path);
}

Test(measure, what_is_no_result_is_refused)
{
	expect_refused("{", "");
	expect_refused("", "");
	expect_refused("[]", "no result");
	expect_refused("{\"tool\": \"fio\"}", "no result");
	expect_refused("{\"tool\": \"daxbench\", \"verb\": \"alloc\"}", "no result");
	expect_refused("{\"tool\": \"daxbench\", \"verb\": \"fault\", \"facts\": {}, \"series\": [],"
		       " \"format\": 99}", "another version");
	expect_refused("{\"tool\": \"daxbench\", \"verb\": \"fault\", \"facts\": {}, \"format\": 1,"
		       " \"series\": [{\"name\": \"a\"}]}", "damaged");
	expect_refused("{\"tool\": \"daxbench\", \"verb\": \"fault\", \"facts\": {}, \"format\": 1,"
		       " \"series\": [{\"name\": \"a\", \"rounds\": [{\"bins\": {\"x\": 1}}]}]}",
		       "damaged");
	expect_refused("{\"tool\": \"daxbench\", \"verb\": \"fault\", \"facts\": {}, \"format\": 1,"
		       " \"series\": [7]}", "damaged");
}

/* Of a result that is right but for @from, which becomes @to. */
static void expect_damaged(const char *from, const char *to, const char *word)
{
	static const char right[] =
		"{\"tool\": \"daxbench\", \"verb\": \"fault\", \"format\": 1, \"facts\": {\"cpu\": null},"
		" \"series\": [{\"name\": \"a\", \"batch\": 2, \"lat_ns\": {\"N\": 3}, \"rounds\":"
		" [{\"min\": 7, \"max\": 9, \"bins\": {\"7\": 2, \"9\": 1}}]},"
		" {\"name\": \"b\", \"refused\": \"no\"}]}";
	const char *at = strstr(right, from);
	char text[1024];

	cr_assert_not_null(at, "%s", from);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - right), right, to, at + strlen(from));
	if (word) {
		expect_refused(text, word);
	} else {
		struct result result;
		char wrong[256];

		write_file(text);
		cr_assert_eq(result_read(path, &result, wrong, sizeof(wrong)), 0, "%s", wrong);
		cr_assert_str_eq(facts_get(result.facts, "cpu"), "");
		cr_assert_str_eq(facts_get(result.facts, "none"), "");
		result_free(&result);
		unlink(path);
	}
}

Test(measure, what_is_damaged_is_refused)
{
	/* The control. */
	expect_damaged("null", "null", NULL);
	expect_damaged("\"7\": 2", "\"7\": -2", "damaged");
	expect_damaged("\"7\": 2", "\"7\": 0", "damaged");
	expect_damaged("\"7\": 2", "\"7\": 2e0", "damaged");
	expect_damaged("\"7\": 2", "\"-7\": 2", "damaged");
	expect_damaged("\"7\": 2", "\"7\": 9223372036854775807", "damaged");
	expect_damaged("\"min\": 7", "\"min\": 6", "damaged");
	expect_damaged("\"max\": 9", "\"max\": 1000000", "damaged");
	expect_damaged("\"N\": 3", "\"N\": 4", "damaged");
	expect_damaged("\"batch\": 2", "\"batch\": 4294967296", "damaged");
	expect_damaged("\"b\"", "\"a\"", "one name");
}

Test(measure, drift_is_seen)
{
	static struct series list[8];
	struct result result = {.count = 8, .series = list};
	uint64_t seed = 31;

	for (unsigned drift = 0; drift < 2; drift++) {
		memset(list, 0, sizeof(list));
		for (unsigned i = 0; i < 8; i++) {
			for (unsigned k = 0; k < 16; k++) {
				histogram = (struct histogram){0};
				histogram_add(&histogram, (uint64_t)(10000 + 1000 * uniform(&seed) +
								     drift * 100 * k), 1);
				series_add_round(&list[i], &histogram);
			}
			series_conclude(&list[i]);
		}
		cr_assert_eq(result_drifted(&result) > 0, drift);
		for (unsigned i = 0; i < 8; i++)
			free(list[i].rounds);
	}
}

Test(measure, percentiles_need_values_beyond_them)
{
	struct series series = {.all.count = 5000};

	cr_assert(series_knows(&series, 99.9));
	series.all.count = 4999;
	cr_assert_not(series_knows(&series, 99.9));
	cr_assert(series_knows(&series, 99));
}

/* --- agreement --- */

/* Of rounds around a median, each a little off; values of @batch operations. */
static struct series series_around(double ns, double spread, unsigned batch, uint64_t seed)
{
	struct series series = {.batch = batch};

	for (unsigned round = 0; round < 15; round++) {
		double here = ns * batch * (1 + spread * (uniform(&seed) - 0.5));

		histogram = (struct histogram){0};
		for (unsigned i = 0; i < 100; i++)
			histogram_add(&histogram, (uint64_t)(here * (1 + 0.1 * uniform(&seed))), 1);
		series_add_round(&series, &histogram);
	}
	series_conclude(&series);
	return series;
}

static enum agreement agreement_with(struct series b, double within_ns, struct interval *quotient)
{
	struct series a = series_around(1000, 0.02, 1, 5);
	enum agreement found = agreement_of(&a, &b, within_ns, quotient);

	free(a.rounds);
	free(b.rounds);
	return found;
}

Test(measure, agreement)
{
	struct series refused = {.batch = 1, .refused = (char *)"no fio"};
	struct interval quotient = {0};

	cr_assert_eq(agreement_with(series_around(1000, 0.02, 1, 7), 0, &quotient), AGREEMENT_YES);
	cr_assert(quotient.low > 0.97 && quotient.high < 1.03);
	/* A value may be that of many operations. */
	cr_assert_eq(agreement_with(series_around(1000, 0.02, 64, 7), 0, &quotient),
		     AGREEMENT_YES);
	cr_assert(quotient.low > 0.97 && quotient.high < 1.03);
	cr_assert_eq(agreement_with(series_around(1100, 0.02, 1, 7), 0, &quotient), AGREEMENT_NO);
	cr_assert(quotient.low > 1.05 && quotient.high < 1.15);
	cr_assert_eq(agreement_with(series_around(900, 0.02, 64, 7), 0, &quotient), AGREEMENT_NO);
	cr_assert_eq(agreement_with(series_around(1100, 0.02, 1, 7), 100, &quotient),
		     AGREEMENT_WITHIN);
	cr_assert_eq(agreement_with(series_around(1000, 2, 1, 7), 0, &quotient), AGREEMENT_WIDE);
	cr_assert_eq(agreement_with(refused, 0, &quotient), AGREEMENT_UNKNOWN);
}

/* --- rounds --- */

/* The first time, which is the warm-up, is number 0. */
struct flaky {
	unsigned *times;		/* in shared memory: each time is another process */
	unsigned bad_from, bad_to;
};

static void measure_flaky(const struct plan *plan, const struct cell *cell, struct record *record)
{
	const struct flaky *flaky = cell->what;
	unsigned now = (*flaky->times)++;

	(void)plan;
	if (now >= flaky->bad_from && now < flaky->bad_to) {
		record_refuse(record, "bad moon");
		return;
	}
	for (unsigned i = 0; i < cell->room; i++)
		record->ticks[record->count++] = 1000;
}

static struct result run_flaky(unsigned bad_from, unsigned bad_to)
{
	const struct options options = {.dir = "/", .rounds = 9};
	const char *const dirs[] = {"/"};
	struct plan plan = {.verb = "test", .options = &options, .measure = measure_flaky};
	struct flaky flaky = {mmap(NULL, sizeof(unsigned), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0), bad_from, bad_to};
	struct result result;

	plan_add(&plan, &flaky, sizeof(flaky), "flaky")->room = 3;
	rounds_run(&plan, dirs, 1, &result);
	plan_free(&plan);
	munmap(flaky.times, sizeof(unsigned));
	return result;
}

Test(measure, one_bad_round_costs_no_others)
{
	struct result result = run_flaky(4, 5);
	const struct series *series = &result.series[0];

	cr_assert_null(series->refused, "%s", series->refused);
	cr_expect_eq(series->round_count, 8);
	cr_expect_eq(series->all.count, 8 * 3);
	cr_assert_not_null(series->note);
	cr_expect_str_eq(series->note, "1 of 9 rounds have no figures: bad moon");
	result_free(&result);
}

Test(measure, what_is_bad_more_often_than_not_has_no_figures)
{
	struct result result = run_flaky(4, 100);

	cr_assert_not_null(result.series[0].refused);
	cr_expect_str_eq(result.series[0].refused, "bad moon");
	result_free(&result);
	result = run_flaky(0, 1);
	cr_assert_not_null(result.series[0].refused, "the warm-up was refused");
	result_free(&result);
}
