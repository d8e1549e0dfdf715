/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that move the blocks of a file elsewhere, or let another file have them: reflink,
 * dedupe, the exchanges, and a write to a block that two files share.
 */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "file.h"
#include "rig.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIPE "a page of the file vmspliced into a pipe"

/* arg: which of the two inode numbers the pinned file has. The kernel locks in their
 * order. */
enum order { PINNED_LOWER, PINNED_HIGHER };

/* The inodes come in the order in which they are made, as a new folder has room for both.
 */
static enum dv_verdict build(struct dv_ctx *c, struct dv_rig *r)
{
	enum order order = (enum order)c->sc->arg;
	char path[PATH_MAX], other[PATH_MAX + 8];
	struct stat file, pair;
	enum dv_verdict v;
	int ret = dv_path(c, path, "file");

	if (!ret && order == PINNED_HIGHER)
		ret = dv_pair_make(path, DV_FILE_PAGES, c->sc->action->kind);
	v = ret ? DV_OK : dv_rig_build(c, r, DV_FILE_PAGES, &dv_one_page);
	if (v != DV_OK)
		return v;
	if (order == PINNED_LOWER)
		ret = dv_pair_make(path, DV_FILE_PAGES, c->sc->action->kind);
	snprintf(other, sizeof(other), "%s.other", path);
	if (!ret && c->sc->action->kind == DV_ACT_DEDUPE)
		ret = dv_file_prove(other, &dv_one_page); /* the same content, again */
	if (!ret && (stat(path, &file) || stat(other, &pair)))
		ret = -errno;
	if (ret)
		return dv_broken(c, "cannot make the second file: %s", strerror(-ret));
	if ((file.st_ino > pair.st_ino) != (order == PINNED_HIGHER))
		return dv_broken(c, "the files' inode numbers came in another order");
	return DV_OK;
}

#define SURVIVED_MS 1000 /* of CPU time */

/* Does it go on using the CPU after a SIGKILL? */
static bool survives(struct dv_actor *a)
{
	int before = a->sight.cpu_ms;
	int64_t begin = dv_now_ns();

	kill(a->pid, SIGKILL);
	do {
		if (dv_child_wait(a->pid, 100, NULL) == 0)
			return false;
		dv_look(a->pid, &a->sight);
	} while (a->sight.cpu_ms - before < SURVIVED_MS &&
		 dv_now_ns() - begin < DV_LIMIT_MS * INT64_C(1000000));
	return true;
}

/* A call that spins must at least be one that can be ended. */
static enum dv_verdict end_spinning(struct dv_ctx *c, struct dv_rig *r)
{
	bool survived = survives(&r->actor);

	dv_oracle(c, !survived, DV_SYM_UNKILLABLE, "signal", "SIGKILL ends the process",
		  "%s", survived ? "it goes on" : "it is gone");
	if (dv_rig_release(c, r))
		return dv_broken(c, "cannot read the pipe");
	if (survived && dv_child_wait(r->actor.pid, DV_LIMIT_MS, NULL))
		return dv_broken(c, "it goes on after the release as well");
	return dv_rig_judge_content(c, r);
}

static enum dv_verdict run_pair(struct dv_ctx *c)
{
	enum dv_verdict v;
	struct dv_rig r;

	v = build(c, &r);
	if (v == DV_OK)
		v = dv_rig_act(c, &r, c->sc->action, DV_HANDLER_NONE);
	if (v != DV_OK)
		return v;
	dv_rig_judge_wait(c, &r);
	if (r.seen == DV_SEEN_SPINNING)
		return end_spinning(c, &r);
	if (dv_rig_release(c, &r))
		return dv_broken(c, "cannot read the pipe");
	if (r.seen != DV_SEEN_DONE)
		dv_rig_judge_wake(c, &r);
	v = dv_rig_judge_content(c, &r);
	if (v == DV_OK && r.actor.shm->done)
		dv_rig_judge_file(c, &r, "file", c->sc->action);
	return v;
}

/* The second exchange gives the file its blocks back: the other inode can't be removed.
 */
static enum dv_verdict run_swap_boot(struct dv_ctx *c)
{
	enum dv_verdict v = dv_run_pin(c);
	struct dv_actor back;
	char path[PATH_MAX];

