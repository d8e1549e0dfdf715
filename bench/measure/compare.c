/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench compare: whether B is slower than A.
 *
 * For each series of both, the quotient of a percentile with its interval, and the rank-sum test on
 * the rounds' own percentiles, corrected by Holm for how many are tested.  What is significant but
 * less than the threshold is no regression: two runs of one thing differ a little, since each has
 * its own moment.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "facts.h"
#include "result.h"

#define TESTED	    3u		/* percentiles: 50, 90, 99 */
#define SIGNIFICANT 0.05
#define EXIT_SLOWER 1
#define EXIT_UNFIT  2		/* no comparison */

struct comparison {
	const struct series *a, *b;
	unsigned percentile;
	double quotient, p;
	struct interval interval;
};

struct comparisons {
	struct comparison *list;
	unsigned count;
	unsigned slower, faster;
};

/* The rounds' own percentiles. */
static double *of_rounds(const struct series *series, double percent)
{
	double *values = calloc(series->round_count + 1, sizeof(*values));

	if (!values)
		die("out of memory");
	for (unsigned i = 0; i < series->round_count; i++)
		values[i] = (double)histogram_percentile(&series->rounds[i], percent);
	return values;
}

/* Values of a round, on average. */
static double values_of_round(const struct series *series)
{
	return (double)series->all.count / series->round_count;
}

static bool have_alike_rounds(const struct series *a, const struct series *b)
{
	return fabs(log(values_of_round(a) / values_of_round(b))) < 0.1;
}

/* Of few values a high percentile is just the maximum, and that is higher the more there are:
 * rounds of different size are compared only by what lies well inside of both. */
static bool know_alike(const struct series *a, const struct series *b, double percent)
{
	double fewer = fmin(values_of_round(a), values_of_round(b));

	return series_knows(a, percent) && series_knows(b, percent) &&
	       (have_alike_rounds(a, b) || fewer * (100 - percent) / 100 >= RESULT_BEYOND);
}

static bool compare_one(const struct series *a, const struct series *b, unsigned percentile,
			struct comparison *out)
{
	double percent = result_percents[percentile], *of_a, *of_b;

	if (!know_alike(a, b, percent) ||
	    !ranks_quotient(a->rounds, a->round_count, b->rounds, b->round_count, percent,
			    &out->interval))
		return false;
	of_a = of_rounds(a, percent);
	of_b = of_rounds(b, percent);
	out->a = a;
	out->b = b;
	out->percentile = percentile;
	out->p = ranks_test(of_a, a->round_count, of_b, b->round_count);
	out->quotient = (double)histogram_percentile(&b->all, percent) /
			fmax(1, (double)histogram_percentile(&a->all, percent));
	free(of_a);
	free(of_b);
	return true;
}

/* What is the same thing in @other: of that name, with the same parameters.  NULL: nothing, and
 * why. */
static const struct series *find_same(const struct result *other, const struct series *series,
				      const char **why)
{
	const struct series *found = result_find(other, series->name);

	*why = "";
	if (!found)
		return NULL;
	*why = found->refused;
	if (found->refused)
		return NULL;
	*why = "other parameters";
	return found->batch == series->batch && json_object_equal(found->params, series->params) ?
		       found : NULL;
}

static struct comparisons compare_all(const struct options *options, const struct result *a,
				      const struct result *b)
{
	struct comparisons all = {.list = calloc((size_t)a->count * TESTED + 1,
						 sizeof(struct comparison))};
	double *p = calloc((size_t)a->count * TESTED + 1, sizeof(*p));

	if (!all.list || !p)
		die("out of memory");
	for (unsigned i = 0; i < a->count; i++) {
		const struct series *one = &a->series[i], *other;
		const char *why;

		if (one->refused || !matches(options->only, one->name))
			continue;
		other = find_same(b, one, &why);
		for (unsigned t = 0; other && t < TESTED; t++)
			all.count += compare_one(one, other, t, &all.list[all.count]);
	}
	for (unsigned i = 0; i < all.count; i++)
		p[i] = all.list[i].p;
	ranks_correct(p, all.count);
	for (unsigned i = 0; i < all.count; i++)
		all.list[i].p = p[i];
	free(p);
	return all;
}

