/* SPDX-License-Identifier: BSD-3-Clause */
/* Reservations: every size and alignment, and what is refused. */
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "pool.h"

TestSuite(alloc, .fini = pool_cleanup, .timeout = 120);

/* What daxheap_alloc() promises of the address, besides what was asked for. */
static uintptr_t alignment_of(size_t size)
{
	if (size % 4096 == 0)
		return 4096;
	if (size < 4096 && !(size & (size - 1)) && size >= 16)
		return size;
	return size % 512 == 0 ? 512 : 16;
}

static void check_block(struct daxheap *heap, const void *block, size_t size, size_t alignment)
{
	cr_assert_eq((uintptr_t)block % alignment_of(size), 0, "%zu bytes at %p", size, block);
	if (alignment)
		cr_assert_eq((uintptr_t)block % alignment, 0, "%zu bytes, alignment %zu, at %p",
			     size, alignment, block);
	cr_assert_geq(daxheap_usable_size(heap, block), (int64_t)size);
}

/* Below, at and above each class, twice, all at once: no two overlap. */
Test(alloc, at_the_bounds_of_all_classes)
{
	enum { COUNT = DH_CLASSES * 3 * 2 };
	struct daxheap *heap = pool_create("pool", 512 * MiB);
	unsigned char *blocks[COUNT];
	size_t sizes[COUNT];
	unsigned n = 0;

	for (unsigned class = 0; class < DH_CLASSES; class++) {
		for (unsigned i = 0; i < 6; i++) {
			size_t size = dh_class_size(class) - 1 + i % 3;

			must(daxheap_alloc(heap, size, (void **)&blocks[n]));
			check_block(heap, blocks[n], size, 0);
			/* Usable is usable. */
			sizes[n] = (size_t)daxheap_usable_size(heap, blocks[n]);
			if (i % 3 < 2)
				cr_assert_eq(sizes[n], dh_class_size(class));
			memset(blocks[n], (int)n, sizes[n]);
			n++;
		}
	}
	for (unsigned i = 0; i < n; i++)
		for (size_t byte = 0; byte < sizes[i]; byte++)
			if (blocks[i][byte] != (unsigned char)i)
				cr_assert_fail("byte %zu of block %u", byte, i);
	cr_assert_eq(pool_stats(heap).reserved_blocks, n);
	for (unsigned i = 0; i < n; i++)
		must(daxheap_cancel(heap, blocks[i]));
	cr_assert_eq(pool_stats(heap).reserved_blocks, 0);
	daxheap_close(heap);
}

Test(alloc, every_alignment)
{
	static const size_t sizes[] = {1, 16, 17, 48, 64, 96, 100, 500, 512, 1000, 1536, 4096,
				       5000, 12288, 65536, 100000, MiB, 3 * MiB};
	struct daxheap *heap = pool_create("pool", 64 * MiB);

	for (size_t alignment = 1; alignment <= 2 * MiB; alignment *= 2) {
		for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			void *blocks[3];

			for (unsigned k = 0; k < 3; k++) {
				must(daxheap_alloc_as(heap, sizes[i], alignment, (uint16_t)k,
						      &blocks[k]));
				check_block(heap, blocks[k], sizes[i], alignment);
				memset(blocks[k], 1, sizes[i]);
			}
			for (unsigned k = 0; k < 3; k++)
				must(daxheap_cancel(heap, blocks[k]));
		}
	}
	cr_assert_eq(pool_stats(heap).reserved_blocks, 0);
	daxheap_close(heap);
}

/* Aligned blocks live as others do. */
Test(alloc, aligned_and_published)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	daxheap_ref *slots = pool_publish(heap, pool_root(heap, "r"), 4096, 0);
	unsigned count = 0;

	for (size_t alignment = 16; alignment <= 2 * MiB; alignment *= 2) {
		void *block;

		must(daxheap_alloc_as(heap, 40, alignment, 5, &block));
		must(daxheap_publish(heap, &slots[count++], block));
	}
	cr_assert_eq(pool_census(heap).blocks, count + 1);
	heap = pool_reopen(heap, "pool");
	slots = daxheap_ptr(heap, *pool_root(heap, "r"));
	for (unsigned i = 0; i < count; i++) {
		cr_assert_eq((uintptr_t)daxheap_ptr(heap, slots[i]) % (16u << i), 0);
		must(daxheap_free(heap, &slots[i]));
	}
	cr_assert_eq(pool_census(heap).blocks, 1);
	daxheap_close(heap);
}

Test(alloc, up_to_the_whole_pool)
{
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	void *block, *other;

	must(daxheap_alloc(heap, 14 * MiB, &block));
	must_fail(ENOMEM, daxheap_alloc(heap, 1, &other));
	must(daxheap_cancel(heap, block));
	must_fail(ENOMEM, daxheap_alloc(heap, 14 * MiB + 1, &block));
	must(daxheap_alloc(heap, 1, &other));
	must(daxheap_alloc(heap, 12 * MiB, &block));
	must_fail(ENOMEM, daxheap_alloc(heap, 2 * MiB, &block));
	must(daxheap_cancel(heap, other));
	daxheap_close(heap);
}

