/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench plot: results as a picture.  Distributions: latency over percentiles, with the axis
 * stretched so that 90, 99 and 99.9 are equally far apart.  --against: the median with its
 * interval, and dotted the 90th percentile, over a parameter of the series; those that differ in
 * this parameter alone are one curve.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "chart.h"
#include "facts.h"
#include "result.h"

struct picture {
	const struct options *options;
	const struct result *results;
	const char *const *paths;	/* of each result */
	unsigned count;
	struct chart chart;
	/* Of each curve against a parameter, its first series and the result that it is of. */
	const struct series *firsts[CHART_ROOM];
	const struct result *first_results[CHART_ROOM];
	char title[160], subtitle[320], x_label[128];
};

static bool is_drawn(const struct picture *picture, const struct series *series)
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

static char *label_of(const struct picture *picture, const struct result *result,
		      const char *what)
{
	char result_name[128], *label;

	name_result(picture, result, result_name, sizeof(result_name));
	if (asprintf(&label, "%s%s%s", result_name, *result_name ? ": " : "", what) < 0)
		die("out of memory");
	return label;
}

static void need_room(const struct picture *picture, unsigned wanted)
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
						label_of(picture, result, series->name),
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
			wanted += is_drawn(picture, &picture->results[i].series[k]);
	need_room(picture, wanted);
	for (unsigned i = 0; i < picture->count; i++)
		for (unsigned k = 0; k < picture->results[i].count; k++)
			if (is_drawn(picture, &picture->results[i].series[k]))
				add_distribution(picture, &picture->results[i],
						 &picture->results[i].series[k]);
	for (unsigned i = 0; i < sizeof(ticks) / sizeof(ticks[0]); i++)
		chart_tick(&picture->chart, stretch(ticks[i].fraction), ticks[i].label);
	snprintf(picture->x_label, sizeof(picture->x_label),
		 "percentile, as far as %u values lie beyond it", RESULT_BEYOND);
}

/* --- against a parameter --- */

/* Of a number; NAN where it has none of that name. */
static double get_param(const struct series *series, const char *name)
{
	struct json_object *value;

	if (!json_object_object_get_ex(series->params, name, &value) ||
	    !json_object_is_type(value, json_type_int))
		return NAN;
	return (double)json_object_get_int64(value);
}

/* Whether curves differ in it; without any curves, true. */
static bool varies(const struct picture *picture, const char *name)
{
	const char *before = NULL;

	for (unsigned i = 0; i < picture->chart.curve_count; i += 2) {
		const char *text = facts_get(picture->firsts[i]->params, name);

		if (before && strcmp(before, text))
			return true;
		before = text;
	}
	return !before;
}

/* The other parameters: all, so that series with equal ones make one curve, or those alone that
 * tell the curves apart. */
static char *key_of(const struct picture *picture, const struct series *series, bool all)
{
	char *key = strdup("");

	json_object_object_foreach(series->params, name, value) {
		char *longer;

		/* Text speaks for itself. */
		bool text = json_object_is_type(value, json_type_string);

		if (!strcmp(name, picture->options->against) || (!all && !varies(picture, name)))
			continue;
		if (asprintf(&longer, "%s%s%s%s%s", key, *key ? " " : "", text ? "" : name,
			     text ? "" : "=", json_object_get_string(value)) < 0)
			die("out of memory");
		free(key);
		key = longer;
	}
	return key;
}

static double position(double value)
{
	return log2(1 + value);
}

static double value_at(double position)
{
	return round(exp2(position) - 1);
}

static void name_value(const char *against, double value, char *name, size_t room)
{
	if (strcmp(against, "size") || value < 1024)
		snprintf(name, room, "%g%s", value, strcmp(against, "size") ? "" : " B");
	else if (value < 1048576)
		snprintf(name, room, "%g KiB", value / 1024);
	else
		snprintf(name, room, "%g MiB", value / 1048576);
}

static int by_x(const void *a, const void *b)
{
	double x = ((const struct chart_point *)a)->x, y = ((const struct chart_point *)b)->x;

	return x < y ? -1 : x > y;
}

/* The curve of that label, or NULL. */
static struct chart_curve *find_curve(struct picture *picture, const char *label)
{
	for (unsigned i = 0; i < picture->chart.curve_count; i++)
		if (!picture->chart.curves[i].dashed &&
		    !strcmp(picture->chart.curves[i].label, label))
			return &picture->chart.curves[i];
	return NULL;
}

