/* SPDX-License-Identifier: BSD-3-Clause */
/* Statistics, against a count made by hand. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "pool.h"
#include "tree.h"

TestSuite(stats, .fini = pool_cleanup, .timeout = 120);

/* What is there by our own books. */
struct books {
	uint64_t live, live_bytes;
	uint64_t reserved, reserved_bytes;
	uint64_t huge, huge_bytes;
};

static void count_block(struct books *books, uint64_t size, bool live)
{
	if (live) {
		books->live++;
		books->live_bytes += size;
	} else {
		books->reserved++;
		books->reserved_bytes += size;
	}
	if (size > DH_CLASS_SIZE_MAX) {
		books->huge++;
		books->huge_bytes += size;
	}
}

/* Sums over the classes; what a class says is consistent in itself. */
static void check_classes(struct daxheap *heap, const struct daxheap_stats *stats)
{
	uint64_t live = 0, live_bytes = 0, reserved = 0, spans = 0, last = 0;
	struct daxheap_class_stats classes[DH_CLASSES];

	cr_assert_eq(daxheap_get_class_stats(heap, classes, DH_CLASSES), DH_CLASSES);
	for (unsigned i = 0; i < DH_CLASSES; i++) {
		const struct daxheap_class_stats *class = &classes[i];

		cr_assert_gt(class->block_size, last, "classes in the order of their size");
		last = class->block_size;
		cr_assert_leq(class->live_blocks + class->reserved_blocks, class->blocks,
			      "class of %llu", (unsigned long long)class->block_size);
		cr_assert_eq(!class->blocks, !class->spans);
		live += class->live_blocks;
		live_bytes += class->live_blocks * class->block_size;
		reserved += class->reserved_blocks;
		spans += class->spans;
	}
	cr_assert_eq(spans, stats->spans);
	cr_assert_leq(live, stats->live_blocks);
	cr_assert_leq(live_bytes, stats->live_bytes);
	cr_assert_eq(live + reserved + stats->huge_blocks,
		     stats->live_blocks + stats->reserved_blocks);
}

static void check(struct daxheap *heap, const struct books *books)
{
	struct daxheap_stats stats = pool_stats(heap);
	struct daxheap_info info;
	struct stat st;
	void *block;

	must(daxheap_get_info(heap, &info));
	cr_assert_eq(stats.live_blocks, books->live, "%llu live, %llu by hand",
		     (unsigned long long)stats.live_blocks, (unsigned long long)books->live);
	cr_assert_eq(stats.live_bytes, books->live_bytes);
	cr_assert_eq(stats.reserved_blocks, books->reserved, "%llu reserved, %llu by hand",
		     (unsigned long long)stats.reserved_blocks,
		     (unsigned long long)books->reserved);
	cr_assert_eq(stats.reserved_bytes, books->reserved_bytes);
	cr_assert_eq(stats.huge_blocks, books->huge);
	cr_assert_eq(stats.huge_bytes, books->huge_bytes);
	cr_assert_eq(stats.span_bytes % DH_UNIT_SIZE, 0);
	cr_assert_geq(stats.span_bytes, stats.spans * DH_UNIT_SIZE);
	cr_assert_leq(stats.span_bytes + stats.huge_bytes + stats.free_bytes, info.size);
	cr_assert_geq(stats.span_bytes + stats.huge_bytes + stats.free_bytes,
		      info.size - info.size / 20 - 2 * DH_CHUNK_SIZE);
	cr_assert_eq(stat(pool_path("pool"), &st), 0);
	cr_assert_eq(stats.file_bytes, (uint64_t)st.st_blocks * 512);
	check_classes(heap, &stats);

	/* The largest is to be had, and nothing larger. */
	if (stats.largest_free) {
		must(daxheap_alloc(heap, stats.largest_free, &block));
		must(daxheap_cancel(heap, block));
	}
	must_fail(ENOMEM, daxheap_alloc(heap, stats.largest_free + 1, &block));
}

Test(stats, of_a_new_pool)
{
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	struct daxheap_stats stats = pool_stats(heap);
	struct books none = {0};

	cr_assert_eq(stats.free_bytes, 14 * MiB);
	cr_assert_eq(stats.largest_free, 14 * MiB);
	cr_assert_eq(stats.spans + stats.span_bytes, 0);
	check(heap, &none);
	daxheap_close(heap);
}

Test(stats, of_huge_blocks)
{
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	struct daxheap_stats stats;
	void *middle;

	pool_publish(heap, pool_root(heap, "a"), 2 * MiB, 1);
	must(daxheap_alloc(heap, 2 * MiB + 1, &middle));
	pool_publish(heap, pool_root(heap, "b"), 6 * MiB, 1);
	stats = pool_stats(heap);
	cr_assert_eq(stats.live_blocks, 2);
	cr_assert_eq(stats.live_bytes, 8 * MiB);
	cr_assert_eq(stats.reserved_bytes, 4 * MiB);
	cr_assert_eq(stats.huge_blocks, 3);
	cr_assert_eq(stats.huge_bytes, 12 * MiB);
	cr_assert_eq(stats.free_bytes, 2 * MiB);
	must(daxheap_cancel(heap, middle));
	stats = pool_stats(heap);
	cr_assert_eq(stats.free_bytes, 6 * MiB);
	cr_assert_eq(stats.huge_bytes, 8 * MiB);
	daxheap_close(heap);
}

