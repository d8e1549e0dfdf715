/* SPDX-License-Identifier: BSD-3-Clause */
#include "claims.h"

static bool may_use(const struct claims *claims, unsigned top)
{
	return !claims->emptying[top];
}

bool may_claim(const struct claims *claims, enum change_kind kind, unsigned slot)
{
	if (kind == SET)
		return slot >= TOPS || may_use(claims, slot);
	if (!is_top(slot) && !may_use(claims, top_of(slot)))
		return false;
	if (claims->exclusive[slot] || (kind == REALLOC && claims->ops[slot]))
		return false;
	return kind == PUBLISH || !is_top(slot) || !claims->uses[slot];
}

void claim(struct claims *claims, const struct change *change, unsigned by)
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
