/* SPDX-License-Identifier: BSD-3-Clause */
/* What an operation changes: random slots and words, of those that may be claimed. */
#include "forest.h"
#include "random.h"
#include "work.h"

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

bool plan(struct work *work, enum op_kind kind)
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
