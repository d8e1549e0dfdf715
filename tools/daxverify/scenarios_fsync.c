/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Stores through a mapping are durable after fsync. Whether fsync flushes them is seen by
 * the kernel's own tracepoint; a control without the break, in the same run, shows that
 * it can be.
 */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "file.h"
#include "rig.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FSYNC_FLAG  0
#define MSYNC_FLAG  1
#define STORE_PAGES 2 /* pages 0 and 1: no action here touches them */

struct flushed {
	uint64_t pages;
	unsigned events;
};

static int settle(struct dv_ctx *c, int fd, void *p, size_t len)
{
	if (dv_sabotaged(c, DV_SAB_NO_FSYNC))
		return 0;
	if (c->sc->arg == MSYNC_FLAG)
		return msync(p, len, MS_SYNC) ? -errno : 0;
	return fsync(fd) ? -errno : 0;
}

static int break_layout(const struct dv_action *action, int fd)
{
	struct dv_target t = {.action = action, .fd = fd};

	return action && dv_action_do(&t) < 0 ? -errno : 0;
}

static int store_and_settle(struct dv_ctx *c, int fd, const struct dv_action *action)
{
	size_t page = dv_page_size(), len = DV_FILE_PAGES * page, i;
	volatile char *p = dv_map_dax(fd, len, false);
	int ret;

	if (p == MAP_FAILED)
		return -errno;
	for (i = 0; i < STORE_PAGES; i++)
		p[i * page + 64] ^= 1;
	ret = break_layout(action, fd);
	if (!ret)
		ret = settle(c, fd, (void *)p, len);
	munmap((void *)p, len);
	return ret;
}

/* Store to two pages, do the action (or none), fsync: which pages were flushed since? */
static enum dv_verdict observe(struct dv_ctx *c, const char *name,
			       const struct dv_action *action, struct flushed *f)
{
	const struct dv_trace *t = &c->env->trace;
	char path[PATH_MAX];
	struct stat st;
	int fd, ret = dv_path(c, path, name);

	if (!ret)
		ret = dv_file_make(path, DV_FILE_PAGES);
	fd = ret ? -1 : open(path, O_RDWR | O_CLOEXEC);
	if (!ret && (fd < 0 || fstat(fd, &st)))
		ret = -errno;
	if (!ret)
		ret = dv_trace_watch(t, st.st_ino);
	if (!ret)
		ret = store_and_settle(c, fd, action);
	if (!ret)
		ret = dv_trace_flushed(t, st.st_ino, &f->pages, &f->events);
	if (fd >= 0)
		close(fd);
	return ret ? dv_broken(c, "cannot watch the flushes of a file: %s",
			       strerror(-ret))
		   : DV_OK;
}

static unsigned stored_pages_in(const struct flushed *f)
{
	return (unsigned)__builtin_popcountll(f->pages & ((1 << STORE_PAGES) - 1));
}

static void judge_flush(struct dv_ctx *c, const struct flushed *f)
{
	dv_oracle(c, stored_pages_in(f) == STORE_PAGES, DV_SYM_UNFLUSHED, "flush",
		  "both stored pages are flushed",
		  "%u of %d (%u dax_writeback_one events)", stored_pages_in(f),
		  STORE_PAGES, f->events);
}

static enum dv_verdict run_flush(struct dv_ctx *c)
{
	struct flushed control = {0}, f = {0};
	enum dv_verdict v = observe(c, "control", NULL, &control);

	if (v != DV_OK)
		return v;
	if (stored_pages_in(&control) != STORE_PAGES)
		return dv_broken(
			c,
			"without any break %u of %d stored pages are seen flushed: "
			"this oracle sees nothing here",
			stored_pages_in(&control), STORE_PAGES);
	if (c->sc->action) {
		v = observe(c, "file", c->sc->action, &f);
		if (v != DV_OK)
			return v;
	} else {
		f = control;
	}
	judge_flush(c, &f);
	return DV_OK;
}