static struct daxheap_class_stats class_of(struct daxheap *heap, size_t size)
{
	struct daxheap_class_stats classes[DH_CLASSES];

	cr_assert_eq(daxheap_get_class_stats(heap, classes, DH_CLASSES), DH_CLASSES);
	return classes[dh_class_of(size)];
}

Test(stats, of_one_class)
{
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	struct daxheap_class_stats class, few[2] = {{0}};
	void *blocks[1000];

	for (unsigned i = 0; i < 1000; i++)
		must(daxheap_alloc(heap, 500, &blocks[i]));
	class = class_of(heap, 500);
	cr_assert_eq(class.block_size, 512);
	cr_assert_eq(class.reserved_blocks, 1000);
	cr_assert_eq(class.live_blocks, 0);
	/* 127 of 128 in a unit at the least. */
	cr_assert_geq(class.spans, 1000 / 128);
	cr_assert_leq(class.spans, 1000 / 80 + 1);
	must(daxheap_publish(heap, pool_root(heap, "r"), blocks[500]));
	class = class_of(heap, 500);
	cr_assert_eq(class.reserved_blocks, 999);
	cr_assert_eq(class.live_blocks, 1);
	/* No more than there is room for. */
	cr_assert_eq(daxheap_get_class_stats(heap, few, 1), DH_CLASSES);
	cr_assert_eq(few[0].block_size, 16);
	cr_assert_eq(few[1].block_size, 0);
	cr_assert_eq(daxheap_get_class_stats(heap, NULL, 0), DH_CLASSES);
	daxheap_close(heap);
}

static size_t random_size(uint64_t *random)
{
	switch (tree_random(random) % 8) {
	case 0:
		return 1 + tree_random(random) % (3 * MiB);
	case 1:
	case 2:
		return 1 + tree_random(random) % 50000;
	default:
		return 1 + tree_random(random) % 1000;
	}
}

enum { COUNT = 400 };

/* Live, reserved or none, each of them. */
struct item {
	void *reserved;
	uint64_t size;
};

static void step(struct daxheap *heap, daxheap_ref *slots, struct item *items, uint64_t *random)
{
	unsigned i = (unsigned)(tree_random(random) % COUNT);
	struct item *item = &items[i];
	void *block;
	int err;

	if (slots[i]) {
		must(daxheap_free(heap, &slots[i]));
	} else if (item->reserved && tree_random(random) % 3) {
		must(daxheap_publish(heap, &slots[i], item->reserved));
		item->reserved = NULL;
	} else if (item->reserved) {
		must(daxheap_cancel(heap, item->reserved));
		item->reserved = NULL;
	} else {
		err = daxheap_alloc_as(heap, random_size(random), 0,
				       (uint16_t)(tree_random(random) % 3), &block);
		if (err == -ENOMEM)
			return;
		must(err);
		item->reserved = block;
		item->size = (uint64_t)daxheap_usable_size(heap, block);
	}
}

static struct books by_hand(const daxheap_ref *slots, const struct item *items)
{
	struct books books = {.live = 1, .live_bytes = dh_class_size(dh_class_of(COUNT * 8))};

	for (unsigned i = 0; i < COUNT; i++)
		if (slots[i] || items[i].reserved)
			count_block(&books, items[i].size, slots[i] != 0);
	return books;
}

Test(stats, of_a_random_history)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	daxheap_ref *slots = pool_publish(heap, pool_root(heap, "t"), COUNT * 8, 0);
	struct item items[COUNT] = {0};
	uint64_t random = test_seed();
	struct books books;

	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < 100; i++)
			step(heap, slots, items, &random);
		books = by_hand(slots, items);
		check(heap, &books);
		if (round % 20 != 19)
			continue;
		heap = pool_reopen(heap, "pool");
		slots = daxheap_ptr(heap, *pool_root(heap, "t"));
		for (unsigned i = 0; i < COUNT; i++)
			items[i].reserved = NULL;
		books = by_hand(slots, items);
		check(heap, &books);
	}
	daxheap_close(heap);
}

/* The same figures in a pool that is open read-only, its log replayed in memory. */
Test(stats, read_only)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE), *copy;
	struct daxheap_stats stats, seen;

	pool_publish(heap, pool_root(heap, "a"), 1000, 1);
	pool_publish(heap, pool_root(heap, "b"), 3 * MiB, 1);
	stats = pool_stats(heap);
	pool_copy("pool", "copy");
	copy = pool_open("copy", DAXHEAP_READ_ONLY);
	seen = pool_stats(copy);
	cr_assert_eq(seen.live_blocks, 2);
	cr_assert_eq(seen.live_bytes, stats.live_bytes);
	cr_assert_eq(seen.huge_bytes, stats.huge_bytes);
	cr_assert_eq(seen.reserved_blocks, 0);
	daxheap_close(copy);
	daxheap_close(heap);
}
