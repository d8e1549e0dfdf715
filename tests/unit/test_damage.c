/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Damage that an open pool meets: told with a place by the call that meets it, never a crash,
 * and the rest of the pool works on.  What check says of each field is in tests/generators,
 * hostile pools are in tests/fuzz.
 */
#include <string.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "block.h"
#include "heap.h"
#include "pool.h"

TestSuite(damage, .fini = pool_cleanup);

#define SIZE (5 * DH_CHUNK_SIZE)

/* Chunk 1 of spans, chunks 2 and 3 a huge block, 4 is free; closed. */
static void make_pool(void)
{
	struct daxheap *heap = pool_create("pool", SIZE);

	pool_publish(heap, pool_root(heap, "small"), 100, 1);
	pool_publish(heap, pool_root(heap, "large"), 100000, 2);
	pool_publish(heap, pool_root(heap, "huge"), 3 * MiB, 3);
	daxheap_close(heap);
}

static int check(unsigned flags)
{
	return daxheap_check(pool_path("pool"), flags, NULL, NULL);
}

#define must_not_open(part)                                                                    \
	do {                                                                                   \
		struct daxheap *out = (void *)1;                                               \
		must_fail(EBADMSG, daxheap_open(pool_path("pool"), 0, &out));                  \
		must_say(part);                                                                \
		must_fail(EBADMSG, daxheap_open(pool_path("pool"), DAXHEAP_READ_ONLY, &out));  \
		cr_assert_eq((void *)out, (void *)1);                                          \
	} while (0)

Test(damage, root_names)
{
	make_pool();
	for (unsigned byte = 8; byte < 64; byte++) {
		pool_flip("pool", DH_ROOTS_OFFSET + byte, 1);
		must_not_open("root 0");
		pool_flip("pool", DH_ROOTS_OFFSET + byte, 1);
	}
	/* The last one, with a slot in use: no cut creation. */
	pool_flip("pool", DH_ROOTS_OFFSET + 2 * 64 + 8, 1);
	must_not_open("root 2");
	pool_flip("pool", DH_ROOTS_OFFSET + 2 * 64 + 8, 1);
	pool_flip("pool", DH_ROOTS_OFFSET + 10 * 64 + 20, 1);
	must_not_open("root 10");
	cr_assert_eq(check(DAXHEAP_CHECK_REPAIR), 0);
	daxheap_close(pool_open("pool", 0));
}

/* A name that a crash cut: the entry is free, and used again. */
Test(damage, root_creation_cut_short)
{
	struct daxheap *heap;

	make_pool();
	pool_flip("pool", DH_ROOTS_OFFSET + 3 * 64 + 8, 0x41);
	heap = pool_open("pool", DAXHEAP_READ_ONLY);
	cr_assert_eq(pool_census(heap).blocks, 3);
	daxheap_close(heap);
	heap = pool_open("pool", 0);
	cr_assert_eq(*pool_root(heap, "new"), 0);
	pool_publish(heap, pool_root(heap, "new"), 64, 4);
	heap = pool_reopen(heap, "pool");
	cr_assert_neq(*pool_root(heap, "new"), 0);
	daxheap_close(heap);
}

/* The blocks of a chunk that is damaged can be read and nothing else; the others are there. */
static void meet_damage(struct daxheap *heap, const char *damaged, const char *intact)
{
	daxheap_ref *slot = pool_root(heap, damaged), ref = *slot;
	struct daxheap_block block = {0};
	struct daxheap_stats stats;
	int more;
	void *new_block;

	must_fail(EBADMSG, daxheap_free(heap, slot));
	cr_assert_eq(*slot, ref, "nothing is changed");
	must(daxheap_alloc(heap, 100, &new_block));
	must_fail(EBADMSG, daxheap_replace(heap, slot, new_block));
	cr_assert_eq(*slot, ref, "nothing is changed");
	must(daxheap_cancel(heap, new_block));
	must_fail(EBADMSG, daxheap_get_stats(heap, &stats));
	while ((more = daxheap_next(heap, &block)) > 0)
		;
	cr_assert_eq(more, -EBADMSG);
	must(daxheap_free(heap, pool_root(heap, intact)));
	pool_publish(heap, pool_root(heap, intact), 1000, 5);
}

