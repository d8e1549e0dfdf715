/* SPDX-License-Identifier: BSD-3-Clause */
/* daxheap(1): what its verbs share. */
#ifndef DAXHEAP_CLI_H
#define DAXHEAP_CLI_H

#include <argp.h>
#include <json-c/json.h>
#include <libsmartcols/libsmartcols.h>
#include <stdbool.h>
#include <stdint.h>

enum cli_summary { CLI_EACH_BLOCK, CLI_BY_TAG, CLI_BY_SIZE };

/* The arguments of a verb, as far as it takes them. */
struct cli_args {
	const char *pool;
	uint64_t size;			/* bytes; of `ls`, 0: any */
	uint64_t keep;			/* bytes */
	unsigned time_limit_ms;
	int tag;			/* -1: any */
	enum cli_summary summary;
	bool json;
	bool repair;
	bool require_map_sync;
	bool overwrite;
};

int cli_create(const struct cli_args *args);
int cli_info(const struct cli_args *args);
int cli_check(const struct cli_args *args);
int cli_ls(const struct cli_args *args);
int cli_stat(const struct cli_args *args);
int cli_trim(const struct cli_args *args);
int cli_doctor(const struct cli_args *args);

/* Prints daxheap_errormsg() behind the program's name; the exit status for @err, a class
 * of sysexits.h as the man page lists them. */
int cli_fail(int err);

/* json.c: what is not UTF-8 in a string stands as U+FFFD. */
struct json_object *cli_json_string(const char *value);
void cli_print_json(struct json_object *object);
void cli_add_number(struct json_object *object, const char *key, uint64_t value);
void cli_add_string(struct json_object *object, const char *key, const char *value);

/* table.c: columns of numbers under @headings, which NULL ends.  Exits when out of memory. */
struct libscols_table *cli_table_new(const char *const *headings);
/* @format: the cells of a row, with a tab between them. */
__attribute__((format(printf, 2, 3))) void cli_table_row(struct libscols_table *table,
							 const char *format, ...);
void cli_table_print(struct libscols_table *table);
void cli_table_delete(struct libscols_table *table);

/* "64M" to bytes: K, M, G and T stand for powers of 1024.  False if it is no size. */
bool cli_parse_size(const char *text, uint64_t *size);

#endif
