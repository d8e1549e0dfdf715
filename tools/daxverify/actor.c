/* SPDX-License-Identifier: BSD-3-Clause */
/* The actor: a process that makes the one call which may hang, and who watches it. */
#include "daxverify.h"

#include "action.h"
#include "actor.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define POLL_MS	     4
#define HELD_MS	     250 /* asleep in a layout wait this long: it waits */
#define HELD_SAMPLES 5
#define BLIND_MS     2000 /* the same where the kernel does not say where it sleeps */
#define SPIN_MS	     2000 /* of CPU time, by a call that has a few pages to handle */
#define ASTRAY_MS    15000 /* asleep, but somewhere else: for the journal of a slow disk, say */

static struct dv_actor_shm *self;

static void on_signal(int sig)
{
	(void)sig;
	self->signals++;
}

static int catch_signal(enum dv_handler handler)
{
	struct sigaction sa = {.sa_handler = on_signal};

	if (handler == DV_HANDLER_NONE)
		return 0;
	sa.sa_flags = handler == DV_HANDLER_RESTART ? SA_RESTART : 0;
	return sigaction(SIGUSR1, &sa, NULL) ? -errno : 0;
}

static void actor_main(struct dv_target *t, enum dv_handler handler)
{
	self->ret = catch_signal(handler);
	self->start_ns = dv_now_ns();
	self->started = 1;
	if (self->ret == 0)
		self->ret = dv_action_do(t);
	self->err = self->ret < 0 ? errno : 0;
	self->end_ns = dv_now_ns();
	self->done = 1;
	_exit(0);
}

/*
 * The ends of what holds pages are not for this process: should all others be killed, an
 * end that is left here would keep a page for which this very process waits.
 */
static void let_go(const struct dv_ctx *c)
{
	const struct dv_grip *g = c->grip;
	const int ends[] = {c->pipe_r, c->pipe_w, c->tee_r,	 c->tee_w,
			    g->in,     g->out,	  g->second_in, g->second_out};
	unsigned i;

	for (i = 0; i < DV_COUNT(ends); i++)
		close(ends[i]); /* some are the same, or -1 */
}

/* What the action needs is opened and mapped before it is said to have started. */
int dv_actor_start(struct dv_ctx *c, struct dv_actor *a, const struct dv_action *action,
		   const char *path, enum dv_handler handler)
{
	struct dv_target t = {.action = action, .fd = -1, .other_fd = -1};
	unsigned slot = c->shm->nactors;

	if (slot == DV_ACTORS_MAX)
		return -ENOSPC;
	c->shm->nactors = slot + 1;
	memset(a, 0, sizeof(*a));
	a->action = action;
	a->shm = &c->shm->actors[slot];
	snprintf(t.path, sizeof(t.path), "%s", path);
	t.signals = &a->shm->signals;
	t.facts = &c->env->facts;
	t.driver = &c->shm->driver;
	t.linger = dv_sabotaged(c, DV_SAB_LINGER);
	a->pid = dv_child_fork();
	if (a->pid < 0)
		return -errno;
	if (a->pid)
		return 0;
	self = a->shm;
	if (c->env->observer)
		dv_observer_forget(c->env->observer, getpid());
	let_go(c);
	self->ret = dv_action_prepare(&t);
	if (self->ret < 0) {
		self->err = errno;
		self->done = 1;
		_exit(1);
	}
	actor_main(&t, handler);
	return 0; /* not reached */
}

/* Which of the three ways to be asleep this is, and how long it has to last to count. */
enum asleep { AWAKE, IN_LAYOUT, BLIND, ASTRAY };

/* Has the process ended, and as an action that does not come back has to? It stays there
 * for who waits for it. */
static bool is_gone(const struct dv_actor *a, bool *as_meant)
{
	siginfo_t info = {0};

	if (waitid(P_PID, (id_t)a->pid, &info, WEXITED | WNOHANG | WNOWAIT) || !info.si_pid)
		return false;
	*as_meant = a->action->kind == DV_ACT_KILLED
			    ? info.si_code == CLD_KILLED && info.si_status == SIGKILL
			    : a->action->kind == DV_ACT_EXIT &&
				      info.si_code == CLD_EXITED && info.si_status == 0;
	return true;
}

/*
 * An action that does not come back is over when its process is. A process that has gone
 * in the middle of another one has not done it.
 */