/* Stores to two pages while another one is held. */
static int store_beside(struct dv_ctx *c, struct dv_rig *r, ino_t *ino)
{
	static const struct dv_span stored = {0, STORE_PAGES, 1};
	struct stat st;
	int ret;

	if (stat(r->path, &st))
		return -errno;
	*ino = st.st_ino;
	ret = dv_trace_watch(&c->env->trace, st.st_ino);
	return ret ? ret : dv_holder_do(&r->holder, DV_HOP_STORE, &stored);
}

static int fsync_path(struct dv_ctx *c, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (!dv_sabotaged(c, DV_SAB_NO_FSYNC) && fsync(fd))
		ret = -errno;
	close(fd);
	return ret;
}

/* A wait that a signal ends has broken nothing: what was dirty must still be so. */
static enum dv_verdict run_cut_short(struct dv_ctx *c)
{
	struct flushed f = {0};
	struct dv_rig r;
	enum dv_verdict v;
	ino_t ino = 0;
	int ret;

	v = dv_rig_build(c, &r, DV_FILE_PAGES, &dv_one_page);
	if (v != DV_OK)
		return v;
	ret = store_beside(c, &r, &ino);
	if (ret)
		return dv_broken(c, "cannot store to the file: %s", strerror(-ret));
	v = dv_rig_act(c, &r, c->sc->action, DV_HANDLER_PLAIN);
	if (v != DV_OK)
		return v;
	dv_rig_judge_wait(c, &r);
	kill(r.actor.pid, SIGUSR1);
	ret = dv_actor_wait(&r.actor, DV_WAKE_MS, DV_LIMIT_MS);
	if (!ret)
		ret = dv_rig_release(c, &r);
	if (!ret)
		ret = fsync_path(c, r.path);
	if (!ret)
		ret = dv_trace_flushed(&c->env->trace, ino, &f.pages, &f.events);
	if (ret)
		return dv_broken(c, "cannot watch the flushes of a file: %s",
				 strerror(-ret));
	judge_flush(c, &f);
	return DV_OK;
}

/* A wait that ends with the release: the action is done, and the stores are older than
 * it. */
static enum dv_verdict run_waited(struct dv_ctx *c)
{
	struct flushed f = {0};
	struct dv_rig r;
	enum dv_verdict v;
	ino_t ino = 0;
	int ret;

	v = dv_rig_build(c, &r, DV_FILE_PAGES, &dv_one_page);
	if (v != DV_OK)
		return v;
	ret = store_beside(c, &r, &ino);
	if (ret)
		return dv_broken(c, "cannot store to the file: %s", strerror(-ret));
	v = dv_rig_act(c, &r, c->sc->action, DV_HANDLER_NONE);
	if (v != DV_OK)
		return v;
	dv_rig_judge_wait(c, &r);
	if (dv_rig_release(c, &r))
		return dv_broken(c, "cannot read the pipe");
	dv_rig_judge_wake(c, &r);
	ret = fsync_path(c, r.path);
	if (!ret)
		ret = dv_trace_flushed(&c->env->trace, ino, &f.pages, &f.events);
	if (ret)
		return dv_broken(c, "cannot watch the flushes of a file: %s",
				 strerror(-ret));
	judge_flush(c, &f);
	return DV_OK;
}

static const struct dv_action zero_elsewhere = {"zero-range of pages 10 and 11",
						DV_ACT_ZERO_RANGE, 10, 2};
static const struct dv_action collapse_behind = {"collapse of pages 10 and 11",
						 DV_ACT_COLLAPSE, 10, 2};
static const struct dv_action insert_behind = {"insert at page 10", DV_ACT_INSERT, 10, 2};
static const struct dv_action allocate = {"fallocate of page 10", DV_ACT_ALLOCATE, 10, 1};

