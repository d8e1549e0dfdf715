/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "daxheap.h"
#include "daxheap_cli.h"

/* What a pool tells, for people and for JSON. */
struct findings {
	struct daxheap_info info;
	struct daxheap_place place;
	char uuid[37];
	char created[32];
	uint64_t file_bytes;
};

static void format_uuid(const uint8_t *uuid, char *text)
{
	for (unsigned i = 0; i < 16; i++)
		text += sprintf(text, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
				uuid[i]);
}

static int find(const char *pool, struct findings *found)
{
	struct daxheap *heap;
	struct stat st;
	time_t created;
	struct tm tm;
	int err = daxheap_open(pool, DAXHEAP_READ_ONLY, &heap);

	if (err)
		return err;
	err = daxheap_get_info(heap, &found->info);
	if (!err)
		err = daxheap_get_place(pool, &found->place);
	daxheap_close(heap);
	if (err)
		return err;
	if (!stat(pool, &st))
		found->file_bytes = (uint64_t)st.st_blocks * 512;
	format_uuid(found->info.uuid, found->uuid);
	created = (time_t)found->info.created_s;
	strftime(found->created, sizeof(found->created), "%Y-%m-%dT%H:%M:%SZ",
		 gmtime_r(&created, &tm));
	return 0;
}

static void print_json(const char *pool, const struct findings *found)
{
	const struct daxheap_info *info = &found->info;
	const struct daxheap_place *place = &found->place;
	struct json_object *top = json_object_new_object();
	struct json_object *where = json_object_new_object();

	cli_add_string(top, "pool", pool);
	cli_add_string(top, "uuid", found->uuid);
	cli_add_string(top, "created", found->created);
	cli_add_number(top, "format_version", info->format_version);
	cli_add_number(top, "size_bytes", info->size);
	cli_add_number(top, "length_bytes", info->length);
	cli_add_number(top, "file_bytes", found->file_bytes);
	cli_add_number(top, "to_replay", info->replayed);
	cli_add_string(where, "fs_type", place->fs_type);
	cli_add_string(where, "mount_options", place->mount_options);
	cli_add_string(where, "block_device", place->block_device);
	cli_add_string(where, "namespace", place->namespace_name);
	cli_add_string(where, "persistence_domain", place->persistence_domain);
	json_object_object_add(where, "dax", json_object_new_boolean(place->dax));
	json_object_object_add(top, "place", where);
	cli_print_json(top);
}

static void print_text(const char *pool, const struct findings *found)
{
	const struct daxheap_info *info = &found->info;
	const struct daxheap_place *place = &found->place;

	printf("pool          %s\n", pool);
	printf("uuid          %s\n", found->uuid);
	printf("created       %s\n", found->created);
	printf("format        %u\n", info->format_version);
	printf("size          %llu MiB at most; the file has %llu MiB, and takes %llu KiB\n",
	       (unsigned long long)(info->size >> 20), (unsigned long long)(info->length >> 20),
	       (unsigned long long)(found->file_bytes >> 10));
	printf("to replay     %llu log records%s\n", (unsigned long long)info->replayed,
	       info->replayed ? " (the pool was not closed; the next open does it)" : "");
	if (strcmp(place->fs_type, "devdax"))
		printf("file system   %s (%s)\n", place->fs_type, place->mount_options);
	else
		puts("file system   none: device DAX");
	printf("device        %s%s%s\n", place->block_device[0] ? place->block_device : "none",
	       place->namespace_name[0] ? ", " : "", place->namespace_name);
	if (place->persistence_domain[0])
		printf("persistence   domain %s%s\n", place->persistence_domain,
		       strcmp(place->persistence_domain, "cpu_cache") ? "" :
		       " (eADR: no cache line need be flushed)");
	printf("DAX           %s\n", place->dax ? "yes" :
	       "no: a heap here flushes by msync; ext4 or xfs with -o dax=always on a "
	       "/dev/pmem device has it");
}

int cli_info(const struct cli_args *args)
{
	struct findings found = {0};
	int err = find(args->pool, &found);

	if (err)
		return cli_fail(err);
	if (args->json)
		print_json(args->pool, &found);
	else
		print_text(args->pool, &found);
	return EXIT_SUCCESS;
}