static bool is_over(struct dv_actor *a)
{
	bool as_meant = false, late;

	if (a->shm->done)
		return true;
	if (dv_action_exits(a->action->kind)) {
		late = a->shm->started &&
		       dv_now_ns() - a->shm->start_ns > BLIND_MS * INT64_C(1000000);
		dv_look_dying(a->pid, late, &a->sight);
	} else {
		dv_look(a->pid, &a->sight);
	}
	if (!is_gone(a, &as_meant))
		return false;
	if (a->shm->done) /* just before it went */
		return true;
	if (as_meant) {
		a->shm->ret = 0;
	} else if (!a->shm->err) {
		a->shm->ret = -1;
		a->shm->err = ESRCH;
	}
	a->shm->end_ns = dv_now_ns();
	a->shm->done = 1;
	return true;
}

static enum asleep asleep_how(const struct dv_sight *s)
{
	if (s->state != 'S' && s->state != 'D')
		return AWAKE;
	if (s->in_layout)
		return IN_LAYOUT;
	return s->where[0] ? ASTRAY : BLIND;
}

/*
 * Watch until the call has ended or is seen to wait. Nothing is concluded from time
 * alone: the actor must be seen asleep again and again in the same way. A task that was
 * woken is in state R, however slow the machine.
 */
enum dv_seen dv_actor_watch(struct dv_actor *a)
{
	static const int lasts_ms[] = {
		[IN_LAYOUT] = HELD_MS, [BLIND] = BLIND_MS, [ASTRAY] = ASTRAY_MS};
	enum asleep now, before = AWAKE;
	int64_t since = dv_now_ns(), begin = since;
	unsigned samples = 0;

	for (;;) {
		if (is_over(a))
			return DV_SEEN_DONE;
		if (dv_action_has_pair(a->action->kind) && a->sight.cpu_ms > SPIN_MS)
			return DV_SEEN_SPINNING;
		now = a->shm->started ? asleep_how(&a->sight) : AWAKE;
		if (now != before || now == AWAKE) {
			before = now;
			since = dv_now_ns();
			samples = 0;
		} else if (++samples >= HELD_SAMPLES &&
			   dv_now_ns() - since >= lasts_ms[now] * INT64_C(1000000)) {
			return now == ASTRAY ? DV_SEEN_ELSEWHERE : DV_SEEN_ASLEEP;
		}
		if (dv_now_ns() - begin > DV_LIMIT_MS * INT64_C(1000000))
			return DV_SEEN_ELSEWHERE;
		dv_sleep_ms(POLL_MS);
	}
}

bool dv_actor_queues(struct dv_actor *a, int asleep_ms)
{
	int64_t begin = dv_now_ns(), since = begin;
	char where[sizeof(a->sight.where)] = "";
	unsigned samples = 0;

	while (!is_over(a) && dv_now_ns() - begin < DV_LIMIT_MS * INT64_C(1000000)) {
		if (a->sight.state != 'D' || strcmp(where, a->sight.where) != 0) {
			memcpy(where, a->sight.where, sizeof(where));
			since = dv_now_ns();
			samples = 0;
		} else if (++samples >= HELD_SAMPLES &&
			   dv_now_ns() - since >= asleep_ms * INT64_C(1000000)) {
			return true;
		}
		dv_sleep_ms(POLL_MS);
	}
	return false;
}

/*
 * Can it be killed? 0 when its process is gone; -ETIMEDOUT when SIGKILL has come and it is
 * asleep all the same, uninterruptibly and for asleep_ms without a break.
 */
int dv_actor_kill(struct dv_actor *a, int asleep_ms)
{
	int64_t begin = dv_now_ns(), since = begin, now;

	kill(a->pid, SIGKILL);
	while (dv_child_wait(a->pid, POLL_MS, NULL)) {
		now = dv_now_ns();
		dv_look(a->pid, &a->sight);
		if (a->sight.state != 'D')
			since = now;
		if (now - since > asleep_ms * INT64_C(1000000) ||
		    now - begin > DV_LIMIT_MS * INT64_C(1000000))
			return -ETIMEDOUT;
	}
	return 0;
}

/*
 * 0 when the call has ended. -ETIMEDOUT when the actor was seen asleep in one wait for
 * DAX pages for asleep_ms without a break, or after limit_ms in any case.
 */
int dv_actor_wait(struct dv_actor *a, int asleep_ms, int limit_ms)
{
	int64_t begin = dv_now_ns(), since = begin, now;

	while (!is_over(a)) {
		now = dv_now_ns();
		if (asleep_how(&a->sight) != IN_LAYOUT && asleep_how(&a->sight) != BLIND)
			since = now;
		if (now - since > asleep_ms * INT64_C(1000000) ||
		    now - begin > limit_ms * INT64_C(1000000))
			return is_over(a) ? 0 : -ETIMEDOUT;
		dv_sleep_ms(POLL_MS);
	}
	return 0;
}
