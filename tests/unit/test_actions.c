/* SPDX-License-Identifier: BSD-3-Clause */
/* Actions: every kind and combination, of every size, all or nothing. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "pool.h"

TestSuite(actions, .fini = pool_cleanup, .timeout = 120);

/* A table of slots, as many words, and an action to change them by. */
struct fixture {
	struct daxheap *heap;
	daxheap_ref *slots;
	uint64_t *words;
	struct daxheap_action *action;
};

static struct fixture start(uint64_t size, size_t count)
{
	struct fixture f = {.heap = pool_create("pool", size)};

	f.slots = pool_publish(f.heap, pool_root(f.heap, "slots"), count * 8, 0);
	f.words = pool_publish(f.heap, pool_root(f.heap, "words"), count * 8, 0);
	must(daxheap_action_new(f.heap, &f.action));
	return f;
}

static void end(struct fixture *f)
{
	daxheap_action_delete(f->action);
	daxheap_close(f->heap);
}

/* What is on media is what is seen: a copy of the open file, opened as after a crash. */
static void reopen_copy(struct fixture *f, const struct daxheap *heap, struct fixture *copy)
{
	pool_copy("pool", "copy");
	copy->heap = pool_open("copy", 0);
	copy->slots = daxheap_ptr(copy->heap, daxheap_ref_of(heap, f->slots));
	copy->words = daxheap_ptr(copy->heap, daxheap_ref_of(heap, f->words));
}

/* Some sizes on both sides of what fits into a record, and large ones. */
static const size_t sizes[] = {0, 1, 2, 3, 4, 5, 17, 100, 256, 4096, 10000, 100000};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))
#define SIZE_MAX_TRIED 100000

Test(actions, publishes_replaces_frees_and_sets_of_any_number)
{
	struct fixture f = start(64 * MiB, SIZE_MAX_TRIED), copy;
	struct daxheap_info before, after;

	for (size_t s = 0; s < SIZES; s++) {
		size_t n = sizes[s];

		for (size_t i = 0; i < n; i++)
			must(daxheap_action_publish(f.action, &f.slots[i],
						    pool_block(f.heap, 16, (int)i)));
		cr_assert_eq(pool_census(f.heap).blocks, 2, "nothing happens before the commit");
		must(daxheap_get_info(f.heap, &before));
		must(daxheap_action_commit(f.action));
		must(daxheap_get_info(f.heap, &after));
		/* Reserving the entries may cost a format, of chunks for the largest, and that a
		 * step of the horizon; test_counts looks at the steady state. */
		cr_assert_leq(after.fences - before.fences, n < 65536 ? 4 : 6,
			      "%zu changes, %llu fences", n,
			      (unsigned long long)(after.fences - before.fences));
		cr_assert_eq(pool_census(f.heap).blocks, 2 + n);

		for (size_t i = 0; i < n; i++) {
			cr_assert_eq(((unsigned char *)daxheap_ptr(f.heap, f.slots[i]))[15],
				     (unsigned char)i);
			must(daxheap_action_replace(f.action, &f.slots[i],
						    pool_block(f.heap, 32, (int)i + 1)));
		}
		must(daxheap_action_commit(f.action));
		cr_assert_eq(pool_census(f.heap).blocks, 2 + n);
		reopen_copy(&f, f.heap, &copy);
		cr_assert_eq(pool_census(copy.heap).blocks, 2 + n);
		for (size_t i = 0; i < n; i++)
			cr_assert_eq(((unsigned char *)daxheap_ptr(copy.heap, copy.slots[i]))[31],
				     (unsigned char)(i + 1));
		daxheap_close(copy.heap);

		for (size_t i = 0; i < n; i++)
			must(daxheap_action_free(f.action, &f.slots[i]));
		must(daxheap_action_commit(f.action));
		cr_assert_eq(pool_census(f.heap).blocks, 2);
		for (size_t i = 0; i < n; i++)
			must(daxheap_action_set(f.action, &f.words[i], i * 31 + s));
		must(daxheap_action_commit(f.action));
		reopen_copy(&f, f.heap, &copy);
		for (size_t i = 0; i < n; i++) {
			cr_assert_eq(copy.slots[i], 0);
			cr_assert_eq(copy.words[i], i * 31 + s);
			cr_assert_eq(f.words[i], i * 31 + s);
		}
		daxheap_close(copy.heap);
	}
	cr_assert_eq(pool_stats(f.heap).live_blocks, 2);
	end(&f);
}

