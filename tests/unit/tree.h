/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A tree of blocks in a pool, and a plain model of it to compare with.
 *
 * The root "tree" refers to a table of TREE_TOPS slots, each of these to a node, and each
 * node to up to TREE_CHILDREN leaves.  The model knows for each slot the id of what it refers
 * to.  Size and content of a block follow from its id, so that any damage to a live block
 * shows.  An operation is planned, prepared (reserve, fill, make durable), committed and
 * applied to the model in steps, so that a crash can be put in between.
 */
#ifndef TEST_TREE_H
#define TEST_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daxheap.h"

#define TREE_TOPS	24u
#define TREE_CHILDREN	4u
/* Slots are numbered: the table's, then the children of each node. */
#define TREE_SLOTS	(TREE_TOPS * (1 + TREE_CHILDREN))

struct tree {
	uint64_t ids[TREE_SLOTS];	/* 0: empty */
	uint64_t next_id;
	bool huge;			/* blocks of several chunks too */
};

struct tree_op {
	unsigned slot;
	uint64_t old_id;		/* 0: publish */
	uint64_t new_id;		/* 0: free */
	void *block;			/* prepared: of new_id */
};

/* splitmix64. */
uint64_t tree_random(uint64_t *state);

/* Where the application's own stores are told, or NULL; see crash.c. */
extern void (*tree_on_store)(const void *at, size_t size);

/* Makes root and table, as the application would. */
int tree_start(struct daxheap *heap);

size_t tree_size(uint64_t id, bool huge);

/* A random operation that the model allows; 0 as @slot_limit means any slot. */
void tree_plan(struct tree *tree, uint64_t *random, struct tree_op *op);
/* The same for one slot; false where it has children that would be lost. */
bool tree_plan_slot(struct tree *tree, uint64_t *random, unsigned slot, struct tree_op *op);

/* 0 or what the heap says; -ENOMEM leaves nothing. */
int tree_prepare(struct daxheap *heap, const struct tree *tree, struct tree_op *op);
int tree_commit(struct daxheap *heap, const struct tree_op *op);
void tree_apply(struct tree *tree, const struct tree_op *op);

/* Prepare, commit, apply. */
int tree_run(struct daxheap *heap, struct tree *tree, struct tree_op *op);

daxheap_ref *tree_slot(struct daxheap *heap, unsigned slot);

/*
 * Compares pool and model.  Each of the @count operations in @flying may have happened or
 * not, as a whole.  NULL if all is right, else what is wrong; static.  *happened, if not
 * NULL, tells by bits which did.
 */
const char *tree_check(struct daxheap *heap, const struct tree *tree,
		       const struct tree_op *flying, unsigned count, unsigned *happened);

#endif
