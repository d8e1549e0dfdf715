/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tree.h"

#define FILL_MAX 4096u		/* of a large block its begin and its end are filled */

struct node {
	uint64_t id;
	uint64_t size;
	daxheap_ref child[TREE_CHILDREN];
	uint64_t words[];
};

void (*tree_on_store)(const void *at, size_t size);

uint64_t tree_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static void stored(const void *at, size_t size)
{
	if (tree_on_store)
		tree_on_store(at, size);
}

size_t tree_size(uint64_t id, bool huge)
{
	static const size_t sizes[] = {64, 64, 64, 96, 128, 320, 1000, 4096, 9000, 40000};
	uint64_t random = tree_random(&id);

	if (huge && random % 23 == 0)
		return (1 + random / 23 % 2) * (UINT64_C(2) << 20);
	return sizes[random / 64 % 10];
}

/* Word @index of the block @id. */
static uint64_t content(uint64_t id, uint64_t index)
{
	uint64_t state = id * UINT64_C(1000003) + index;

	return tree_random(&state);
}

/* Which words of a block of @size bytes are filled: @i counts them. */
static uint64_t filled_word(uint64_t size, uint64_t i)
{
	uint64_t words = (size - sizeof(struct node)) / 8, half = FILL_MAX / 16;

	if (words <= 2 * half)
		return i < words ? i : UINT64_MAX;
	if (i < half)
		return i;
	return i < 2 * half ? words - 2 * half + i : UINT64_MAX;
}

/* A leaf has content where a node has slots: a stale store to such a slot shows. */
static void fill(struct node *node, uint64_t id, size_t size, bool leaf)
{
	uint64_t word;

	node->id = id;
	node->size = size;
	for (unsigned i = 0; i < TREE_CHILDREN; i++)
		node->child[i] = leaf ? content(id, UINT64_MAX - i) : 0;
	stored(node, sizeof(*node));
	for (uint64_t i = 0; (word = filled_word(size, i)) != UINT64_MAX; i++) {
		node->words[word] = content(id, word);
		stored(&node->words[word], 8);
	}
}

int tree_start(struct daxheap *heap)
{
	daxheap_ref *root, *table;
	int err = daxheap_root(heap, "tree", &root);

	if (!err)
		err = daxheap_alloc(heap, TREE_TOPS * sizeof(*table), (void **)&table);
	if (err)
		return err;
	memset(table, 0, TREE_TOPS * sizeof(*table));
	stored(table, TREE_TOPS * sizeof(*table));
	err = daxheap_persist(heap, table, TREE_TOPS * sizeof(*table));
	return err ? err : daxheap_publish(heap, root, table);
}

daxheap_ref *tree_slot(struct daxheap *heap, unsigned slot)
{
	daxheap_ref *root, *table;
	struct node *node;

	if (daxheap_root(heap, "tree", &root) || !*root)
		return NULL;
	table = daxheap_ptr(heap, *root);
	if (slot < TREE_TOPS)
		return &table[slot];
	slot -= TREE_TOPS;
	node = daxheap_ptr(heap, table[slot / TREE_CHILDREN]);
	return node ? &node->child[slot % TREE_CHILDREN] : NULL;
}

/* --- the model --- */

static unsigned child_slot(unsigned top, unsigned child)
{
	return TREE_TOPS + top * TREE_CHILDREN + child;
}

static unsigned parent_of(unsigned slot)
{
	return (slot - TREE_TOPS) / TREE_CHILDREN;
}

static bool has_children(const struct tree *tree, unsigned top)
{
	for (unsigned i = 0; i < TREE_CHILDREN; i++)
		if (tree->ids[child_slot(top, i)])
			return true;
	return false;
}

bool tree_plan_slot(struct tree *tree, uint64_t *random, unsigned slot, struct tree_op *op)
{
	bool is_top = slot < TREE_TOPS;

	*op = (struct tree_op){.slot = slot, .old_id = tree->ids[slot]};
	if (!is_top && !tree->ids[parent_of(slot)])
		return false;
	if (is_top && op->old_id && has_children(tree, slot))
		return false;
	if (!op->old_id || tree_random(random) % 2)
		op->new_id = ++tree->next_id;
	return true;
}

void tree_plan(struct tree *tree, uint64_t *random, struct tree_op *op)
{
	while (!tree_plan_slot(tree, random, (unsigned)(tree_random(random) % TREE_SLOTS), op))
		;
}

int tree_prepare(struct daxheap *heap, const struct tree *tree, struct tree_op *op)
{
	size_t size = tree_size(op->new_id, tree->huge);
	int err;

	if (!op->new_id)
		return 0;
	err = daxheap_alloc(heap, size, &op->block);
	if (err)
		return err;
	fill(op->block, op->new_id, size, op->slot >= TREE_TOPS);
	return daxheap_persist(heap, op->block, size);
}

int tree_commit(struct daxheap *heap, const struct tree_op *op)
{
	daxheap_ref *slot = tree_slot(heap, op->slot);

	if (!op->new_id)
		return daxheap_free(heap, slot);
	if (!op->old_id)
		return daxheap_publish(heap, slot, op->block);
	return daxheap_replace(heap, slot, op->block);
}

