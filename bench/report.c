/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <daxheap.h>

#include "bench.h"

bool prints_table(const struct options *options)
{
	return !options->json || strcmp(options->json, "-") != 0;
}

void check_writable(const char *path)
{
	struct stat st;
	char *folder;
	int bad;

	if (!path || !strcmp(path, "-"))
		return;
	if (!stat(path, &st) && S_ISDIR(st.st_mode))
		die("%s: it can't be written: it is a folder", path);
	bad = access(path, W_OK);
	if (bad && errno == ENOENT) {
		folder = strdup(path);
		if (!folder)
			die("out of memory");
		bad = access(dirname(folder), W_OK | X_OK);
		free(folder);
	}
	if (bad)
		die("%s: it can't be written: %s", path, strerror(errno));
}

void report_add_string(struct json_object *object, const char *key, const char *value)
{
	json_object_object_add(object, key, json_object_new_string(value));
}

void report_add_number(struct json_object *object, const char *key, double value)
{
	json_object_object_add(object, key, json_object_new_double(value));
}

struct json_object *report_new(const struct options *options, const char *verb)
{
	struct json_object *report = json_object_new_object();
	struct daxheap_place place;

	if (daxheap_get_place(options->dir, &place))
		die("%s", daxheap_errormsg());
	report_add_string(report, "verb", verb);
	report_add_string(report, "version", daxheap_version());
	report_add_string(report, "file_system", place.fs_type);
	json_object_object_add(report, "dax", json_object_new_boolean(place.dax));
	json_object_object_add(report, "rounds", json_object_new_int((int)options->rounds));
	return report;
}

static void write_in_style(const struct options *options, struct json_object *report, int style)
{
	if (!prints_table(options))
		puts(json_object_to_json_string_ext(report, style));
	else if (options->json && json_object_to_file_ext(options->json, report, style))
		die("%s", json_util_get_last_err());
	json_object_put(report);
}

void report_write(const struct options *options, struct json_object *report)
{
	write_in_style(options, report, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
}

void report_write_compact(const struct options *options, struct json_object *report)
{
	write_in_style(options, report, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}