/* All sequences of up to three kinds, on slots that allow them. */
Test(actions, every_combination_of_kinds)
{
	enum { PUBLISH, FREE, REPLACE, SET, KINDS };
	struct fixture f = start(POOL_SIZE, 8);

	for (unsigned mix = 0; mix < KINDS * KINDS * KINDS * KINDS; mix++) {
		unsigned kinds[4] = {mix % 4, mix / 4 % 4, mix / 16 % 4, mix / 64};
		uint64_t live = 2;

		for (unsigned i = 0; i < 4; i++)
			if (kinds[i] == FREE || kinds[i] == REPLACE)
				pool_publish(f.heap, &f.slots[i], 64, 9);
		for (unsigned i = 0; i < 4; i++) {
			if (kinds[i] == PUBLISH)
				must(daxheap_action_publish(f.action, &f.slots[i],
							    pool_block(f.heap, 64, 3)));
			else if (kinds[i] == FREE)
				must(daxheap_action_free(f.action, &f.slots[i]));
			else if (kinds[i] == REPLACE)
				must(daxheap_action_replace(f.action, &f.slots[i],
							    pool_block(f.heap, 64, 4)));
			else
				must(daxheap_action_set(f.action, &f.words[i], mix));
		}
		must(daxheap_action_commit(f.action));
		for (unsigned i = 0; i < 4; i++) {
			const char *block = daxheap_ptr(f.heap, f.slots[i]);

			if (kinds[i] == PUBLISH || kinds[i] == REPLACE) {
				cr_assert_eq(block[63], kinds[i] == PUBLISH ? 3 : 4);
				live++;
			} else {
				cr_assert_null(block);
			}
			if (kinds[i] == SET)
				cr_assert_eq(f.words[i], mix);
		}
		cr_assert_eq(pool_census(f.heap).blocks, live, "mix %#x", mix);
		for (unsigned i = 0; i < 4; i++)
			if (f.slots[i])
				must(daxheap_free(f.heap, &f.slots[i]));
	}
	end(&f);
}

Test(actions, a_free_and_a_publish_of_one_slot_are_a_replace)
{
	struct fixture f = start(POOL_SIZE, 8);
	void *old = pool_publish(f.heap, &f.slots[0], 64, 1), *new = pool_block(f.heap, 64, 2);

	must(daxheap_action_free(f.action, &f.slots[0]));
	must(daxheap_action_publish(f.action, &f.slots[0], new));
	must(daxheap_action_commit(f.action));
	cr_assert_eq(daxheap_ptr(f.heap, f.slots[0]), new);
	must_fail(EINVAL, daxheap_usable_size(f.heap, old));
	cr_assert_eq(pool_census(f.heap).blocks, 3);
	end(&f);
}

/* Parent and children appear at once, whichever is named first. */
Test(actions, slots_in_blocks_that_the_action_publishes)
{
	struct fixture f = start(POOL_SIZE, 8), copy;

	for (unsigned order = 0; order < 2; order++) {
		daxheap_ref *parent = pool_block(f.heap, 4096, 0);
		uint64_t *child = pool_block(f.heap, 64, 0);
		void *leaf = pool_block(f.heap, 64, 5);

		if (order)
			must(daxheap_action_publish(f.action, &f.slots[order], parent));
		must(daxheap_action_publish(f.action, &parent[511], child));
		must(daxheap_action_publish(f.action, &child[7], leaf));
		must(daxheap_action_set(f.action, &child[0], 77));
		must(daxheap_action_set(f.action, &parent[3], 78));
		if (!order)
			must(daxheap_action_publish(f.action, &f.slots[order], parent));
		must(daxheap_action_commit(f.action));
		cr_assert_eq(pool_census(f.heap).blocks, 2 + 3 * (order + 1));
		reopen_copy(&f, f.heap, &copy);
		parent = daxheap_ptr(copy.heap, copy.slots[order]);
		child = daxheap_ptr(copy.heap, parent[511]);
		cr_assert_eq(parent[3], 78);
		cr_assert_eq(child[0], 77);
		cr_assert_eq(*(char *)daxheap_ptr(copy.heap, child[7]), 5);
		daxheap_close(copy.heap);
	}
	end(&f);
}

