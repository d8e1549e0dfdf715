/* SPDX-License-Identifier: BSD-3-Clause */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "result.h"

/* --- writing --- */

static void add_count(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

static struct json_object *bins_json(const struct histogram *histogram)
{
	struct json_object *object = json_object_new_object();
	char key[24];

	for (unsigned bin = 0; bin < HISTOGRAM_BINS; bin++) {
		if (!histogram->bins[bin])
			continue;
		snprintf(key, sizeof(key), "%" PRIu64, histogram_low(bin));
		add_count(object, key, histogram->bins[bin]);
	}
	return object;
}

static void percent_key(double percent, char key[24])
{
	snprintf(key, 24, "%.6f", percent);
}

static struct json_object *percentiles_json(const struct series *series)
{
	struct json_object *object = json_object_new_object();
	char key[24];

	for (unsigned i = 0; i < RESULT_PERCENTILES; i++) {
		percent_key(result_percents[i], key);
		if (series_knows(series, result_percents[i]))
			add_count(object, key,
				  histogram_percentile(&series->all, result_percents[i]));
	}
	return object;
}

static struct json_object *lat_json(const struct series *series)
{
	const struct histogram *all = &series->all;
	struct json_object *object = json_object_new_object();

	add_count(object, "min", all->min);
	add_count(object, "max", all->max);
	report_add_number(object, "mean", histogram_mean(all));
	report_add_number(object, "stddev", histogram_deviation(all));
	add_count(object, "N", all->count);
	json_object_object_add(object, "percentile", percentiles_json(series));
	json_object_object_add(object, "bins", bins_json(all));
	return object;
}

static struct json_object *intervals_json(const struct series *series)
{
	struct json_object *object = json_object_new_object();
	char key[24];

	for (unsigned i = 0; i < RESULT_PERCENTILES; i++) {
		struct json_object *pair;

		if (!series_knows(series, result_percents[i]))
			continue;
		pair = json_object_new_array();
		json_object_array_add(pair, json_object_new_double(series->intervals[i].low));
		json_object_array_add(pair, json_object_new_double(series->intervals[i].high));
		percent_key(result_percents[i], key);
		json_object_object_add(object, key, pair);
	}
	return object;
}

static struct json_object *round_json(const struct histogram *round)
{
	struct json_object *object = json_object_new_object();

	add_count(object, "min", round->min);
	add_count(object, "max", round->max);
	json_object_object_add(object, "bins", bins_json(round));
	return object;
}

static struct json_object *noise_json(const struct noise *noise)
{
	struct json_object *object = json_object_new_object();

	add_count(object, "waits", noise->waits);
	add_count(object, "preemptions", noise->preemptions);
	add_count(object, "faults", noise->faults);
	add_count(object, "interrupts", noise->interrupts);
	add_count(object, "steal_ms", noise->steal_ms);
	return object;
}

static struct json_object *harness_json(const struct histogram *harness)
{
	struct json_object *object = json_object_new_object();

	add_count(object, "N", harness->count);
	for (unsigned i = 0; i < RESULT_PERCENTILES; i++) {
		char key[24];

		percent_key(result_percents[i], key);
		add_count(object, key, histogram_percentile(harness, result_percents[i]));
	}
	return object;
}

static struct json_object *series_json(const struct series *series)
{
	struct json_object *object = json_object_new_object(), *rounds;

	report_add_string(object, "name", series->name);
	json_object_object_add(object, "params", json_object_get(series->params));
	if (series->refused) {
		report_add_string(object, "refused", series->refused);
		return object;
	}
	if (series->batch > 1)
		json_object_object_add(object, "batch", json_object_new_uint64(series->batch));
	if (series->note)
		report_add_string(object, "note", series->note);
	json_object_object_add(object, "lat_ns", lat_json(series));
	if (series->has_intervals)
		json_object_object_add(object, "interval95_ns", intervals_json(series));
	if (series->harness.count)
		json_object_object_add(object, "harness_ns", harness_json(&series->harness));
	report_add_number(object, "steady_p", series->steady);
	json_object_object_add(object, "interference", noise_json(&series->noise));
	if (series->verified)
		json_object_object_add(object, "verified", json_object_get(series->verified));
	rounds = json_object_new_array();
	for (unsigned i = 0; i < series->round_count; i++)
		json_object_array_add(rounds, round_json(&series->rounds[i]));
	json_object_object_add(object, "rounds", rounds);
	if (series->raw)
		json_object_object_add(object, "raw_ns", json_object_get(series->raw));
	return object;
}

struct json_object *result_to_json(const struct result *result)
{
	struct json_object *top = json_object_new_object(), *list = json_object_new_array();

	report_add_string(top, "tool", "daxbench");
	json_object_object_add(top, "format", json_object_new_int(RESULT_FORMAT));
	report_add_string(top, "verb", result->verb);
	json_object_object_add(top, "interrupted", json_object_new_boolean(result->interrupted));
	json_object_object_add(top, "facts", json_object_get(result->facts));
	for (unsigned i = 0; i < result->count; i++)
		json_object_array_add(list, series_json(&result->series[i]));
	json_object_object_add(top, "series", list);
	return top;
}

/* --- reading --- */

/* NULL where it is missing or of another type. */
static struct json_object *get(struct json_object *object, const char *key, enum json_type type)
{
	struct json_object *value;

	if (!json_object_is_type(object, json_type_object) ||
	    !json_object_object_get_ex(object, key, &value) || !json_object_is_type(value, type))
		return NULL;
	return value;
}

static char *get_copy(struct json_object *object, const char *key)
{
	struct json_object *value = get(object, key, json_type_string);
	char *copy = value ? strdup(json_object_get_string(value)) : NULL;

	if (value && !copy)
		die("out of memory");
	return copy;
}

/* 0 where there is none. */
static uint64_t get_count(struct json_object *object, const char *key)
{
	struct json_object *value = get(object, key, json_type_int);

	return value ? json_object_get_uint64(value) : 0;
}

/* Far more than anything counts to, and sums of them don't overflow. */
#define COUNT_MAX (UINT64_C(1) << 48)

/* One bin; false if there is none like it. */
static bool read_bin(const char *key, struct json_object *value, struct histogram *round)
{
	int64_t count = json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : 0;
	uint64_t low;
	char *end;

	errno = 0;
	low = strtoull(key, &end, 10);
	if (!isdigit((unsigned char)key[0]) || *end || errno || count < 1 ||
	    (uint64_t)count > COUNT_MAX - round->count)
		return false;
	histogram_add(round, histogram_middle(histogram_bin(low)), (uint64_t)count);
	return true;
}

static bool read_round(struct json_object *object, struct histogram *round)
{
	struct json_object *bins = get(object, "bins", json_type_object);
	uint64_t min = get_count(object, "min"), max = get_count(object, "max");

	*round = (struct histogram){0};
	if (!bins)
		return false;
	json_object_object_foreach(bins, key, value)
		if (!read_bin(key, value, round))
			return false;
	/* The ends are exact; the bins are not. */
	if (!round->count || histogram_bin(min) != histogram_bin(round->min) ||
	    histogram_bin(max) != histogram_bin(round->max) || min > max)
		return false;
	round->min = min;
	round->max = max;
	return true;
}

static bool read_rounds(struct json_object *object, struct series *series)
{
	struct json_object *rounds = get(object, "rounds", json_type_array);
	struct json_object *lat = get(object, "lat_ns", json_type_object);
	size_t count = rounds ? json_object_array_length(rounds) : 0;
	static struct histogram round;

	if (count > RANKS_ROUNDS_MAX)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (!read_round(json_object_array_get_idx(rounds, i), &round) ||
		    series->all.count > COUNT_MAX)
			return false;
		series_add_round(series, &round);
	}
	return count && get_count(lat, "N") == series->all.count;
}