	if (v != DV_OK)
		return v;
	if (dv_path(c, path, "file") ||
	    dv_actor_start(c, &back, c->sc->action, path, DV_HANDLER_NONE) ||
	    dv_actor_wait(&back, DV_LIMIT_MS, DV_LIMIT_MS) || back.shm->ret < 0)
		return dv_broken(c, "cannot exchange the files' blocks back");
	return DV_OK;
}

/* A file, a clone of it that shares all blocks, and a pin on a page that nobody wrote to.
 */
static enum dv_verdict build_shared(struct dv_ctx *c, struct dv_rig *r,
				    char clone[PATH_MAX], uint64_t *block)
{
	static struct dv_extents x;
	struct dv_hold hold = {.state = DV_ST_READONLY,
			       .npages = DV_FILE_PAGES,
			       .grip = c->grip,
			       .copy_only = dv_sabotaged(c, DV_SAB_NO_PIN)};
	static const enum dv_hop steps[] = {DV_HOP_MAP, DV_HOP_LOAD, DV_HOP_PIN};
	unsigned i;
	int ret;

	memset(r, 0, sizeof(*r));
	r->state = c->sc->state;
	r->npages = DV_FILE_PAGES;
	r->span = dv_one_page;
	r->content = calloc(1, dv_page_size());
	ret = !r->content || dv_path(c, r->path, "file") || dv_path(c, clone, "clone")
		      ? -ENOMEM
		      : dv_file_make(r->path, r->npages);
	if (!ret)
		ret = dv_file_clone(r->path, clone);
	if (!ret)
		ret = dv_extents_get(r->path, &x);
	*block = ret ? 0 : dv_extents_where(&x, DV_PIN_PAGE);
	memcpy(hold.path, r->path, sizeof(hold.path));
	if (!ret)
		ret = dv_holder_start(&r->holder, &hold);
	for (i = 0; i < DV_COUNT(steps) && !ret; i++)
		ret = dv_holder_do(&r->holder, steps[i], &r->span);
	if (ret)
		return dv_broken(c, "cannot pin a page of two files: %s", strerror(-ret));
	return dv_rig_held(c, r) ? DV_OK
				 : dv_broken(c, "the pipe does not hold the page");
}

/* Is the block still part of one of the two files? 1, 0, or -errno. */
static int is_owned(const char *path, const char *clone, uint64_t block)
{
	static struct dv_extents a, b;
	int ret = dv_extents_get(path, &a);

	if (!ret)
		ret = dv_extents_get(clone, &b);
	return ret ? ret : dv_extents_have(&a, block) || dv_extents_have(&b, block);
}

static enum dv_verdict judge_shared_page(struct dv_ctx *c, struct dv_rig *r)
{
	enum dv_page_is is;

	if (dv_rig_release(c, r))
		return dv_broken(c, "cannot read the pipe");
	is = dv_page_look(r->content, DV_PIN_PAGE);
	dv_oracle(c, is == DV_PAGE_ORIGINAL, DV_SYM_LEAK, "pipe",
		  "the page as it was when it was pinned", "%s",
		  is == DV_PAGE_ORIGINAL ? "as it was" : "something else");
	return DV_OK;
}

/* The old block must not be free. Who waits has not given it up (and has the file locked). */
static enum dv_verdict judge_block(struct dv_ctx *c, const struct dv_rig *r, bool waits,
				   const char *clone, uint64_t block)
{
	int owned = waits ? 1 : is_owned(r->path, clone, block);
	bool held = dv_rig_held(c, r);

	if (owned < 0)
		return dv_broken(c, "cannot see whose the block is: %s",
				 strerror(-owned));
	dv_oracle(c, owned && held, held ? DV_SYM_PASSED_PIN : DV_SYM_NONE, "block",
		  "not free while the pipe holds its page", "%s",
		  !held	  ? "nothing was held by then"
		  : waits ? "a call waits for the page"
		  : owned ? "one of the files has it"
			  : "free, with the page in the pipe");
	return DV_OK;
}

/*
 * Two files share their blocks. A page of the first is held; then the first is written
 * to, which gives it another block, and the second is truncated, which gives the old
 * block up. Somewhere on that way somebody has to wait.
 */
static enum dv_verdict run_cow(struct dv_ctx *c)
{
	struct dv_actor second = {0};
	char clone[PATH_MAX];
	enum dv_verdict v;
	uint64_t block;
	struct dv_rig r;
	enum dv_seen seen;