/* A list of 1000 elements in one step. */
Test(actions, a_chain)
{
	struct fixture f = start(POOL_SIZE, 8);
	daxheap_ref *at = &f.slots[0];
	unsigned length = 0;

	for (unsigned i = 0; i < 1000; i++) {
		daxheap_ref *element = pool_block(f.heap, 64, 0);

		must(daxheap_action_publish(f.action, at, element));
		at = element;
	}
	must(daxheap_action_commit(f.action));
	for (at = &f.slots[0]; *at; at = daxheap_ptr(f.heap, *at))
		length++;
	cr_assert_eq(length, 1000);
	cr_assert_eq(pool_census(f.heap).blocks, 1002);
	end(&f);
}

/* A tree goes in one step: each free of a slot in a block that goes as well. */
Test(actions, free_a_tree)
{
	struct fixture f = start(POOL_SIZE, 8), copy;

	for (unsigned order = 0; order < 2; order++) {
		daxheap_ref *top = pool_publish(f.heap, &f.slots[0], 4096, 0);

		for (unsigned i = 0; i < 30; i++) {
			daxheap_ref *child = pool_publish(f.heap, &top[i * 17], 64, 0);

			pool_publish(f.heap, &child[i % 8], 100, 1);
		}
		if (order)
			must(daxheap_action_free(f.action, &f.slots[0]));
		for (unsigned i = 0; i < 30; i++) {
			daxheap_ref *child = daxheap_ptr(f.heap, top[i * 17]);

			must(daxheap_action_free(f.action, &top[i * 17]));
			must(daxheap_action_free(f.action, &child[i % 8]));
		}
		if (!order)
			must(daxheap_action_free(f.action, &f.slots[0]));
		cr_assert_eq(pool_census(f.heap).blocks, 2 + 61);
		must(daxheap_action_commit(f.action));
		cr_assert_eq(pool_census(f.heap).blocks, 2);
		reopen_copy(&f, f.heap, &copy);
		cr_assert_eq(pool_census(copy.heap).blocks, 2);
		daxheap_close(copy.heap);
	}
	end(&f);
}

/* --- refusals --- */

/* The pool before; a failed commit must leave it, and the action. */
struct before {
	daxheap_ref slots[64];
	uint64_t words[64];
	struct daxheap_stats stats;
};

static void remember(const struct fixture *f, struct before *before)
{
	memcpy(before->slots, f->slots, sizeof(before->slots));
	memcpy(before->words, f->words, sizeof(before->words));
	before->stats = pool_stats(f->heap);
}

static void must_be_as(const struct fixture *f, const struct before *before)
{
	struct daxheap_stats stats = pool_stats(f->heap);

	cr_assert_arr_eq(f->slots, before->slots, sizeof(before->slots));
	cr_assert_arr_eq(f->words, before->words, sizeof(before->words));
	cr_assert_eq(stats.live_blocks, before->stats.live_blocks);
	cr_assert_eq(stats.live_bytes, before->stats.live_bytes);
	cr_assert_eq(stats.reserved_blocks, before->stats.reserved_blocks);
	cr_assert_eq(stats.reserved_bytes, before->stats.reserved_bytes);
}

/*
 * The fixture of the refusals: slot 0 is empty, slot 1 full, slot 2 holds a parent with a full
 * slot 0; 10 to 19 are empty and 20 to 29 full, for the good changes around the bad one.
 */
static struct fixture start_refusals(void)
{
	struct fixture f = start(POOL_SIZE, 64);

	pool_publish(f.heap, &f.slots[1], 64, 1);
	pool_publish(f.heap, pool_publish(f.heap, &f.slots[2], 64, 0), 64, 2);
	for (unsigned i = 20; i < 30; i++)
		pool_publish(f.heap, &f.slots[i], 64, 3);
	return f;
}

static void add_good(struct fixture *f, unsigned i)
{
	if (i % 3 == 0)
		must(daxheap_action_publish(f->action, &f->slots[10 + i],
					    pool_block(f->heap, 200, 0)));
	else if (i % 3 == 1)
		must(daxheap_action_free(f->action, &f->slots[20 + i]));
	else
		must(daxheap_action_set(f->action, &f->words[i], 1000 + i));
}

