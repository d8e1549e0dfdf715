/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "forest.h"
#include "media.h"
#include "random.h"
#include "report.h"

#define MARK		UINT64_C(0xb10c000000000000)
#define NODE_WORD	(1 + CHILDREN)
#define NODE_CONTENT	(2 + CHILDREN)
#define FILL_BEGIN	12u		/* words of a large block that are filled */
#define FILL_END	4u
#define FILL_WHOLE	32u		/* up to so many all are */

bool forest_is_node(uint32_t id)
{
	return id & 1;
}

uint16_t forest_tag(uint32_t id)
{
	uint64_t random = mix_two(id, 3);

	return random % 4 ? 0 : (uint16_t)(1 + random / 4 % 2);
}

uint32_t forest_size(const struct model *model, uint64_t random, bool node, bool large)
{
	static const uint32_t leaves[] = {1, 16, 24, 32, 48, 64, 64, 64, 64, 96, 128, 200, 320,
					  700};
	static const uint32_t nodes[] = {32, 48, 64, 64, 64, 128, 256, 1024};
	static const uint32_t larges[] = {4096, 9000, 40000, 70000, 300000, 1 << 20, 2 << 20};

	(void)model;
	if (large && random % 8 == 0)
		return larges[random / 8 % 7];
	random /= 8;
	return node ? nodes[random % 8] : leaves[random % 14];
}

static uint64_t content(uint32_t id, uint64_t word)
{
	return mix_two(id, word) | 1;
}

/* Calls @each for the words of a block that have content. */
static bool is_filled(uint64_t word, uint64_t words)
{
	return words <= FILL_WHOLE || word < FILL_BEGIN || word >= words - FILL_END;
}

static uint64_t next_filled(uint64_t word, uint64_t words)
{
	word++;
	return is_filled(word, words) ? word : words - FILL_END;
}

/* A block of less than a word holds its id all the same: the heap's least is 16 bytes. */
static uint64_t words_of(uint32_t size)
{
	return size < 16 ? 2 : size / 8;
}

static uint64_t first_value(uint32_t id, uint64_t word)
{
	if (word == 0)
		return MARK | id;
	return forest_is_node(id) && word < NODE_CONTENT ? 0 : content(id, word);
}

static void fill_words(uint64_t *to, uint32_t id, uint64_t from, uint64_t end,
		       void (*store)(const void *at, size_t size))
{
	/* Told at once: whoever runs in between must find all that is there told. */
	for (uint64_t i = from; i < end; i++)
		to[i] = first_value(id, i);
	store(to + from, (end - from) * 8);
}

void forest_fill(void *memory, uint32_t id, uint32_t size,
		 void (*store)(const void *at, size_t size))
{
	uint64_t words = words_of(size);

	if (words <= FILL_WHOLE) {
		fill_words(memory, id, 0, words, store);
		return;
	}
	fill_words(memory, id, 0, FILL_BEGIN, store);
	fill_words(memory, id, words - FILL_END, words, store);
}

void forest_fill_table(void *memory)
{
	uint64_t *to = memory;

	for (unsigned i = 0; i < TABLE_BYTES / 8; i++)
		to[i] = i < TABLE_TOPS + TABLE_WORDS ? 0 : content(UINT32_MAX, i);
}

const char *forest_root_name(unsigned top)
{
	static const char *const names[ROOT_TOPS] = {"one", "two"};

	return names[top - TABLE_TOPS];
}

static daxheap_ref *find_root(const char *base, const char *name)
{
	struct dh_root *root = (struct dh_root *)(base + DH_ROOTS_OFFSET);

	for (unsigned i = 0; i < DH_ROOTS; i++)
		if (!strncmp(root[i].name, name, sizeof(root[i].name)))
			return &root[i].slot;
	return NULL;
}

static void *follow(const char *base, const daxheap_ref *slot)
{
	return slot && *slot ? (void *)(base + *slot) : NULL;
}

daxheap_ref *forest_child(void *node, unsigned child)
{
	return (daxheap_ref *)node + 1 + child;
}

uint64_t *forest_node_word(void *node)
{
	return (uint64_t *)node + NODE_WORD;
}

daxheap_ref *forest_slot(const char *base, unsigned slot)
{
	void *node;

	if (slot < TABLE_TOPS)
		return (daxheap_ref *)follow(base, find_root(base, "table")) + slot;
	if (is_top(slot))
		return find_root(base, forest_root_name(slot));
	node = follow(base, forest_slot(base, top_of(slot)));
	return node ? forest_child(node, (slot - TOPS) % CHILDREN) : NULL;
}

uint64_t *forest_word(const char *base, unsigned word)
{
	void *node;

	if (word >= TOPS)
		return forest_slot(base, 0) + TABLE_TOPS + (word - TOPS);
	node = follow(base, forest_slot(base, word));
	return node ? forest_node_word(node) : NULL;
}

