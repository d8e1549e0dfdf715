/* SPDX-License-Identifier: BSD-3-Clause */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "facts.h"
#include "result.h"

/* Three digits. */
static int digits_of(double us)
{
	return us < 0.1 ? 4 : us < 1 ? 3 : us < 10 ? 2 : us < 100 ? 1 : 0;
}

static void print_us(double ns)
{
	printf(" %8.*f", digits_of(ns / 1e3), ns / 1e3);
}

static void print_percentile(const struct series *series, double percent)
{
	if (series_knows(series, percent))
		print_us((double)histogram_percentile(&series->all, percent) / series->batch);
	else
		printf(" %8s", "-");
}

static void print_interval(const struct series *series, unsigned percentile)
{
	char text[32];
	double low = series->intervals[percentile].low / 1e3 / series->batch;
	double high = series->intervals[percentile].high / 1e3 / series->batch;
	int digits = digits_of(high);

	if (series->has_intervals && series_knows(series, result_percents[percentile]))
		snprintf(text, sizeof(text), "%.*f-%.*f", digits, low, digits, high);
	else
		snprintf(text, sizeof(text), "-");
	printf(" %14s", text);
}

/* What was in the way, if it was more than now and then. */
static void print_noise(const struct series *series)
{
	const struct noise *noise = &series->noise;

	if (noise->preemptions * 1000 > series->all.count)
		printf("  preempted: %" PRIu64, noise->preemptions);
	if (noise->steal_ms)
		printf("  %" PRIu64 " ms stolen", noise->steal_ms);
}

/* Notes, and reasons why there are no figures, each told once, below the table. */
struct reasons {
	const char *texts[32];
	unsigned count;
};

/* From 1; 0: there is no room for it. */
static unsigned number_of(struct reasons *reasons, const char *text)
{
	for (unsigned i = 0; i < reasons->count; i++)
		if (!strcmp(reasons->texts[i], text))
			return i + 1;
	if (reasons->count == sizeof(reasons->texts) / sizeof(reasons->texts[0]))
		return 0;
	reasons->texts[reasons->count++] = text;
	return reasons->count;
}

/* Its number, or where there is no room for it, itself. */
static void print_reason(struct reasons *reasons, const char *text)
{
	unsigned number = number_of(reasons, text);

	if (number)
		printf(" [%u]", number);
	else
		printf(": %s", text);
}

static void print_series(const struct series *series, int width, struct reasons *reasons)
{
	printf("%-*s", width, series->name);
	if (series->refused) {
		printf("  no figures");
		print_reason(reasons, series->refused);
		putchar('\n');
		return;
	}
	print_percentile(series, 50);
	print_interval(series, 0);
	print_percentile(series, 90);
	print_percentile(series, 99);
	print_interval(series, 2);
	print_percentile(series, 99.9);
	print_us((double)series->all.max / series->batch);
	if (series->harness.count)
		printf(" %7.*f", series->batch > 1 ? 4 : 3,
		       (double)histogram_percentile(&series->harness, 50) / 1e3 / series->batch);
	else
		printf(" %7s", "-");
	printf(" %8" PRIu64, series->all.count);
	print_noise(series);
	if (series->note)
		print_reason(reasons, series->note);
	putchar('\n');
}

void result_print(const struct result *result)
{
	const char *unit = result_unit(result);
	struct reasons reasons = {.count = 0};
	int width = 20;

	for (unsigned i = 0; i < result->count; i++) {
		int length = (int)strlen(result->series[i].name);

		width = length > width ? length : width;
	}
	facts_print(result->facts);
	printf("\n%-*s %8s %14s %8s %8s %14s %8s %8s %7s %8s\n", width, "microseconds", "p50",
	       "95 %", "p90", "p99", "95 %", "p99.9", "max", "harness", "values");
	for (unsigned i = 0; i < result->count; i++)
		print_series(&result->series[i], width, &reasons);
	for (unsigned i = 0; i < reasons.count; i++)
		printf("%s[%u] %s\n", i ? "" : "\n", i + 1, reasons.texts[i]);
	puts("\n95 %: the interval of the percentile before it, by bootstrap over the rounds;\n"
	     "harness: the median of the same loop with nothing in it, contained in the figures;\n"
	     "-: fewer than five values lie beyond the percentile, or there are too few rounds.");
	if (unit)
		printf("A value is the time of several %ss; figures are per %s.\n", unit, unit);
	if (result_drifted(result))
		printf("The machine was not steady: %u series differ between the first and the "
		       "second half\nof the rounds.  Another run may well lie outside of these "
		       "intervals.\n", result_drifted(result));
	if (result->interrupted)
		puts("Interrupted: this is what was measured until then.");
}
