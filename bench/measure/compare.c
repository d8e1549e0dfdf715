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

static bool compare_one(const struct series *a, const struct series *b, unsigned percentile,
			struct comparison *out)
{
	double percent = result_percents[percentile], *of_a, *of_b;

	if (a->batch != b->batch || !series_knows(a, percent) || !series_knows(b, percent) ||
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

static struct comparisons compare_all(const struct options *options, const struct result *a,
				      const struct result *b)
{
	struct comparisons all = {.list = calloc((size_t)a->count * TESTED + 1,
						 sizeof(struct comparison))};
	double *p = calloc((size_t)a->count * TESTED + 1, sizeof(*p));

	if (!all.list || !p)
		die("out of memory");
	for (unsigned i = 0; i < a->count; i++) {
		const struct series *other = result_find(b, a->series[i].name);

		if (!matches(options->only, a->series[i].name))
			continue;
		for (unsigned t = 0; other && t < TESTED; t++)
			if (!a->series[i].refused && !other->refused)
				all.count += compare_one(&a->series[i], other, t,
							 &all.list[all.count]);
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

static const char *const told_facts[] = {"kernel", "cpu", "cpus", "governor", "file_system",
					 "mount_options", "dax", "thp", "thp_shmem"};

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
	if (result_drifted(a) || result_drifted(b))
		printf("%sthe machine was not steady while %s was measured: what differs by little "
		       "may be that\n", options->markdown ? "- " : "",
		       result_drifted(a) ? a_path : b_path);
	for (unsigned i = 0; i < sizeof(told_facts) / sizeof(told_facts[0]); i++) {
		const char *of_a = facts_get(a->facts, told_facts[i]);
		const char *of_b = facts_get(b->facts, told_facts[i]);

		if (strcmp(of_a, of_b))
			printf("%s%s: %s, then %s\n", options->markdown ? "- " : "", told_facts[i],
			       of_a, of_b);
	}
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

/* What is in one of them alone. */
static void print_missing(const struct options *options, const struct result *a,
			  const struct result *b, const char *b_path)
{
	for (unsigned i = 0; i < a->count; i++) {
		const struct series *other = result_find(b, a->series[i].name);

		if (matches(options->only, a->series[i].name) && !a->series[i].refused &&
		    (!other || other->refused))
			printf("%s: not in %s%s%s\n", a->series[i].name, b_path,
			       other ? ": " : "", other ? other->refused : "");
	}
}

int compare_results(const struct options *options, const char *a_name, const struct result *a,
		    const char *b_name, const struct result *b)
{
	struct comparisons all;
	int status = EXIT_UNFIT;

	if (!fit(options, a_name, a, b_name, b))
		return EXIT_UNFIT;
	all = compare_all(options, a, b);
	print_table(options, &all);
	if (!can_tell(&all))
		puts("With so few rounds of so many series nothing can be significant: use more "
		     "--rounds, or\nfewer series (--only).");
	print_missing(options, a, b, b_name);
	print_missing(options, b, a, a_name);
	if (!all.count)
		fputs("daxbench: nothing to compare: no series of five rounds or more is in both\n",
		      stderr);
	else
		status = all.slower ? EXIT_SLOWER : EXIT_SUCCESS;
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