/* Chunks of huge blocks in any order of coming and going make up the whole again. */
Test(alloc, huge_blocks_side_by_side)
{
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	void *blocks[7], *all;

	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 7; i++)
			must(daxheap_alloc(heap, 2 * MiB, &blocks[i]));
		must_fail(ENOMEM, daxheap_alloc(heap, 1, &all));
		for (unsigned i = 0; i < 7; i++)
			must(daxheap_cancel(heap, blocks[i * (round % 6 + 1) % 7]));
		must(daxheap_alloc(heap, 14 * MiB, &all));
		must(daxheap_cancel(heap, all));
	}
	daxheap_close(heap);
}

Test(alloc, calloc_is_zero)
{
	static const size_t sizes[] = {1, 64, 1000, 40000, MiB, 3 * MiB};
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	unsigned char *block;

	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			must(daxheap_calloc(heap, i + 1, sizes[i] / (i + 1) + 1, (void **)&block));
			cr_assert_geq(daxheap_usable_size(heap, block), (int64_t)sizes[i]);
			for (size_t byte = 0; byte < sizes[i]; byte++)
				cr_assert_eq(block[byte], 0);
			memset(block, 0xee, sizes[i]);
			must(daxheap_cancel(heap, block));
		}
	}
	daxheap_close(heap);
}

static void *const untouched = (void *)0x1234;

Test(alloc, what_can_not_be_reserved)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	static const size_t bad_alignments[] = {3, 24, 48, 4095, 4 * MiB, SIZE_MAX,
						(size_t)1 << 63};
	uint64_t sum = pool_sum(heap);
	void *block = untouched;

	must_fail(EINVAL, daxheap_alloc(heap, 0, &block));
	must_fail(EINVAL, daxheap_alloc_as(heap, 0, 0, 0, &block));
	must_fail(EINVAL, daxheap_calloc(heap, 0, 8, &block));
	must_fail(EINVAL, daxheap_calloc(heap, 8, 0, &block));
	must_fail(EINVAL, daxheap_calloc(heap, SIZE_MAX, 2, &block));
	must_fail(EINVAL, daxheap_calloc(heap, 2, SIZE_MAX, &block));
	must_fail(EINVAL, daxheap_calloc(heap, (size_t)1 << 32, (size_t)1 << 32, &block));
	must_fail(EINVAL, daxheap_calloc(heap, SIZE_MAX / 2 + 2, 2, &block));
	must_fail(ENOMEM, daxheap_calloc(heap, (size_t)1 << 31, (size_t)1 << 31, &block));
	must_fail(ENOMEM, daxheap_alloc(heap, SIZE_MAX, &block));
	must_fail(ENOMEM, daxheap_alloc(heap, SIZE_MAX - 4095, &block));
	must_fail(ENOMEM, daxheap_alloc(heap, (size_t)1 << 63, &block));
	for (unsigned i = 0; i < sizeof(bad_alignments) / sizeof(bad_alignments[0]); i++)
		must_fail(EINVAL, daxheap_alloc_as(heap, 64, bad_alignments[i], 0, &block));
	cr_assert_eq(block, untouched);
	cr_assert_eq(pool_sum(heap), sum);
	cr_assert_eq(pool_stats(heap).reserved_blocks, 0);
	daxheap_close(heap);
}

/* --- bad frees: each is refused with a message, and no byte and no count changes --- */

struct guard {
	struct daxheap *heap;
	uint64_t sum;
	struct daxheap_stats stats;
};

static struct guard guard(struct daxheap *heap)
{
	return (struct guard){heap, pool_sum(heap), pool_stats(heap)};
}

static void must_be_unchanged(const struct guard *guard)
{
	struct daxheap_stats stats = pool_stats(guard->heap);

	cr_assert_eq(pool_sum(guard->heap), guard->sum);
	cr_assert_arr_eq(&stats, &guard->stats, sizeof(stats));
}

#define must_refuse(heap, call)                                                                \
	do {                                                                                   \
		struct guard refuse_guard = guard(heap);                                       \
		must_fail(EINVAL, call);                                                       \
		must_be_unchanged(&refuse_guard);                                              \
	} while (0)

static const size_t kinds[] = {16, 64, 1000, 9000, 100000, 2 * MiB, 3 * MiB};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

Test(alloc, cancelled_twice)
{
	struct daxheap *heap = pool_create("pool", 16 * MiB);

	for (unsigned i = 0; i < KINDS; i++) {
		void *block, *other;

		must(daxheap_alloc(heap, kinds[i], &block));
		must(daxheap_alloc(heap, kinds[i], &other));
		must(daxheap_cancel(heap, block));
		must_refuse(heap, daxheap_cancel(heap, block));
		/* The second cancel gave nothing away: two blocks more are two blocks. */
		must(daxheap_alloc(heap, kinds[i], &block));
		must(daxheap_cancel(heap, other));
		must_refuse(heap, daxheap_cancel(heap, other));
		must(daxheap_cancel(heap, block));
	}
	cr_assert_eq(pool_stats(heap).reserved_blocks, 0);
	daxheap_close(heap);
}

