/* SPDX-License-Identifier: BSD-3-Clause */
/* A signal comes while a truncate or punch waits for a pinned page. */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "rig.h"

#include <signal.h>
#include <string.h>

#define PIPE "a page of the file vmspliced into a pipe"

static void send(struct dv_ctx *c, struct dv_rig *r, int sig)
{
	if (!dv_sabotaged(c, DV_SAB_NO_SIGNAL))
		kill(r->actor.pid, sig);
}

/* The same action, with the page released: it must now do what it did not do before. */
static enum dv_verdict once_more(struct dv_ctx *c, struct dv_rig *r)
{
	struct dv_actor again;
	int ret = dv_actor_start(c, &again, c->sc->action, r->path, DV_HANDLER_NONE);

	if (ret)
		return dv_broken(c, "cannot start the second try: %s", strerror(-ret));
	ret = dv_actor_wait(&again, DV_WAKE_MS, DV_LIMIT_MS);
	dv_oracle(c, ret == 0 && again.shm->ret >= 0, DV_SYM_NONE, "second try",
		  "succeeds after the release", "%s %s",
		  again.shm->done ? "ended" : "hangs",
		  again.shm->err ? strerrorname_np(again.shm->err) : "");
	if (ret == 0)
		dv_rig_judge_file(c, r, "file at the end", c->sc->action);
	return DV_OK;
}

/*
 * The wait is over by a signal; the page is still held. Nothing may have happened to it,
 * and after the release nothing to the file.
 */
static enum dv_verdict judge_cut(struct dv_ctx *c, struct dv_rig *r)
{
	enum dv_verdict v;

	dv_oracle(c, dv_rig_held(c, r), DV_SYM_NONE, "held",
		  "the page is still in the pipe", "%d bytes in the pipe",
		  dv_pipe_fill(c->pipe_r));
	if (dv_rig_release(c, r))
		return dv_broken(c, "cannot read the pipe");
	v = dv_rig_judge_content(c, r);
	if (v != DV_OK)
		return v;
	dv_rig_judge_file(c, r, "file after the signal", NULL);
	return once_more(c, r);
}

static enum dv_verdict run_eintr(struct dv_ctx *c)
{
	struct dv_rig r;
	enum dv_verdict v;
	int ret;

	v = dv_rig_begin(c, &r, c->sc->action, DV_HANDLER_PLAIN);
	if (v != DV_OK)
		return v;
	dv_rig_judge_wait(c, &r);
	send(c, &r, SIGUSR1);
	ret = dv_actor_wait(&r.actor, DV_WAKE_MS, DV_LIMIT_MS);
	dv_oracle(c, ret == 0 && r.actor.shm->err == EINTR, DV_SYM_NONE, "signal",
		  "the wait ends with EINTR", "%s",
		  ret				      ? "the wait goes on"
		  : strerrorname_np(r.actor.shm->err) ? strerrorname_np(r.actor.shm->err)
						      : "success");
	return judge_cut(c, &r);
}

/* SIGKILL: no errno to see, but the process must go although the page is held. */
static enum dv_verdict run_kill(struct dv_ctx *c)
{
	struct dv_rig r;
	enum dv_verdict v;
	int ret;

	v = dv_rig_begin(c, &r, c->sc->action, DV_HANDLER_NONE);
	if (v != DV_OK)
		return v;
	dv_rig_judge_wait(c, &r);
	ret = dv_sabotaged(c, DV_SAB_NO_SIGNAL) ? -ETIMEDOUT
						: dv_actor_kill(&r.actor, DV_WAKE_MS);
	dv_oracle(c, ret == 0 && !r.actor.shm->done, DV_SYM_NONE, "signal",
		  "SIGKILL ends the process in its wait", "%s",
		  ret		      ? "it is still there"
		  : r.actor.shm->done ? "the call had ended before"
				      : "it is gone");
	return judge_cut(c, &r);
}

/* With SA_RESTART the handler runs, and the call goes on waiting. */
static enum dv_verdict run_restart(struct dv_ctx *c)
{
	int64_t begin = dv_now_ns();
	struct dv_rig r;
	enum dv_verdict v;

	v = dv_rig_begin(c, &r, c->sc->action, DV_HANDLER_RESTART);
	if (v != DV_OK)
		return v;
	dv_rig_judge_wait(c, &r);
	send(c, &r, SIGUSR1);
	while (!r.actor.shm->signals &&
	       dv_now_ns() - begin < DV_WAKE_MS * INT64_C(1000000))
		dv_sleep_ms(4);
	r.seen = dv_actor_watch(&r.actor);
	dv_oracle(c, r.actor.shm->signals == 1 && r.seen == DV_SEEN_ASLEEP, DV_SYM_NONE,
		  "signal", "the handler runs and the call goes on waiting",
		  "handler ran %d times; %s", r.actor.shm->signals,
		  r.seen == DV_SEEN_DONE ? "the call has ended" : "asleep again");
	if (dv_rig_release(c, &r))
		return dv_broken(c, "cannot read the pipe");
	if (r.seen != DV_SEEN_DONE)
		dv_rig_judge_wake(c, &r);
	v = dv_rig_judge_content(c, &r);
	if (v == DV_OK && r.actor.shm->done)
		dv_rig_judge_file(c, &r, "file", c->sc->action);
	return v;
}

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{"signal-eintr-truncate",
	 "a signal ends a truncate that waits with EINTR: nothing is lost, and it can be tried "
	 "again",
	 DV_NEED_DAX, PIPE, DV_ST_MAPPED, &dv_truncate_shrink, DV_EXPECT_WAIT, NULL, run_eintr, 0},
	{"signal-eintr-punch",
	 "a signal ends a punch that waits with EINTR: nothing is lost, and it can be tried again",
	 DV_NEED_DAX | DV_NEED_PUNCH, PIPE, DV_ST_MAPPED, &dv_punch, DV_EXPECT_WAIT, NULL,
	 run_eintr, 0},
	{"signal-eintr-reflink",
	 "a signal ends a reflink that waits with EINTR: nothing is lost, and it can be tried "
	 "again",
	 DV_NEED_DAX | DV_NEED_REFLINK, PIPE, DV_ST_MAPPED, &dv_reflink, DV_EXPECT_WAIT, NULL,
	 run_eintr, 0},
	{"signal-kill-truncate",
	 "SIGKILL ends a process whose truncate waits, with the page held and nothing lost",
	 DV_NEED_DAX, PIPE, DV_ST_MAPPED, &dv_truncate_shrink, DV_EXPECT_WAIT, NULL, run_kill, 0},
	{"signal-restart-truncate",
	 "with SA_RESTART a truncate that waits goes on waiting after the signal, until the "
	 "release",
	 DV_NEED_DAX, PIPE, DV_ST_MAPPED, &dv_truncate_shrink, DV_EXPECT_WAIT, NULL,
	 run_restart, 0},
	/* clang-format on */
};

const struct dv_group dv_group_signal = {scenarios, DV_COUNT(scenarios)};