/* Whether any difference, however large, could be significant: the least that the test can say
 * depends on the number of rounds alone. */
static bool can_tell(const struct comparisons *all)
{
	for (unsigned i = 0; i < all->count; i++) {
		double a = all->list[i].a->round_count, b = all->list[i].b->round_count;
		double least = 2 * exp(lgamma(a + 1) + lgamma(b + 1) - lgamma(a + b + 1));

		if (least * all->count < SIGNIFICANT)
			return true;
	}
	return !all->count;
}

/* 1: slower, -1: faster, 0: neither. */
static int judge(const struct comparison *one, double threshold)
{
	double limit = 1 + threshold / 100;

	if (one->p >= SIGNIFICANT)
		return 0;
	if (one->quotient >= limit && one->interval.low > 1)
		return 1;
	return one->quotient <= 1 / limit && one->interval.high < 1 ? -1 : 0;
}

/* --- whether they may be compared --- */

static const char *const told_facts[] = {"version", "kernel", "cpu", "cpus", "cpus_allowed",
					 "governor", "numa_node", "file_system", "mount_options",
					 "dax", "persistence_domain", "thp", "thp_shmem"};

static void tell(const struct options *options, const char *what, const char *of_a,
		 const char *of_b)
{
	if (strcmp(of_a, of_b))
		printf("%s%s: %s, then %s\n", options->markdown ? "- " : "", what, of_a, of_b);
}

/* What else differs, and may be why figures do. */
static void tell_facts(const struct options *options, const struct result *a,
		       const struct result *b)
{
	struct json_object *a_timer = NULL, *b_timer = NULL;

	for (unsigned i = 0; i < sizeof(told_facts) / sizeof(told_facts[0]); i++)
		tell(options, told_facts[i], facts_get(a->facts, told_facts[i]),
		     facts_get(b->facts, told_facts[i]));
	json_object_object_get_ex(a->facts, "timer", &a_timer);
	json_object_object_get_ex(b->facts, "timer", &b_timer);
	tell(options, "timer", facts_get(a_timer, "source"), facts_get(b_timer, "source"));
}

static void tell_of_run(const struct options *options, const char *path,
			const struct result *result)
{
	const char *mark = options->markdown ? "- " : "";

	if (result->interrupted)
		printf("%s%s was interrupted: it has fewer rounds\n", mark, path);
	if (result_drifted(result))
		printf("%sthe machine was not steady while %s was measured: what differs by little "
		       "may be that\n", mark, path);
}

static bool fit(const struct options *options, const char *a_path, const struct result *a,
		const char *b_path, const struct result *b)
{
	const char *a_how = facts_get(a->facts, "accelerator");
	const char *b_how = facts_get(b->facts, "accelerator");

	if (strcmp(a->verb, b->verb)) {
		fprintf(stderr, "daxbench: %s is of 'daxbench %s', %s of 'daxbench %s': these are "
			"different things\n", a_path, a->verb, b_path, b->verb);
		return false;
	}
	if (strcmp(a_how, b_how)) {
		fprintf(stderr, "daxbench: %s was measured with accelerator %s, %s with %s: such "
			"times are not to be compared\n", a_path, a_how, b_path, b_how);
		return false;
	}
	tell_of_run(options, a_path, a);
	tell_of_run(options, b_path, b);
	tell_facts(options, a, b);
	return true;
}

/* --- the table --- */

static void print_row(const struct options *options, const struct comparison *one, int width)
{
	double percent = result_percents[one->percentile];
	int judged = judge(one, options->threshold);
	const char *word = judged > 0 ? "SLOWER" : judged < 0 ? "faster" : "";
	double a_us = (double)histogram_percentile(&one->a->all, percent) / 1e3 / one->a->batch;
	double b_us = (double)histogram_percentile(&one->b->all, percent) / 1e3 / one->b->batch;

	if (options->markdown)
		printf("| %s | %g | %.2f | %.2f | %.3f | %.3f-%.3f | %.3g | %s |\n", one->a->name,
		       percent, a_us, b_us, one->quotient, one->interval.low, one->interval.high,
		       one->p, word);
	else
		printf("%-*s %5g %10.2f %10.2f %7.3f  %6.3f-%-6.3f %9.3g  %s\n", width,
		       one->a->name, percent, a_us, b_us, one->quotient, one->interval.low,
		       one->interval.high, one->p, word);
}

