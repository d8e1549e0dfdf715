/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls that have no business with a pinned page: they neither wait for it nor lose it.
 */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "file.h"
#include "rig.h"

#include <string.h>

#define PIPE	 "a page of the file vmspliced into a pipe"
#define UNMAPPED PIPE ", then unmapped"

/* After the call the pin must count as before: a truncate still has to wait for it. */
static enum dv_verdict run_quiet(struct dv_ctx *c)
{
	enum dv_verdict v;
	struct dv_rig r;

	v = dv_rig_begin(c, &r, c->sc->action, DV_HANDLER_NONE);
	if (v != DV_OK)
		return v;
	dv_rig_judge_pass(c, &r);
	if (r.seen != DV_SEEN_DONE)
		return dv_rig_release(c, &r) ? dv_broken(c, "cannot read the pipe")
					     : DV_OK;
	v = dv_rig_act(c, &r, &dv_truncate_shrink, DV_HANDLER_NONE);
	if (v != DV_OK)
		return v;
	dv_rig_judge_wait(c, &r);
	if (dv_rig_release(c, &r))
		return dv_broken(c, "cannot read the pipe");
	if (r.seen != DV_SEEN_DONE)
		dv_rig_judge_wake(c, &r);
	v = dv_rig_judge_content(c, &r);
	if (v == DV_OK && r.actor.shm->done)
		dv_rig_judge_file(c, &r, "file", &dv_truncate_shrink);
	return v;
}

/* write(2) to a page that nobody shares goes into that page, and so into the pipe. */
static enum dv_verdict run_write(struct dv_ctx *c)
{
	enum dv_verdict v;
	struct dv_rig r;
	bool shown;

	v = dv_rig_begin(c, &r, c->sc->action, DV_HANDLER_NONE);
	if (v != DV_OK)
		return v;
	dv_rig_judge_pass(c, &r);
	if (dv_rig_release(c, &r))
		return dv_broken(c, "cannot read the pipe");
	shown = dv_page_look(r.content, DV_PAIR_INDEX + DV_PIN_PAGE) == DV_PAGE_ORIGINAL;
	dv_oracle(c, shown, DV_SYM_NONE, "pipe", "what was written", "%s",
		  shown ? "what was written" : "something else");
	return DV_OK;
}

#define NEEDS (DV_NEED_DAX | DV_NEED_ROOT)
#define WHOLE (NEEDS | DV_NEED_SCRATCH | DV_NEED_OWN_MOUNT)

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{"write-pin",
	 "write(2) over a pinned page does not wait, and stores into that page",
	 DV_NEED_DAX, PIPE, DV_ST_MAPPED, &dv_write, DV_EXPECT_PASS, NULL, run_write, 0},
	{"drop-caches-mapped-pin",
	 "dropping caches leaves a pinned, mapped page alone: a truncate still waits for it",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_drop_caches, DV_EXPECT_PASS, NULL, run_quiet, 0},
	{"drop-caches-unmapped-pin",
	 "dropping caches does not make the kernel forget the pin on a page of a closed file",
	 NEEDS, UNMAPPED, DV_ST_UNMAPPED, &dv_drop_caches, DV_EXPECT_PASS, &dv_unmapped_busy_page,
	 run_quiet, 0},
	{"freeze-pin",
	 "freezing the file system does not wait for a pinned page, and forgets none",
	 WHOLE, PIPE, DV_ST_MAPPED, &dv_freeze, DV_EXPECT_PASS, NULL, run_quiet, 0},
	{"remount-pin",
	 "remounting read-only and back does not wait for a pinned page, and forgets none",
	 WHOLE, UNMAPPED, DV_ST_UNMAPPED, &dv_remount_ro, DV_EXPECT_PASS, &dv_unmapped_busy_page,
	 run_quiet, 0},
	/* clang-format on */
};

const struct dv_group dv_group_quiet = {scenarios, DV_COUNT(scenarios)};