Test(alloc, cancelled_while_live_or_freed)
{
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	daxheap_ref *root = pool_root(heap, "r");

	for (unsigned i = 0; i < KINDS; i++) {
		void *block = pool_publish(heap, root, kinds[i], 1);

		must_refuse(heap, daxheap_cancel(heap, block));
		must(daxheap_free(heap, root));
		must_refuse(heap, daxheap_cancel(heap, block));
		must_refuse(heap, daxheap_publish(heap, root, block));
	}
	daxheap_close(heap);
}

Test(alloc, cancelled_inside_and_beside)
{
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	struct daxheap *other = pool_create("other", POOL_SIZE);
	int local;

	for (unsigned i = 0; i < KINDS; i++) {
		char *block, *foreign;

		must(daxheap_alloc(heap, kinds[i], (void **)&block));
		must(daxheap_alloc(other, 64, (void **)&foreign));
		must_refuse(heap, daxheap_cancel(heap, block + 1));
		must_refuse(heap, daxheap_cancel(heap, block + 8));
		must_refuse(heap, daxheap_cancel(heap, block + kinds[i] / 2));
		must_refuse(heap, daxheap_cancel(heap, block + kinds[i] - 1));
		must_refuse(heap, daxheap_cancel(heap, foreign));
		must_refuse(heap, daxheap_cancel(heap, NULL));
		must_refuse(heap, daxheap_cancel(heap, &local));
		must_refuse(heap, daxheap_cancel(heap, heap->base));
		must_refuse(heap, daxheap_cancel(heap, heap->base + DH_CHUNK_SIZE));
		must_refuse(heap, daxheap_cancel(heap, heap->base + 16 * MiB));
		must_refuse(heap, daxheap_cancel(heap, (void *)(UINTPTR_MAX - 15)));
		must(daxheap_cancel(heap, block));
		must(daxheap_cancel(other, foreign));
	}
	daxheap_close(other);
	daxheap_close(heap);
}

/* Every address of two chunks, but those of the two blocks that are reserved. */
Test(alloc, cancelled_anywhere)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	char *small, *large;
	struct guard before;

	must(daxheap_alloc(heap, 100, (void **)&small));
	must(daxheap_alloc(heap, 3 * MiB, (void **)&large));
	before = guard(heap);
	for (char *at = heap->base; at < heap->base + POOL_SIZE; at += 16)
		if (at != small && at != large && daxheap_cancel(heap, at) != -EINVAL)
			cr_assert_fail("at %#zx", (size_t)(at - heap->base));
	must_be_unchanged(&before);
	must(daxheap_cancel(heap, small));
	must(daxheap_cancel(heap, large));
	daxheap_close(heap);
}

/* A slot that was emptied, and one that the application stored into against the rules. */
Test(alloc, freed_twice_and_by_forged_slots)
{
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	struct daxheap *other = pool_create("other", POOL_SIZE);
	daxheap_ref *root = pool_root(heap, "r"), *slots = pool_publish(heap, root, 64, 0);
	daxheap_ref foreign = daxheap_ref_of(other, pool_publish(other, pool_root(other, "r"),
								 100000, 0));

	for (unsigned i = 0; i < KINDS; i++) {
		void *block = pool_publish(heap, &slots[0], kinds[i], 1), *reserved;
		daxheap_ref ref = slots[0];
		struct guard before;

		must(daxheap_free(heap, &slots[0]));
		before = guard(heap);
		must_fail(ENOENT, daxheap_free(heap, &slots[0]));
		must_be_unchanged(&before);
		/* Stale copies of the reference, as of a block that was freed through another
		 * slot; inner and foreign ones. */
		slots[1] = ref;
		must_refuse(heap, daxheap_free(heap, &slots[1]));
		slots[1] = ref + 16;
		must_refuse(heap, daxheap_free(heap, &slots[1]));
		slots[1] = foreign;
		must_refuse(heap, daxheap_free(heap, &slots[1]));
		must(daxheap_alloc(heap, kinds[i], &reserved));
		slots[1] = daxheap_ref_of(heap, reserved);
		must_refuse(heap, daxheap_free(heap, &slots[1]));
		must_refuse(heap, daxheap_replace(heap, &slots[1], reserved));
		slots[1] = 0;
		must(daxheap_cancel(heap, reserved));
		must_refuse(heap, daxheap_usable_size(heap, block));
	}
	daxheap_close(other);
	daxheap_close(heap);
}

/* The first unit of a chunk, which is short, takes small blocks alone. */
Test(alloc, small_blocks_fit_where_large_ones_do_not)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	void *block;

	while (!daxheap_alloc(heap, 65536, &block))
		;
	must(daxheap_alloc(heap, 64, &block));
	must(daxheap_alloc(heap, 8192, &block));
	daxheap_close(heap);
}
