/* SPDX-License-Identifier: BSD-3-Clause */
/* The whole file system goes, or becomes read-only, while something of it is in use. */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "rig.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define PIPE "a page of the file vmspliced into a pipe"

/* Refused at once, with that errno. */
static void judge_refused(struct dv_ctx *c, const char *name, const struct dv_actor *a,
			  enum dv_seen seen, int err)
{
	bool ended = seen == DV_SEEN_DONE;
	char expected[64];

	snprintf(expected, sizeof(expected), "refused with %s", strerrorname_np(err));
	dv_oracle(c, ended && a->shm->ret < 0 && a->shm->err == err, DV_SYM_NONE, name,
		  expected, "%s",
		  !ended	    ? "it does not end"
		  : a->shm->ret < 0 ? strerrorname_np(a->shm->err)
				    : "it succeeded");
}

/* What was refused has forgotten no pin: a truncate waits, and goes on with the release.
 */
static enum dv_verdict run_mapped(struct dv_ctx *c)
{
	enum dv_verdict v;
	struct dv_rig r;

	v = dv_rig_build(c, &r, DV_FILE_PAGES, &dv_one_page);
	/* Sabotage: nobody uses it. */
	if (v == DV_OK && dv_sabotaged(c, DV_SAB_KEEP_PIN)) {
		kill(r.holder.pid, SIGKILL);
		dv_child_wait(r.holder.pid, DV_LIMIT_MS, NULL);
	}
	if (v == DV_OK)
		v = dv_rig_act(c, &r, c->sc->action, DV_HANDLER_NONE);
	if (v != DV_OK)
		return v;
	judge_refused(c, "umount", &r.actor, r.seen, EBUSY);
	if (r.seen != DV_SEEN_DONE || r.actor.shm->ret == 0)
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

/* A truncate that sleeps has the file system open for writing, and nobody else has. */
static enum dv_verdict run_remount(struct dv_ctx *c)
{
	struct dv_actor remount;
	enum dv_verdict v;
	struct dv_rig r;

	v = dv_rig_begin(c, &r, &dv_truncate_shrink, DV_HANDLER_NONE);
	if (v != DV_OK)
		return v;
	dv_rig_judge_wait(c, &r);
	if (dv_actor_start(c, &remount, c->sc->action, r.path, DV_HANDLER_NONE))
		return dv_broken(c, "cannot start a remount");
	judge_refused(c, "remount", &remount, dv_actor_watch(&remount), EBUSY);
	if (dv_rig_release(c, &r))
		return dv_broken(c, "cannot read the pipe");
	if (r.seen != DV_SEEN_DONE)
		dv_rig_judge_wake(c, &r);
	v = dv_rig_judge_content(c, &r);
	if (v == DV_OK && r.actor.shm->done)
		dv_rig_judge_file(c, &r, "file", &dv_truncate_shrink);
	return v;
}

/* Does somebody, as a mounted file system, have the device for itself? */
static bool device_in_use(const struct dv_facts *f)
{
	int fd = open(f->device, O_RDONLY | O_EXCL | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd < 0 && errno == EBUSY;
}

static bool device_comes_free(const struct dv_facts *f, int limit_ms)
{
	int64_t begin = dv_now_ns();

	while (device_in_use(f)) {
		if (dv_now_ns() - begin > limit_ms * INT64_C(1000000))
			return false;
		dv_sleep_ms(4);
	}
	return true;
}

/* The mount point is free at once; the file system is there until nobody has a page of
 * it. */
static enum dv_verdict run_detach(struct dv_ctx *c)
{
	const struct dv_facts *f = &c->env->facts;
	enum dv_verdict v;
	struct dv_rig r;
	bool there, gone;
	int ret;

	v = dv_rig_begin(c, &r, c->sc->action, DV_HANDLER_NONE);
	if (v != DV_OK)
		return v;
	if (r.seen != DV_SEEN_DONE || r.actor.shm->ret < 0)
		return dv_broken(c, "cannot detach %s: %s", f->mount_point,
				 strerror(r.actor.shm->err));
	dv_oracle(c, dv_mounted(f) == 0 && dv_rig_held(c, &r), DV_SYM_NONE,
		  "does not wait", "the mount is gone while the page is held", "it is %s",
		  dv_mounted(f) ? "there" : "gone");
	/* The mapping was the file system's last user but for the pipe. */
	kill(r.holder.pid, SIGKILL);
	r.counts.maps = 0;
	there = !device_comes_free(f, DV_WAKE_MS);
	dv_oracle(c, there, dv_rig_held(c, &r) ? DV_SYM_PASSED_PIN : DV_SYM_NONE, "waits",
		  "the file system is there until the page is released", "%s",
		  there ? "it has the device" : "the device is free");
	if (!dv_sabotaged(c, DV_SAB_NO_DRAIN) && dv_rig_release(c, &r))
		return dv_broken(c, "cannot read the pipe");
	gone = device_comes_free(f, DV_LIMIT_MS);
	dv_oracle(c, gone, DV_SYM_ASLEEP, "wakes", "the release frees the device", "%s",
		  gone ? "it is free" : "it is still in use");
	ret = gone ? dv_remount(f) : -EBUSY;
	if (ret)
		return dv_broken(c, "cannot mount %s again: %s", f->device,
				 strerror(-ret));
	v = dv_rig_judge_content(c, &r);
	if (v == DV_OK)
		dv_rig_judge_file(c, &r, "file", NULL);
	return v;
}

#define WHOLE (DV_NEED_DAX | DV_NEED_ROOT | DV_NEED_SCRATCH | DV_NEED_OWN_MOUNT)

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{.name = "mapped-pin-umount",
	 .claim = "umount is refused with EBUSY while a pinned page is mapped, and forgets no pin",
	 .needs = WHOLE, .holder = PIPE, .state = DV_ST_MAPPED, .action = &dv_umount,
	 .run = run_mapped},
	{.name = "mapped-pin-umount-detach",
	 .claim = "a lazy umount does not wait for a pinned page; the file system, and its device, "
		  "is let go when the page is",
	 .needs = WHOLE, .holder = PIPE, .state = DV_ST_MAPPED, .action = &dv_detach,
	 .defect = &dv_unmapped_busy_page, .run = run_detach},
	{.name = "beside-truncate-remount",
	 .claim = "remounting read-only is refused with EBUSY while a truncate waits for a page, "
		  "and the truncate goes on with the release",
	 .needs = WHOLE, .holder = PIPE, .state = DV_ST_READONLY, .action = &dv_remount_ro,
	 .run = run_remount},
	/* clang-format on */
};

const struct dv_group dv_group_umount = {scenarios, DV_COUNT(scenarios)};
