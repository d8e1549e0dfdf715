/* SPDX-License-Identifier: BSD-3-Clause */
/* daxheap_realloc(): content, place, durability, refusals. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "pool.h"
#include "tree.h"

TestSuite(realloc, .fini = pool_cleanup, .timeout = 120);

static unsigned char pattern(size_t i)
{
	return (unsigned char)(i * 131 + i / 251);
}

static void fill(struct daxheap *heap, void *block, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		((unsigned char *)block)[i] = pattern(i);
	if (to > from)
		must(daxheap_persist(heap, (char *)block + from, to - from));
}

static void must_hold(const void *block, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (((const unsigned char *)block)[i] != pattern(i))
			cr_assert_fail("byte %zu of %zu", i, size);
}

static const size_t sizes[] = {1, 16, 17, 64, 100, 1000, 4096, 5000, 65536, 300000, MiB,
			       MiB + 1, 2 * MiB, 3 * MiB, 5 * MiB};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

/* From each size to each other: what fits is kept, and all is as before for all others. */
Test(realloc, from_any_size_to_any)
{
	struct daxheap *heap = pool_create("pool", 32 * MiB);
	daxheap_ref *root = pool_root(heap, "r");
	void *neighbour = pool_publish(heap, pool_root(heap, "n"), 64, 0x44);

	for (unsigned a = 0; a < SIZES; a++) {
		for (unsigned b = 0; b < SIZES; b++) {
			size_t kept = sizes[a] < sizes[b] ? sizes[a] : sizes[b];
			void *block = pool_publish(heap, root, sizes[a], 0);

			fill(heap, block, 0, sizes[a]);
			must(daxheap_realloc(heap, root, sizes[b]));
			block = daxheap_ptr(heap, *root);
			cr_assert_geq(daxheap_usable_size(heap, block), (int64_t)sizes[b]);
			must_hold(block, kept);
			memset(block, 1, sizes[b]);
			cr_assert_eq(pool_census(heap).blocks, 2);
			cr_assert_eq(pool_stats(heap).reserved_blocks, 0);
			must(daxheap_free(heap, root));
		}
	}
	for (int i = 0; i < 64; i++)
		cr_assert_eq(((char *)neighbour)[i], 0x44);
	daxheap_close(heap);
}

Test(realloc, stays_where_it_has_room)
{
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	daxheap_ref *root = pool_root(heap, "r"), ref;
	struct daxheap_info before, after;

	pool_publish(heap, root, 1000, 1);
	ref = *root;
	must(daxheap_get_info(heap, &before));
	must(daxheap_realloc(heap, root, 1024));
	must(daxheap_realloc(heap, root, 1000));
	must(daxheap_get_info(heap, &after));
	cr_assert_eq(*root, ref);
	/* Content in the room behind what was asked for at first is the owner's to flush. */
	cr_assert_leq(after.fences - before.fences, 2);
	must(daxheap_realloc(heap, root, 100000));
	cr_assert_neq(*root, ref);
	ref = *root;
	/* Much too large. */
	must(daxheap_realloc(heap, root, 100));
	cr_assert_neq(*root, ref);
	cr_assert_lt(daxheap_usable_size(heap, daxheap_ptr(heap, *root)), 1000);
	must(daxheap_realloc(heap, root, 5 * MiB));
	must(daxheap_realloc(heap, root, 64));
	cr_assert_leq(pool_census(heap).bytes, 256);
	daxheap_close(heap);
}

/* Also of stores that were never flushed: block and content are durable when it returns. */
Test(realloc, is_durable)
{
	struct daxheap *heap = pool_create("pool", 16 * MiB), *copy;
	daxheap_ref *root = pool_root(heap, "r");
	struct daxheap_info before, after;
	uint64_t lines;
	void *block;

	block = pool_publish(heap, root, 10000, 0);
	for (size_t i = 0; i < 10000; i++)
		((unsigned char *)block)[i] = pattern(i);
	must(daxheap_get_info(heap, &before));
	must(daxheap_realloc(heap, root, 20000));
	must(daxheap_get_info(heap, &after));
	lines = after.flushed_lines - before.flushed_lines;
	cr_assert_geq(lines, 10000 / 64 + 1, "the content's lines and the record's");
	cr_assert_geq(after.fences - before.fences, 2);
	pool_copy("pool", "copy");
	copy = pool_open("copy", 0);
	must_hold(daxheap_ptr(copy, *pool_root(copy, "r")), 10000);
	cr_assert_eq(pool_census(copy).blocks, 1);
	daxheap_close(copy);
	daxheap_close(heap);
}

