/* SPDX-License-Identifier: BSD-3-Clause */
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

void die(const char *format, ...)
{
	va_list args;

	fputs("daxbench: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(EX_IOERR);
}

bool listed(const char *list, const char *name)
{
	size_t length = strlen(name);

	if (!list)
		return true;
	for (const char *at = list; at; at = strchr(at, ','), at = at ? at + 1 : NULL)
		if (!strncmp(at, name, length) && (at[length] == ',' || !at[length]))
			return true;
	return false;
}

bool matches(const char *list, const char *name)
{
	char *copy, *rest, *pattern;
	bool found = !list;

	if (!list)
		return true;
	copy = rest = strdup(list);
	if (!copy)
		die("out of memory");
	while (!found && (pattern = strsep(&rest, ",")))
		found = !fnmatch(pattern, name, 0);
	free(copy);
	return found;
}

char *temporary_path(const char *dir, const char *name)
{
	char *path;

	if (asprintf(&path, "%s/daxbench.%d.%s", dir, (int)getpid(), name) < 0)
		die("out of memory");
	return path;
}

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

const char *verdict(double value, double at_most)
{
	return value <= at_most ? "met" : "MISSED";
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double median(double *values, unsigned count)
{
	qsort(values, count, sizeof(*values), by_value);
	return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}