static void add_point(struct picture *picture, const struct result *result,
		      const struct series *series, double value)
{
	char *key = key_of(picture, series, true), *label;
	struct chart_curve *curve, *companion;

	label = label_of(picture, result, key);
	free(key);
	curve = find_curve(picture, label);
	if (curve) {
		free(label);
	} else {
		if (picture->chart.curve_count + 2 > CHART_ROOM)
			die("these are too many series for one picture: choose by --only");
		picture->firsts[picture->chart.curve_count] = series;
		picture->first_results[picture->chart.curve_count] = result;
		curve = chart_curve(&picture->chart, label, 64);
		chart_curve(&picture->chart, strdup(""), 64)->dashed = true;
	}
	companion = curve + 1;
	if (curve->count == 64)
		die("too many values of '%s' for one curve", picture->options->against);
	curve->points[curve->count++] = (struct chart_point){
		.x = position(value),
		.ns = (double)histogram_percentile(&series->all, 50) / series->batch,
		.low = series->has_intervals ? series->intervals[0].low / series->batch : 0,
		.high = series->has_intervals ? series->intervals[0].high / series->batch : 0};
	if (series_knows(series, 90))
		companion->points[companion->count++] = (struct chart_point){
			.x = position(value),
			.ns = (double)histogram_percentile(&series->all, 90) / series->batch};
}

/* Two series of one value are no curve, and one value is none. */
static void drop_lone_points(struct picture *picture)
{
	struct chart *chart = &picture->chart;
	unsigned kept = 0;

	for (unsigned i = 0; i + 1 < chart->curve_count; i += 2) {
		struct chart_curve *pair = &chart->curves[i];

		if (pair->count < 2) {
			for (unsigned k = 0; k < 2; k++) {
				free(pair[k].label);
				free(pair[k].points);
			}
			continue;
		}
		picture->firsts[kept] = picture->firsts[i];
		picture->first_results[kept] = picture->first_results[i];
		chart->curves[kept++] = pair[0];
		chart->curves[kept++] = pair[1];
	}
	chart->curve_count = kept;
}

/* Now that it is known what is drawn. */
static void label_curves(struct picture *picture)
{
	const char *against = picture->options->against;

	for (unsigned i = 0; i < picture->chart.curve_count; i++) {
		struct chart_curve *curve = &picture->chart.curves[i];
		char name[24], *key;

		qsort(curve->points, curve->count, sizeof(struct chart_point), by_x);
		if (curve->dashed)
			continue;
		for (unsigned k = 0; k < curve->count; k++) {
			name_value(against, value_at(curve->points[k].x), name, sizeof(name));
			chart_tick(&picture->chart, curve->points[k].x, name);
		}
		key = key_of(picture, picture->firsts[i], false);
		free(curve->label);
		curve->label = label_of(picture, picture->first_results[i], *key ? key : "all");
		free(key);
	}
}

static void draw_against(struct picture *picture)
{
	const char *against = picture->options->against;

	for (unsigned i = 0; i < picture->count; i++)
		for (unsigned k = 0; k < picture->results[i].count; k++) {
			const struct series *series = &picture->results[i].series[k];
			double value = get_param(series, against);

			if (is_drawn(picture, series) && !isnan(value))
				add_point(picture, &picture->results[i], series, value);
		}
	drop_lone_points(picture);
	if (!picture->chart.curve_count)
		die("there is nothing to draw: no two series differ in '%s' alone", against);
	need_room(picture, picture->chart.curve_count / 2);
	label_curves(picture);
	snprintf(picture->x_label, sizeof(picture->x_label),
		 "%s; line: median with its 95 %% interval, dotted: 90th percentile", against);
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
	snprintf(picture->title, sizeof(picture->title), "daxbench %s%s%s", first->verb,
		 unit ? ", per " : "", unit ? unit : "");
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
		draw_against(&picture);
	else
		draw_distributions(&picture);
	write_picture(&picture);
	chart_free(&picture.chart);
	for (unsigned i = 0; i < count; i++)
		result_free(&results[i]);
	free(results);
	return EXIT_SUCCESS;
}