Test(realloc, keeps_the_tag)
{
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	daxheap_ref *root = pool_root(heap, "r");
	static const size_t steps[] = {100, 5000, 4 * MiB, 200000, 16};
	void *first;

	must(daxheap_alloc_as(heap, 64, 0, 513, &first));
	must(daxheap_publish(heap, root, first));
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct daxheap_block block = {0};

		must(daxheap_realloc(heap, root, steps[i]));
		cr_assert_eq(daxheap_next_tagged(heap, 513, &block), 1);
		cr_assert_eq(block.ref, *root);
		cr_assert_eq(daxheap_next_tagged(heap, 513, &block), 0);
	}
	daxheap_close(heap);
}

Test(realloc, refused)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	daxheap_ref *root = pool_root(heap, "r"), *empty = pool_root(heap, "e"), local = 0, old;
	daxheap_ref *live = pool_publish(heap, root, 4096, 0);
	daxheap_ref *reserved = pool_block(heap, 64, 0);
	uint64_t sum;

	fill(heap, live + 64, 0, 1000);
	reserved[0] = daxheap_ref_of(heap, live);
	live[1] = daxheap_ref_of(heap, reserved);
	live[2] = 12345;
	live[3] = daxheap_ref_of(heap, live);
	must(daxheap_persist(heap, live, 64));
	old = *root;
	sum = pool_sum(heap);
	must_fail(ENOENT, daxheap_realloc(heap, empty, 100));
	must_fail(ENOENT, daxheap_realloc(heap, &live[0], 100));
	must_fail(EINVAL, daxheap_realloc(heap, root, 0));
	must_fail(EINVAL, daxheap_realloc(heap, NULL, 100));
	must_fail(EINVAL, daxheap_realloc(heap, &local, 100));
	must_fail(EINVAL, daxheap_realloc(heap, &live[1], 100));
	must_fail(EINVAL, daxheap_realloc(heap, &live[2], 100));
	must_fail(EINVAL, daxheap_realloc(heap, (daxheap_ref *)heap->base, 100));
	cr_assert_eq(pool_sum(heap), sum);
	/* Those that reserve before they see it. */
	must_fail(EINVAL, daxheap_realloc(heap, reserved, 100000));
	must_fail(EINVAL, daxheap_realloc(heap, &live[3], 100000));
	must_fail(ENOMEM, daxheap_realloc(heap, root, 100 * MiB));
	must_fail(ENOMEM, daxheap_realloc(heap, root, SIZE_MAX));
	cr_assert_eq(*root, old);
	must_hold(live + 64, 1000);
	cr_assert_eq(pool_census(heap).blocks, 1);
	cr_assert_eq(pool_stats(heap).reserved_blocks, 1);
	daxheap_close(heap);
}

/* Growing in a full pool: the old block is there. */
Test(realloc, without_room)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	daxheap_ref *root = pool_root(heap, "r");
	void *block = pool_publish(heap, root, 100000, 0), *other;

	fill(heap, block, 0, 100000);
	for (size_t size = 4 * MiB; size; )
		if (daxheap_alloc(heap, size, &other))
			size /= 2;
	must_fail(ENOMEM, daxheap_realloc(heap, root, 200000));
	cr_assert_eq(daxheap_ptr(heap, *root), block);
	must_hold(block, 100000);
	cr_assert_eq(pool_census(heap).blocks, 1);
	daxheap_close(heap);
}

/* A random walk of 40 blocks, against copies of their content. */
Test(realloc, at_random)
{
	enum { COUNT = 40, LARGEST = 400000 };
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	daxheap_ref *slots = pool_publish(heap, pool_root(heap, "t"), COUNT * 8, 0);
	size_t size[COUNT] = {0};
	uint64_t random = test_seed();

	for (unsigned step = 0; step < 3000; step++) {
		unsigned i = (unsigned)(tree_random(&random) % COUNT);
		size_t limit = tree_random(&random) % 8 ? 5000 : LARGEST;
		size_t wish = 1 + tree_random(&random) % limit;

		if (!size[i]) {
			pool_publish(heap, &slots[i], wish, 0);
			fill(heap, daxheap_ptr(heap, slots[i]), 0, wish);
		} else if (wish % 7 == 0) {
			must_hold(daxheap_ptr(heap, slots[i]), size[i]);
			must(daxheap_free(heap, &slots[i]));
			wish = 0;
		} else {
			must(daxheap_realloc(heap, &slots[i], wish));
			must_hold(daxheap_ptr(heap, slots[i]), wish < size[i] ? wish : size[i]);
			fill(heap, daxheap_ptr(heap, slots[i]), size[i], wish);
		}
		size[i] = wish;
		if (step % 500 == 499) {
			heap = pool_reopen(heap, "pool");
			slots = daxheap_ptr(heap, *pool_root(heap, "t"));
			for (unsigned k = 0; k < COUNT; k++)
				must_hold(daxheap_ptr(heap, slots[k]), size[k]);
		}
	}
	daxheap_close(heap);
}
