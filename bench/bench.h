/* SPDX-License-Identifier: BSD-3-Clause */
/* What the verbs of daxbench share. */
#ifndef BENCH_H
#define BENCH_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#define MAX_THREADS	64u

struct options {
	const char *dir;
	const char *json;	/* file name, "-" for standard output, or NULL */
	const char *only;	/* workloads, separated by commas; NULL: all */
	const char *peers;	/* the same */
	unsigned rounds;
	unsigned threads[8];	/* ends with 0 */
	/* Of the verbs that measure latencies: */
	unsigned ops;		/* of a round; 0: as many as the verb thinks right */
	bool list;		/* the names of series, and measure nothing */
	bool raw;		/* keep each value */
	bool require_dax;
	const char *beside;	/* a folder that takes turns with dir; NULL: none */
	const char *beside_json;
	bool umount;		/* of truncate: umount too */
	double threshold;	/* of compare, in per cent */
	bool markdown;
	const char *output;	/* of plot; NULL: standard output */
	const char *against;	/* of plot: a parameter; NULL: distributions */
};

int bench_alloc(const struct options *options);
int bench_grow(const struct options *options);
int bench_io(const struct options *options);
int bench_open(const struct options *options);
int bench_space(const struct options *options);
int bench_trim(const struct options *options);
int bench_prepare(const struct options *options);
int bench_fault(const struct options *options);
int bench_pin(const struct options *options);
int bench_flush(const struct options *options);
int bench_agree(const struct options *options);
int bench_truncate(const struct options *options);
int bench_compare(const struct options *options, const char *a, const char *b);
int bench_plot(const struct options *options, const char *const *paths, unsigned count);
int bench_loop(const struct options *options, const char *what, unsigned n);

__attribute__((noreturn, format(printf, 1, 2)))
void die(const char *format, ...);

/* Whether @name stands in @list, of names separated by commas; NULL is the list of all. */
bool listed(const char *list, const char *name);

/* Whether @name matches a pattern (*, ?, [...]) of @list, separated by commas; NULL: it does. */
bool matches(const char *list, const char *name);

/* Name of a file in @dir that no other process uses, in memory of its own. */
char *temporary_path(const char *dir, const char *name);

uint64_t now_ns(void);

/* Sorts @values. */
double median(double *values, unsigned count);

/* xorshift64*; a seed that is not 0 */
static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545F4914F6CDD1D);
}

/* Even enough for @below far less than 2^32. */
static inline unsigned random_below(uint64_t *state, unsigned below)
{
	return (unsigned)((next_random(state) >> 32) * below >> 32);
}

/* For the table, of a figure that is to be at most so much. */
const char *verdict(double value, double at_most);

/* What the library and libpmem called msync() for, if anything: see msync.c. */
unsigned msync_calls(void);

/* Before anything is measured: dies if a result could not be written to @path at the end; NULL and
 * "-" are fine. */
void check_writable(const char *path);

/* Whether the verb is to print its tables: not when JSON goes to standard output. */
bool prints_table(const struct options *options);

/* Where and how it was measured. */
struct json_object *report_new(const struct options *options, const char *verb);
void report_add_string(struct json_object *object, const char *key, const char *value);
void report_add_number(struct json_object *object, const char *key, double value);
/* Writes @report where --json says, and frees it. */
void report_write(const struct options *options, struct json_object *report);
/* The same on one line. */
void report_write_compact(const struct options *options, struct json_object *report);

#endif
