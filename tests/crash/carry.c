/* SPDX-License-Identifier: BSD-3-Clause */
/* An operation is done, between model_begin() and model_end(), and what it left is compared. */
#include <stdio.h>

#include "forest.h"
#include "work.h"

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

void carry_out(struct work *work)
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
