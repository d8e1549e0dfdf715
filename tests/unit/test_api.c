/* SPDX-License-Identifier: BSD-3-Clause */
/* What daxheap.h promises, call by call, as long as nothing fails. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "heap.h"
#include "pool.h"

TestSuite(api, .fini = pool_cleanup);

Test(api, create_makes_a_short_file_of_whole_chunks)
{
	struct daxheap *heap = pool_create("pool", 9 * MiB);
	struct daxheap_info info;
	struct stat st;

	must(daxheap_get_info(heap, &info));
	cr_assert_eq(info.size, 10 * MiB);
	cr_assert_eq(info.format_version, DH_FORMAT_VERSION);
	cr_assert_eq(info.compat | info.ro_compat | info.incompat, 0);
	cr_assert_eq(info.replayed, 0);
	cr_assert_eq(pool_stats(heap).live_blocks + pool_stats(heap).reserved_blocks, 0);
	cr_assert_eq(info.uuid[6] >> 4, 4, "a random uuid");
	cr_assert_gt(info.created_s, 1700000000);
	cr_assert_eq(stat(pool_path("pool"), &st), 0);
	cr_assert_eq((uint64_t)st.st_size, 2 * MiB);
	cr_assert_eq(info.length, 2 * MiB);
	cr_assert_leq((uint64_t)st.st_blocks * 512, 2 * MiB, "grown into, not taken at once");
	daxheap_close(heap);
	daxheap_close(NULL);
}

Test(api, chunks_are_congruent_with_huge_pages)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	struct daxheap *other = pool_create("other", POOL_SIZE);

	cr_assert_eq((uintptr_t)heap->base % DH_CHUNK_SIZE, 0);
	cr_assert_eq((uintptr_t)other->base % DH_CHUNK_SIZE, 0);
	daxheap_close(heap);
	daxheap_close(other);
}

static void check_alignment(struct daxheap *heap, size_t size, const void *block)
{
	uintptr_t at = (uintptr_t)block;

	cr_assert_eq(at % 16, 0);
	if (size % 512 == 0)
		cr_assert_eq(at % 512, 0, "%zu bytes", size);
	if (size % 4096 == 0)
		cr_assert_eq(at % 4096, 0, "%zu bytes", size);
	if (size <= 4096 && !(size & (size - 1)))
		cr_assert_eq(at % size, 0, "%zu bytes", size);
	cr_assert_geq(daxheap_usable_size(heap, block), (int64_t)size);
}

Test(api, blocks_of_all_sizes_hold_their_content)
{
	static const size_t sizes[] = {1, 2, 15, 16, 17, 64, 65, 100, 128, 500, 512, 513, 1000,
		1024, 1536, 2048, 3000, 4096, 5000, 5120, 8192, 8193, 10000, 12288, 40000, 65536,
		100000, 131072, 262144, 300000, 524288, 1000000, 1048576, 1048577, 3000000};
	enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	daxheap_ref *table = pool_publish(heap, pool_root(heap, "t"), SIZES * 8, 0);

	for (unsigned i = 0; i < SIZES; i++)
		check_alignment(heap, sizes[i],
				pool_publish(heap, &table[i], sizes[i], (int)i + 1));
	cr_assert_eq(pool_census(heap).blocks, SIZES + 1);
	heap = pool_reopen(heap, "pool");
	cr_assert_eq(pool_census(heap).blocks, SIZES + 1);
	table = daxheap_ptr(heap, *pool_root(heap, "t"));
	for (unsigned i = 0; i < SIZES; i++) {
		const unsigned char *block = daxheap_ptr(heap, table[i]);

		check_alignment(heap, sizes[i], block);
		for (size_t byte = 0; byte < sizes[i]; byte++)
			if (block[byte] != i + 1)
				cr_assert_fail("block %u, byte %zu", i, byte);
	}
	daxheap_close(heap);
}

Test(api, a_reservation_ends_with_cancel_or_close)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	struct daxheap_stats stats;
	uint64_t hash;
	void *block;

	must(daxheap_alloc(heap, 100, &block));
	stats = pool_stats(heap);
	cr_assert_eq(stats.reserved_blocks, 1);
	cr_assert_eq(stats.reserved_bytes, (uint64_t)daxheap_usable_size(heap, block));
	cr_assert_eq(stats.live_blocks, 0);
	cr_assert_eq(pool_census(heap).blocks, 0, "a reservation is not live");
	must(daxheap_cancel(heap, block));
	stats = pool_stats(heap);
	cr_assert_eq(stats.reserved_blocks + stats.reserved_bytes, 0);

	must(daxheap_alloc(heap, 100, &block));
	must(daxheap_alloc(heap, 3 * MiB, &block));
	heap = pool_reopen(heap, "pool");
	stats = pool_stats(heap);
	cr_assert_eq(stats.reserved_blocks + stats.live_blocks, 0);
	must(daxheap_alloc(heap, 6 * MiB, &block));
	daxheap_close(heap);

	/* Opening and closing alone changes no byte. */
	hash = pool_hash("pool");
	daxheap_close(pool_open("pool", 0));
	cr_assert_eq(pool_hash("pool"), hash);
}