	v = build_shared(c, &r, clone, &block);
	if (v == DV_OK)
		v = dv_rig_act(c, &r, c->sc->action, DV_HANDLER_NONE);
	if (v != DV_OK)
		return v;
	dv_rig_judge_any(c, &r);
	seen = r.seen;
	if (seen == DV_SEEN_DONE) {
		if (dv_actor_start(c, &second, &dv_truncate_zero, clone, DV_HANDLER_NONE))
			return dv_broken(c, "cannot start the truncate");
		seen = dv_actor_watch(&second);
		if (seen == DV_SEEN_DONE && second.shm->ret < 0)
			return dv_broken(c, "cannot truncate the other file: %s",
					 strerror(second.shm->err));
	}
	v = judge_block(c, &r, seen != DV_SEEN_DONE, clone, block);
	if (v == DV_OK)
		v = judge_shared_page(c, &r);
	if (v == DV_OK && r.seen != DV_SEEN_DONE)
		dv_rig_judge_wake(c, &r);
	if (v == DV_OK && second.shm && dv_actor_wait(&second, DV_WAKE_MS, DV_LIMIT_MS))
		return dv_broken(c, "the truncate does not end");
	return v;
}

/* arg: of the clone */
enum clone { CLONE_UNTOUCHED, CLONE_MAPPED };

static int map_clone(const char *clone, struct dv_holder *h)
{
	struct dv_hold hold = {.state = DV_ST_READONLY, .npages = DV_FILE_PAGES};
	int ret;

	memcpy(hold.path, clone, sizeof(hold.path));
	ret = dv_holder_start(h, &hold);
	if (!ret)
		ret = dv_holder_do(h, DV_HOP_MAP, &dv_one_page);
	return ret ? ret : dv_holder_do(h, DV_HOP_LOAD, &dv_one_page);
}

/* The clone has given the block up; who has it last has to wait for the page. */
static enum dv_verdict truncate_last(struct dv_ctx *c, struct dv_rig *r)
{
	if (dv_actor_start(c, &r->actor, &dv_truncate_zero, r->pinned, DV_HANDLER_NONE))
		return dv_broken(c, "cannot start the truncate");
	r->seen = dv_actor_watch(&r->actor);
	dv_rig_judge_wait(c, r);
	return DV_OK;
}

/*
 * Two files share their blocks, and a page is held through the first. The second gives
 * its blocks up, which frees none of them; then the first does.
 */
static enum dv_verdict run_clone(struct dv_ctx *c)
{
	char clone[PATH_MAX];
	enum dv_verdict v;
	uint64_t block;
	struct dv_rig r;
	int owned, ret = 0;

	v = build_shared(c, &r, clone, &block);
	if (v != DV_OK)
		return v;
	memcpy(r.pinned, r.path, sizeof(r.pinned));
	memcpy(r.path, clone, sizeof(r.path));
	r.state = DV_ST_OTHER_FILE;
	if (c->sc->arg == CLONE_MAPPED)
		ret = map_clone(clone, &r.others[0]);
	if (ret)
		return dv_broken(c, "cannot map the clone: %s", strerror(-ret));
	v = dv_rig_act(c, &r, c->sc->action, DV_HANDLER_NONE);
	if (v != DV_OK)
		return v;
	if (c->sc->expect == DV_EXPECT_PASS)
		dv_rig_judge_pass(c, &r);
	else
		dv_rig_judge_any(c, &r);
	/* Of the file alone: the other's extents may be locked by who waits. */
	owned = is_owned(r.pinned, r.pinned, block);
	if (owned < 0)
		return dv_broken(c, "cannot see whose the block is: %s",
				 strerror(-owned));
	dv_oracle(c, owned, DV_SYM_NONE, "block", "still the file's", "%s",
		  owned ? "the file's" : "not the file's");
	if (r.seen == DV_SEEN_DONE)
		v = truncate_last(c, &r);
	if (v != DV_OK)
		return v;
	v = judge_shared_page(c, &r);
	if (v == DV_OK && r.seen != DV_SEEN_DONE)
		dv_rig_judge_wake(c, &r);
	return v;
}

