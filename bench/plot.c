/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench plot: results as a picture.  Distributions: latency over percentiles, with the axis
 * stretched so that 90, 99 and 99.9 are equally far apart.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "facts.h"
#include "plot.h"

bool plot_draws(const struct picture *picture, const struct series *series)
{
	return !series->refused && series->all.count &&
	       matches(picture->options->only, series->name);
}

/* "6.12.9 ext4" */
static void name_by_facts(const struct result *result, char *name, size_t room)
{
	const char *kernel = facts_get(result->facts, "kernel");

	snprintf(name, room, "%.*s %s", (int)strcspn(kernel, "+-"), kernel,
		 facts_get(result->facts, "file_system"));
}

/* Where there are several results, what tells this one from the others: its kernel and file
 * system, or else its file. */
static void name_result(const struct picture *picture, const struct result *result, char *name,
			size_t room)
{
	const char *path = picture->paths[result - picture->results];
	char other[128];

	name[0] = '\0';
	if (picture->count == 1)
		return;
	name_by_facts(result, name, room);
	for (unsigned i = 0; i < picture->count; i++) {
		name_by_facts(&picture->results[i], other, sizeof(other));
		if (&picture->results[i] != result && !strcmp(name, other)) {
			path = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
			snprintf(name, room, "%.*s", (int)strcspn(path, "."), path);
			break;
		}
	}
}

char *plot_label(const struct picture *picture, const struct result *result, const char *what)
{
	char result_name[128], *label;

	name_result(picture, result, result_name, sizeof(result_name));
	if (asprintf(&label, "%s%s%s", result_name, *result_name ? ": " : "", what) < 0)
		die("out of memory");
	return label;
}

void plot_need_room(const struct picture *picture, unsigned wanted)
{
	if (!wanted)
		die("there is nothing to draw: no series with figures is left%s%s",
		    picture->options->only ? " by --only " : "",
		    picture->options->only ? picture->options->only : "");
	if (wanted > CHART_CURVES_MAX)
		die("%u curves are too many for one picture, of at most %u: choose by --only, like "
		    "--only 'write-first/*'", wanted, CHART_CURVES_MAX);
}

/* --- distributions --- */

static double stretch(double fraction)
{
	return -log10(1 - fraction);
}

static void add_distribution(struct picture *picture, const struct result *result,
			     const struct series *series)
{
	const struct histogram *all = &series->all;
	struct chart_curve *curve = chart_curve(&picture->chart,
						plot_label(picture, result, series->name),
						HISTOGRAM_BINS);
	uint64_t seen = 0;

	for (unsigned bin = 0; bin < HISTOGRAM_BINS; bin++) {
		double fraction;

		if (!all->bins[bin])
			continue;
		seen += all->bins[bin];
		/* What lies beyond is chance.  A flat line is better than none. */
		if (all->count - seen < RESULT_BEYOND && curve->count)
			break;
		/* The last value is where the first one that was not drawn would begin. */
		fraction = ((double)seen - 0.5) / (double)all->count;
		curve->points[curve->count++] = (struct chart_point){
			.x = stretch(fraction), .ns = (double)histogram_middle(bin) / series->batch};
	}
}

static void draw_distributions(struct picture *picture)
{
	static const struct {
		double fraction;
		const char *label;
	} ticks[] = {{0, "0 %"}, {0.5, "50 %"}, {0.9, "90 %"}, {0.99, "99 %"}, {0.999, "99.9 %"},
		     {0.9999, "99.99 %"}, {0.99999, "99.999 %"}};
	unsigned wanted = 0;

	for (unsigned i = 0; i < picture->count; i++)
		for (unsigned k = 0; k < picture->results[i].count; k++)
			wanted += plot_draws(picture, &picture->results[i].series[k]);
	plot_need_room(picture, wanted);
	for (unsigned i = 0; i < picture->count; i++)
		for (unsigned k = 0; k < picture->results[i].count; k++)
			if (plot_draws(picture, &picture->results[i].series[k]))
				add_distribution(picture, &picture->results[i],
						 &picture->results[i].series[k]);
	for (unsigned i = 0; i < sizeof(ticks) / sizeof(ticks[0]); i++)
		chart_tick(&picture->chart, stretch(ticks[i].fraction), ticks[i].label);
	snprintf(picture->x_label, sizeof(picture->x_label),
		 "percentile, as far as %u values lie beyond it", RESULT_BEYOND);
}

/* --- the picture --- */

static void write_picture(struct picture *picture)
{
	const struct result *first = &picture->results[0];
	const char *path = picture->options->output, *unit = result_unit(first);
	FILE *file = path ? fopen(path, "we") : stdout;
	char what[160];

	if (!file)
		die("%s: it can't be written; name another file by --output", path);
	snprintf(picture->title, sizeof(picture->title), "daxbench %s%s%s%s%s", first->verb,
		 unit ? ", per " : "", unit ? unit : "", *picture->common ? ": " : "",
		 picture->common);
	if (picture->count == 1)
		snprintf(what, sizeof(what), "Linux %s, %s (%s)", facts_get(first->facts, "kernel"),
			 facts_get(first->facts, "file_system"),
			 !strcmp(facts_get(first->facts, "dax"), "true") ? "DAX" : "no DAX");
	else
		snprintf(what, sizeof(what), "%u results", picture->count);
	if (facts_emulated(first->facts))
		snprintf(picture->subtitle, sizeof(picture->subtitle), "%s, EMULATED CPU (TCG)",
			 what);
	else
		snprintf(picture->subtitle, sizeof(picture->subtitle), "%s, %s, accelerator %s",
			 what, facts_get(first->facts, "cpu"),
			 facts_get(first->facts, "accelerator"));
	picture->chart.title = picture->title;
	picture->chart.subtitle = picture->subtitle;
	picture->chart.x_label = picture->x_label;
	chart_write(&picture->chart, file);
	if (path && fclose(file))
		die("%s: it can't be written", path);
}

int bench_plot(const struct options *options, const char *const *paths, unsigned count)
{
	struct result *results = calloc(count + 1, sizeof(*results));
	struct picture picture = {.options = options, .results = results, .paths = paths,
				  .count = count};
	char wrong[512];

	if (!results)
		die("out of memory");
	check_writable(options->output);
	for (unsigned i = 0; i < count; i++) {
		if (result_read(paths[i], &results[i], wrong, sizeof(wrong)))
			die("%s", wrong);
		if (facts_emulated(results[i].facts) != facts_emulated(results[0].facts))
			die("%s and %s: only one of them was measured on an emulated CPU (TCG); "
			    "they do not go into one picture", paths[0], paths[i]);
		if (strcmp(results[i].verb, results[0].verb))
			die("%s is of 'daxbench %s', %s of 'daxbench %s': they do not go into one "
			    "picture", paths[0], results[0].verb, paths[i], results[i].verb);
	}
	if (options->against)
		plot_against(&picture);
	else
		draw_distributions(&picture);
	write_picture(&picture);
	chart_free(&picture.chart);
	for (unsigned i = 0; i < count; i++)
		result_free(&results[i]);
	free(results);
	return EXIT_SUCCESS;
}
