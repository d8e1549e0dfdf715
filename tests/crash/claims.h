/* SPDX-License-Identifier: BSD-3-Clause */
/* What threads of a life are about to do to a slot, so that the program keeps its own rules. */
#ifndef CRASH_CLAIMS_H
#define CRASH_CLAIMS_H

#include "model.h"

struct claims {
	unsigned uses[TOPS];		/* of what lies in the node */
	unsigned emptying[TOPS];	/* the node goes or moves */
	unsigned ops[SLOTS];
	bool exclusive[SLOTS];
	unsigned words[WORDS];
};

bool may_claim(const struct claims *claims, enum change_kind kind, unsigned slot);
/* @by is 1, or -1u when the change is done. */
void claim(struct claims *claims, const struct change *change, unsigned by);

#endif
