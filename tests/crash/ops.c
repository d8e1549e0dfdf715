/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daxheap.h"
#include "forest.h"
#include "ops.h"
#include "random.h"
#include "report.h"

#define TRIES 20

bool ops_large;
bool ops_policy;
unsigned ops_races = 4;

/* An operation while it is under way. */
struct work {
	struct life *life;
	unsigned actor;
	uint64_t random;
	struct op op;
	uint16_t tops;			/* that it changes something of */
	bool huge;			/* of OP_SLOT: a block of whole chunks comes or goes */
};

#define HUGE (2u << 20)

static __thread struct work *working;

enum op_kind ops_random_kind(uint64_t *random)
{
	static const enum op_kind kinds[] = {
		OP_SLOT, OP_SLOT, OP_SLOT, OP_SLOT, OP_SLOT, OP_SLOT, OP_SLOT, OP_SLOT,
		OP_SLOT, OP_SLOT, OP_REALLOC, OP_SET, OP_ACTION, OP_ACTION, OP_FAMILY, OP_RAZE,
		OP_STOCK, OP_TRIM,
	};

	return kinds[random_below(random, sizeof(kinds) / sizeof(kinds[0]))];
}

/* --- claims --- */

static bool may_use(const struct claims *claims, unsigned top)
{
	return !claims->emptying[top];
}

static bool may_claim(const struct claims *claims, enum change_kind kind, unsigned slot)
{
	if (kind == SET)
		return slot >= TOPS || may_use(claims, slot);
	if (!is_top(slot) && !may_use(claims, top_of(slot)))
		return false;
	if (claims->exclusive[slot] || (kind == REALLOC && claims->ops[slot]))
		return false;
	return kind == PUBLISH || !is_top(slot) || !claims->uses[slot];
}

static void claim(struct claims *claims, const struct change *change, unsigned by)
{
	unsigned slot = change->slot;

	if (change->kind == SET) {
		claims->words[slot] += by;
		if (slot < TOPS)
			claims->uses[slot] += by;
		return;
	}
	claims->ops[slot] += by;
	if (change->kind == REALLOC)
		claims->exclusive[slot] = by == 1;
	if (!is_top(slot))
		claims->uses[top_of(slot)] += by;
	else if (change->kind != PUBLISH)
		claims->emptying[slot] += by;
}

static void release(struct work *work)
{
	for (unsigned i = 0; i < work->op.count; i++)
		claim(&work->life->claims, &work->op.changes[i], -1u);
}

/* --- planning --- */

static uint64_t held(const struct life *life, unsigned slot)
{
	const daxheap_ref *at = forest_slot(life->base, slot);

	return at ? *at : 0;
}

static bool has_children(const struct life *life, unsigned top)
{
	for (unsigned i = 0; i < CHILDREN; i++)
		if (held(life, child_of(top, i)))
			return true;
	return false;
}

/* A new block for the slot; its id tells whether it is a node, so ids are passed over. */
static uint16_t new_block(struct work *work, unsigned slot)
{
	struct model *model = &work->life->model;

	while (forest_is_node(model->ids + 1) != is_top(slot) && model->ids + 2 < BLOCKS_MAX)
		model->ids++;
	if (model->ids + 2 >= BLOCKS_MAX)
		return 0;
	return model_new_block(model, work->huge ? HUGE :
						   forest_size(model, random_next(&work->random),
							       is_top(slot), ops_large));
}

static bool add_change(struct work *work, enum change_kind kind, unsigned slot)
{
	struct op *op = &work->op;
	struct change *change = &op->changes[op->count];

	if (op->count == CHANGES_MAX)
		return false;
	*change = (struct change){.kind = kind, .slot = slot};
	if (kind == PUBLISH || kind == REPLACE) {
		change->block = new_block(work, slot);
		if (!change->block)
			return false;
	}
	if (kind == SET)
		change->value = ++work->life->sets;
	claim(&work->life->claims, change, 1);
	op->count++;
	return true;
}

static unsigned random_slot(struct work *work)
{
	const struct model *model = &work->life->model;
	const struct op *other = model->flying[random_below(&work->random, ACTORS)];

	if (other && other->count && random_below(&work->random, 16) < ops_races) {
		const struct change *change =
			&other->changes[random_below(&work->random, other->count)];

		if (change->kind != SET)
			return change->slot;
	}
	return random_below(&work->random, SLOTS);
}