/* --- reading --- */

static void add_block(struct found *found, uint64_t ref, uint64_t size, uint16_t tag)
{
	found->blocks[found->count++] =
		(struct daxheap_block){.ref = ref, .size = size, .tag = tag};
}

static void check_content(const struct model *model, uint32_t id, const uint64_t *memory,
			  unsigned slot)
{
	uint64_t words = words_of(model->first_size[id]);
	uint64_t valid = words_of(model->valid[id]);

	for (uint64_t i = 1; i < words && i < valid; i = next_filled(i, words)) {
		if (forest_is_node(id) && i < NODE_CONTENT)
			continue;
		if (memory[i] != content(id, i))
			violation("slot %u: word %llu of block %u is %#llx, not %#llx", slot,
				  (unsigned long long)i, id, (unsigned long long)memory[i],
				  (unsigned long long)content(id, i));
	}
}

static void read_slot(struct daxheap *heap, const struct model *model, unsigned slot,
		      const daxheap_ref *at, struct found *found)
{
	const uint64_t *memory = daxheap_ptr(heap, *at);
	int64_t usable;
	uint64_t id;

	if (!*at)
		return;
	usable = *at < POOL_SIZE ? daxheap_usable_size(heap, memory) : -1;
	if (usable < 16)
		violation("slot %u refers to %#llx, which is no block: %s", slot,
			  (unsigned long long)*at, daxheap_errormsg());
	id = memory[0] ^ MARK;
	if (!id || id > model->ids || forest_is_node((uint32_t)id) != is_top(slot))
		violation("slot %u: the block at %#llx holds %#llx, which is no id", slot,
			  (unsigned long long)*at, (unsigned long long)memory[0]);
	found->id[slot] = (uint32_t)id;
	found->usable[slot] = (uint64_t)usable;
	if ((uint64_t)usable < model->valid[id])
		violation("slot %u: block %u has %lld bytes, and needs %u", slot, (uint32_t)id,
			  (long long)usable, model->valid[id]);
	check_content(model, (uint32_t)id, memory, slot);
	for (unsigned i = 0; i < found->count; i++)
		if (found->blocks[i].ref == *at)
			violation("two slots refer to the block at %#llx, slot %u is one",
				  (unsigned long long)*at, slot);
	add_block(found, *at, (uint64_t)usable, forest_tag((uint32_t)id));
}

void forest_read(struct daxheap *heap, const struct model *model, struct found *found)
{
	const char *base = *(char *const *)heap;
	const daxheap_ref *root;
	uint64_t *table;
	int64_t usable;

	memset(found, 0, sizeof(*found));
	root = find_root(base, "table");
	usable = root && *root && *root < POOL_SIZE ?
			 daxheap_usable_size(heap, base + *root) : -1;
	if (usable < TABLE_BYTES)
		violation("the table is gone: %s", daxheap_errormsg());
	add_block(found, *root, (uint64_t)usable, 0);
	table = (uint64_t *)(base + *root);
	for (unsigned i = TABLE_TOPS + TABLE_WORDS; i < TABLE_BYTES / 8; i++)
		if (table[i] != content(UINT32_MAX, i))
			violation("word %u of the table is %#llx", i,
				  (unsigned long long)table[i]);
	for (unsigned top = 0; top < TOPS; top++) {
		const daxheap_ref *at = forest_slot(base, top);

		if (!at)
			continue;
		read_slot(heap, model, top, at, found);
		if (!found->id[top])
			continue;
		found->word[top] = *forest_word(base, top);
		for (unsigned i = 0; i < CHILDREN; i++)
			read_slot(heap, model, child_of(top, i),
				  forest_child((void *)(base + *at), i), found);
	}
	for (unsigned i = TOPS; i < WORDS; i++)
		found->word[i] = *forest_word(base, i);
}

static int by_ref(const void *a, const void *b)
{
	const struct daxheap_block *x = a, *y = b;

	return x->ref < y->ref ? -1 : x->ref > y->ref;
}

static void wrongly_live(const struct daxheap_block *live)
{
	violation("the block at %#llx of %llu bytes is live, but not reached: leaked",
		  (unsigned long long)live->ref, (unsigned long long)live->size);
}

static void must_equal(const struct daxheap_block *live, const struct daxheap_block *reached)
{
	if (live->ref < reached->ref)
		wrongly_live(live);
	if (live->ref > reached->ref)
		violation("the block at %#llx is reached, but not live",
			  (unsigned long long)reached->ref);
	if (live->size != reached->size || live->tag != reached->tag)
		violation("the block at %#llx has %llu bytes and tag %u, not %llu and %u",
			  (unsigned long long)live->ref, (unsigned long long)live->size,
			  live->tag, (unsigned long long)reached->size, reached->tag);
}

