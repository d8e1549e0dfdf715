/* SPDX-License-Identifier: BSD-3-Clause */
/* What operations cost in fences and flushed lines: exact, on any machine. */
#include <stdio.h>

#include "pool.h"

TestSuite(counts, .fini = pool_cleanup, .timeout = 120);

#define OPERATIONS 10000u

struct cost {
	double fences, lines;		/* an operation */
};

static struct daxheap_info info_of(struct daxheap *heap)
{
	struct daxheap_info info;

	must(daxheap_get_info(heap, &info));
	return info;
}

static struct cost cost_since(struct daxheap *heap, const struct daxheap_info *before,
			      unsigned operations)
{
	struct daxheap_info after = info_of(heap);

	return (struct cost){
		(double)(after.fences - before->fences) / operations,
		(double)(after.flushed_lines - before->flushed_lines) / operations,
	};
}

/* No less either: what is durable needs its fences and lines. */
#define must_cost(since, fences_min, fences_max, lines_max)                                    \
	do {                                                                                   \
		struct cost seen = (since);                                                    \
		fprintf(stderr, "%.4f fences, %.4f lines\n", seen.fences, seen.lines);         \
		cr_assert_geq(seen.fences, fences_min, "%.4f fences", seen.fences);            \
		cr_assert_geq(seen.lines, fences_min, "%.4f lines", seen.lines);               \
		cr_assert_leq(seen.fences, fences_max, "%.4f fences", seen.fences);            \
		cr_assert_leq(seen.lines, lines_max, "%.4f lines", seen.lines);                \
	} while (0)

/* A table of slots, each filled and emptied once: spans and ring are warm then. */
static daxheap_ref *warm_slots(struct daxheap *heap)
{
	daxheap_ref *slots = pool_publish(heap, pool_root(heap, "t"), OPERATIONS * 8, 0);
	void *block;

	for (unsigned i = 0; i < OPERATIONS; i++) {
		must(daxheap_alloc(heap, 64, &block));
		must(daxheap_publish(heap, &slots[i], block));
	}
	for (unsigned i = 0; i < OPERATIONS; i++)
		must(daxheap_free(heap, &slots[i]));
	return slots;
}

/* As with eADR, which no test machine has: libpmem drops flushes, and fences stay. */
Test(counts, nothing_is_flushed_where_libpmem_flushes_nothing)
{
	struct daxheap_info before, after;
	struct daxheap *heap;
	void *block;

	setenv("PMEM_IS_PMEM_FORCE", "1", 1);
	setenv("PMEM_NO_FLUSH", "1", 1);
	heap = pool_create("pool", POOL_SIZE);
	before = info_of(heap);
	must(daxheap_alloc(heap, 64, &block));
	must(daxheap_persist(heap, block, 64));
	must(daxheap_publish(heap, pool_root(heap, "t"), block));
	after = info_of(heap);
	cr_assert_eq(after.flushed_lines, 0);
	cr_assert_geq(after.fences - before.fences, 2);
	daxheap_close(heap);
	/* The control: the same pool, with flushes. */
	setenv("PMEM_NO_FLUSH", "0", 1);
	must(daxheap_open(pool_path("pool"), 0, &heap));
	must(daxheap_free(heap, pool_root(heap, "t")));
	cr_assert_geq(info_of(heap).flushed_lines, 1);
	daxheap_close(heap);
}

Test(counts, publish_and_free_on_slots_in_a_row)
{
	struct daxheap *heap = pool_create("pool", 32 * MiB);
	daxheap_ref *slots = warm_slots(heap);
	struct daxheap_info before = info_of(heap);
	void *block;

	for (unsigned i = 0; i < OPERATIONS; i++) {
		must(daxheap_alloc(heap, 64, &block));
		must(daxheap_publish(heap, &slots[i], block));
	}
	must_cost(cost_since(heap, &before, OPERATIONS), 1.0, 1.0, 1.2);
	before = info_of(heap);
	for (unsigned i = 0; i < OPERATIONS; i++)
		must(daxheap_free(heap, &slots[i]));
	must_cost(cost_since(heap, &before, OPERATIONS), 1.0, 1.0, 1.2);
	daxheap_close(heap);
}

/* The pair that daxbench measures: publish, and a free of what was published long ago. */
Test(counts, publish_and_a_later_free)
{
	struct daxheap *heap = pool_create("pool", 32 * MiB);
	daxheap_ref *slots = warm_slots(heap);
	struct daxheap_info before = info_of(heap);
	void *block;

	for (unsigned i = 0; i < OPERATIONS; i++) {
		must(daxheap_alloc(heap, 64, &block));
		must(daxheap_publish(heap, &slots[i], block));
		if (i >= 1000)
			must(daxheap_free(heap, &slots[i - 1000]));
	}
	must_cost(cost_since(heap, &before, 2 * OPERATIONS - 1000), 1.0, 1.0, 1.2);
	daxheap_close(heap);
}

