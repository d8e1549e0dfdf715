/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench plot --against: the median with its interval, and dotted the 90th percentile, over a
 * parameter of the series; those that differ in this parameter alone are one curve.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "facts.h"
#include "plot.h"

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

static void name_value(const char *param, double value, char *name, size_t room)
{
	if (strcmp(param, "size") || value < 1024)
		snprintf(name, room, "%g%s", value, strcmp(param, "size") ? "" : " B");
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

	label = plot_label(picture, result, key);
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
		curve->label = plot_label(picture, picture->first_results[i], *key ? key : "all");
		free(key);
	}
}

/* What all curves have in common, but for what is 0 or 1: no part, or one in one piece. */
static void name_common(struct picture *picture)
{
	char *common = picture->common;
	size_t room = sizeof(picture->common);

	json_object_object_foreach(picture->firsts[0]->params, name, value) {
		bool text = json_object_is_type(value, json_type_string);
		size_t used = strlen(common);
		char number[24];

		if (!strcmp(name, picture->options->against) || varies(picture, name))
			continue;
		if (!text && json_object_get_double(value) <= 1)
			continue;
		name_value(name, json_object_get_double(value), number, sizeof(number));
		snprintf(common + used, room - used, "%s%s%s%s", used ? ", " : "",
			 text ? json_object_get_string(value) : name, text ? "" : " ",
			 text ? "" : number);
	}
}

void plot_against(struct picture *picture)
{
	const char *against = picture->options->against;

	for (unsigned i = 0; i < picture->count; i++)
		for (unsigned k = 0; k < picture->results[i].count; k++) {
			const struct series *series = &picture->results[i].series[k];
			double value = get_param(series, against);

			if (plot_draws(picture, series) && !isnan(value))
				add_point(picture, &picture->results[i], series, value);
		}
	drop_lone_points(picture);
	if (!picture->chart.curve_count)
		die("there is nothing to draw: no two series differ in '%s' alone", against);
	plot_need_room(picture, picture->chart.curve_count / 2);
	label_curves(picture);
	name_common(picture);
	snprintf(picture->x_label, sizeof(picture->x_label),
		 "%s; line: median with its 95 %% interval, dotted: 90th percentile", against);
}