Test(api, reserving_in_a_warm_span_costs_no_fence)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	struct daxheap_info before, after;
	void *block;

	must(daxheap_alloc(heap, 64, &block));
	must(daxheap_get_info(heap, &before));
	for (int i = 0; i < 100; i++)
		must(daxheap_alloc(heap, 64, &block));
	must(daxheap_cancel(heap, block));
	must(daxheap_get_info(heap, &after));
	cr_assert_eq(after.fences, before.fences);
	cr_assert_eq(after.flushed_lines, before.flushed_lines);
	daxheap_close(heap);
}

Test(api, publish_replace_free)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	daxheap_ref *root = pool_root(heap, "r");
	void *first, *second;

	first = pool_publish(heap, root, 64, 1);
	cr_assert_eq(*root, daxheap_ref_of(heap, first));
	cr_assert_eq(daxheap_ptr(heap, *root), first);
	second = pool_block(heap, 5000, 2);
	must(daxheap_replace(heap, root, second));
	cr_assert_eq(*root, daxheap_ref_of(heap, second));
	cr_assert_eq(pool_census(heap).blocks, 1);
	must_fail(EINVAL, daxheap_usable_size(heap, first));
	must(daxheap_free(heap, root));
	cr_assert_eq(*root, 0);
	cr_assert_eq(pool_census(heap).blocks, 0);
	cr_assert_null(daxheap_ptr(heap, 0));
	cr_assert_eq(daxheap_ref_of(heap, NULL), 0);
	heap = pool_reopen(heap, "pool");
	cr_assert_eq(*pool_root(heap, "r"), 0);
	daxheap_close(heap);
}

/* A freed block does not take its children with it: what it refers to stays live. */
Test(api, free_is_not_recursive)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	daxheap_ref *root = pool_root(heap, "r"), *inner = pool_publish(heap, root, 64, 0);
	void *child = pool_publish(heap, &inner[3], 64, 7);

	must(daxheap_free(heap, root));
	cr_assert_eq(pool_census(heap).blocks, 1);
	cr_assert_eq(daxheap_usable_size(heap, child), 64);
	daxheap_close(heap);
}

Test(api, sixty_four_roots_that_stay)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	char name[DH_ROOT_NAME_SIZE];
	daxheap_ref *slot, *slots[DH_ROOTS];

	for (unsigned i = 0; i < DH_ROOTS; i++) {
		/* The longest name too, and names that begin alike. */
		snprintf(name, sizeof(name), "%0*u", i % 2 ? 47 : 2, i);
		slots[i] = pool_root(heap, name);
		cr_assert_eq(*slots[i], 0);
		for (unsigned j = 0; j < i; j++)
			cr_assert_neq(slots[i], slots[j]);
	}
	pool_publish(heap, slots[63], 16, 9);
	slot = slots[0];
	must_fail(ENOSPC, daxheap_root(heap, "one more", &slot));
	cr_assert_eq(slot, slots[0], "untouched on failure");
	heap = pool_reopen(heap, "pool");
	for (unsigned i = 0; i < DH_ROOTS; i++) {
		snprintf(name, sizeof(name), "%0*u", i % 2 ? 47 : 2, i);
		slot = pool_root(heap, name);
		cr_assert_eq(*slot != 0, i == 63);
	}
	daxheap_close(heap);
}