Test(counts, replace)
{
	struct daxheap *heap = pool_create("pool", 32 * MiB);
	daxheap_ref *slots = warm_slots(heap);
	struct daxheap_info before;
	void *block;

	for (unsigned round = 0; round < 2; round++) {
		before = info_of(heap);
		for (unsigned i = 0; i < OPERATIONS; i++) {
			must(daxheap_alloc(heap, 64, &block));
			must(round ? daxheap_replace(heap, &slots[i], block) :
				     daxheap_publish(heap, &slots[i], block));
		}
	}
	/* The lines of two bitmaps and the slot are settled now and then. */
	must_cost(cost_since(heap, &before, OPERATIONS), 1.0, 1.0, 1.3);
	daxheap_close(heap);
}

Test(counts, publish_with_content)
{
	struct daxheap *heap = pool_create("pool", 32 * MiB);
	daxheap_ref *slots = warm_slots(heap);
	struct daxheap_info before = info_of(heap);

	for (unsigned i = 0; i < OPERATIONS; i++)
		pool_publish(heap, &slots[i], 64, 1);
	must_cost(cost_since(heap, &before, OPERATIONS), 2.0, 2.0, 2.2);
	daxheap_close(heap);
}

/* The floor that the figures above stand on: the counters do count. */
Test(counts, persist_is_counted_by_lines)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	char *block = pool_block(heap, 4096, 0);
	struct daxheap_info before = info_of(heap), after;

	must(daxheap_persist(heap, block, 64));
	must(daxheap_persist(heap, block + 63, 2));
	must(daxheap_persist(heap, block, 4096));
	must(daxheap_flush(heap, block, 1));
	must(daxheap_flush(heap, block, 0));
	after = info_of(heap);
	cr_assert_eq(after.fences - before.fences, 3);
	cr_assert_eq(after.flushed_lines - before.flushed_lines, 1 + 2 + 64 + 1);
	must(daxheap_fence(heap));
	after = info_of(heap);
	cr_assert_eq(after.fences - before.fences, 4);
	daxheap_close(heap);
}

Test(counts, reservations_cost_nothing)
{
	struct daxheap *heap = pool_create("pool", 32 * MiB);
	void *blocks[1000];
	struct daxheap_info before, after;

	for (unsigned round = 0; round < 2; round++) {
		before = info_of(heap);
		for (unsigned i = 0; i < 1000; i++)
			must(daxheap_alloc(heap, 64, &blocks[i]));
		for (unsigned i = 0; i < 1000; i++)
			must(daxheap_cancel(heap, blocks[i]));
	}
	after = info_of(heap);
	cr_assert_eq(after.fences, before.fences);
	cr_assert_eq(after.flushed_lines, before.flushed_lines);
	daxheap_close(heap);
}

static void commit_32(struct daxheap *heap, struct daxheap_action *action, daxheap_ref *slots,
		      unsigned round)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned half = round % 2 * 16;
		void *block;

		must(daxheap_alloc(heap, 64, &block));
		must(daxheap_action_publish(action, &slots[half + i], block));
		if (round)
			must(daxheap_action_free(action, &slots[(half ^ 16) + i]));
	}
	must(daxheap_action_commit(action));
}

/* 16 publishes and 16 frees. */
Test(counts, an_action_of_32_changes)
{
	struct daxheap *heap = pool_create("pool", 32 * MiB);
	daxheap_ref *slots = pool_publish(heap, pool_root(heap, "t"), 32 * 8, 0);
	struct daxheap_action *action;
	struct daxheap_info before;

	must(daxheap_action_new(heap, &action));
	for (unsigned round = 0; round < 1000; round++)
		commit_32(heap, action, slots, round);
	before = info_of(heap);
	for (unsigned round = 1000; round < 3000; round++)
		commit_32(heap, action, slots, round);
	/* Eight lines of entries and one of the record; a twentieth of fences for the rest. */
	must_cost(cost_since(heap, &before, 2000), 1.0, 1.05, 12.0);
	daxheap_action_delete(action);
	daxheap_close(heap);
}

Test(counts, an_action_of_two_changes)
{
	struct daxheap *heap = pool_create("pool", 32 * MiB);
	daxheap_ref *slots = warm_slots(heap);
	struct daxheap_action *action;
	struct daxheap_info before;
	void *block;

	must(daxheap_action_new(heap, &action));
	before = info_of(heap);
	for (unsigned i = 0; i < OPERATIONS; i += 2) {
		must(daxheap_alloc(heap, 64, &block));
		must(daxheap_action_publish(action, &slots[i], block));
		must(daxheap_alloc(heap, 64, &block));
		must(daxheap_action_publish(action, &slots[i + 1], block));
		must(daxheap_action_commit(action));
	}
	must_cost(cost_since(heap, &before, OPERATIONS / 2), 1.0, 1.0, 1.4);
	daxheap_action_delete(action);
	daxheap_close(heap);
}

/* What looks on costs nothing. */
Test(counts, looking_costs_nothing)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	struct daxheap_info before, after;

	for (unsigned i = 0; i < 20; i++) {
		char name[4] = {(char)('a' + i)};

		pool_publish(heap, pool_root(heap, name), 100, 1);
	}
	before = info_of(heap);
	pool_census(heap);
	pool_root(heap, "a");
	must_fail(EINVAL, daxheap_publish(heap, pool_root(heap, "a"), pool_root(heap, "b")));
	after = info_of(heap);
	cr_assert_eq(after.fences, before.fences);
	cr_assert_eq(after.flushed_lines, before.flushed_lines);
	daxheap_close(heap);
}