static void meet_and_repair(const char *damaged, const char *intact, int unknown)
{
	struct daxheap *heap = pool_open("pool", 0);

	meet_damage(heap, damaged, intact);
	daxheap_close(heap);
	cr_assert_gt(check(0), 0);
	cr_assert_eq(check(DAXHEAP_CHECK_REPAIR), unknown);
	cr_assert_eq(check(0), 0);
	heap = pool_open("pool", 0);
	must(daxheap_free(heap, pool_root(heap, damaged)));
	pool_publish(heap, pool_root(heap, damaged), 100, 6);
	daxheap_close(heap);
	cr_assert_eq(check(0), 0);
}

Test(damage, chunk_word_of_spans)
{
	make_pool();
	pool_flip("pool", DH_TABLE_OFFSET + 1 * 8, 1);
	meet_and_repair("small", "huge", 0);
}

Test(damage, chunk_word_of_a_huge_block)
{
	make_pool();
	pool_flip("pool", DH_TABLE_OFFSET + 2 * 8 + 3, 1);
	meet_and_repair("huge", "small", 1);
}

/* Fills what is free with blocks of all zero. */
static void fill_pool(struct daxheap *heap)
{
	static const size_t sizes[] = {2 * MiB, 65536, 64};
	void *block;

	for (unsigned i = 0; i < 3; i++)
		while (!daxheap_alloc(heap, sizes[i], &block))
			memset(block, 0, sizes[i]);
}

/*
 * Of a live huge block one word is damaged or lost: none of its chunks is given out, whichever
 * of them is looked at first.
 */
static void damage_huge(unsigned word, uint64_t value, uint64_t looked_at)
{
	uint64_t offset, before, after;
	struct daxheap *heap;
	char *huge;

	unlink(pool_path("huge"));
	heap = pool_create("huge", 8 * DH_CHUNK_SIZE);
	huge = pool_publish(heap, pool_root(heap, "huge"), 3 * DH_CHUNK_SIZE, 7);
	offset = (uint64_t)daxheap_ref_of(heap, huge);
	before = XXH3_64bits(huge, 3 * DH_CHUNK_SIZE);
	daxheap_close(heap);
	pool_write("huge", DH_TABLE_OFFSET + (offset / DH_CHUNK_SIZE + word) * 8, &value,
		   sizeof(value));
	heap = pool_open("huge", 0);
	cr_assert_lt(daxheap_usable_size(heap, heap->base + offset + looked_at * DH_CHUNK_SIZE),
		     0);
	fill_pool(heap);
	after = XXH3_64bits(heap->base + offset, 3 * DH_CHUNK_SIZE);
	cr_assert_eq(after, before, "word %u, looked at %llu", word,
		     (unsigned long long)looked_at);
	daxheap_close(heap);
}

Test(damage, nothing_of_a_damaged_huge_block_is_given_out)
{
	/* An invalid word in each place, each chunk first. */
	for (unsigned word = 0; word < 3; word++)
		for (uint64_t first = 0; first < 3; first++)
			damage_huge(word, 0x123456789, first);
	/* A tail that is lost, and so says free. */
	for (unsigned word = 1; word < 3; word++)
		for (uint64_t first = 0; first < 3; first++)
			damage_huge(word, 0, first);
}

Test(damage, bitmap_word)
{
	struct daxheap *heap;
	struct dh_block block;
	uint64_t word;

	make_pool();
	heap = pool_open("pool", DAXHEAP_READ_ONLY);
	must(dh_block_at(&heap->media, *pool_root(heap, "small"), &block));
	word = dh_media_offset(&heap->media, block.word);
	daxheap_close(heap);
	pool_flip("pool", word + 7, 0x40);
	meet_and_repair("small", "huge", 1);
}

/* A lost page of a chunk's header reads as zeros. */
Test(damage, lost_page)
{
	static const char zeros[DH_PAGE_SIZE];
	struct daxheap *heap;

	make_pool();
	pool_write("pool", DH_CHUNK_SIZE, zeros, sizeof(zeros));
	heap = pool_open("pool", 0);
	meet_damage(heap, "small", "huge");
	daxheap_close(heap);
	/* Size and place of the blocks are lost with it. */
	cr_assert_gt(check(DAXHEAP_CHECK_REPAIR), 0);
	heap = pool_open("pool", 0);
	cr_assert_eq(*(unsigned char *)daxheap_ptr(heap, *pool_root(heap, "small")), 1,
		     "the content is there");
	daxheap_close(heap);
}