static void print_table(const struct options *options, struct comparisons *all)
{
	int width = 20;

	for (unsigned i = 0; i < all->count; i++) {
		int length = (int)strlen(all->list[i].a->name);

		width = length > width ? length : width;
	}
	if (options->markdown)
		puts("\n| series | percentile | A, us | B, us | B/A | 95 % | p (Holm) | |\n"
		     "|---|---|---|---|---|---|---|---|");
	else
		printf("%-*s %5s %10s %10s %7s  %-13s %9s\n", width, "", "perc.", "A, us", "B, us",
		       "B/A", "95 %", "p (Holm)");
	for (unsigned i = 0; i < all->count; i++) {
		int judged = judge(&all->list[i], options->threshold);

		all->slower += judged > 0;
		all->faster += judged < 0;
		print_row(options, &all->list[i], width);
	}
	printf("\n%u compared: %u slower, %u faster by %g %% or more, at a level of %g for all "
	       "together.\n", all->count, all->slower, all->faster, options->threshold,
	       SIGNIFICANT);
}

/* Once, of the first one of them. */
static void tell_rounds(const struct options *options, const struct result *a,
			const struct result *b)
{
	for (unsigned i = 0; i < a->count; i++) {
		const struct series *one = &a->series[i], *other;
		const char *why;

		if (one->refused || !matches(options->only, one->name))
			continue;
		other = find_same(b, one, &why);
		if (!other || have_alike_rounds(one, other))
			continue;
		printf("Rounds have %.0f values, then %.0f (%s, ...): percentiles with fewer than "
		       "%u beyond\nthem in a round are not compared; use the same --ops.\n",
		       values_of_round(one), values_of_round(other), one->name, RESULT_BEYOND);
		return;
	}
}

/* What is in one of them alone.  Returns how many series were measured in A, and could not be in
 * B. */
static unsigned print_missing(const struct options *options, const struct result *a,
			      const struct result *b, const char *b_path)
{
	unsigned lost = 0;

	for (unsigned i = 0; i < a->count; i++) {
		const struct series *one = &a->series[i], *found = result_find(b, one->name);
		const char *why;

		if (one->refused || !matches(options->only, one->name) || find_same(b, one, &why))
			continue;
		printf("%s: not in %s%s%s\n", one->name, b_path, *why ? ": " : "", why);
		lost += !b->interrupted && found && found->refused;
	}
	return lost;
}

int compare_results(const struct options *options, const char *a_name, const struct result *a,
		    const char *b_name, const struct result *b)
{
	struct comparisons all;
	int status = EXIT_UNFIT;
	unsigned lost;

	if (!fit(options, a_name, a, b_name, b))
		return EXIT_UNFIT;
	all = compare_all(options, a, b);
	print_table(options, &all);
	if (!can_tell(&all))
		puts("With so few rounds of so many series nothing can be significant: use more "
		     "--rounds, or\nfewer series (--only).");
	tell_rounds(options, a, b);
	lost = print_missing(options, a, b, b_name);
	print_missing(options, b, a, a_name);
	if (lost)
		printf("%u series of %s can't be measured in %s: that counts as slower.\n", lost,
		       a_name, b_name);
	if (!all.count && !lost)
		fputs("daxbench: nothing to compare: no series of five rounds or more is in both\n",
		      stderr);
	else
		status = all.slower || lost ? EXIT_SLOWER : EXIT_SUCCESS;
	free(all.list);
	return status;
}

int bench_compare(const struct options *options, const char *a_path, const char *b_path)
{
	struct result a = {0}, b = {0};
	char wrong[512];
	int status = EXIT_UNFIT;

	if (result_read(a_path, &a, wrong, sizeof(wrong)) ||
	    result_read(b_path, &b, wrong, sizeof(wrong)))
		fprintf(stderr, "daxbench: %s\n", wrong);
	else
		status = compare_results(options, a_path, &a, b_path, &b);
	result_free(&a);
	result_free(&b);
	return status;
}
