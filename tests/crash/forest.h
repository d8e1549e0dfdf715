/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The model's slots, words and blocks in a pool.
 *
 * The root "table" refers to a table of top slots and words; further top slots are those of
 * roots of their own, made when first used.  A node is id, child slots, word, content; a leaf
 * is id and content: where a node has slots it has content, so a stale store there shows.
 */
#ifndef CRASH_FOREST_H
#define CRASH_FOREST_H

#include "model.h"

#define NODE_SIZE_MIN	32u
#define TABLE_BYTES	128u
#define FOREST_MAX	(SLOTS + 1)	/* blocks */

/* By id. */
bool forest_is_node(uint32_t id);
uint16_t forest_tag(uint32_t id);
/* The id of the next block of that kind comes from the model's counter. */
uint32_t forest_size(const struct model *model, uint64_t random, bool node, bool large);

/* Calls @store for each run of bytes that it wrote. */
void forest_fill(void *memory, uint32_t id, uint32_t size,
		 void (*store)(const void *at, size_t size));
void forest_fill_table(void *memory);

/* The address of a slot or word in the pool at @base, NULL if there is none. */
daxheap_ref *forest_slot(const char *base, unsigned slot);
uint64_t *forest_word(const char *base, unsigned word);
/* The child slots and the word of a node. */
daxheap_ref *forest_child(void *node, unsigned child);
uint64_t *forest_node_word(void *node);
const char *forest_root_name(unsigned top);

/* What a pool holds. */
struct found {
	uint32_t id[SLOTS];		/* 0: empty */
	uint64_t usable[SLOTS];
	uint64_t word[WORDS];
	unsigned count;
	struct daxheap_block blocks[FOREST_MAX];	/* that are reached */
};

/* Reads all of an open pool; what is wrong in itself is a violation. */
void forest_read(struct daxheap *heap, const struct model *model, struct found *found);
/* The live blocks are those that are reached, and no others: by what the media says. */
void forest_walk_live(const char *base, struct found *found);
/* And by daxheap_next(), which takes longer. */
void forest_check_live(struct daxheap *heap, struct found *found);

bool forest_matches(const struct model *model, const struct world *world, const void *found);
/* What one has and the other has not, for people. */
void forest_differences(const struct model *model, const struct world *world,
			const struct found *found, char *text, size_t size);

#endif