/* Adds it; what is refused at once needs no commit. */
typedef int add_bad(struct fixture *f);

static int full_slot(struct fixture *f)
{
	return daxheap_action_publish(f->action, &f->slots[1], pool_block(f->heap, 64, 0));
}

static int free_empty(struct fixture *f)
{
	return daxheap_action_free(f->action, &f->slots[0]);
}

static int replace_empty(struct fixture *f)
{
	return daxheap_action_replace(f->action, &f->slots[0], pool_block(f->heap, 64, 0));
}

static int live_block(struct fixture *f)
{
	return daxheap_action_publish(f->action, &f->slots[0],
				      daxheap_ptr(f->heap, f->slots[1]));
}

static int cancelled_block(struct fixture *f)
{
	void *block = pool_block(f->heap, 64, 0);

	must(daxheap_action_publish(f->action, &f->slots[0], block));
	return daxheap_cancel(f->heap, block);
}

static int inner_address(struct fixture *f)
{
	char *block = pool_block(f->heap, 4096, 0);

	return daxheap_action_publish(f->action, &f->slots[0], block + 64);
}

static int slot_of_reserved(struct fixture *f)
{
	daxheap_ref *reserved = pool_block(f->heap, 64, 0);

	return daxheap_action_publish(f->action, reserved, pool_block(f->heap, 64, 0));
}

static int word_of_reserved(struct fixture *f)
{
	return daxheap_action_set(f->action, pool_block(f->heap, 64, 0), 5);
}

static int word_of_superblock(struct fixture *f)
{
	return daxheap_action_set(f->action, (uint64_t *)f->heap->base + 1, 5);
}

static int word_of_bitmap(struct fixture *f)
{
	uintptr_t chunk = (uintptr_t)f->slots & ~(uintptr_t)(DH_CHUNK_SIZE - 1);

	return daxheap_action_set(f->action, (uint64_t *)chunk, 5);
}

static int word_of_free_block(struct fixture *f)
{
	uint64_t *block = pool_block(f->heap, 64, 0);

	must(daxheap_cancel(f->heap, block));
	return daxheap_action_set(f->action, block, 5);
}

static int full_slot_of_new_block(struct fixture *f)
{
	daxheap_ref *block = pool_block(f->heap, 64, 9);

	must(daxheap_action_publish(f->action, &f->slots[0], block));
	return daxheap_action_publish(f->action, &block[1], pool_block(f->heap, 64, 0));
}

static int slot_of_freed_block(struct fixture *f)
{
	daxheap_ref *parent = daxheap_ptr(f->heap, f->slots[2]);

	must(daxheap_action_free(f->action, &f->slots[2]));
	return daxheap_action_publish(f->action, &parent[1], pool_block(f->heap, 64, 0));
}

static int word_of_freed_block(struct fixture *f)
{
	uint64_t *block = daxheap_ptr(f->heap, f->slots[1]);

	must(daxheap_action_free(f->action, &f->slots[1]));
	return daxheap_action_set(f->action, &block[1], 4);
}

static int one_block_into_two_slots(struct fixture *f)
{
	void *block = pool_block(f->heap, 64, 0);

	must(daxheap_action_publish(f->action, &f->slots[0], block));
	return daxheap_action_publish(f->action, &f->slots[3], block);
}

static int two_blocks_into_one_slot(struct fixture *f)
{
	must(daxheap_action_publish(f->action, &f->slots[0], pool_block(f->heap, 64, 0)));
	return daxheap_action_publish(f->action, &f->slots[0], pool_block(f->heap, 64, 0));
}

static int one_slot_freed_twice(struct fixture *f)
{
	must(daxheap_action_free(f->action, &f->slots[1]));
	return daxheap_action_free(f->action, &f->slots[1]);
}

static int publish_and_free(struct fixture *f)
{
	must(daxheap_action_publish(f->action, &f->slots[0], pool_block(f->heap, 64, 0)));
	return daxheap_action_free(f->action, &f->slots[0]);
}

static int free_and_replace(struct fixture *f)
{
	must(daxheap_action_free(f->action, &f->slots[1]));
	return daxheap_action_replace(f->action, &f->slots[1], pool_block(f->heap, 64, 0));
}

