/* SPDX-License-Identifier: BSD-3-Clause */
/* daxheap(1): what its verbs share. */
#ifndef DAXHEAP_CLI_H
#define DAXHEAP_CLI_H

#include <argp.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

/* The arguments of a verb, as far as it takes them. */
struct cli_args {
	const char *pool;
	uint64_t size;			/* bytes; 0: not given */
	bool json;
	bool repair;
	bool require_map_sync;
};

int cli_create(const struct cli_args *args);
int cli_info(const struct cli_args *args);
int cli_check(const struct cli_args *args);

/* Prints daxheap_errormsg() behind the program's name; the exit status for @err, a class
 * of sysexits.h as the man page lists them. */
int cli_fail(int err);

void cli_print_json(struct json_object *object);

/* "64M" to bytes: K, M, G and T stand for powers of 1024.  False if it is no size. */
bool cli_parse_size(const char *text, uint64_t *size);

#endif