/* Marks the top as changed; false if it was. */
static bool take_top(struct work *work, unsigned slot)
{
	unsigned bit = 1u << (is_top(slot) ? slot : top_of(slot));

	if (work->tops & bit)
		return false;
	work->tops |= (uint16_t)bit;
	return true;
}

static bool plan_slot(struct work *work)
{
	const struct life *life = work->life;
	unsigned slot = random_slot(work);
	enum change_kind kind;

	if (!is_top(slot) && !held(life, top_of(slot)))
		slot = top_of(slot);
	if (work->huge && held(life, slot) && held(life, slot) % HUGE)
		return false;
	if (!held(life, slot))
		kind = PUBLISH;
	else
		kind = random_one_in(&work->random, 2) ? FREE : REPLACE;
	if (kind != PUBLISH && is_top(slot) && has_children(life, slot))
		return false;
	if (!may_claim(&life->claims, kind, slot) || !take_top(work, slot))
		return false;
	return add_change(work, kind, slot);
}

static bool plan_realloc(struct work *work)
{
	static const uint32_t sizes[] = {32, 40, 64, 100, 128, 400, 1000};
	struct life *life = work->life;
	unsigned slot = random_slot(work);
	struct change *change = &work->op.changes[0];
	const struct world *world = &life->model.worlds[0];

	if (!held(life, slot) || !may_claim(&life->claims, REALLOC, slot))
		return false;
	/* Of a slot that nobody is at work on, the worlds say the same. */
	if (!world->slot[slot] || life->model.blocks[world->slot[slot]].size > 1024)
		return false;
	if (!add_change(work, REALLOC, slot))
		return false;
	change->value = sizes[random_below(&work->random, sizeof(sizes) / sizeof(sizes[0]))];
	change->block = model_resized(&life->model, world->slot[slot], change->value);
	return change->block;
}

static bool plan_set(struct work *work)
{
	unsigned word = random_below(&work->random, WORDS);

	work->op.action = true;
	if (word < TOPS && (!held(work->life, word) || !take_top(work, word)))
		return false;
	if (word >= TOPS) {
		if (work->tops & 1u << word)
			return false;
		work->tops |= (uint16_t)(1u << word);
	}
	return may_claim(&work->life->claims, SET, word) && add_change(work, SET, word);
}

static bool plan_action(struct work *work)
{
	unsigned wanted = 1 + random_below(&work->random, random_one_in(&work->random, 2) ? 2 : 7);

	work->op.action = true;
	for (int i = 0; i < TRIES && work->op.count < wanted; i++)
		if (random_one_in(&work->random, 4))
			plan_set(work);
		else
			plan_slot(work);
	return work->op.count;
}

static bool plan_family(struct work *work)
{
	unsigned top = random_below(&work->random, TOPS);
	const struct life *life = work->life;
	enum change_kind kind = held(life, top) ? REPLACE : PUBLISH;

	work->op.action = true;
	/* Who else is at work on the top slot could free the node, and not the children. */
	if (has_children(life, top) || life->claims.ops[top] ||
	    !may_claim(&life->claims, kind, top) || !add_change(work, kind, top))
		return false;
	for (unsigned i = 0; i < CHILDREN; i++)
		if (!random_one_in(&work->random, 3) && !life->claims.ops[child_of(top, i)])
			add_change(work, PUBLISH, child_of(top, i));
	if (random_one_in(&work->random, 2))
		add_change(work, SET, top);
	return true;
}

static bool plan_raze(struct work *work)
{
	unsigned top = random_below(&work->random, TOPS);
	const struct life *life = work->life;

	work->op.action = true;
	for (unsigned i = 0; i < CHILDREN; i++)
		if (held(life, child_of(top, i)) &&
		    may_claim(&life->claims, FREE, child_of(top, i)))
			add_change(work, FREE, child_of(top, i));
	return work->op.count;
}

static bool plan(struct work *work, enum op_kind kind)
{
	switch (kind) {
	case OP_SLOT:
		return plan_slot(work);
	case OP_REALLOC:
		return plan_realloc(work);
	case OP_SET:
		return plan_set(work);
	case OP_ACTION:
		return plan_action(work);
	case OP_FAMILY:
		return plan_family(work);
	case OP_RAZE:
		return plan_raze(work);
	default:
		return false;
	}
}

