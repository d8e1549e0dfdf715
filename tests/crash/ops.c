/* SPDX-License-Identifier: BSD-3-Clause */
#include "random.h"
#include "stock.h"
#include "work.h"

bool ops_large;
bool ops_policy;
unsigned ops_races = 4;

enum op_kind ops_random_kind(uint64_t *random)
{
	static const enum op_kind kinds[] = {
		OP_SLOT, OP_SLOT, OP_SLOT, OP_SLOT, OP_SLOT, OP_SLOT, OP_SLOT, OP_SLOT,
		OP_SLOT, OP_SLOT, OP_REALLOC, OP_SET, OP_ACTION, OP_ACTION, OP_FAMILY, OP_RAZE,
		OP_STOCK, OP_TRIM,
	};

	return kinds[random_below(random, sizeof(kinds) / sizeof(kinds[0]))];
}

static void release(struct work *work)
{
	for (unsigned i = 0; i < work->op.count; i++)
		claim(&work->life->claims, &work->op.changes[i], -1u);
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
		stock_change(life, random);
		return;
	}
	if (kind == OP_TRIM && random % 4 == 0)
		stock_touch_chunks(life, random / 128);
	else
		run(&work, kind == OP_TRIM ? OP_SLOT : kind);
	if (kind == OP_TRIM && random / 8 % 4)
		stock_trim(life, random / 32);
}