#define SHARED	 "a page that two files share, vmspliced into a pipe through one of them"
#define NEEDS	 (DV_NEED_DAX | DV_NEED_REFLINK)
#define EXCHANGE (DV_NEED_DAX | DV_NEED_EXCHANGE)

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{"reflink-onto-pin-lower",
	 "a reflink onto a file with a pinned page sleeps until it is released",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_reflink, DV_EXPECT_WAIT, NULL, run_pair, PINNED_LOWER},
	{"reflink-onto-pin-higher",
	 "a reflink that waits for the file with the higher inode number sleeps, and can be killed",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_reflink, DV_EXPECT_WAIT, &dv_reflink_spin, run_pair,
	 PINNED_HIGHER},
	{"dedupe-onto-pin-lower",
	 "a dedupe of a file with a pinned page sleeps until it is released",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_dedupe, DV_EXPECT_WAIT, NULL, run_pair, PINNED_LOWER},
	{"dedupe-onto-pin-higher",
	 "a dedupe that waits for the file with the higher inode number sleeps, and can be killed",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_dedupe, DV_EXPECT_WAIT, &dv_reflink_spin, run_pair,
	 PINNED_HIGHER},
	{"copy-range-onto-pin",
	 "copy_file_range that shares blocks sleeps until a pinned page of its target is released",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_copy_range, DV_EXPECT_WAIT, NULL, run_pair, PINNED_LOWER},
	{"exchange-range-pin-lower",
	 "an exchange of two files' ranges sleeps until a pinned page of one is released",
	 EXCHANGE, PIPE, DV_ST_MAPPED, &dv_exchange, DV_EXPECT_WAIT, NULL, run_pair, PINNED_LOWER},
	{"exchange-range-pin-higher",
	 "an exchange that waits for the file with the higher inode number sleeps, can be killed",
	 EXCHANGE, PIPE, DV_ST_MAPPED, &dv_exchange, DV_EXPECT_WAIT, &dv_reflink_spin, run_pair,
	 PINNED_HIGHER},
	{"swapext-pin",
	 "what xfs_fsr does waits until a pinned page of the file that it moves is released",
	 DV_NEED_DAX | DV_NEED_SWAPEXT, PIPE, DV_ST_MAPPED, &dv_swapext, DV_EXPECT_WAIT,
	 &dv_swapext_skips, run_pair, PINNED_LOWER},
	{"swap-boot-pin",
	 "giving a file's blocks to the boot loader's inode waits until its pinned page is "
	 "released",
	 DV_NEED_DAX | DV_NEED_SWAP_BOOT, PIPE, DV_ST_MAPPED, &dv_swap_boot, DV_EXPECT_WAIT,
	 &dv_swap_boot_skips, run_swap_boot, 0},
	{"shared-pin-write-truncate",
	 "a pinned block that two files share is not freed when one is written to and one "
	 "truncated",
	 NEEDS, "a page that two files share, vmspliced into a pipe", DV_ST_READONLY, &dv_write,
	 DV_EXPECT_ANY, &dv_write_forgets, run_cow, 0},
	{"shared-pin-clone-truncate",
	 "truncating a clone frees no block of the pinned file and does not wait; the file's own "
	 "truncate does",
	 NEEDS, SHARED, DV_ST_READONLY, &dv_truncate_zero, DV_EXPECT_PASS, NULL, run_clone,
	 CLONE_UNTOUCHED},
	{"shared-pin-clone-punch",
	 "a punch of a clone frees no block of the pinned file and does not wait; the file's "
	 "truncate does",
	 NEEDS | DV_NEED_PUNCH, SHARED, DV_ST_READONLY, &dv_punch, DV_EXPECT_PASS, NULL, run_clone,
	 CLONE_UNTOUCHED},
	{.name = "shared-pin-mapped-clone-truncate",
	 .claim = "with the shared page mapped through both files no truncate of the two frees its "
		  "block",
	 .needs = NEEDS, .holder = SHARED, .state = DV_ST_READONLY, .action = &dv_truncate_zero,
	 .expect = DV_EXPECT_ANY, .defect = &dv_shared_read_warns, .run = run_clone,
	 .arg = CLONE_MAPPED, .or_defect = &dv_lost_wakeup},
	/* clang-format on */
};

const struct dv_group dv_group_shared = {scenarios, DV_COUNT(scenarios)};