static int one_word_set_twice(struct fixture *f)
{
	must(daxheap_action_set(f->action, &f->words[50], 1));
	return daxheap_action_set(f->action, &f->words[50], 1);
}

static int slot_published_and_set(struct fixture *f)
{
	must(daxheap_action_publish(f->action, &f->slots[0], pool_block(f->heap, 64, 0)));
	return daxheap_action_set(f->action, &f->slots[0], 1);
}

static int slot_freed_and_set(struct fixture *f)
{
	must(daxheap_action_free(f->action, &f->slots[1]));
	return daxheap_action_set(f->action, &f->slots[1], 1);
}

static int freed_block_published(struct fixture *f)
{
	must(daxheap_action_free(f->action, &f->slots[1]));
	return daxheap_action_publish(f->action, &f->slots[0],
				      daxheap_ptr(f->heap, f->slots[1]));
}

static const struct refusal {
	const char *name;
	add_bad *add;
	int err;
} refusals[] = {
	{"full slot", full_slot, EEXIST},
	{"free of an empty slot", free_empty, ENOENT},
	{"replace of an empty slot", replace_empty, ENOENT},
	{"live block", live_block, EINVAL},
	{"cancelled block", cancelled_block, EINVAL},
	{"inner address", inner_address, EINVAL},
	{"slot of a reserved block", slot_of_reserved, EINVAL},
	{"word of a reserved block", word_of_reserved, EINVAL},
	{"word of the superblock", word_of_superblock, EINVAL},
	{"word of a bitmap", word_of_bitmap, EINVAL},
	{"word of a free block", word_of_free_block, EINVAL},
	{"slot of a new block is not 0", full_slot_of_new_block, EEXIST},
	{"slot of a block that is freed", slot_of_freed_block, EINVAL},
	{"word of a block that is freed", word_of_freed_block, EINVAL},
	{"one block into two slots", one_block_into_two_slots, EINVAL},
	{"two blocks into one slot", two_blocks_into_one_slot, EINVAL},
	{"one slot freed twice", one_slot_freed_twice, EINVAL},
	{"publish, then free", publish_and_free, EINVAL},
	{"free, then replace", free_and_replace, EINVAL},
	{"one word set twice", one_word_set_twice, EINVAL},
	{"slot published and set", slot_published_and_set, EINVAL},
	{"slot freed and set", slot_freed_and_set, EINVAL},
	{"freed block published", freed_block_published, EINVAL},
};

static void must_be_refused(int err, const struct refusal *refusal)
{
	cr_assert_eq(err, -refusal->err, "%s: %d, %s", refusal->name, err, daxheap_errormsg());
	cr_assert_gt(strlen(daxheap_errormsg()), 9);
}

/* Each mistake, among so many good changes, at each place among them. */
static void refuse(const struct refusal *refusal, unsigned good, unsigned place)
{
	struct fixture f = start_refusals();
	struct before before;
	int early = 0;

	for (unsigned i = 0; i <= good; i++) {
		if (i == place)
			early = refusal->add(&f);
		if (i < good)
			add_good(&f, i);
	}
	remember(&f, &before);
	if (early) {
		must_be_refused(early, refusal);
	} else {
		must_be_refused(daxheap_action_commit(f.action), refusal);
		must_be_as(&f, &before);
		must_be_refused(daxheap_action_commit(f.action), refusal);
		must_be_as(&f, &before);
	}
	daxheap_action_reset(f.action);
	must(daxheap_action_commit(f.action));
	must_be_as(&f, &before);
	daxheap_action_delete(f.action);
	f.heap = pool_reopen(f.heap, "pool");
	cr_assert_eq(pool_census(f.heap).blocks, before.stats.live_blocks);
	daxheap_close(f.heap);
	cr_assert_eq(remove(pool_path("pool")), 0);
}

Test(actions, all_or_nothing_on_each_error)
{
	for (size_t r = 0; r < sizeof(refusals) / sizeof(refusals[0]); r++) {
		for (unsigned good = 0; good < 6; good++)
			for (unsigned place = 0; place <= good; place += good > 1 ? good / 2 : 1)
				refuse(&refusals[r], good, place);
	}
}

