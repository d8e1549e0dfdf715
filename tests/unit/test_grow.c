/* SPDX-License-Identifier: BSD-3-Clause */
/* The file's length follows use; what lies behind its end is free, or lost. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "heap.h"
#include "pool.h"

TestSuite(grow, .fini = pool_cleanup, .timeout = 60);

static uint64_t file_length(void)
{
	struct stat st;

	cr_assert_eq(stat(pool_path("pool"), &st), 0);
	return (uint64_t)st.st_size;
}

static uint64_t told_length(struct daxheap *heap)
{
	struct daxheap_info info;

	must(daxheap_get_info(heap, &info));
	return info.length;
}

static int check(unsigned flags)
{
	return daxheap_check(pool_path("pool"), flags, NULL, NULL);
}

Test(grow, by_what_is_used)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	void *block;

	cr_assert_eq(file_length(), 2 * MiB);
	pool_publish(heap, pool_root(heap, "small"), 100, 1);
	cr_assert_eq(file_length(), 4 * MiB);
	pool_publish(heap, pool_root(heap, "huge"), 5 * MiB, 1);
	cr_assert_eq(file_length(), 10 * MiB);
	cr_assert_eq(told_length(heap), 10 * MiB);
	/* What was reserved and given back leaves it as long as it got. */
	must(daxheap_alloc(heap, 20 * MiB, &block));
	must(daxheap_cancel(heap, block));
	cr_assert_eq(file_length(), 30 * MiB);
	heap = pool_reopen(heap, "pool");
	cr_assert_eq(told_length(heap), 30 * MiB);
	cr_assert_eq(pool_census(heap).blocks, 2);
	pool_publish(heap, pool_root(heap, "more"), 54 * MiB, 1);
	cr_assert_eq(file_length(), 64 * MiB);
	must_fail(ENOMEM, daxheap_alloc(heap, 2 * MiB, &block));
	cr_assert_eq(file_length(), 64 * MiB);
	daxheap_close(heap);
	cr_assert_eq(check(0), 0);
}

/* The limit costs address space and a sparse chunk table. */
Test(grow, from_a_little_to_16_tib)
{
	struct daxheap *heap = pool_create("pool", DH_SIZE_MAX);
	struct stat st;

	pool_publish(heap, pool_root(heap, "r"), 100, 1);
	cr_assert_eq(file_length(), 68 * MiB);
	cr_assert_eq(stat(pool_path("pool"), &st), 0);
	cr_assert_leq((uint64_t)st.st_blocks * 512, 4 * MiB);
	heap = pool_reopen(heap, "pool");
	cr_assert_eq(pool_census(heap).blocks, 1);
	daxheap_close(heap);
}

/* Chunks that were never used may be cut off, by anybody. */
Test(grow, a_file_that_ends_behind_what_is_used)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	void *block;

	pool_publish(heap, pool_root(heap, "r"), 3 * MiB, 7);
	must(daxheap_alloc(heap, 20 * MiB, &block));
	must(daxheap_cancel(heap, block));
	daxheap_close(heap);
	/* In the middle of a chunk, even. */
	cr_assert_eq(truncate(pool_path("pool"), 6 * MiB + 12345), 0);
	for (unsigned flags = 0; flags <= DAXHEAP_READ_ONLY; flags += DAXHEAP_READ_ONLY) {
		heap = pool_open("pool", flags);
		cr_assert_eq(told_length(heap), 6 * MiB);
		cr_assert_eq(pool_census(heap).blocks, 1);
		daxheap_close(heap);
	}
	cr_assert_eq(check(0), 0);
	heap = pool_open("pool", 0);
	block = pool_publish(heap, pool_root(heap, "s"), 30 * MiB, 8);
	cr_assert_eq(((char *)block)[30 * MiB - 1], 8);
	cr_assert_eq(pool_census(heap).blocks, 2);
	daxheap_close(heap);
	cr_assert_eq(check(0), 0);
}

enum { SMALL = 10000 };

/* A small block in chunk 1, a huge one in 2 to 4, one more small in 5; closed. */
static void make_pool(void)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	void *blocks[SMALL];
	unsigned last = 0;

	pool_publish(heap, pool_root(heap, "first"), 1000, 1);
	pool_publish(heap, pool_root(heap, "huge"), 5 * MiB, 2);
	do {
		must(daxheap_alloc(heap, 1000, &blocks[last++]));
	} while (daxheap_ref_of(heap, blocks[last - 1]) < 10 * MiB);
	must(daxheap_publish(heap, pool_root(heap, "last"), blocks[last - 1]));
	daxheap_close(heap);
	cr_assert_eq(file_length(), 12 * MiB);
}

struct found {
	unsigned count;
	uint64_t offset;
};

static void found(void *arg, const struct daxheap_finding *finding)
{
	struct found *found = arg;

	/* What refers there can't be told. */
	if (finding->severity == DAXHEAP_DAMAGE && !found->count++)
		found->offset = finding->offset;
}