static bool read_series(struct json_object *object, struct series *series)
{
	struct json_object *harness = get(object, "harness_ns", json_type_object);
	uint64_t batch;

	series->name = get_copy(object, "name");
	series->params = json_object_get(get(object, "params", json_type_object));
	series->refused = get_copy(object, "refused");
	series->note = get_copy(object, "note");
	batch = get_count(object, "batch");
	series->batch = batch ? (unsigned)batch : 1;
	if (!series->name || batch > UINT_MAX)
		return false;
	if (series->refused)
		return true;
	if (!read_rounds(object, series))
		return false;
	if (harness)
		histogram_add(&series->harness, get_count(harness, "50.000000"), 1);
	series_conclude(series);
	return true;
}

static int complain(const char *path, const char *what, char *wrong, size_t room)
{
	snprintf(wrong, room, "%s: %s", path, what);
	return -EINVAL;
}

static int take(struct json_object *top, const char *path, struct result *result, char *wrong,
		size_t room)
{
	struct json_object *list = get(top, "series", json_type_array);
	char *tool = get_copy(top, "tool");
	bool ours = tool && !strcmp(tool, "daxbench");

	free(tool);
	result->verb = get_copy(top, "verb");
	result->facts = json_object_get(get(top, "facts", json_type_object));
	result->interrupted = json_object_get_boolean(get(top, "interrupted", json_type_boolean));
	if (!ours || !list || !result->verb || !result->facts)
		return complain(path, "this is no result of daxbench fault, truncate, pin or flush "
				"(--json)", wrong, room);
	if (get_count(top, "format") != RESULT_FORMAT)
		return complain(path, "written by another version of daxbench, in a form that this "
				"one does not know", wrong, room);
	result->series = calloc(json_object_array_length(list) + 1, sizeof(*result->series));
	if (!result->series)
		die("out of memory");
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct series *series = &result->series[i];

		result->count++;
		if (!read_series(json_object_array_get_idx(list, i), series))
			return complain(path, "damaged: a series lacks its name, or its rounds are "
					"not what was measured", wrong, room);
		if (result_find(result, series->name) != series)
			return complain(path, "damaged: two series have one name", wrong, room);
	}
	return 0;
}

int result_read(const char *path, struct result *result, char *wrong, size_t room)
{
	struct json_object *top = json_object_from_file(path);
	struct result read = {0};
	const char *why;
	int err;

	if (!top) {
		/* json-c's word on it ends with a line feed. */
		why = json_util_get_last_err();
		snprintf(wrong, room, "%s: can't be read as JSON: %.*s", path,
			 why ? (int)strcspn(why, "\n") : 0, why ? why : "");
		return -EINVAL;
	}
	err = take(top, path, &read, wrong, room);
	json_object_put(top);
	if (err)
		result_free(&read);
	else
		*result = read;
	return err;
}
