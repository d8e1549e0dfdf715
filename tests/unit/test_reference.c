/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every operation, in random sequences, against a plain reference: an array of what each slot
 * refers to.  A seed tells the whole sequence.
 */
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "pool.h"
#include "tree.h"

TestSuite(reference, .fini = pool_cleanup, .timeout = 300);

#define TOPS		64u		/* slots of the table */
#define CHILDREN	3u		/* slots in each block, in front of its content */
#define WORDS		64u		/* that actions set */
#define KEPT		16u		/* reservations that wait */
#define TAGS		4u
#define SLOTS		(TOPS * (1 + CHILDREN))

/* A block by the books.  Its content follows from its id. */
struct entry {
	uint64_t id;			/* 0: none */
	uint64_t size;
	uint16_t tag;
	void *block;			/* while reserved */
};

struct reference {
	struct entry slots[SLOTS];	/* tops, then the children of each */
	uint64_t words[WORDS];
	struct entry kept[KEPT];
	uint64_t next_id;
};

static struct daxheap *heap;
static daxheap_ref *table;
static uint64_t *words;
static struct reference books;
static uint64_t random_state;

static uint64_t choose(uint64_t n)
{
	return tree_random(&random_state) % n;
}

static unsigned parent_of(unsigned slot)
{
	return (slot - TOPS) / CHILDREN;
}

/* NULL where the parent is none. */
static daxheap_ref *place_of(unsigned slot)
{
	daxheap_ref *parent;

	if (slot < TOPS)
		return &table[slot];
	parent = daxheap_ptr(heap, table[parent_of(slot)]);
	return parent ? &parent[(slot - TOPS) % CHILDREN] : NULL;
}

static bool has_children(unsigned slot)
{
	for (unsigned i = 0; slot < TOPS && i < CHILDREN; i++)
		if (books.slots[TOPS + slot * CHILDREN + i].id)
			return true;
	return false;
}

/* --- content --- */

static unsigned char byte_of(uint64_t id, uint64_t i)
{
	return (unsigned char)(id * 37 + i * 11 + i / 256);
}

/* Of large blocks both ends. */
#define END 512u

static void each_byte(void (*visit)(unsigned char *byte, unsigned char wanted), void *block,
		      uint64_t id, uint64_t size)
{
	for (uint64_t i = CHILDREN * 8; i < size; i++) {
		if (i == CHILDREN * 8 + END && size > CHILDREN * 8 + 2 * END)
			i = size - END;
		visit((unsigned char *)block + i, byte_of(id, i));
	}
}

static void store_byte(unsigned char *byte, unsigned char wanted)
{
	*byte = wanted;
}

static void check_byte(unsigned char *byte, unsigned char wanted)
{
	if (*byte != wanted)
		cr_assert_fail("the content of a block is not its own");
}

static void fill(const struct entry *entry)
{
	memset(entry->block, 0, CHILDREN * 8);
	each_byte(store_byte, entry->block, entry->id, entry->size);
	must(daxheap_persist(heap, entry->block, entry->size));
}

/* --- operations --- */

static uint64_t random_size(void)
{
	switch (choose(20)) {
	case 0:
		return 2 * MiB + choose(2 * MiB);
	case 1:
	case 2:
		return CHILDREN * 8 + choose(100000);
	default:
		return CHILDREN * 8 + choose(1500);
	}
}

static bool reserve(struct entry *entry)
{
	struct entry new = {.size = random_size(), .tag = (uint16_t)choose(TAGS)};
	int err;

	if (choose(2)) {
		err = daxheap_alloc_as(heap, new.size, choose(8) ? 0 : (size_t)16 << choose(12),
				       new.tag, &new.block);
	} else {
		new.tag = 0;
		err = choose(2) ? daxheap_alloc(heap, new.size, &new.block) :
				  daxheap_calloc(heap, 1, new.size, &new.block);
	}
	if (err == -ENOMEM)
		return false;
	must(err);
	new.id = ++books.next_id;
	*entry = new;
	fill(entry);
	return true;
}

/* A reservation, sometimes one that waited. */
static bool take(struct entry *entry)
{
	struct entry *kept = &books.kept[choose(KEPT)];

	if (!kept->id)
		return reserve(entry);
	*entry = *kept;
	*kept = (struct entry){0};
	return true;
}

static void keep_or_cancel(void)
{
	struct entry *kept = &books.kept[choose(KEPT)];

	if (!kept->id) {
		reserve(kept);
		return;
	}
	must(daxheap_cancel(heap, kept->block));
	must_fail(EINVAL, daxheap_cancel(heap, kept->block));
	*kept = (struct entry){0};
}