#define NEEDS (DV_NEED_DAX | DV_NEED_ROOT | DV_NEED_TRACE)

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{.name = "fsync-after-store",
	 .claim = "fsync flushes the pages that were stored to through a mapping",
	 .needs = NEEDS, .run = run_flush, .arg = FSYNC_FLAG},
	{.name = "fsync-after-punch",
	 .claim = "fsync flushes the stores made before a hole was punched elsewhere in the file",
	 .needs = NEEDS | DV_NEED_PUNCH, .action = &dv_punch_elsewhere,
	 .defect = &dv_fsync_skips, .run = run_flush, .arg = FSYNC_FLAG},
	{.name = "fsync-after-grow",
	 .claim = "fsync flushes the stores made before the file was made longer",
	 .needs = NEEDS, .action = &dv_truncate_grow,
	 .defect = &dv_fsync_skips, .run = run_flush, .arg = FSYNC_FLAG},
	{.name = "fsync-after-shrink",
	 .claim = "fsync flushes the stores made before the file's tail was cut off",
	 .needs = NEEDS, .action = &dv_truncate_beyond,
	 .defect = &dv_fsync_skips, .run = run_flush, .arg = FSYNC_FLAG},
	{.name = "fsync-after-same-size",
	 .claim = "fsync flushes the stores made before a truncate to the size that the file has",
	 .needs = NEEDS, .action = &dv_truncate_equal,
	 .defect = &dv_fsync_skips, .run = run_flush, .arg = FSYNC_FLAG},
	{.name = "fsync-after-zero-range",
	 .claim = "fsync flushes the stores made before another range of the file was zeroed",
	 .needs = NEEDS | DV_NEED_ZERO_RANGE, .action = &zero_elsewhere,
	 .defect = &dv_fsync_skips, .run = run_flush, .arg = FSYNC_FLAG},
	{.name = "fsync-after-collapse",
	 .claim = "fsync flushes the stores made before a range behind them was collapsed",
	 .needs = NEEDS | DV_NEED_COLLAPSE, .action = &collapse_behind,
	 .defect = &dv_fsync_skips, .run = run_flush, .arg = FSYNC_FLAG},
	{.name = "fsync-after-insert",
	 .claim = "fsync flushes the stores made before a range was inserted behind them",
	 .needs = NEEDS | DV_NEED_INSERT, .action = &insert_behind,
	 .defect = &dv_fsync_skips, .run = run_flush, .arg = FSYNC_FLAG},
	{.name = "fsync-after-allocate",
	 .claim = "fsync flushes the stores made before a plain fallocate of a page that was there",
	 .needs = NEEDS, .action = &allocate,
	 .defect = &dv_fsync_skips, .run = run_flush, .arg = FSYNC_FLAG},
	{.name = "fsync-after-cut-truncate",
	 .claim = "fsync flushes the stores made before a truncate whose wait a signal cut short",
	 .needs = NEEDS, .holder = "a page of the file vmspliced into a pipe",
	 .state = DV_ST_MAPPED, .action = &dv_truncate_beyond, .run = run_cut_short},
	{.name = "fsync-after-waited-truncate",
	 .claim = "fsync flushes the stores made before a truncate that had to wait for a page",
	 .needs = NEEDS, .holder = "a page of the file vmspliced into a pipe",
	 .state = DV_ST_MAPPED, .action = &dv_truncate_beyond, .expect = DV_EXPECT_WAIT,
	 .defect = &dv_fsync_skips, .run = run_waited},
	{.name = "fsync-after-waited-punch",
	 .claim = "fsync flushes the stores made before a punch that had to wait for a page",
	 .needs = NEEDS | DV_NEED_PUNCH, .holder = "a page of the file vmspliced into a pipe",
	 .state = DV_ST_MAPPED, .action = &dv_punch_elsewhere, .expect = DV_EXPECT_WAIT,
	 .defect = &dv_fsync_skips, .run = run_waited},
	{.name = "msync-after-store",
	 .claim = "msync flushes the pages that were stored to through a mapping",
	 .needs = NEEDS, .run = run_flush, .arg = MSYNC_FLAG},
	{.name = "msync-after-punch",
	 .claim = "msync flushes the stores made before a hole was punched elsewhere in the file",
	 .needs = NEEDS | DV_NEED_PUNCH, .action = &dv_punch_elsewhere,
	 .defect = &dv_fsync_skips, .run = run_flush, .arg = MSYNC_FLAG},
	/* clang-format on */
};

const struct dv_group dv_group_fsync = {scenarios, DV_COUNT(scenarios)};
