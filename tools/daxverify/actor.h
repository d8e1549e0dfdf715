/* SPDX-License-Identifier: BSD-3-Clause */
/* A process that makes one call which may hang, and where it is meanwhile. */
#ifndef DAXVERIFY_ACTOR_H
#define DAXVERIFY_ACTOR_H

#include "daxverify.h"

#include "action.h"

/* watch.c: where a task is */
struct dv_sight {
	char state;	/* as in /proc/PID/stat, 0 when gone */
	char where[64]; /* kernel function that it sleeps in, "" when not to be had */
	bool in_layout; /* that function waits for a DAX page */
	bool worker;	/* it is a thread that works for the task: of io_uring */
	int cpu_ms;	/* used so far */
};
void dv_look(pid_t pid, struct dv_sight *s);
void dv_look_dying(pid_t pid, bool late, struct dv_sight *s);

/* actor.c */
enum dv_seen { DV_SEEN_DONE, DV_SEEN_ASLEEP, DV_SEEN_ELSEWHERE, DV_SEEN_SPINNING };
enum dv_handler { DV_HANDLER_NONE, DV_HANDLER_PLAIN, DV_HANDLER_RESTART };
struct dv_actor {
	pid_t pid;
	struct dv_actor_shm *shm;
	struct dv_sight sight;
	const struct dv_action *action;
};
int dv_actor_start(struct dv_ctx *c, struct dv_actor *a, const struct dv_action *action,
		   const char *path, enum dv_handler handler);
enum dv_seen dv_actor_watch(struct dv_actor *a);
int dv_actor_wait(struct dv_actor *a, int asleep_ms, int limit_ms);
int dv_actor_kill(struct dv_actor *a, int asleep_ms);
/*
 * Asleep and uninterruptible in one place, again and again and for asleep_ms: behind
 * somebody's lock. False when the call has ended, or does neither in a long time.
 */
bool dv_actor_queues(struct dv_actor *a, int asleep_ms);

#define DV_WAKE_MS   2500  /* asleep this long after the release: it was not woken */
#define DV_QUEUED_MS 250   /* asleep this long in one place: behind a lock */
#define DV_LIMIT_MS  20000 /* the end of patience with a call that is busy */

#endif
