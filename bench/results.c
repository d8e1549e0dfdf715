/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "results.h"

void results_add(struct results *results, struct result result)
{
	results->rows = reallocarray(results->rows, results->count + 1, sizeof(result));
	if (!results->rows)
		die("out of memory");
	results->rows[results->count++] = result;
}

const struct result *results_find(const struct results *results, const char *workload,
				  const char *peer, unsigned threads)
{
	for (unsigned i = 0; i < results->count; i++) {
		const struct result *row = &results->rows[i];

		if (!strcmp(row->workload->name, workload) && !strcmp(row->peer->name, peer) &&
		    row->threads == threads)
			return row;
	}
	return NULL;
}

static void print_row(const struct results *results, const struct result *row)
{
	const struct result *base = results_find(results, row->workload->name,
						 daxheap_peer.name, row->threads);

	printf("  %-15s %9.1f ns", row->peer->name, row->ns);
	if (base)
		printf(" %7.2f x", row->ns / base->ns);
	if (row->fences >= 0)
		printf("   %.2f fences, %.2f flushed lines", row->fences, row->lines);
	putchar('\n');
}

void results_print(const struct results *results)
{
	puts("Nanoseconds for a pair of operations, median of the rounds, and how many times\n"
	     "daxheap's.  With several threads: the time in which each of them does a pair.");
	for (unsigned i = 0; i < results->count; i++) {
		const struct result *row = &results->rows[i];

		if (i == 0 || row[-1].workload != row->workload || row[-1].threads != row->threads)
			printf("\n%s, %u thread%s: %s\n", row->workload->name, row->threads,
			       row->threads == 1 ? "" : "s", row->workload->what);
		print_row(results, row);
	}
	puts("\nIn publish and action workloads, memkind, jemalloc, mimalloc and glibc stand for a\n"
	     "block of theirs and a slot in a mapped file that is flushed and fenced: not\n"
	     "crash-safe, the least that it could cost.");
}

struct json_object *results_json(const struct results *results)
{
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; i < results->count; i++) {
		const struct result *row = &results->rows[i];
		struct json_object *object = json_object_new_object();

		report_add_string(object, "workload", row->workload->name);
		report_add_string(object, "peer", row->peer->name);
		report_add_number(object, "threads", row->threads);
		report_add_number(object, "ns", row->ns);
		if (row->fences >= 0) {
			report_add_number(object, "fences", row->fences);
			report_add_number(object, "flushed_lines", row->lines);
		}
		json_object_array_add(list, object);
	}
	return list;
}
