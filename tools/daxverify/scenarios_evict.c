/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pins on pages that no process maps any more. Kernels that take "not mapped" for "not in
 * use" free the blocks under the pin.
 */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "rig.h"

#include <string.h>
#include <sys/stat.h>

#define PIPE "a page of the file vmspliced into a pipe, then unmapped"

/* What is left of the name after the action: nothing, or the file renamed over it. */
static void judge_name(struct dv_ctx *c, struct dv_rig *r)
{
	struct stat st;
	bool there = stat(r->path, &st) == 0;
	bool want = dv_action_renames(r->actor.action->kind);

	dv_oracle(c, there == want, DV_SYM_NONE, "name",
		  want ? "the name has the new file" : "the name is gone", "%s",
		  there ? "the name is there" : "the name is gone");
}

static enum dv_verdict run_last_put(struct dv_ctx *c)
{
	struct dv_rig r;
	enum dv_verdict v;

	v = dv_rig_begin(c, &r, c->sc->action, DV_HANDLER_NONE);
	if (v != DV_OK)
		return v;
	dv_rig_judge_wait(c, &r);
	if (dv_rig_release(c, &r))
		return dv_broken(c, "cannot read the pipe");
	if (r.seen != DV_SEEN_DONE)
		dv_rig_judge_wake(c, &r);
	if (r.actor.shm->done)
		judge_name(c, &r);
	return dv_rig_judge_content(c, &r);
}

/*
 * The runner mounts the file system again if this is cut short. A umount that is refused
 * (somebody else uses it) says nothing about pins.
 */
static enum dv_verdict run_umount(struct dv_ctx *c)
{
	struct dv_rig r;
	enum dv_verdict v;
	int ret;

	v = dv_rig_begin(c, &r, c->sc->action, DV_HANDLER_NONE);
	if (v != DV_OK)
		return v;
	if (r.seen == DV_SEEN_DONE && r.actor.shm->ret < 0)
		return dv_broken(c, "cannot unmount %s: %s", c->env->facts.mount_point,
				 strerror(r.actor.shm->err));
	dv_rig_judge_wait(c, &r);
	if (dv_rig_release(c, &r))
		return dv_broken(c, "cannot read the pipe");
	if (r.seen != DV_SEEN_DONE)
		dv_rig_judge_wake(c, &r);
	ret = r.actor.shm->done ? dv_remount(&c->env->facts) : -EBUSY;
	if (ret)
		return dv_broken(c, "cannot mount %s again: %s", c->env->facts.device,
				 strerror(-ret));
	v = dv_rig_judge_content(c, &r);
	if (v == DV_OK)
		dv_rig_judge_file(c, &r, "file", NULL);
	return v;
}