static void single(void)
{
	unsigned slot = (unsigned)choose(SLOTS);
	daxheap_ref *place = place_of(slot);
	struct entry *entry = &books.slots[slot], new;

	if (!place || has_children(slot))
		return;
	if (!entry->id) {
		must_fail(ENOENT, daxheap_free(heap, place));
		if (!take(&new))
			return;
		must_fail(ENOENT, daxheap_replace(heap, place, new.block));
		must(daxheap_publish(heap, place, new.block));
		*entry = new;
	} else if (choose(2)) {
		must(daxheap_free(heap, place));
		*entry = (struct entry){0};
	} else {
		if (!take(&new))
			return;
		must_fail(EEXIST, daxheap_publish(heap, place, new.block));
		must(daxheap_replace(heap, place, new.block));
		*entry = new;
	}
}

/* The content moves with the block, and the slots of its children too. */
static void change_size(void)
{
	unsigned slot = (unsigned)choose(SLOTS);
	daxheap_ref *place = place_of(slot);
	struct entry *entry = &books.slots[slot];
	uint64_t size = random_size();
	int err;

	if (!place || !entry->id)
		return;
	each_byte(check_byte, daxheap_ptr(heap, *place), entry->id, entry->size);
	err = daxheap_realloc(heap, place, size);
	if (err == -ENOMEM)
		return;
	must(err);
	entry->block = daxheap_ptr(heap, *place);
	for (uint64_t i = CHILDREN * 8; i < CHILDREN * 8 + END && i < size && i < entry->size; i++)
		check_byte((unsigned char *)entry->block + i, byte_of(entry->id, i));
	/* The end of the pattern is elsewhere now. */
	entry->size = size;
	each_byte(store_byte, entry->block, entry->id, size);
	must(daxheap_persist(heap, entry->block, size));
}

/* Adds one change; true if there was one to add. */
static bool add_change(struct daxheap_action *action, struct reference *after, bool *touched,
		       struct entry *used, unsigned *used_count)
{
	unsigned slot = (unsigned)choose(SLOTS);
	daxheap_ref *place = place_of(slot);
	struct entry *entry = &after->slots[slot], new;

	/* Of a parent and its children one is touched: which block a slot lies in is then
	 * the same before and after. */
	if (!place || touched[slot] || has_children(slot) ||
	    (slot >= TOPS && touched[parent_of(slot)]))
		return false;
	for (unsigned i = 0; slot < TOPS && i < CHILDREN; i++)
		if (touched[TOPS + slot * CHILDREN + i])
			return false;
	touched[slot] = true;
	if (entry->id && choose(2)) {
		must(daxheap_action_free(action, place));
		*entry = (struct entry){0};
		return true;
	}
	if (!take(&new))
		return false;
	used[(*used_count)++] = new;
	if (entry->id)
		must(daxheap_action_replace(action, place, new.block));
	else
		must(daxheap_action_publish(action, place, new.block));
	*entry = new;
	return true;
}

/* With a mistake in it, the action does nothing; without, all. */
static void action_of_many(void)
{
	unsigned changes = (unsigned)choose(choose(4) ? 6 : 40), used_count = 0;
	bool touched[SLOTS] = {false}, mistake = choose(4) == 0;
	struct reference after = books;
	struct daxheap_action *action;
	struct entry used[64];
	uint64_t set = 0;
	int err;

	must(daxheap_action_new(heap, &action));
	for (unsigned i = 0; i < changes; i++) {
		unsigned word = (unsigned)choose(WORDS);

		if (choose(3)) {
			add_change(action, &after, touched, used, &used_count);
		} else if (!(set >> word & 1)) {
			set |= UINT64_C(1) << word;
			after.words[word] = choose(UINT64_MAX);
			must(daxheap_action_set(action, &words[word], after.words[word]));
		}
	}
	/* The word behind those that are set is empty for ever. */
	if (mistake)
		must(daxheap_action_free(action, &words[WORDS]));
	err = daxheap_action_commit(action);
	cr_assert(err == -ENOMEM || err == (mistake ? -ENOENT : 0), "%d: %s", err,
		  daxheap_errormsg());
	daxheap_action_delete(action);
	if (err) {
		for (unsigned i = 0; i < used_count; i++)
			must(daxheap_cancel(heap, used[i].block));
		return;
	}
	memcpy(books.slots, after.slots, sizeof(books.slots));
	memcpy(books.words, after.words, sizeof(books.words));
}