/* Iteration against a list of our own, over classes, units, chunks and huge blocks. */
Test(api, iteration_finds_what_was_published_and_nothing_else)
{
	enum { COUNT = 600 };
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	daxheap_ref *table = pool_publish(heap, pool_root(heap, "t"), COUNT * 8, 0);
	struct daxheap_block block = {0};
	unsigned live = 1, found = 0;

	for (unsigned i = 0; i < COUNT; i++) {
		static const size_t sizes[] = {16, 100, 1000, 5000, 9000, 40000, 200000};
		size_t size = sizes[i % 7] + i;

		pool_publish(heap, &table[i], i == 300 ? 3 * MiB : size, 1);
		live++;
	}
	for (unsigned i = 0; i < COUNT; i += 3) {
		must(daxheap_free(heap, &table[i]));
		live--;
	}
	for (unsigned i = 1; i < COUNT; i += 5)
		must(daxheap_alloc(heap, 16 + i * 10, (void **)&block.ref));
	cr_assert_eq(pool_census(heap).blocks, live);
	block = (struct daxheap_block){0};
	while (daxheap_next(heap, &block) > 0) {
		bool known = block.ref == daxheap_ref_of(heap, table);

		for (unsigned i = 0; i < COUNT && !known; i++)
			known = table[i] == block.ref;
		cr_assert(known, "a block that was never published");
		cr_assert_eq(block.size,
			     (uint64_t)daxheap_usable_size(heap, daxheap_ptr(heap, block.ref)));
		found++;
	}
	cr_assert_eq(found, live);
	daxheap_close(heap);
}

static unsigned fill(struct daxheap *heap, daxheap_ref *table, unsigned room, size_t size)
{
	unsigned count = 0;
	void *block;

	while (count < room && !daxheap_alloc(heap, size, &block)) {
		must(daxheap_persist(heap, block, size));
		must(daxheap_publish(heap, &table[count++], block));
	}
	return count;
}

/* Space that went through any class comes back for any other. */
Test(api, exhausted_and_emptied_the_pool_gives_the_same_again)
{
	enum { ROOM = 4000 };
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	daxheap_ref *table = pool_publish(heap, pool_root(heap, "t"), ROOM * 8, 0);
	static const size_t sizes[] = {4096, 3000, 40000, 100000, MiB, 2 * MiB, 16384};
	void *block;

	for (int round = 0; round < 3; round++) {
		for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
			unsigned count = fill(heap, table, ROOM, sizes[s]);

			/* 7 data chunks, one of them shared with the table; the header leaves
			 * room for a single block of 1 MiB in a chunk. */
			cr_assert_geq(count * sizes[s], (sizes[s] == MiB ? 6 : 9) * MiB,
				      "%u of %zu bytes, round %d", count, sizes[s], round);
			must_fail(ENOMEM, daxheap_alloc(heap, 2 * MiB, &block));
			for (unsigned i = 0; i < count; i++)
				must(daxheap_free(heap, &table[i]));
			/* All that the table's chunk leaves, in one piece. */
			must(daxheap_alloc(heap, 12 * MiB, &block));
			must(daxheap_cancel(heap, block));
		}
		if (round == 1) {
			heap = pool_reopen(heap, "pool");
			table = daxheap_ptr(heap, *pool_root(heap, "t"));
		}
	}
	must(daxheap_free(heap, pool_root(heap, "t")));
	pool_publish(heap, pool_root(heap, "t"), 14 * MiB, 5);
	heap = pool_reopen(heap, "pool");
	cr_assert_eq(pool_census(heap).bytes, 14 * MiB);
	daxheap_close(heap);
}

/* Small blocks too: 16 bytes each until none is left, none lost, none given twice. */
Test(api, a_pool_full_of_the_smallest_blocks)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	uint64_t count = 0;
	void *block;

	while (!daxheap_alloc(heap, 1, &block)) {
		uint64_t *mark = block;

		/* The pool is new: a mark there already means that the block was given twice. */
		cr_assert_neq(*mark, UINT64_C(0x5aa5c33c5aa5c33c), "block %llu",
			      (unsigned long long)count);
		*mark = UINT64_C(0x5aa5c33c5aa5c33c);
		count++;
	}
	/* Three chunks less their headers. */
	cr_assert_eq(count, 3 * (DH_CHUNK_SIZE - DH_CHUNK_HEADER_SIZE) / 16);
	daxheap_close(heap);
}

