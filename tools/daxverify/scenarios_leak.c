/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The harm that freeing a pinned page does: its block goes to another file, and who holds
 * the page reads what that file's owner wrote. The file system is filled first, so that
 * the freed blocks are the ones that the next writer gets.
 */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "file.h"
#include "rig.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIPE	   "256 pages of a file vmspliced into a pipe, then unmapped"
#define LEAK_PAGES 256

/*
 * File systems keep some blocks back (ext4 up to 4096), and any free block may be the
 * next to be given out. So the file is much longer than that, and the pinned pages are
 * spread over it: most of what is free after it are its blocks, wherever the file system
 * begins to look.
 */
#define FILE_PAGES 16384

static const struct dv_span spread = {0, LEAK_PAGES, FILE_PAGES / LEAK_PAGES};

/* The victim's file is made before: a full file system may have no room for its inode. */
static enum dv_verdict fill(struct dv_ctx *c)
{
	char path[PATH_MAX];
	int ret = dv_path(c, path, "victim");

	if (!ret)
		ret = dv_file_sparse(path, 0);
	if (!ret)
		ret = dv_path(c, path, "ballast");
	if (!ret)
		ret = dv_fill_ballast(path);
	return ret ? dv_broken(c, "cannot fill the file system: %s", strerror(-ret))
		   : DV_OK;
}

static unsigned count_reused(const struct dv_extents *file,
			     const struct dv_extents *victim)
{
	unsigned i, n = 0;

	for (i = 0; i < LEAK_PAGES; i++)
		n += dv_extents_have(victim, dv_extents_where(file, i * spread.stride));
	return n;
}

/* Write the victim's file; how many of the pinned pages' blocks has it got? */
static enum dv_verdict write_victim(struct dv_ctx *c, const struct dv_extents *file,
				    unsigned *pages, unsigned *reused)
{
	struct dv_extents *victim = calloc(1, sizeof(*victim));
	char path[PATH_MAX];
	int ret = victim ? dv_path(c, path, "victim") : -ENOMEM;

	if (!ret)
		ret = dv_fill_victim(path, pages);
	if (!ret)
		ret = dv_extents_get(path, victim);
	if (!ret)
		*reused = count_reused(file, victim);
	free(victim);
	return ret ? dv_broken(c, "cannot write the victim's file: %s", strerror(-ret))
		   : DV_OK;
}

/*
 * No block of a pinned page may belong to another file. When they were freed and the
 * victim got none of them, the pipe proves nothing, and the set-up is to blame.
 */
static enum dv_verdict judge_reuse(struct dv_ctx *c, struct dv_rig *r, unsigned pages,
				   unsigned reused)
{
	if (r->seen == DV_SEEN_DONE && !reused && dv_rig_held(c, r))
		return dv_broken(
			c, "blocks were freed, but none is among the victim's %u", pages);
	dv_oracle(c, reused == 0, DV_SYM_LEAK, "blocks",
		  "no other file has the pages' blocks", "another file has %u of %u",
		  reused, LEAK_PAGES);
	return DV_OK;
}

static enum dv_verdict prepare(struct dv_ctx *c, struct dv_rig *r,
			       struct dv_extents *file)
{
	enum dv_verdict v;
	int ret;

	if (fcntl(c->pipe_w, F_SETPIPE_SZ, (int)(LEAK_PAGES * dv_page_size())) < 0)
		return dv_broken(c, "cannot make the pipe larger: %s", strerror(errno));
	v = dv_rig_build(c, r, FILE_PAGES, &spread);
	if (v != DV_OK)
		return v;
	ret = dv_extents_get(r->path, file);
	if (ret)
		return dv_broken(c, "cannot see where the file lies: %s", strerror(-ret));
	return fill(c);
}

/* An action that waits will want some space when it wakes. */
static enum dv_verdict make_room(struct dv_ctx *c)
{
	char path[PATH_MAX];

	if (dv_path(c, path, "ballast") || truncate(path, 0))
		return dv_broken(c, "cannot make room again: %s", strerror(errno));
	return DV_OK;
}

static enum dv_verdict run_leak(struct dv_ctx *c)
{
	static struct dv_extents file;
	unsigned pages = 0, reused = 0;
	struct dv_rig r;
	enum dv_verdict v;

	v = prepare(c, &r, &file);
	if (v == DV_OK)
		v = dv_rig_act(c, &r, c->sc->action, DV_HANDLER_NONE);
	if (v == DV_OK)
		v = write_victim(c, &file, &pages, &reused);
	if (v == DV_OK)
		v = judge_reuse(c, &r, pages, reused);
	if (v == DV_OK)
		v = make_room(c);
	if (v != DV_OK)
		return v;
	dv_rig_judge_wait(c, &r);
	if (dv_rig_release(c, &r))
		return dv_broken(c, "cannot read the pipe");
	if (r.seen != DV_SEEN_DONE)
		dv_rig_judge_wake(c, &r);
	return dv_rig_judge_content(c, &r);
}

static const struct dv_action punch_all = {"punch of all pages", DV_ACT_PUNCH, 0,
					   FILE_PAGES};

#define NEEDS (DV_NEED_DAX | DV_NEED_SCRATCH | DV_NEED_ROOM)

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{"leak-truncate",
	 "pinned pages show nothing of a file that is written after their file was truncated",
	 NEEDS, PIPE, DV_ST_UNMAPPED, &dv_truncate_zero, DV_EXPECT_WAIT, &dv_unmapped_busy_page,
	 run_leak, 0},
	{"leak-punch",
	 "pinned pages show nothing of a file that is written after a hole was punched over them",
	 NEEDS | DV_NEED_PUNCH, PIPE, DV_ST_UNMAPPED, &punch_all, DV_EXPECT_WAIT,
	 &dv_unmapped_busy_page, run_leak, 0},
	{"leak-unlink",
	 "pinned pages show nothing of a file that is written after their file was unlinked",
	 NEEDS, PIPE, DV_ST_UNMAPPED, &dv_unlink, DV_EXPECT_WAIT, &dv_unmapped_busy_page,
	 run_leak, 0},
	/* clang-format on */
};

const struct dv_group dv_group_leak = {scenarios, DV_COUNT(scenarios)};