/* Takes the live blocks, in order, one by one from those that are reached. */
static void take_live(const struct daxheap_block *live, const struct found *found,
		      unsigned *next)
{
	if (*next == found->count)
		wrongly_live(live);
	must_equal(live, &found->blocks[(*next)++]);
}

static void all_taken(const struct found *found, unsigned next)
{
	if (next < found->count)
		violation("the block at %#llx is reached, but not live",
			  (unsigned long long)found->blocks[next].ref);
}

static void walk_span(const char *chunk, uint64_t chunk_at, unsigned unit,
		      const struct found *found, unsigned *next)
{
	const struct dh_span_record *record = (const struct dh_span_record *)chunk + unit;
	uint64_t descriptor = record->descriptor, first = 0;
	unsigned class = descriptor >> 8 & 0xff, count;

	if ((descriptor & 0xf) != DH_SPAN_HEAD || class >= DH_CLASSES)
		return;
	count = dh_span_blocks(class, unit, &first);
	for (unsigned i = 0; i < (count + DH_WORD_BITS - 1) / DH_WORD_BITS; i++)
		for (uint64_t bits = dh_word_payload(record->bitmap[i]); bits; bits &= bits - 1) {
			unsigned index = i * DH_WORD_BITS + (unsigned)__builtin_ctzll(bits);
			struct daxheap_block live = {
				.ref = chunk_at + first + index * dh_class_size(class),
				.size = dh_class_size(class),
				.tag = descriptor >> 24 & 0xffff,
			};

			take_live(&live, found, next);
		}
}

void forest_walk_live(const char *base, struct found *found)
{
	const uint64_t *table = (const uint64_t *)(base + DH_TABLE_OFFSET);
	unsigned next = 0;

	qsort(found->blocks, found->count, sizeof(found->blocks[0]), by_ref);
	for (uint64_t chunk = 1; chunk < POOL_SIZE / DH_CHUNK_SIZE; chunk++) {
		uint64_t word = dh_word_payload(table[chunk]), at = chunk * DH_CHUNK_SIZE;
		struct daxheap_block live = {
			.ref = at,
			.size = (word >> 8 & 0xffffff) * DH_CHUNK_SIZE,
			.tag = word >> 32 & 0xffff,
		};

		if ((word & 0xf) == DH_CHUNK_HUGE_HEAD && word & 0x10)
			take_live(&live, found, &next);
		for (unsigned unit = 0; (word & 0xf) == DH_CHUNK_SPANS &&
					unit < DH_UNITS_PER_CHUNK; unit++)
			walk_span(base + at, at, unit, found, &next);
	}
	all_taken(found, next);
}

void forest_check_live(struct daxheap *heap, struct found *found)
{
	struct daxheap_block live = {0};
	unsigned next = 0;
	int more;

	qsort(found->blocks, found->count, sizeof(found->blocks[0]), by_ref);
	while ((more = daxheap_next(heap, &live)) > 0)
		take_live(&live, found, &next);
	if (more < 0)
		violation("the live blocks can't be told: %s", daxheap_errormsg());
	all_taken(found, next);
}

/* --- comparing --- */

static bool slot_matches(const struct model *model, const struct world *world,
			 const struct found *found, unsigned slot)
{
	const struct block *block = &model->blocks[world->slot[slot]];

	if (!world->slot[slot])
		return !found->id[slot];
	return found->id[slot] == block->id && found->usable[slot] >= block->size;
}

bool forest_matches(const struct model *model, const struct world *world, const void *arg)
{
	const struct found *found = arg;

	for (unsigned i = 0; i < SLOTS; i++)
		if (!slot_matches(model, world, found, i))
			return false;
	for (unsigned i = 0; i < WORDS; i++)
		if (found->word[i] != world->word[i])
			return false;
	return true;
}

void forest_differences(const struct model *model, const struct world *world,
			const struct found *found, char *text, size_t size)
{
	size_t used = 0;

	text[0] = 0;
	for (unsigned i = 0; i < SLOTS && used < size; i++) {
		const struct block *block = &model->blocks[world->slot[i]];

		if (slot_matches(model, world, found, i))
			continue;
		used += (size_t)snprintf(text + used, size - used,
					 " slot %u holds block %u and should hold %u;", i,
					 found->id[i], world->slot[i] ? block->id : 0);
	}
	for (unsigned i = 0; i < WORDS && used < size; i++)
		if (found->word[i] != world->word[i])
			used += (size_t)snprintf(text + used, size - used,
						 " word %u is %llu and should be %u;", i,
						 (unsigned long long)found->word[i],
						 world->word[i]);
}
