/* SPDX-License-Identifier: BSD-3-Clause */
/* The same calls by io_uring, and cancelled while they wait. */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "rig.h"

#include <signal.h>
#include <string.h>

#define PIPE	    "a page of the file vmspliced into a pipe"
#define ERESTARTSYS 512 /* the kernel's own; user space has no name for it */

static bool cancelled_well(const struct dv_actor *a)
{
	return a->shm->ret < 0 && (a->shm->err == ECANCELED || a->shm->err == EINTR);
}

static enum dv_verdict run_cancel(struct dv_ctx *c)
{
	enum dv_verdict v;
	struct dv_rig r;
	int ret;

	v = dv_rig_begin(c, &r, c->sc->action, DV_HANDLER_PLAIN);
	if (v != DV_OK)
		return v;
	dv_rig_judge_wait(c, &r);
	if (!dv_sabotaged(c, DV_SAB_NO_SIGNAL))
		kill(r.actor.pid, SIGUSR1); /* the actor cancels its request */
	ret = dv_actor_wait(&r.actor, DV_WAKE_MS, DV_LIMIT_MS);
	dv_oracle(c, ret == 0 && cancelled_well(&r.actor),
		  ret == 0 && r.actor.shm->err == ERESTARTSYS ? DV_SYM_ERRNO_512
							      : DV_SYM_NONE,
		  "completion", "ECANCELED or EINTR", "%s %d",
		  ret ? "none, after" : "errno", ret ? DV_WAKE_MS : r.actor.shm->err);
	dv_oracle(c, dv_rig_held(c, &r), DV_SYM_NONE, "held",
		  "the page is still in the pipe", "%d bytes in the pipe",
		  dv_pipe_fill(c->pipe_r));
	if (dv_rig_release(c, &r))
		return dv_broken(c, "cannot read the pipe");
	if (ret)
		dv_rig_judge_wake(c, &r);
	v = dv_rig_judge_content(c, &r);
	if (v == DV_OK && ret == 0)
		dv_rig_judge_file(c, &r, "file after the cancellation", NULL);
	return v;
}

#define NEEDS	 (DV_NEED_DAX | DV_NEED_URING | DV_NEED_PUNCH)
#define TRUNCATE (DV_NEED_DAX | DV_NEED_URING | DV_NEED_URING_TRUNCATE)

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{"uring-punch-pin",
	 "a punch by io_uring completes when the pinned page is released, and not before",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_uring_punch, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"uring-truncate-pin",
	 "an ftruncate by io_uring completes when the pinned page is released, and not before",
	 TRUNCATE, PIPE, DV_ST_MAPPED, &dv_uring_truncate, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"uring-madvise-remove-pin",
	 "MADV_REMOVE by io_uring completes when the pinned page is released, and not before",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_uring_madv_remove, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"uring-open-trunc-pin",
	 "openat with O_TRUNC by io_uring completes when the pinned page is released",
	 DV_NEED_DAX | DV_NEED_URING, PIPE, DV_ST_MAPPED, &dv_uring_open_trunc, DV_EXPECT_WAIT,
	 NULL, dv_run_pin, 0},
	{"uring-punch-cancel",
	 "an io_uring punch that waits can be cancelled, with an errno that user space knows",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_uring_punch, DV_EXPECT_WAIT,
	 &dv_uring_erestartsys, run_cancel, 0},
	{"uring-truncate-cancel",
	 "an io_uring ftruncate that waits can be cancelled, with an errno that user space knows",
	 TRUNCATE, PIPE, DV_ST_MAPPED, &dv_uring_truncate, DV_EXPECT_WAIT,
	 &dv_uring_erestartsys, run_cancel, 0},
	{"uring-madvise-remove-cancel",
	 "an io_uring MADV_REMOVE that waits can be cancelled, with an errno that user space knows",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_uring_madv_remove, DV_EXPECT_WAIT,
	 &dv_uring_erestartsys, run_cancel, 0},
	/* clang-format on */
};

const struct dv_group dv_group_cancel = {scenarios, DV_COUNT(scenarios)};