/* What was refused can be put right, and then the same action goes through. */
Test(actions, a_refused_action_is_as_before)
{
	struct fixture f = start(POOL_SIZE, 64);
	void *block = pool_block(f.heap, 64, 7);

	pool_publish(f.heap, &f.slots[5], 64, 1);
	for (unsigned i = 0; i < 20; i++)
		must(daxheap_action_set(f.action, &f.words[i], i + 1));
	must(daxheap_action_publish(f.action, &f.slots[5], block));
	must_fail(EEXIST, daxheap_action_commit(f.action));
	must(daxheap_free(f.heap, &f.slots[5]));
	must(daxheap_action_commit(f.action));
	cr_assert_eq(daxheap_ptr(f.heap, f.slots[5]), block);
	cr_assert_eq(f.words[19], 20);
	end(&f);
}

Test(actions, what_can_not_be_added)
{
	struct fixture f = start(POOL_SIZE, 64);
	void *block = pool_block(f.heap, 64, 0);
	uint64_t local;
	uint64_t *bad[] = {NULL, &local, (uint64_t *)((char *)f.words + 4),
			   (uint64_t *)(f.heap->base + POOL_SIZE),
			   (uint64_t *)(f.heap->base - 8), (uint64_t *)UINTPTR_MAX};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		must_fail(EINVAL, daxheap_action_publish(f.action, bad[i], block));
		must_fail(EINVAL, daxheap_action_free(f.action, bad[i]));
		must_fail(EINVAL, daxheap_action_replace(f.action, bad[i], block));
		must_fail(EINVAL, daxheap_action_set(f.action, bad[i], 1));
	}
	must_fail(EINVAL, daxheap_action_publish(f.action, &f.slots[0], NULL));
	must_fail(EINVAL, daxheap_action_replace(f.action, &f.slots[0], NULL));
	/* None of it was gathered. */
	must(daxheap_action_publish(f.action, &f.slots[0], block));
	must(daxheap_action_commit(f.action));
	cr_assert_eq(pool_census(f.heap).blocks, 3);
	daxheap_action_delete(NULL);
	end(&f);
}

Test(actions, reset_forgets)
{
	struct fixture f = start(POOL_SIZE, 64);

	for (unsigned i = 0; i < 30; i++)
		must(daxheap_action_set(f.action, &f.words[i], 1));
	daxheap_action_reset(f.action);
	must(daxheap_action_set(f.action, &f.words[40], 1));
	must(daxheap_action_commit(f.action));
	for (unsigned i = 0; i < 64; i++)
		cr_assert_eq(f.words[i], i == 40);
	end(&f);
}

/* Two at once in one thread, of one pool or of two. */
Test(actions, several_at_once)
{
	struct fixture f = start(POOL_SIZE, 64);
	struct daxheap *other = pool_create("other", POOL_SIZE);
	daxheap_ref *root = pool_root(other, "r");
	struct daxheap_action *second, *third;

	must(daxheap_action_new(f.heap, &second));
	must(daxheap_action_new(other, &third));
	must(daxheap_action_publish(third, root, pool_block(other, 64, 1)));
	for (unsigned i = 0; i < 20; i++) {
		must(daxheap_action_set(f.action, &f.words[i], 1));
		must(daxheap_action_set(second, &f.words[20 + i], 2));
	}
	must(daxheap_action_set(second, &f.words[0], 3));
	must(daxheap_action_commit(second));
	must(daxheap_action_commit(third));
	must(daxheap_action_commit(f.action));
	cr_assert_eq(f.words[0], 1);
	cr_assert_eq(f.words[39], 2);
	cr_assert_eq(pool_census(other).blocks, 1);
	/* A block or slot of the other pool. */
	must_fail(EINVAL, daxheap_action_set(f.action, root, 1));
	must(daxheap_action_publish(f.action, &f.slots[0], pool_block(f.heap, 64, 0)));
	must_fail(EINVAL, daxheap_action_publish(third, &f.slots[0], pool_block(other, 64, 1)));
	daxheap_action_delete(second);
	daxheap_action_delete(third);
	daxheap_close(other);
	end(&f);
}