#define NEEDS	     (DV_NEED_DAX)
#define UMOUNT_NEEDS (DV_NEED_DAX | DV_NEED_ROOT | DV_NEED_SCRATCH | DV_NEED_OWN_MOUNT)

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{"unmapped-pin-truncate-zero",
	 "ftruncate to 0 waits for a pinned page that no process maps any more",
	 NEEDS, PIPE, DV_ST_UNMAPPED, &dv_truncate_zero, DV_EXPECT_WAIT, &dv_unmapped_busy_page,
	 dv_run_pin, 0},
	{"unmapped-pin-truncate-shrink",
	 "a truncate that frees a pinned, unmapped page but not the whole file waits for it",
	 NEEDS, PIPE, DV_ST_UNMAPPED, &dv_truncate_shrink, DV_EXPECT_WAIT,
	 &dv_unmapped_busy_page, dv_run_pin, 0},
	{"unmapped-pin-punch",
	 "a punch waits for a pinned page that no process maps any more",
	 NEEDS | DV_NEED_PUNCH, PIPE, DV_ST_UNMAPPED, &dv_punch, DV_EXPECT_WAIT,
	 &dv_unmapped_busy_page, dv_run_pin, 0},
	{"unmapped-pin-zero-range",
	 "a zero-range waits for a pinned page that no process maps any more",
	 NEEDS | DV_NEED_ZERO_RANGE, PIPE, DV_ST_UNMAPPED, &dv_zero_range, DV_EXPECT_WAIT,
	 &dv_unmapped_busy_page, dv_run_pin, 0},
	{"unmapped-pin-collapse",
	 "a collapse waits for a pinned page that no process maps any more",
	 NEEDS | DV_NEED_COLLAPSE, PIPE, DV_ST_UNMAPPED, &dv_collapse, DV_EXPECT_WAIT,
	 &dv_unmapped_busy_page, dv_run_pin, 0},
	{"unmapped-pin-unlink",
	 "unlinking a file that nobody has open waits until its pinned page is released",
	 NEEDS, PIPE, DV_ST_UNMAPPED, &dv_unlink, DV_EXPECT_WAIT, &dv_unmapped_busy_page,
	 run_last_put, 0},
	{"unmapped-pin-uring-unlink",
	 "unlinking such a file by io_uring completes when its pinned page is released",
	 NEEDS | DV_NEED_URING, PIPE, DV_ST_UNMAPPED, &dv_uring_unlink, DV_EXPECT_WAIT,
	 &dv_unmapped_busy_page, run_last_put, 0},
	{"unmapped-pin-uring-rename-over",
	 "renaming another file over such a file by io_uring completes when its page is released",
	 NEEDS | DV_NEED_URING, PIPE, DV_ST_UNMAPPED, &dv_uring_rename_over, DV_EXPECT_WAIT,
	 &dv_unmapped_busy_page, run_last_put, 0},
	{"unmapped-pin-uring-close",
	 "the last close of an unlinked file by io_uring waits until its pinned page is released",
	 NEEDS | DV_NEED_URING, PIPE, DV_ST_UNMAPPED, &dv_uring_close_last, DV_EXPECT_WAIT,
	 &dv_unmapped_busy_page, run_last_put, 0},
	{"unmapped-pin-close-unlinked",
	 "the last close of an unlinked file waits until its pinned page is released",
	 NEEDS, PIPE, DV_ST_UNMAPPED, &dv_close_last, DV_EXPECT_WAIT, &dv_unmapped_busy_page,
	 run_last_put, 0},
	{"unmapped-pin-munmap-unlinked",
	 "the last munmap of an unlinked, closed file waits until its pinned page is released",
	 NEEDS, PIPE, DV_ST_UNMAPPED, &dv_munmap_last, DV_EXPECT_WAIT, &dv_unmapped_busy_page,
	 run_last_put, 0},
	{"unmapped-pin-exit-unlinked",
	 "the exit of the last user of an unlinked file waits until its pinned page is released",
	 NEEDS, PIPE, DV_ST_UNMAPPED, &dv_exit_last, DV_EXPECT_WAIT, &dv_unmapped_busy_page,
	 run_last_put, 0},
	{"unmapped-pin-kill-unlinked",
	 "SIGKILL ends an unlinked file's last user when the file's pinned page is released",
	 NEEDS, PIPE, DV_ST_UNMAPPED, &dv_killed_last, DV_EXPECT_WAIT, &dv_unmapped_busy_page,
	 run_last_put, 0},
	{"unmapped-pin-rename-over",
	 "renaming another file over it waits until the pinned page is released",
	 NEEDS, PIPE, DV_ST_UNMAPPED, &dv_rename_over, DV_EXPECT_WAIT, &dv_unmapped_busy_page,
	 run_last_put, 0},
	{"unmapped-pin-umount",
	 "umount waits until a pinned page of a file that nobody has open is released",
	 UMOUNT_NEEDS, PIPE, DV_ST_UNMAPPED, &dv_umount, DV_EXPECT_WAIT, &dv_unmapped_busy_page,
	 run_umount, 0},
	/* clang-format on */
};

const struct dv_group dv_group_evict = {scenarios, DV_COUNT(scenarios)};
