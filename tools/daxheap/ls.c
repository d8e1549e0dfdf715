/* SPDX-License-Identifier: BSD-3-Clause */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "daxheap.h"
#include "daxheap_cli.h"

/* Rows that are formatted together: a pool may have more blocks than memory has cells for. */
#define PAGE_ROWS 4096u

static int next_block(struct daxheap *heap, const struct cli_args *args,
		      struct daxheap_block *block)
{
	int more;

	do {
		more = args->tag < 0 ? daxheap_next(heap, block) :
				       daxheap_next_tagged(heap, (uint16_t)args->tag, block);
	} while (more > 0 && args->size && block->size != args->size);
	return more;
}

/* --- each block --- */

static int list_text(struct daxheap *heap, const struct cli_args *args)
{
	static const char *const headings[] = {"REF", "SIZE", "TAG", NULL};
	struct libscols_table *table = cli_table_new(headings);
	struct daxheap_block block = {0};
	int more;

	while ((more = next_block(heap, args, &block)) > 0) {
		cli_table_row(table, "%#llx\t%llu\t%u", (unsigned long long)block.ref,
			      (unsigned long long)block.size, block.tag);
		if (scols_table_get_nlines(table) < PAGE_ROWS)
			continue;
		cli_table_print(table);
		scols_table_remove_lines(table);
		scols_table_enable_noheadings(table, 1);
	}
	cli_table_print(table);
	cli_table_delete(table);
	return more;
}

static int list_json(struct daxheap *heap, const struct cli_args *args)
{
	struct daxheap_block block = {0};
	const char *before = "[";
	int more;

	while ((more = next_block(heap, args, &block)) > 0) {
		printf("%s\n  {\"ref\": %llu, \"size\": %llu, \"tag\": %u}", before,
		       (unsigned long long)block.ref, (unsigned long long)block.size, block.tag);
		before = ",";
	}
	printf("%s\n]\n", *before == '[' ? "[" : "");
	return more;
}

/* --- summaries --- */

struct group {
	uint64_t key, blocks, bytes;
};

struct groups {
	struct group *groups;
	size_t count, room;
};

static void add_block(struct groups *groups, uint64_t key, uint64_t bytes)
{
	size_t low = 0, high = groups->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (groups->groups[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == groups->count || groups->groups[low].key != key) {
		if (groups->count == groups->room) {
			groups->room = 2 * groups->room + 16;
			groups->groups = reallocarray(groups->groups, groups->room,
						      sizeof(*groups->groups));
			if (!groups->groups)
				errx(EX_OSERR, "no memory for the summary");
		}
		for (size_t i = groups->count++; i > low; i--)
			groups->groups[i] = groups->groups[i - 1];
		groups->groups[low] = (struct group){.key = key};
	}
	groups->groups[low].blocks++;
	groups->groups[low].bytes += bytes;
}

static void print_groups_text(const struct groups *groups, bool by_tag)
{
	static const char *const tag_headings[] = {"TAG", "BLOCKS", "BYTES", NULL};
	static const char *const size_headings[] = {"SIZE", "BLOCKS", "BYTES", NULL};
	struct libscols_table *table = cli_table_new(by_tag ? tag_headings : size_headings);

	for (size_t i = 0; i < groups->count; i++)
		cli_table_row(table, "%llu\t%llu\t%llu",
			      (unsigned long long)groups->groups[i].key,
			      (unsigned long long)groups->groups[i].blocks,
			      (unsigned long long)groups->groups[i].bytes);
	cli_table_print(table);
	cli_table_delete(table);
}

static void print_groups_json(const struct groups *groups, bool by_tag)
{
	struct json_object *top = json_object_new_array();

	for (size_t i = 0; i < groups->count; i++) {
		struct json_object *object = json_object_new_object();

		cli_add_number(object, by_tag ? "tag" : "size", groups->groups[i].key);
		cli_add_number(object, "blocks", groups->groups[i].blocks);
		cli_add_number(object, "bytes", groups->groups[i].bytes);
		json_object_array_add(top, object);
	}
	cli_print_json(top);
}

static int summarise(struct daxheap *heap, const struct cli_args *args)
{
	bool by_tag = args->summary == CLI_BY_TAG;
	struct daxheap_block block = {0};
	struct groups groups = {0};
	int more;

	while ((more = next_block(heap, args, &block)) > 0)
		add_block(&groups, by_tag ? block.tag : block.size, block.size);
	if (!more && args->json)
		print_groups_json(&groups, by_tag);
	else if (!more)
		print_groups_text(&groups, by_tag);
	free(groups.groups);
	return more;
}

int cli_ls(const struct cli_args *args)
{
	struct daxheap *heap;
	int err = daxheap_open(args->pool, DAXHEAP_READ_ONLY, &heap);

	if (err)
		return cli_fail(err);
	if (args->summary != CLI_EACH_BLOCK)
		err = summarise(heap, args);
	else
		err = args->json ? list_json(heap, args) : list_text(heap, args);
	daxheap_close(heap);
	return err ? cli_fail(err) : EXIT_SUCCESS;
}