/* What the file has is there, what it has not is -EBADMSG, and nothing is a SIGBUS. */
static void check_cut(uint64_t length, bool has_huge)
{
	struct daxheap_block block = {0};
	struct daxheap_stats stats;
	struct found seen = {0};
	struct daxheap *heap;
	daxheap_ref *slot;
	void *other;
	int more;

	make_pool();
	cr_assert_eq(truncate(pool_path("pool"), (off_t)length), 0);
	for (unsigned flags = 0; flags <= DAXHEAP_CHECK_REPAIR; flags += DAXHEAP_CHECK_REPAIR) {
		seen.count = 0;
		cr_assert_gt(daxheap_check(pool_path("pool"), flags, found, &seen), 0);
		cr_assert_eq(seen.offset, (has_huge ? 10 : 4) * MiB);
	}
	heap = pool_open("pool", 0);
	for (unsigned i = 0; i < 1000; i++)
		cr_assert_eq(((char *)daxheap_ptr(heap, *pool_root(heap, "first")))[i], 1);
	do {
		more = daxheap_next(heap, &block);
	} while (more > 0);
	cr_assert_eq(more, -EBADMSG);
	must_say("truncated");
	cr_assert_eq(block.ref, has_huge ? 4 * MiB : *pool_root(heap, "first"));
	must_fail(EBADMSG, daxheap_get_stats(heap, &stats));
	slot = pool_root(heap, "last");
	must_fail(EBADMSG, daxheap_free(heap, slot));
	must_fail(EBADMSG, daxheap_realloc(heap, slot, 5000));
	must_fail(EBADMSG, daxheap_usable_size(heap, daxheap_ptr(heap, *slot)));
	/* Reads as zero, as does all behind the end. */
	cr_assert_eq(*(char *)daxheap_ptr(heap, *slot), 0);
	must(daxheap_persist(heap, daxheap_ptr(heap, *slot), 1000));
	if (!has_huge)
		must_fail(EBADMSG, daxheap_free(heap, pool_root(heap, "huge")));
	else
		must(daxheap_free(heap, pool_root(heap, "huge")));
	/* What is lost is not given out again. */
	must(daxheap_alloc(heap, 30 * MiB, &other));
	cr_assert_geq(daxheap_ref_of(heap, other), 12 * MiB);
	memset(other, 1, 30 * MiB);
	must(daxheap_free(heap, pool_root(heap, "first")));
	daxheap_close(heap);
	unlink(pool_path("pool"));
}

Test(grow, a_file_that_ends_before_what_is_used)
{
	check_cut(10 * MiB, true);
	check_cut(12 * MiB - 1, true);
	check_cut(10 * MiB - 4096, false);
	check_cut(4 * MiB, false);
}

/* A record that the log has yet to replay names a block behind the end. */
static void check_cut_log(size_t size, bool action)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB), *other = (void *)1;
	struct daxheap_action *changes;
	void *block;

	pool_publish(heap, pool_root(heap, "t"), 1000, 0);
	block = pool_block(heap, 5 * MiB, 0);
	must(daxheap_publish(heap, pool_root(heap, "r"), block));
	must(daxheap_action_new(heap, &changes));
	for (uint64_t i = 0; i < size; i++)
		must(daxheap_action_set(changes, (uint64_t *)block + i, i));
	if (action)
		must(daxheap_action_commit(changes));
	daxheap_action_delete(changes);
	pool_copy("pool", "cut");
	daxheap_close(heap);
	cr_assert_eq(truncate(pool_path("cut"), 4 * MiB), 0);
	must_fail(EBADMSG, daxheap_open(pool_path("cut"), 0, &other));
	must_fail(EBADMSG, daxheap_open(pool_path("cut"), DAXHEAP_READ_ONLY, &other));
	cr_assert_gt(daxheap_check(pool_path("cut"), 0, NULL, NULL), 0);
	unlink(pool_path("pool"));
}

Test(grow, a_log_that_names_what_lies_behind_the_end)
{
	check_cut_log(0, false);
	check_cut_log(2, true);
	check_cut_log(100, true);
	check_cut_log(500000, true);
}

/* A damaged word of a chunk that is not in the file stands for nothing. */
Test(grow, damaged_word_behind_the_end)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	uint64_t word = 0x1234;

	pool_publish(heap, pool_root(heap, "r"), 1000, 1);
	daxheap_close(heap);
	pool_write("pool", DH_TABLE_OFFSET + 20 * 8, &word, 8);
	cr_assert_eq(check(0), 1);
	cr_assert_eq(check(DAXHEAP_CHECK_REPAIR), 0);
	cr_assert_eq(check(0), 0);
	heap = pool_open("pool", 0);
	cr_assert_eq(pool_census(heap).blocks, 1);
	daxheap_close(heap);
}
