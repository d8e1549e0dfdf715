/* SPDX-License-Identifier: BSD-3-Clause */
/* The blocks of an operation, with their content, and the places of its changes. */
#include <errno.h>

#include "forest.h"
#include "random.h"
#include "work.h"

static __thread struct work *working;

struct range {
	struct life *life;
	const void *at;
	size_t size;
};

static void *flush_foreign(void *arg)
{
	const struct range *range = arg;
	struct listener listener = {.life = range->life, .flusher = FLUSHER_FOREIGN};

	listening = &listener;
	must(daxheap_flush(range->life->heap, range->at, range->size), "flush");
	listening = NULL;
	return NULL;
}

static void store_and_flush(const void *at, size_t size)
{
	struct range range = {working->life, at, size};
	struct work *work = working;
	pthread_t thread;

	life_stored(at, size);
	if (mistake != CONTENT_FLUSHED_BY_OTHER || work->life->level) {
		must(daxheap_flush(range.life->heap, at, size), "flush");
	} else {
		if (pthread_create(&thread, NULL, flush_foreign, &range))
			broken("no thread");
		pthread_join(thread, NULL);
	}
	working = work;
}

static void *take_from_stock(struct work *work, uint32_t size, uint16_t tag)
{
	void **place = &work->life->stock[random_below(&work->random, STOCK)];
	void *memory = *place;

	if (size > 64 || size < 33 || tag)
		return NULL;
	*place = NULL;
	return memory;
}

static int reserve(struct work *work, uint32_t size, uint16_t tag, void **memory)
{
	static const size_t alignments[] = {0, 0, 0, 16, 64, 256};
	size_t alignment = alignments[random_below(&work->random, 6)];
	int err;

	*memory = take_from_stock(work, size, tag);
	if (*memory)
		return 0;
	if (!tag && !alignment)
		err = daxheap_alloc(work->life->heap, size, memory);
	else
		err = daxheap_alloc_as(work->life->heap, size, alignment, tag, memory);
	if (err && err != -ENOMEM)
		must(err, "alloc");
	if (!err && alignment && (uintptr_t)*memory % alignment)
		violation("a block that is not aligned to %zu: %p", alignment, *memory);
	return err;
}

void cancel_blocks(struct work *work)
{
	for (unsigned i = 0; i < work->op.count; i++)
		if (work->op.changes[i].memory)
			must(daxheap_cancel(work->life->heap, work->op.changes[i].memory),
			     "cancel");
}

bool prepare_blocks(struct work *work)
{
	const struct model *model = &work->life->model;
	bool any = false;

	for (unsigned i = 0; i < work->op.count; i++) {
		struct change *change = &work->op.changes[i];
		const struct block *block = &model->blocks[change->block];

		if (change->kind != PUBLISH && change->kind != REPLACE)
			continue;
		if (reserve(work, block->size, forest_tag(block->id), &change->memory)) {
			change->memory = NULL;
			return false;
		}
		working = work;
		forest_fill(change->memory, block->id, block->size, store_and_flush);
		any = true;
	}
	if (any && (work->life->level ||
		    (mistake != CONTENT_NOT_FENCED && mistake != CONTENT_FLUSHED_BY_OTHER)))
		must(daxheap_fence(work->life->heap), "fence");
	return true;
}

/* The node that the same operation puts above the slot or word, NULL if none. */
static void *own_node(const struct work *work, unsigned top)
{
	for (unsigned i = 0; i < work->op.count; i++)
		if (work->op.changes[i].kind != SET && work->op.changes[i].slot == top)
			return work->op.changes[i].memory;
	return NULL;
}

static void *find_place(const struct work *work, const struct change *change)
{
	const char *base = work->life->base;
	void *node;

	if (change->kind == SET) {
		node = change->slot < TOPS ? own_node(work, change->slot) : NULL;
		return node ? forest_node_word(node) : forest_word(base, change->slot);
	}
	if (is_top(change->slot))
		return forest_slot(base, change->slot);
	node = own_node(work, top_of(change->slot));
	return node ? forest_child(node, (change->slot - TOPS) % CHILDREN) :
		      forest_slot(base, change->slot);
}

void make_roots(struct work *work)
{
	daxheap_ref *slot;

	for (unsigned i = 0; i < work->op.count; i++) {
		unsigned top = work->op.changes[i].slot;

		if (work->op.changes[i].kind != SET && is_top(top) && top >= TABLE_TOPS)
			must(daxheap_root(work->life->heap, forest_root_name(top), &slot),
			     "root");
	}
}

bool find_places(struct work *work)
{
	for (unsigned i = 0; i < work->op.count; i++) {
		work->op.changes[i].at = find_place(work, &work->op.changes[i]);
		if (!work->op.changes[i].at)
			return false;
	}
	return true;
}