/* --- the comparison --- */

static void check_slot(unsigned slot)
{
	const struct entry *entry = &books.slots[slot];
	const daxheap_ref *place = place_of(slot);
	void *block;

	if (!entry->id) {
		cr_assert(!place || !*place, "slot %u should be empty", slot);
		return;
	}
	cr_assert(place && *place, "slot %u is empty", slot);
	block = daxheap_ptr(heap, *place);
	cr_assert_geq(daxheap_usable_size(heap, block), (int64_t)entry->size);
	each_byte(check_byte, block, entry->id, entry->size);
}

static void check_tags(const uint64_t *live)
{
	for (uint16_t tag = 0; tag < TAGS; tag++) {
		struct daxheap_block block = {0};
		uint64_t seen = 0;

		while (daxheap_next_tagged(heap, tag, &block) > 0)
			seen++;
		cr_assert_eq(seen, live[tag], "%llu blocks with tag %u, not %llu",
			     (unsigned long long)seen, tag, (unsigned long long)live[tag]);
	}
}

static void check_all(void)
{
	uint64_t live[TAGS] = {2}, all = 2, kept = 0;

	for (unsigned slot = 0; slot < SLOTS; slot++) {
		check_slot(slot);
		all += books.slots[slot].id != 0;
		live[books.slots[slot].tag] += books.slots[slot].id != 0;
	}
	for (unsigned i = 0; i < KEPT; i++) {
		if (!books.kept[i].id)
			continue;
		kept++;
		each_byte(check_byte, books.kept[i].block, books.kept[i].id, books.kept[i].size);
	}
	cr_assert_arr_eq(words, books.words, sizeof(books.words));
	cr_assert_eq(pool_census(heap).blocks, all);
	/* And entries of actions that the horizon has not passed, one block for each. */
	cr_assert_geq(pool_stats(heap).reserved_blocks, kept);
	cr_assert_leq(pool_stats(heap).reserved_blocks, kept + 2 * heap->log.ring);
	check_tags(live);
}

static void find_roots(void)
{
	table = daxheap_ptr(heap, *pool_root(heap, "table"));
	words = daxheap_ptr(heap, *pool_root(heap, "words"));
}

/* As after a kill: what is in the open file, by another name. */
static void check_copy(void)
{
	struct entry kept[KEPT];
	struct daxheap *open = heap;

	memcpy(kept, books.kept, sizeof(kept));
	memset(books.kept, 0, sizeof(books.kept));
	pool_copy("pool", "copy");
	heap = pool_open("copy", choose(2) ? DAXHEAP_READ_ONLY : 0);
	find_roots();
	check_all();
	daxheap_close(heap);
	cr_assert_eq(daxheap_check(pool_path("copy"), 0, NULL, NULL), 0, "%s",
		     daxheap_errormsg());
	heap = open;
	find_roots();
	memcpy(books.kept, kept, sizeof(kept));
}

static void reopen(void)
{
	memset(books.kept, 0, sizeof(books.kept));
	heap = pool_reopen(heap, "pool");
	find_roots();
}

static void run(uint64_t size, unsigned lanes, unsigned ring, unsigned steps)
{
	heap = pool_create_small("pool", size, lanes, ring);
	pool_publish(heap, pool_root(heap, "table"), TOPS * 8, 0);
	pool_publish(heap, pool_root(heap, "words"), (WORDS + 1) * 8, 0);
	memset(&books, 0, sizeof(books));
	find_roots();
	for (unsigned step = 0; step < steps; step++) {
		switch (choose(10)) {
		case 0:
		case 1:
			keep_or_cancel();
			break;
		case 2:
			change_size();
			break;
		case 3:
		case 4:
			action_of_many();
			break;
		default:
			single();
		}
		if (choose(200) == 0)
			check_all();
		if (choose(500) == 0)
			check_copy();
		if (choose(500) == 0)
			reopen();
	}
	check_all();
	daxheap_close(heap);
	heap = pool_open("pool", 0);
	memset(books.kept, 0, sizeof(books.kept));
	find_roots();
	check_all();
	daxheap_close(heap);
}

Test(reference, in_a_pool_with_room)
{
	random_state = test_seed();
	run(64 * MiB, DH_LANES_MAX, DH_RING_MAX, 12000);
}

/* Full most of the time, and with rings that wrap every few operations. */
Test(reference, in_a_pool_without_room_and_short_rings)
{
	random_state = test_seed() + 1;
	run(16 * MiB, 2, DH_RING_MIN, 12000);
}