/* --- preparing --- */

static void must(int err, const char *what)
{
	if (err)
		violation("%s: %d, %s", what, err, daxheap_errormsg());
}

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

static void cancel_blocks(struct work *work)
{
	for (unsigned i = 0; i < work->op.count; i++)
		if (work->op.changes[i].memory)
			must(daxheap_cancel(work->life->heap, work->op.changes[i].memory),
			     "cancel");
}

static bool prepare_blocks(struct work *work)
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

static void make_roots(struct work *work)
{
	daxheap_ref *slot;

	for (unsigned i = 0; i < work->op.count; i++) {
		unsigned top = work->op.changes[i].slot;

		if (work->op.changes[i].kind != SET && is_top(top) && top >= TABLE_TOPS)
			must(daxheap_root(work->life->heap, forest_root_name(top), &slot),
			     "root");
	}
}

static bool find_places(struct work *work)
{
	for (unsigned i = 0; i < work->op.count; i++) {
		work->op.changes[i].at = find_place(work, &work->op.changes[i]);
		if (!work->op.changes[i].at)
			return false;
	}
	return true;
}

/* --- doing --- */

static int add_to_action(struct daxheap_action *action, const struct change *change)
{
	switch (change->kind) {
	case PUBLISH:
		return daxheap_action_publish(action, change->at, change->memory);
	case FREE:
		return daxheap_action_free(action, change->at);
	case REPLACE:
		return daxheap_action_replace(action, change->at, change->memory);
	default:
		return daxheap_action_set(action, change->at, change->value);
	}
}

static int do_action(struct work *work)
{
	struct daxheap_action *action;
	int err;

	must(daxheap_action_new(work->life->heap, &action), "action");
	for (unsigned i = 0; i < work->op.count; i++)
		must(add_to_action(action, &work->op.changes[i]), "action");
	err = daxheap_action_commit(action);
	daxheap_action_delete(action);
	return err;
}

static int do_one(struct work *work)
{
	const struct change *change = &work->op.changes[0];
	struct daxheap *heap = work->life->heap;

	switch (change->kind) {
	case PUBLISH:
		return daxheap_publish(heap, change->at, change->memory);
	case FREE:
		return daxheap_free(heap, change->at);
	case REPLACE:
		return daxheap_replace(heap, change->at, change->memory);
	default:
		return daxheap_realloc(heap, change->at, change->value);
	}
}

/* What a slot or word holds that nobody else is at work on. */
struct settled {
	const struct change *change;
	uint64_t holds;			/* id, or value */
};

static bool is_settled_so(const struct model *model, const struct world *world, const void *arg)
{
	const struct settled *settled = arg;
	unsigned slot = settled->change->slot;

	if (settled->change->kind == SET)
		return world->word[slot] == settled->holds;
	return model->blocks[world->slot[slot]].id == settled->holds;
}

static uint64_t id_in(const struct life *life, const daxheap_ref *at)
{
	return *at ? *(const uint64_t *)(life->base + *at) & UINT32_MAX : 0;
}

/*
 * Of two operations on one slot the heap alone knows which was the last; when both have
 * returned, the slot tells.
 */
static void settle(struct work *work)
{
	struct life *life = work->life;

	for (unsigned i = 0; i < work->op.count; i++) {
		const struct change *change = &work->op.changes[i];
		struct settled settled = {.change = change};
		bool is_word = change->kind == SET;
		unsigned slot = change->slot;
		const uint64_t *at = is_word ? forest_word(life->base, slot) :
					       forest_slot(life->base, slot);

		if (!at || (is_word ? life->claims.words[slot] : life->claims.ops[slot]) > 1)
			continue;
		if (is_word && slot < TOPS && life->claims.ops[slot])
			continue;
		settled.holds = is_word ? *at : id_in(life, at);
		if (!model_keep(&life->model, is_settled_so, &settled))
			violation("%s %u holds %llu after the operation", is_word ? "word" : "slot",
				  slot, (unsigned long long)settled.holds);
	}
}

