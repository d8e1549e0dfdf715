/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>

#include "daxheap.h"
#include "daxheap_cli.h"

int cli_create(const struct cli_args *args)
{
	struct daxheap_info info;
	struct daxheap *heap;
	int err = daxheap_create(args->pool, args->size,
				 args->require_map_sync ? DAXHEAP_REQUIRE_MAP_SYNC : 0, &heap);

	if (err)
		return cli_fail(err);
	err = daxheap_get_info(heap, &info);
	if (!err)
		printf("%s: %llu MiB, %s\n", args->pool, (unsigned long long)(info.size >> 20),
		       daxheap_durability_name(info.durability));
	daxheap_close(heap);
	return err ? cli_fail(err) : EXIT_SUCCESS;
}
