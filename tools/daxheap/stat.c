/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>

#include "daxheap.h"
#include "daxheap_cli.h"

#define CLASSES_MAX 256u

struct figures {
	struct daxheap_stats stats;
	struct daxheap_class_stats classes[CLASSES_MAX];
	unsigned class_count;
	double fragmentation;	/* share of the free bytes that the largest block can't have */
	double span_waste;	/* share of the spans' bytes that no block uses */
};

static int gather(struct daxheap *heap, struct figures *figures)
{
	const struct daxheap_stats *stats = &figures->stats;
	int err = daxheap_get_stats(heap, &figures->stats);
	int classes = err ? err : daxheap_get_class_stats(heap, figures->classes, CLASSES_MAX);
	uint64_t used = 0;

	if (classes < 0)
		return classes;
	/* Those that have a span. */
	for (unsigned i = 0; i < (unsigned)classes && i < CLASSES_MAX; i++)
		if (figures->classes[i].spans)
			figures->classes[figures->class_count++] = figures->classes[i];
	for (unsigned i = 0; i < figures->class_count; i++)
		used += figures->classes[i].live_blocks * figures->classes[i].block_size;
	if (stats->free_bytes > stats->largest_free)
		figures->fragmentation =
			1 - (double)stats->largest_free / (double)stats->free_bytes;
	if (stats->span_bytes)
		figures->span_waste = 1 - (double)used / (double)stats->span_bytes;
	return 0;
}

static void print_json(const char *pool, const struct figures *figures)
{
	const struct daxheap_stats *stats = &figures->stats;
	struct json_object *top = json_object_new_object();
	struct json_object *classes = json_object_new_array();

	cli_add_string(top, "pool", pool);
	cli_add_number(top, "live_blocks", stats->live_blocks);
	cli_add_number(top, "live_bytes", stats->live_bytes);
	cli_add_number(top, "spans", stats->spans);
	cli_add_number(top, "span_bytes", stats->span_bytes);
	cli_add_number(top, "huge_blocks", stats->huge_blocks);
	cli_add_number(top, "huge_bytes", stats->huge_bytes);
	cli_add_number(top, "free_bytes", stats->free_bytes);
	cli_add_number(top, "largest_free", stats->largest_free);
	cli_add_number(top, "file_bytes", stats->file_bytes);
	json_object_object_add(top, "fragmentation",
			       json_object_new_double(figures->fragmentation));
	json_object_object_add(top, "span_waste", json_object_new_double(figures->span_waste));
	for (unsigned i = 0; i < figures->class_count; i++) {
		struct json_object *class = json_object_new_object();

		cli_add_number(class, "size", figures->classes[i].block_size);
		cli_add_number(class, "spans", figures->classes[i].spans);
		cli_add_number(class, "blocks", figures->classes[i].blocks);
		cli_add_number(class, "live_blocks", figures->classes[i].live_blocks);
		json_object_array_add(classes, class);
	}
	json_object_object_add(top, "classes", classes);
	cli_print_json(top);
}

static void print_text(const char *pool, const struct figures *figures)
{
	static const char *const headings[] = {"SIZE", "SPANS", "BLOCKS", "LIVE", "USED %", NULL};
	const struct daxheap_stats *stats = &figures->stats;
	struct libscols_table *table;

	printf("pool          %s\n", pool);
	printf("live          %llu blocks, %llu bytes\n",
	       (unsigned long long)stats->live_blocks, (unsigned long long)stats->live_bytes);
	printf("spans         %llu, %llu bytes, %.1f %% of them unused\n",
	       (unsigned long long)stats->spans, (unsigned long long)stats->span_bytes,
	       100 * figures->span_waste);
	printf("huge          %llu blocks, %llu bytes\n",
	       (unsigned long long)stats->huge_blocks, (unsigned long long)stats->huge_bytes);
	printf("free          %llu bytes, the largest block %llu: fragmentation %.1f %%\n",
	       (unsigned long long)stats->free_bytes, (unsigned long long)stats->largest_free,
	       100 * figures->fragmentation);
	printf("file          %llu bytes on its file system\n",
	       (unsigned long long)stats->file_bytes);
	if (!figures->class_count)
		return;
	printf("\n");
	table = cli_table_new(headings);
	for (unsigned i = 0; i < figures->class_count; i++) {
		const struct daxheap_class_stats *class = &figures->classes[i];

		cli_table_row(table, "%llu\t%llu\t%llu\t%llu\t%.1f",
			      (unsigned long long)class->block_size,
			      (unsigned long long)class->spans,
			      (unsigned long long)class->blocks,
			      (unsigned long long)class->live_blocks,
			      class->blocks ? 100.0 * (double)class->live_blocks /
						      (double)class->blocks : 0);
	}
	cli_table_print(table);
	cli_table_delete(table);
}

int cli_stat(const struct cli_args *args)
{
	struct figures figures = {0};
	struct daxheap *heap;
	int err = daxheap_open(args->pool, DAXHEAP_READ_ONLY, &heap);

	if (err)
		return cli_fail(err);
	err = gather(heap, &figures);
	daxheap_close(heap);
	if (err)
		return cli_fail(err);
	if (args->json)
		print_json(args->pool, &figures);
	else
		print_text(args->pool, &figures);
	return EXIT_SUCCESS;
}
