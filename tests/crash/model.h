/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a heap must hold.
 *
 * A world says for each slot which block it refers to, and for each word that actions set its
 * value.  Several worlds are possible while operations are in flight, since each of these may
 * have happened, wholly, or not, in any order in which all succeed.  An operation that returns
 * leaves those worlds alone in which it did what it says.
 *
 * Slots: TOPS top slots (the table's and those of roots of their own), then CHILDREN slots in
 * each block, a node, that a top slot refers to; these refer to leaves.  Words: one in each
 * node, and some in the table.
 */
#ifndef CRASH_MODEL_H
#define CRASH_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "daxheap.h"

#define TABLE_TOPS	6u
#define ROOT_TOPS	2u
#define TOPS		(TABLE_TOPS + ROOT_TOPS)
#define CHILDREN	2u
#define SLOTS		(TOPS * (1 + CHILDREN))
#define TABLE_WORDS	4u
#define WORDS		(TOPS + TABLE_WORDS)

#define ACTORS		3u
#define CHANGES_MAX	10u
#define BLOCKS_MAX	1024u
#define WORLDS_MAX	256u

static inline bool is_top(unsigned slot)
{
	return slot < TOPS;
}

static inline unsigned top_of(unsigned slot)
{
	return (slot - TOPS) / CHILDREN;
}

static inline unsigned child_of(unsigned top, unsigned child)
{
	return TOPS + top * CHILDREN + child;
}

/* A block of the model; its size, kind, tag and content follow from its id. */
struct block {
	uint32_t id;
	uint32_t size;			/* after a realloc, another than at first */
};

struct world {
	uint16_t slot[SLOTS];		/* index of the block; 0: empty */
	uint32_t done;			/* which of the operations in flight happened */
	uint32_t word[WORDS];
};

enum change_kind { PUBLISH, FREE, REPLACE, REALLOC, SET };

struct change {
	enum change_kind kind;
	unsigned slot;			/* of SET: the word */
	uint16_t block;			/* the new one */
	uint32_t value;
	void *memory;			/* of the new block */
	daxheap_ref *at;
};

struct op {
	unsigned count;
	struct change changes[CHANGES_MAX];
	bool action;
	bool may_fail;			/* there was a world in which it can't be done */
};

struct model {
	struct block blocks[BLOCKS_MAX];	/* from 1 */
	unsigned block_count;
	uint32_t ids;			/* the last one given */
	uint32_t valid[BLOCKS_MAX];	/* by id: so many bytes of the content are there */
	uint32_t first_size[BLOCKS_MAX];	/* by id */
	struct world worlds[WORLDS_MAX];	/* when nothing in flight has happened since */
	unsigned world_count;
	struct world possible[WORLDS_MAX];	/* all that a crash may leave now */
	unsigned possible_count;
	uint64_t hash;			/* of `possible` */
	struct op *flying[ACTORS];
};

void model_init(struct model *model);
/* A new block, which grows into its id; 0 if there are too many. */
uint16_t model_new_block(struct model *model, uint32_t size);
/* The same block with another size. */
uint16_t model_resized(struct model *model, uint16_t block, uint32_t size);

void model_begin(struct model *model, unsigned actor, struct op *op);
/* @err is what the heap returned. */
void model_end(struct model *model, unsigned actor, int err);
/* After a crash: what was in flight happened or not. */
void model_crash(struct model *model, const struct model *before);

/* Keeps the worlds that are so; false if there are none (and changes nothing). */
bool model_keep(struct model *model, bool (*so)(const struct model *model,
						const struct world *world, const void *arg),
		const void *arg);

#endif
