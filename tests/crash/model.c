/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>

#include "model.h"
#include "random.h"
#include "report.h"

static bool has_children(const struct world *world, unsigned top)
{
	for (unsigned i = 0; i < CHILDREN; i++)
		if (world->slot[child_of(top, i)])
			return true;
	return false;
}

static bool apply_to_slot(struct world *world, const struct change *change)
{
	uint16_t *slot = &world->slot[change->slot];

	if (!is_top(change->slot) && !world->slot[top_of(change->slot)])
		return false;
	if ((change->kind == PUBLISH) != !*slot)
		return false;
	if (is_top(change->slot) && change->kind != REALLOC) {
		if (has_children(world, change->slot))
			return false;
		world->word[change->slot] = 0;
	}
	*slot = change->kind == FREE ? 0 : change->block;
	return true;
}

static bool apply(struct world *world, const struct op *op)
{
	for (unsigned i = 0; i < op->count; i++) {
		const struct change *change = &op->changes[i];

		if (change->kind != SET) {
			if (!apply_to_slot(world, change))
				return false;
		} else if (change->slot < TOPS && !world->slot[change->slot]) {
			return false;
		} else {
			world->word[change->slot] = change->value;
		}
	}
	return true;
}

static bool add_world(struct world *worlds, unsigned *count, const struct world *world)
{
	for (unsigned i = 0; i < *count; i++)
		if (!memcmp(&worlds[i], world, sizeof(*world)))
			return false;
	if (*count == WORLDS_MAX)
		broken("too many worlds");
	worlds[(*count)++] = *world;
	return true;
}

static uint64_t hash_of(const struct world *world)
{
	uint64_t hash = 0;

	for (unsigned i = 0; i < SLOTS; i++)
		hash = mix_two(hash, world->slot[i]);
	for (unsigned i = 0; i < WORDS; i++)
		hash = mix_two(hash, world->word[i]);
	return hash;
}

/* Lets each operation in flight happen in each world in which it can. */
static void find_possible(struct model *model)
{
	model->possible_count = model->world_count;
	memcpy(model->possible, model->worlds, model->world_count * sizeof(model->worlds[0]));
	model->hash = 0;
	for (unsigned i = 0; i < model->possible_count; i++) {
		for (unsigned actor = 0; actor < ACTORS; actor++) {
			struct op *op = model->flying[actor];
			struct world after = model->possible[i];

			if (!op || after.done & 1u << actor)
				continue;
			if (!apply(&after, op)) {
				op->may_fail = true;
				continue;
			}
			after.done |= 1u << actor;
			add_world(model->possible, &model->possible_count, &after);
		}
		model->hash ^= mix_two(hash_of(&model->possible[i]), model->possible[i].done);
	}
}

void model_init(struct model *model)
{
	memset(model, 0, sizeof(*model));
	model->block_count = 1;
	model->world_count = 1;
	find_possible(model);
}

uint16_t model_new_block(struct model *model, uint32_t size)
{
	if (model->block_count == BLOCKS_MAX)
		return 0;
	model->ids++;
	model->valid[model->ids] = size;
	model->first_size[model->ids] = size;
	model->blocks[model->block_count] = (struct block){.id = model->ids, .size = size};
	return (uint16_t)model->block_count++;
}

uint16_t model_resized(struct model *model, uint16_t block, uint32_t size)
{
	uint32_t id = model->blocks[block].id;

	if (model->block_count == BLOCKS_MAX)
		return 0;
	if (size < model->valid[id])
		model->valid[id] = size;
	model->blocks[model->block_count] = (struct block){.id = id, .size = size};
	return (uint16_t)model->block_count++;
}

void model_begin(struct model *model, unsigned actor, struct op *op)
{
	op->may_fail = false;
	model->flying[actor] = op;
	find_possible(model);
}

void model_end(struct model *model, unsigned actor, int err)
{
	const struct op *op = model->flying[actor];
	struct world kept[WORLDS_MAX];
	unsigned count = 0;

	if (err && !op->may_fail && err != -ENOMEM && err != -ENOSPC)
		violation("an operation failed that could be done: %d, %s", err,
			  daxheap_errormsg());
	for (unsigned i = 0; i < model->possible_count; i++) {
		struct world world = model->possible[i];

		if (!(world.done & 1u << actor) != !!err)
			continue;
		world.done &= ~(1u << actor);
		add_world(kept, &count, &world);
	}
	if (!count)
		violation("an operation returned %d, which can't be: %s", err,
			  err ? daxheap_errormsg() : "it was not possible");
	memcpy(model->worlds, kept, count * sizeof(kept[0]));
	model->world_count = count;
	model->flying[actor] = NULL;
	find_possible(model);
}

void model_crash(struct model *model, const struct model *before)
{
	unsigned count = 0;

	*model = *before;
	for (unsigned i = 0; i < before->possible_count; i++) {
		struct world world = before->possible[i];

		world.done = 0;
		add_world(model->worlds, &count, &world);
	}
	model->world_count = count;
	memset(model->flying, 0, sizeof(model->flying));
	find_possible(model);
}

bool model_keep(struct model *model, bool (*so)(const struct model *model,
						const struct world *world, const void *arg),
		const void *arg)
{
	struct world kept[WORLDS_MAX];
	unsigned count = 0;

	for (unsigned i = 0; i < model->world_count; i++)
		if (so(model, &model->worlds[i], arg))
			kept[count++] = model->worlds[i];
	if (!count)
		return false;
	if (count < model->world_count) {
		memcpy(model->worlds, kept, count * sizeof(kept[0]));
		model->world_count = count;
		find_possible(model);
	}
	return true;
}