static void tell(const struct work *work, const char *what, int err)
{
	static const char *const kinds[] = {"publish", "free", "replace", "realloc", "set"};

	if (telling < TELL_OPERATIONS || work->life->level)
		return;
	printf("#   thread %u %s%s", work->actor, what,
	    work->op.action ? " action" : "");
	for (unsigned i = 0; i < work->op.count; i++) {
		const struct change *change = &work->op.changes[i];
		const struct block *block = &work->life->model.blocks[change->block];

		printf("%s %s %s %u", i ? "," : "", kinds[change->kind],
		    change->kind == SET ? "word" : "slot", change->slot);
		if (change->kind == SET)
			printf(" := %u", change->value);
		else if (change->block)
			printf(" := block %u (%u bytes)", block->id, block->size);
		if (change->memory)
			printf(" at %#llx", (unsigned long long)((const char *)change->memory -
							     work->life->base));
	}
	if (err)
		printf(": error %d", err);
	printf("\n");
}

static void carry_out(struct work *work)
{
	struct life *life = work->life;
	int err;

	tell(work, "begins", 0);
	model_begin(&life->model, work->actor, &work->op);
	err = work->op.action ? do_action(work) : do_one(work);
	tell(work, "ends  ", err);
	model_end(&life->model, work->actor, err);
	if (err)
		cancel_blocks(work);
	settle(work);
	atomic_fetch_add(&totals->operations, 1);
}

static void change_stock(struct life *life, uint64_t random)
{
	void **place = &life->stock[random % STOCK], *memory = *place;

	*place = NULL;
	if (memory) {
		must(daxheap_cancel(life->heap, memory), "cancel");
		return;
	}
	if (daxheap_alloc(life->heap, 64, &memory))
		return;
	if (*place)
		must(daxheap_cancel(life->heap, memory), "cancel");
	else
		*place = memory;
}

/* Reservations that leave chunks formatted, and free again. */
static void touch_chunks(struct life *life, uint64_t random)
{
	static const size_t sizes[] = {1 << 20, 1 << 20, 1 << 20, 2 * HUGE};
	size_t size = sizes[random % 4];
	unsigned count = 0;
	void *memory[2];

	while (count < 2 && !daxheap_alloc(life->heap, size, &memory[count]))
		count++;
	while (count--)
		must(daxheap_cancel(life->heap, memory[count]), "cancel");
}

static void trim(struct life *life, uint64_t random)
{
	must(daxheap_trim(life->heap, random % 3 * HUGE, OPS_TRIM_LIMIT_MS, NULL), "trim");
}

static void run(struct work *work, enum op_kind kind)
{
	struct life *life = work->life;
	bool planned = false;

	for (int i = 0; i < TRIES && !planned; i++) {
		release(work);
		work->op.count = 0;
		work->tops = 0;
		planned = plan(work, kind);
	}
	if (planned && prepare_blocks(work)) {
		make_roots(work);
		if (find_places(work))
			carry_out(work);
		else
			cancel_blocks(work);
	} else {
		cancel_blocks(work);
	}
	release(work);
	life_crash(life);
}

void ops_run(struct life *life, unsigned actor, enum op_kind kind, uint64_t random)
{
	struct work work = {.life = life, .actor = actor, .random = random,
			    .huge = kind == OP_TRIM};

	if (kind == OP_STOCK) {
		change_stock(life, random);
		return;
	}
	if (kind == OP_TRIM && random % 4 == 0)
		touch_chunks(life, random / 128);
	else
		run(&work, kind == OP_TRIM ? OP_SLOT : kind);
	if (kind == OP_TRIM && random / 8 % 4)
		trim(life, random / 32);
}

void ops_fill_pool(struct daxheap *heap, uint64_t random)
{
	static const size_t sizes[] = {2 << 20, 1 << 20, 256 << 10, 64 << 10};
	unsigned keep = 2 + (unsigned)(random % 6);
	void *kept[8], *block;

	/* So much stays free, in units. */
	for (unsigned i = 0; i < keep; i++)
		if (daxheap_alloc(heap, 64 << 10, &kept[i]))
			keep = i;
	for (unsigned i = 0; i < 4; i++)
		while (!daxheap_alloc(heap, sizes[i], &block))
			;
	for (unsigned i = 0; i < keep; i++)
		must(daxheap_cancel(heap, kept[i]), "cancel");
}
