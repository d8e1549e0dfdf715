/* SPDX-License-Identifier: BSD-3-Clause */
/* A thread goes on using the file while a truncate or punch waits for a pinned page of
 * it. */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "file.h"
#include "rig.h"

#include <string.h>
#include <sys/stat.h>

#define PIPE "a page of the file vmspliced into a pipe, and touched again during the wait"

/* Page table entries were taken away by the wait: the touch is a fault, and may not hang.
 */
static enum dv_verdict touch(struct dv_ctx *c, struct dv_rig *r)
{
	struct dv_span page = {(unsigned)c->sc->arg, 1, 1};
	struct stat st;
	int ret;

	if (dv_sabotaged(c, DV_SAB_NO_TOUCH))
		return DV_OK;
	ret = dv_holder_do(&r->holder, DV_HOP_STORE, &page);
	dv_oracle(c, ret == 0, DV_SYM_NONE, "store during the wait", "goes through", "%s",
		  ret ? strerrorname_np(-ret) : "went through");
	ret = stat(r->path, &st);
	dv_oracle(c, ret == 0, DV_SYM_NONE, "stat during the wait", "goes through", "%s",
		  ret ? strerrorname_np(errno) : "went through");
	return DV_OK;
}

static enum dv_verdict run_touched(struct dv_ctx *c)
{
	struct dv_rig r;
	enum dv_verdict v;

	v = dv_rig_begin(c, &r, c->sc->action, DV_HANDLER_NONE);
	if (v != DV_OK)
		return v;
	dv_rig_judge_wait(c, &r);
	v = touch(c, &r);
	if (v != DV_OK)
		return v;
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
	{"refault-other-page",
	 "truncate ends with the release although another page of the file was touched meanwhile",
	 DV_NEED_DAX, PIPE, DV_ST_MAPPED, &dv_truncate_shrink, DV_EXPECT_WAIT, NULL,
	 run_touched, DV_PIN_PAGE + 3},
	{"refault-pinned-page-truncate",
	 "truncate ends with the release although the pinned page itself was touched meanwhile",
	 DV_NEED_DAX, PIPE, DV_ST_MAPPED, &dv_truncate_shrink, DV_EXPECT_WAIT, &dv_lost_wakeup,
	 run_touched, DV_PIN_PAGE},
	{"refault-pinned-page-punch",
	 "a punch ends with the release although the pinned page itself was touched meanwhile",
	 DV_NEED_DAX | DV_NEED_PUNCH, PIPE, DV_ST_MAPPED, &dv_punch, DV_EXPECT_WAIT,
	 &dv_lost_wakeup, run_touched, DV_PIN_PAGE},
	/* clang-format on */
};

const struct dv_group dv_group_refault = {scenarios, DV_COUNT(scenarios)};
