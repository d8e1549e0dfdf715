/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>

#include "daxheap.h"
#include "daxheap_cli.h"

static void print_json(const char *pool, const struct daxheap_info *info)
{
	struct json_object *top = json_object_new_object();

	cli_add_string(top, "pool", pool);
	cli_add_number(top, "size_bytes", info->size);
	cli_add_string(top, "durability", daxheap_durability_name(info->durability));
	cli_print_json(top);
}

int cli_create(const struct cli_args *args)
{
	struct daxheap_info info;
	struct daxheap *heap;
	unsigned flags = (args->require_map_sync ? DAXHEAP_REQUIRE_MAP_SYNC : 0) |
			 (args->overwrite ? DAXHEAP_OVERWRITE : 0);
	int err = daxheap_create(args->pool, args->size, flags, &heap);

	if (err)
		return cli_fail(err);
	err = daxheap_get_info(heap, &info);
	daxheap_close(heap);
	if (err)
		return cli_fail(err);
	if (args->json)
		print_json(args->pool, &info);
	else
		printf("%s: %llu MiB, %s\n", args->pool, (unsigned long long)(info.size >> 20),
		       daxheap_durability_name(info.durability));
	return EXIT_SUCCESS;
}
