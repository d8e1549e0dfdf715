/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>

#include "daxheap.h"
#include "daxheap_cli.h"

/* What it says of the file, before and after. */
struct outcome {
	uint64_t freed;
	struct daxheap_info before, after;
	uint64_t file_bytes;
};

static int trim(const struct cli_args *args, struct outcome *outcome)
{
	struct daxheap_stats stats;
	struct daxheap *heap;
	int err = daxheap_open(args->pool, 0, &heap);

	if (err)
		return err;
	err = daxheap_get_info(heap, &outcome->before);
	if (!err)
		err = daxheap_trim(heap, args->keep, args->time_limit_ms, &outcome->freed);
	if (!err)
		err = daxheap_get_info(heap, &outcome->after);
	if (!err)
		err = daxheap_get_stats(heap, &stats);
	daxheap_close(heap);
	if (!err)
		outcome->file_bytes = stats.file_bytes;
	return err;
}

int cli_trim(const struct cli_args *args)
{
	struct json_object *top;
	struct outcome outcome;
	int err = trim(args, &outcome);

	if (err)
		return cli_fail(err);
	if (!args->json) {
		printf("%s: %llu KiB given back; the file has %llu MiB (it had %llu), and takes "
		       "%llu KiB\n", args->pool, (unsigned long long)(outcome.freed >> 10),
		       (unsigned long long)(outcome.after.length >> 20),
		       (unsigned long long)(outcome.before.length >> 20),
		       (unsigned long long)(outcome.file_bytes >> 10));
		return EXIT_SUCCESS;
	}
	top = json_object_new_object();
	cli_add_string(top, "pool", args->pool);
	cli_add_number(top, "freed_bytes", outcome.freed);
	cli_add_number(top, "length_bytes", outcome.after.length);
	cli_add_number(top, "file_bytes", outcome.file_bytes);
	cli_print_json(top);
	return EXIT_SUCCESS;
}
