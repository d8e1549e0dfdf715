/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stage: threads of which exactly one runs at a time, the one that has the baton.  It
 * changes hands at stores, flushes and fences, and when a thread would wait for another.  All
 * of it follows from the seed, so a case can be repeated.
 */
#ifndef CRASH_STAGE_H
#define CRASH_STAGE_H

#include "life.h"
#include "ops.h"

#define STEPS_MAX 512u

/* What a thread does next. */
struct step {
	enum op_kind kind;
	unsigned actor;
	uint64_t random;
	bool dropped;			/* by shrinking: as if it were not there */
	bool still;			/* the baton stays while it is under way */
	unsigned crash_at;		/* the pool crashes at this event of it; 0: it does not */
};

struct play {
	unsigned actors;
	unsigned step_count;
	struct step steps[STEPS_MAX];
	unsigned switch_each;		/* the baton goes at one in so many events */
	unsigned stall_each;		/* and one in so many times for long */
	unsigned warm;			/* so many steps without images, at first */
	bool crash_growing;		/* the pool crashes as its file grows */
	unsigned tried_each;		/* of the others one in so many has images */
	const struct effort *effort;
};

/*
 * Plays in the life of level 0 until all steps are done, or until a crash (true): then all
 * threads stop for ever where they are, and the next call goes on behind the steps begun.
 */
bool stage_play(struct life *life, const struct play *play);
/* The step that was begun last. */
unsigned stage_step(void);

#endif