void tree_apply(struct tree *tree, const struct tree_op *op)
{
	tree->ids[op->slot] = op->new_id;
}

int tree_run(struct daxheap *heap, struct tree *tree, struct tree_op *op)
{
	int err = tree_prepare(heap, tree, op);

	if (!err)
		err = tree_commit(heap, op);
	if (!err)
		tree_apply(tree, op);
	return err;
}

/* --- the comparison --- */

static char wrong_text[256];

__attribute__((format(printf, 1, 2))) static const char *wrong(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(wrong_text, sizeof(wrong_text), format, args);
	va_end(args);
	return wrong_text;
}

static const struct tree_op *flying_on(const struct tree_op *flying, unsigned count,
				       unsigned slot)
{
	for (unsigned i = 0; i < count; i++)
		if (flying[i].slot == slot)
			return &flying[i];
	return NULL;
}

/* Adds the size of what is right to *bytes. */
static const char *check_node(struct daxheap *heap, const struct tree *tree, daxheap_ref ref,
			      uint64_t id, bool leaf, uint64_t *bytes)
{
	const struct node *node = daxheap_ptr(heap, ref);
	int64_t usable = daxheap_usable_size(heap, node);
	size_t size = tree_size(id, tree->huge);
	uint64_t word;

	if (usable < (int64_t)size)
		return wrong("block %#llx, id %llu, has %lld bytes: %s", (unsigned long long)ref,
			     (unsigned long long)id, (long long)usable, daxheap_errormsg());
	if (node->id != id || node->size != size)
		return wrong("block %#llx holds id %llu, not %llu", (unsigned long long)ref,
			     (unsigned long long)node->id, (unsigned long long)id);
	for (unsigned i = 0; leaf && i < TREE_CHILDREN; i++)
		if (node->child[i] != content(id, UINT64_MAX - i))
			return wrong("leaf %llu was stored into", (unsigned long long)id);
	for (uint64_t i = 0; (word = filled_word(size, i)) != UINT64_MAX; i++)
		if (node->words[word] != content(id, word))
			return wrong("word %llu of id %llu is wrong", (unsigned long long)word,
				     (unsigned long long)id);
	*bytes += (uint64_t)usable;
	return NULL;
}

struct sum {
	uint64_t blocks, bytes;
	unsigned happened;
};

static const char *check_slot(struct daxheap *heap, const struct tree *tree,
			      const struct tree_op *flying, unsigned count, unsigned slot,
			      struct sum *sum)
{
	const struct tree_op *op = flying_on(flying, count, slot);
	const daxheap_ref *at = tree_slot(heap, slot);
	uint64_t id = tree->ids[slot];
	const struct node *node;

	if (!at)
		return id || op ? wrong("slot %u is gone", slot) : NULL;
	node = daxheap_ptr(heap, *at);
	if (node && daxheap_usable_size(heap, node) < 0)
		return wrong("slot %u: %s", slot, daxheap_errormsg());
	if (op && (node ? node->id : 0) == op->new_id) {
		id = op->new_id;
		sum->happened |= 1u << (op - flying);
	}
	if (!node)
		return id ? wrong("slot %u is empty and should hold id %llu", slot,
				  (unsigned long long)id) : NULL;
	if (!id)
		return wrong("slot %u holds id %llu and should be empty", slot,
			     (unsigned long long)node->id);
	sum->blocks++;
	return check_node(heap, tree, *at, id, slot >= TREE_TOPS, &sum->bytes);
}

/* Live is what is reached, and nothing else. */
static const char *check_live(struct daxheap *heap, const struct sum *sum)
{
	struct daxheap_block block = {0};
	struct sum live = {0};
	int more;

	while ((more = daxheap_next(heap, &block)) > 0) {
		live.blocks++;
		live.bytes += block.size;
	}
	if (more < 0)
		return wrong("next: %s", daxheap_errormsg());
	if (live.blocks != sum->blocks || live.bytes != sum->bytes)
		return wrong("%llu blocks live, %llu reached; %llu bytes live, %llu reached",
			     (unsigned long long)live.blocks, (unsigned long long)sum->blocks,
			     (unsigned long long)live.bytes, (unsigned long long)sum->bytes);
	return NULL;
}

const char *tree_check(struct daxheap *heap, const struct tree *tree,
		       const struct tree_op *flying, unsigned count, unsigned *happened)
{
	const daxheap_ref *table = tree_slot(heap, 0);
	struct sum sum = {.blocks = 1};
	const char *bad;

	if (!table)
		return wrong("the table is gone");
	sum.bytes = (uint64_t)daxheap_usable_size(heap, table);
	for (unsigned slot = 0; slot < TREE_SLOTS; slot++) {
		bad = check_slot(heap, tree, flying, count, slot, &sum);
		if (bad)
			return bad;
	}
	bad = check_live(heap, &sum);
	if (!bad && happened)
		*happened = sum.happened;
	return bad;
}