Test(api, a_pool_opens_at_any_address_under_any_name)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE), *copy;
	daxheap_ref *root = pool_root(heap, "r"), *root2;
	void *old_base = heap->base;
	char *block = pool_publish(heap, root, 64, 'a');

	cr_assert_eq(block[63], 'a');
	daxheap_close(heap);
	pool_copy("pool", "copy");
	cr_assert_eq(rename(pool_path("pool"), pool_path("renamed")), 0);

	/* Two at once, the second where the first can't be. */
	heap = pool_open("renamed", 0);
	copy = pool_open("copy", 0);
	cr_assert(heap->base != copy->base);
	cr_assert(heap->base != old_base || copy->base != old_base);
	root = pool_root(heap, "r");
	root2 = pool_root(copy, "r");
	cr_assert_eq(*root, *root2);
	cr_assert_eq(((char *)daxheap_ptr(copy, *root2))[63], 'a');
	must(daxheap_free(heap, root));
	cr_assert_neq(*root2, 0, "each is its own");
	pool_publish(heap, root, 100, 'b');
	must(daxheap_free(copy, root2));
	cr_assert_eq(pool_census(heap).blocks, 1);
	cr_assert_eq(pool_census(copy).blocks, 0);
	/* A block of one pool means nothing to the other. */
	must_fail(EINVAL, daxheap_publish(copy, root2, daxheap_ptr(heap, *root)));
	must_fail(EINVAL, daxheap_free(copy, root));
	daxheap_close(heap);
	daxheap_close(copy);
}

Test(api, content_made_durable_in_pieces)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	struct daxheap_info before, after;
	char *block;

	must(daxheap_alloc(heap, 4096, (void **)&block));
	memset(block, 'x', 4096);
	must(daxheap_get_info(heap, &before));
	must(daxheap_flush(heap, block + 1, 64));
	must(daxheap_flush(heap, block + 1000, 1));
	must(daxheap_flush(heap, block, 0));
	must(daxheap_fence(heap));
	must(daxheap_get_info(heap, &after));
	cr_assert_eq(after.flushed_lines - before.flushed_lines, 3);
	cr_assert_eq(after.fences - before.fences, 1);
	daxheap_close(heap);
}

Test(api, words_for_people)
{
	struct daxheap_place place;

	cr_assert_str_eq(daxheap_version(), PACKAGE_VERSION);
	for (int mode = DAXHEAP_MAP_SYNC; mode <= DAXHEAP_FORCED; mode++)
		cr_assert_str_neq(daxheap_durability_name(mode), "unknown");
	cr_assert_str_eq(daxheap_durability_name(99), "unknown");
	daxheap_close(pool_create("pool", POOL_SIZE));
	memset(&place, 'x', sizeof(place));
	must(daxheap_get_place(pool_path("pool"), &place));
	cr_assert_gt(strnlen(place.fs_type, sizeof(place.fs_type)), 0);
	cr_assert(place.dax == 0 || place.dax == 1);
}

/* The pool's cost on a file system is its size and nothing beside. */
Test(api, no_descriptor_is_leaked)
{
	int first = open("/dev/null", O_RDONLY | O_CLOEXEC), last;
	struct daxheap *heap;

	close(first);
	for (int i = 0; i < 10; i++) {
		heap = pool_create("pool", POOL_SIZE);
		pool_publish(heap, pool_root(heap, "r"), 100, 1);
		daxheap_close(pool_reopen(heap, "pool"));
		must_fail(EEXIST, daxheap_create(pool_path("pool"), POOL_SIZE, 0, &heap));
		cr_assert_eq(unlink(pool_path("pool")), 0);
		must_fail(ENOENT, daxheap_open(pool_path("pool"), 0, &heap));
	}
	last = open("/dev/null", O_RDONLY | O_CLOEXEC);
	cr_assert_eq(first, last);
	close(last);
}