Test(actions, read_only)
{
	struct fixture f = start(POOL_SIZE, 64);
	struct daxheap_action *action;
	int err;

	end(&f);
	f.heap = pool_open("pool", DAXHEAP_READ_ONLY);
	err = daxheap_action_new(f.heap, &action);
	if (!err) {
		f.words = daxheap_ptr(f.heap, *pool_root(f.heap, "words"));
		err = daxheap_action_set(action, f.words, 1);
		if (!err)
			err = daxheap_action_commit(action);
		daxheap_action_delete(action);
	}
	cr_assert_eq(err, -EROFS);
	daxheap_close(f.heap);
}

/* No room for the entries: two changes need none. */
Test(actions, in_a_full_pool)
{
	struct fixture f = start(POOL_SIZE, 64);
	struct before before;
	size_t size = 4 * MiB;
	void *block, *last = NULL;

	while (size) {
		if (daxheap_alloc(f.heap, size, &block))
			size /= 2;
		else
			last = block;
	}
	remember(&f, &before);
	for (unsigned i = 0; i < 3; i++)
		must(daxheap_action_set(f.action, &f.words[i], 1));
	must_fail(ENOMEM, daxheap_action_commit(f.action));
	must_be_as(&f, &before);
	daxheap_action_reset(f.action);
	must(daxheap_action_set(f.action, &f.words[0], 1));
	must(daxheap_action_publish(f.action, &f.slots[0], last));
	must(daxheap_action_commit(f.action));
	end(&f);
}

/* The room that entries take comes back: far more in all than the pool has. */
Test(actions, entries_take_room_for_a_while)
{
	struct fixture f = start(POOL_SIZE, 1000);

	for (uint64_t round = 0; round < 3000; round++) {
		for (unsigned i = 0; i < 300; i++)
			must(daxheap_action_set(f.action, &f.words[i], round + i));
		must(daxheap_action_commit(f.action));
	}
	cr_assert_eq(f.words[299], 2999 + 299);
	cr_assert_eq(pool_census(f.heap).blocks, 2);
	end(&f);
}

/* --- threads --- */

#define TELLERS 4

struct teller {
	struct fixture f;
	pthread_t thread;
	unsigned number, won;
	bool failed;
};

/* All want slots 0 to 9 of the table, whole; who gets them gives them back. */
static void *fill_and_clear(void *arg)
{
	struct teller *teller = arg;
	struct fixture *f = &teller->f;

	for (unsigned round = 0; round < 2000; round++) {
		void *blocks[10];
		int err;

		for (unsigned i = 0; i < 10; i++) {
			unsigned slot = teller->number % 2 ? i : 9 - i;

			if (daxheap_alloc(f->heap, 64, &blocks[i]) ||
			    daxheap_action_publish(f->action, &f->slots[slot], blocks[i]))
				teller->failed = true;
		}
		err = daxheap_action_commit(f->action);
		daxheap_action_reset(f->action);
		if (err) {
			teller->failed |= err != -EEXIST;
			for (unsigned i = 0; i < 10; i++)
				teller->failed |= daxheap_cancel(f->heap, blocks[i]) != 0;
			continue;
		}
		teller->won++;
		for (unsigned i = 0; i < 10; i++)
			teller->failed |= daxheap_action_free(f->action, &f->slots[i]) != 0;
		teller->failed |= daxheap_action_commit(f->action) != 0;
	}
	return NULL;
}

Test(actions, of_several_threads_on_the_same_slots)
{
	struct fixture f = start(POOL_SIZE, 64);
	struct teller tellers[TELLERS] = {0};
	unsigned won = 0;

	for (unsigned i = 0; i < TELLERS; i++) {
		tellers[i].f = f;
		tellers[i].number = i;
		must(daxheap_action_new(f.heap, &tellers[i].f.action));
		pthread_create(&tellers[i].thread, NULL, fill_and_clear, &tellers[i]);
	}
	for (unsigned i = 0; i < TELLERS; i++) {
		pthread_join(tellers[i].thread, NULL);
		cr_assert(!tellers[i].failed, "thread %u", i);
		daxheap_action_delete(tellers[i].f.action);
		won += tellers[i].won;
	}
	cr_assert_gt(won, 0);
	cr_assert_eq(pool_census(f.heap).blocks, 2);
	/* Entries that the horizon has not passed, one block for each record. */
	cr_assert_leq(pool_stats(f.heap).reserved_blocks, TELLERS * f.heap->log.ring);
	end(&f);
}
