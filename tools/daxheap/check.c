/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>

#include "daxheap.h"
#include "daxheap_cli.h"

/* Opening read-only checks superblock, log and every word of the heap. */
static int check(const char *pool, struct daxheap_info *info)
{
	struct daxheap *heap;
	int err = daxheap_open(pool, DAXHEAP_READ_ONLY, &heap);

	if (err)
		return err;
	err = daxheap_get_info(heap, info);
	daxheap_close(heap);
	return err;
}

static void print_json(const char *pool, int err, int repaired, const struct daxheap_info *info)
{
	struct json_object *top = json_object_new_object();

	json_object_object_add(top, "pool", json_object_new_string(pool));
	json_object_object_add(top, "ok", json_object_new_boolean(!err));
	json_object_object_add(top, "superblock_restored", json_object_new_boolean(repaired > 0));
	if (err) {
		json_object_object_add(top, "error",
				       json_object_new_string(daxheap_errormsg()));
	} else {
		json_object_object_add(top, "live_blocks",
				       json_object_new_uint64(info->live_blocks));
		json_object_object_add(top, "to_replay",
				       json_object_new_uint64(info->replayed));
	}
	cli_print_json(top);
}

int cli_check(const struct cli_args *args)
{
	struct daxheap_info info = {0};
	int repaired = args->repair ? daxheap_repair(args->pool) : 0;
	int err = repaired < 0 ? repaired : check(args->pool, &info);

	if (args->json)
		print_json(args->pool, err, repaired, &info);
	if (err)
		return cli_fail(err);
	if (!args->json)
		printf("%s: %sclean; %llu live blocks, %llu bytes; %llu log records to replay\n",
		       args->pool, repaired > 0 ? "superblock restored from its copy; " : "",
		       (unsigned long long)info.live_blocks,
		       (unsigned long long)info.live_bytes,
		       (unsigned long long)info.replayed);
	return EXIT_SUCCESS;
}
