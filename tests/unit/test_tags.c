/* SPDX-License-Identifier: BSD-3-Clause */
/* Tags: what was said at the reservation is found by it, and by nothing else. */
#include <string.h>

#include "pool.h"

TestSuite(tags, .fini = pool_cleanup);

/* A durable block with a tag, published into @slot. */
static void *publish_as(struct daxheap *heap, daxheap_ref *slot, size_t size, uint16_t tag)
{
	void *block;

	must(daxheap_alloc_as(heap, size, 0, tag, &block));
	memset(block, tag, size < 4096 ? size : 4096);
	must(daxheap_persist(heap, block, size < 4096 ? size : 4096));
	must(daxheap_publish(heap, slot, block));
	return block;
}

static unsigned count_tagged(struct daxheap *heap, uint16_t tag)
{
	struct daxheap_block block = {0};
	uint64_t last = 0;
	unsigned count = 0;
	int more;

	while ((more = daxheap_next_tagged(heap, tag, &block)) > 0) {
		cr_assert_gt(block.ref, last, "the order of references");
		cr_assert_eq(block.tag, tag);
		cr_assert_eq((int64_t)block.size,
			     daxheap_usable_size(heap, daxheap_ptr(heap, block.ref)));
		last = block.ref;
		count++;
	}
	cr_assert_eq(more, 0, "%s", daxheap_errormsg());
	return count;
}

/* The same by looking at all. */
static unsigned count_by_next(struct daxheap *heap, uint16_t tag)
{
	struct daxheap_block block = {0};
	unsigned count = 0;

	while (daxheap_next(heap, &block) > 0)
		count += block.tag == tag;
	return count;
}

static const size_t sizes[] = {16, 64, 100, 1000, 4096, 10000, 70000, 300000, 3 << 20};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))
static const uint16_t tags[] = {0, 1, 2, 7, 255, 256, 32768, 65535};
#define TAGS (sizeof(tags) / sizeof(tags[0]))
#define EACH 3u

static void check_counts(struct daxheap *heap)
{
	/* The table has tag 0. */
	for (unsigned t = 0; t < TAGS; t++) {
		cr_assert_eq(count_tagged(heap, tags[t]), EACH * SIZES + !tags[t], "tag %u",
			     tags[t]);
		cr_assert_eq(count_by_next(heap, tags[t]), EACH * SIZES + !tags[t]);
	}
	cr_assert_eq(count_tagged(heap, 3), 0);
	cr_assert_eq(pool_census(heap).blocks, TAGS * EACH * SIZES + 1);
}

Test(tags, are_found_in_all_sizes)
{
	struct daxheap *heap = pool_create("pool", 256 * MiB), *copy;
	daxheap_ref *slot = pool_publish(heap, pool_root(heap, "r"), TAGS * EACH * SIZES * 8, 0);

	for (unsigned round = 0; round < EACH; round++)
		for (unsigned s = 0; s < SIZES; s++)
			for (unsigned t = 0; t < TAGS; t++)
				publish_as(heap, slot++, sizes[s], tags[t]);
	check_counts(heap);
	pool_copy("pool", "copy");
	copy = pool_open("copy", DAXHEAP_READ_ONLY);
	check_counts(copy);
	daxheap_close(copy);
	heap = pool_reopen(heap, "pool");
	check_counts(heap);
	daxheap_close(heap);
}

Test(tags, of_blocks_that_are_not_live_are_not_found)
{
	struct daxheap *heap = pool_create("pool", 128 * MiB);
	daxheap_ref *slots = pool_publish(heap, pool_root(heap, "r"), 64 * 8, 0);
	void *block;

	for (unsigned i = 0; i < 64; i++)
		publish_as(heap, &slots[i], i % 2 ? 64 : 3 * MiB / 64 * (i + 1), 9);
	for (unsigned i = 0; i < 64; i += 4)
		must(daxheap_free(heap, &slots[i]));
	must(daxheap_alloc_as(heap, 64, 0, 9, &block));
	cr_assert_eq(count_tagged(heap, 9), 48);
	must(daxheap_cancel(heap, block));
	cr_assert_eq(count_tagged(heap, 9), 48);
	daxheap_close(heap);
}

/* Space that had one tag gets another: what is found by the old one is gone. */
Test(tags, go_with_the_space)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	daxheap_ref *slots = pool_publish(heap, pool_root(heap, "r"), 4096, 0);

	for (uint16_t tag = 1; tag < 200; tag++) {
		for (unsigned i = 0; i < 100; i++)
			publish_as(heap, &slots[i], 1000 + tag, tag);
		if (tag % 3 == 0)
			publish_as(heap, &slots[100], 2 * MiB, tag);
		cr_assert_eq(count_tagged(heap, tag), 100u + (tag % 3 == 0));
		cr_assert_eq(count_tagged(heap, (uint16_t)(tag - 1)), tag == 1);
		for (unsigned i = 0; i < 101; i++)
			if (slots[i])
				must(daxheap_free(heap, &slots[i]));
		if (tag % 20 == 0) {
			heap = pool_reopen(heap, "pool");
			slots = daxheap_ptr(heap, *pool_root(heap, "r"));
		}
	}
	cr_assert_eq(pool_census(heap).blocks, 1);
	daxheap_close(heap);
}

/* More tags than the pool could hold spans for at once, one after the other. */
Test(tags, all_65536)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	daxheap_ref *root = pool_root(heap, "r");

	for (unsigned tag = 0; tag < 65536; tag += tag < 300 ? 1 : 7) {
		publish_as(heap, root, 64, (uint16_t)tag);
		cr_assert_eq(count_tagged(heap, (uint16_t)tag), 1);
		must(daxheap_free(heap, root));
	}
	daxheap_close(heap);
}

/* Too many tags at once cost space, and end in an error. */
Test(tags, too_many_at_once)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	uint16_t tag = 0;
	void *block;
	int err;

	do {
		err = daxheap_alloc_as(heap, 64, 0, ++tag, &block);
	} while (!err && tag < 1000);
	cr_assert_eq(err, -ENOMEM, "%d: %s", err, daxheap_errormsg());
	/* As many as there are units of 64 KiB. */
	cr_assert_geq(tag, 90);
	daxheap_close(heap);
	heap = pool_open("pool", 0);
	must(daxheap_alloc(heap, 6 * MiB, &block));
	daxheap_close(heap);
}

Test(tags, cost_no_byte)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	void *plain, *tagged;

	must(daxheap_alloc(heap, 64, &plain));
	must(daxheap_alloc_as(heap, 64, 0, 77, &tagged));
	cr_assert_eq(daxheap_usable_size(heap, plain), 64);
	cr_assert_eq(daxheap_usable_size(heap, tagged), 64);
	cr_assert_eq((uintptr_t)tagged % 64, 0);
	daxheap_close(heap);
}

Test(tags, next_with_a_wrong_block)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	struct daxheap_block block = {.ref = UINT64_MAX};

	must_fail(EINVAL, daxheap_next_tagged(heap, 1, &block));
	block = (struct daxheap_block){.size = UINT64_MAX};
	must_fail(EINVAL, daxheap_next_tagged(heap, 1, &block));
	daxheap_close(heap);
}
