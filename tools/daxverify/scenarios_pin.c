/* SPDX-License-Identifier: BSD-3-Clause */
/* Pins on pages that are still mapped, and the calls that must wait for them. */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "file.h"
#include "rig.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define NEEDS (DV_NEED_DAX)
#define PIPE  "a page of the file vmspliced into a pipe"

static unsigned pages_of(const struct dv_scenario *sc)
{
	return sc->needs & DV_NEED_HUGE ? DV_HUGE_PAGES : DV_FILE_PAGES;
}

/*
 * The plain course of all scenarios of the kind "held page x action": build, act, look,
 * let go, look again, and at the end the file must be what the action makes of it.
 */
enum dv_verdict dv_run_pin(struct dv_ctx *c)
{
	struct dv_rig r;
	enum dv_verdict v;

	v = dv_rig_build(c, &r, pages_of(c->sc), &dv_one_page);
	if (v == DV_OK)
		v = dv_rig_act(c, &r, c->sc->action, DV_HANDLER_NONE);
	if (v != DV_OK)
		return v;
	if (c->sc->expect == DV_EXPECT_PASS)
		dv_rig_judge_pass(c, &r);
	else if (c->sc->expect == DV_EXPECT_ANY)
		dv_rig_judge_any(c, &r);
	else
		dv_rig_judge_wait(c, &r);
	if (!dv_sabotaged(c, DV_SAB_NO_DRAIN) && dv_rig_release(c, &r))
		return dv_broken(c, "cannot read the pipe");
	if (r.seen != DV_SEEN_DONE)
		dv_rig_judge_wake(c, &r);
	if (!r.released)
		return DV_OK;
	v = dv_rig_judge_content(c, &r);
	if (v == DV_OK && r.actor.shm->done)
		dv_rig_judge_file(c, &r, "file", c->sc->action);
	return v;
}

static enum dv_verdict drain_first_pipe(struct dv_ctx *c, struct dv_rig *r)
{
	int64_t second_ns;

	if (dv_rig_release(c, r))
		return dv_broken(c, "cannot read the pipe");
	r->seen = dv_actor_watch(&r->actor);
	dv_oracle(c, r->seen == DV_SEEN_ASLEEP, DV_SYM_NONE, "waits for the second",
		  "still asleep when one of two references is gone", "%s",
		  r->seen == DV_SEEN_ASLEEP ? "asleep" : "no longer asleep");
	second_ns = dv_now_ns();
	if (dv_drain(c->tee_r, NULL, 0, NULL))
		return dv_broken(c, "cannot read the second pipe");
	r->release_ns = second_ns;
	return DV_OK;
}

/* tee(2) doubles the reference: the wait must last until the second one is gone. */
static enum dv_verdict run_tee(struct dv_ctx *c)
{
	struct dv_rig r;
	enum dv_verdict v;
	ssize_t n;

	v = dv_rig_build(c, &r, DV_FILE_PAGES, &dv_one_page);
	if (v != DV_OK)
		return v;
	r.counts.gets = 2;
	n = tee(c->pipe_r, c->tee_w, dv_page_size(), SPLICE_F_NONBLOCK);
	if (n != (ssize_t)dv_page_size())
		return dv_broken(c, "cannot tee the page: %s", strerror(errno));
	v = dv_rig_act(c, &r, c->sc->action, DV_HANDLER_NONE);
	if (v != DV_OK)
		return v;
	dv_rig_judge_wait(c, &r);
	v = drain_first_pipe(c, &r);
	if (v != DV_OK)
		return v;
	dv_rig_judge_wake(c, &r);
	v = dv_rig_judge_content(c, &r);
	if (v == DV_OK && r.actor.shm->done)
		dv_rig_judge_file(c, &r, "file", c->sc->action);
	return v;
}

/* A second call queues behind the one that waits: both must end with the release. */
static enum dv_verdict run_queue(struct dv_ctx *c)
{
	const struct dv_action *second = c->sc->arg ? &dv_truncate_zero : &dv_read;
	struct dv_actor behind;
	struct dv_rig r;
	enum dv_verdict v;

	v = dv_rig_begin(c, &r, c->sc->action, DV_HANDLER_NONE);
	if (v != DV_OK)
		return v;
	dv_rig_judge_wait(c, &r);
	if (dv_actor_start(c, &behind, second, r.path, DV_HANDLER_NONE))
		return dv_broken(c, "cannot start the second call");
	if (!dv_actor_queues(&behind, DV_QUEUED_MS) && !behind.shm->done)
		return dv_broken(c, "%s neither ends nor queues behind the first call",
				 second->name);
	if (dv_rig_release(c, &r))
		return dv_broken(c, "cannot read the pipe");
	dv_rig_judge_wake(c, &r);
	dv_oracle(c,
		  dv_actor_wait(&behind, DV_WAKE_MS, DV_LIMIT_MS) == 0 &&
			  behind.shm->ret >= 0,
		  DV_SYM_NONE, "second call", "ends with success after the release",
		  "%s: %s %s", second->name, behind.shm->done ? "ended" : "did not end",
		  behind.shm->err ? strerrorname_np(behind.shm->err) : "");
	v = dv_rig_judge_content(c, &r);
	if (v == DV_OK && r.actor.shm->done && behind.shm->done)
		dv_rig_judge_file(c, &r, "file", c->sc->arg ? second : c->sc->action);
	return v;
}

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{"mapped-pin-truncate-zero",
	 "ftruncate to 0 waits while a mapped page is pinned, and ends when it is released",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_truncate_zero, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"mapped-pin-truncate-shrink",
	 "a truncate that frees the pinned page but not the whole file waits for it",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_truncate_shrink, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"mapped-pin-truncate-beyond",
	 "a truncate that leaves the pinned page in the file waits as well",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_truncate_beyond, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"mapped-pin-truncate-grow",
	 "even a truncate that only makes the file longer waits for a pinned page",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_truncate_grow, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"mapped-pin-truncate-equal",
	 "even a truncate to the size that the file has waits for a pinned page",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_truncate_equal, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"mapped-pin-open-trunc",
	 "open with O_TRUNC waits while a mapped page is pinned",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_open_trunc, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"mapped-pin-punch",
	 "punching a hole over a pinned page waits until it is released",
	 NEEDS | DV_NEED_PUNCH, PIPE, DV_ST_MAPPED, &dv_punch, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"mapped-pin-punch-elsewhere",
	 "a pin on any page holds up a punch of other pages of the file: the whole file counts",
	 NEEDS | DV_NEED_PUNCH, PIPE, DV_ST_MAPPED, &dv_punch_elsewhere, DV_EXPECT_WAIT, NULL,
	 dv_run_pin, 0},
	{"mapped-pin-zero-range",
	 "zeroing a range over a pinned page waits until it is released",
	 NEEDS | DV_NEED_ZERO_RANGE, PIPE, DV_ST_MAPPED, &dv_zero_range, DV_EXPECT_WAIT, NULL,
	 dv_run_pin, 0},
	{"mapped-pin-collapse",
	 "collapsing a range over a pinned page waits until it is released",
	 NEEDS | DV_NEED_COLLAPSE, PIPE, DV_ST_MAPPED, &dv_collapse, DV_EXPECT_WAIT, NULL,
	 dv_run_pin, 0},
	{"mapped-pin-insert",
	 "inserting a range before a pinned page waits until it is released",
	 NEEDS | DV_NEED_INSERT, PIPE, DV_ST_MAPPED, &dv_insert, DV_EXPECT_WAIT, NULL,
	 dv_run_pin, 0},
	{"mapped-pin-madvise-remove",
	 "MADV_REMOVE over a pinned page waits like a punch",
	 NEEDS | DV_NEED_PUNCH, PIPE, DV_ST_MAPPED, &dv_madv_remove, DV_EXPECT_WAIT, NULL,
	 dv_run_pin, 0},
	{"mapped-pin-allocate",
	 "fallocate over pages that are there already changes neither a pinned page nor the file",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_allocate, DV_EXPECT_ANY, NULL, dv_run_pin, 0},
	{"mapped-pin-unshare",
	 "unsharing a range that nothing shares changes neither a pinned page nor the file",
	 NEEDS | DV_NEED_UNSHARE, PIPE, DV_ST_MAPPED, &dv_unshare, DV_EXPECT_ANY, NULL, dv_run_pin,
	 0},
	{"mapped-pin-readonly",
	 "who may only read the file can pin it, and truncate waits for that pin, too",
	 NEEDS, PIPE, DV_ST_READONLY, &dv_truncate_zero, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"mapped-pin-private",
	 "a page read through a private mapping and pinned holds up truncate, too",
	 NEEDS, PIPE, DV_ST_PRIVATE, &dv_truncate_zero, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"mapped-pin-two-references",
	 "with two references on a page, truncate waits for the last one",
	 NEEDS, "a page vmspliced into a pipe and doubled by tee", DV_ST_MAPPED,
	 &dv_truncate_zero, DV_EXPECT_WAIT, NULL, run_tee, 0},
	{"dontneed-pin-truncate-zero",
	 "ftruncate waits for a pinned page whose page table entry MADV_DONTNEED took away",
	 NEEDS, PIPE, DV_ST_DONTNEED, &dv_truncate_zero, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"dontneed-pin-punch",
	 "a punch waits for a pinned page whose page table entry MADV_DONTNEED took away",
	 NEEDS | DV_NEED_PUNCH, PIPE, DV_ST_DONTNEED, &dv_punch, DV_EXPECT_WAIT, NULL,
	 dv_run_pin, 0},
	{"dontneed-pin-zero-range",
	 "a zero-range waits for a pinned page whose page table entry MADV_DONTNEED took away",
	 NEEDS | DV_NEED_ZERO_RANGE, PIPE, DV_ST_DONTNEED, &dv_zero_range, DV_EXPECT_WAIT, NULL,
	 dv_run_pin, 0},
	{"dontneed-pin-collapse",
	 "a collapse waits for a pinned page whose page table entry MADV_DONTNEED took away",
	 NEEDS | DV_NEED_COLLAPSE, PIPE, DV_ST_DONTNEED, &dv_collapse, DV_EXPECT_WAIT, NULL,
	 dv_run_pin, 0},
	{"elsewhere-mapped-pin-truncate",
	 "truncate waits for a page that its pinner has unmapped and another process maps",
	 NEEDS, PIPE, DV_ST_ELSEWHERE, &dv_truncate_zero, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"hole-pin-truncate",
	 "a hole has no page of its own: pinning it (the zero page) holds up nothing",
	 NEEDS, "a hole of the file vmspliced into a pipe", DV_ST_HOLE, &dv_truncate_zero,
	 DV_EXPECT_PASS, NULL, dv_run_pin, 0},
	{"other-file-pin-truncate",
	 "a pin on a page of one file does not hold up the truncate of another",
	 NEEDS, "a page of another file vmspliced into a pipe", DV_ST_OTHER_FILE,
	 &dv_truncate_zero, DV_EXPECT_PASS, NULL, dv_run_pin, 0},
	{"queue-read-behind-truncate",
	 "a read(2) that comes while truncate waits is not lost: both end after the release",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_truncate_grow, DV_EXPECT_WAIT, NULL, run_queue, 0},
	{"queue-truncate-behind-truncate",
	 "a truncate that comes while another waits is not lost: both end after the release",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_truncate_grow, DV_EXPECT_WAIT, NULL, run_queue, 1},
	/* clang-format on */
};

const struct dv_group dv_group_pin = {scenarios, DV_COUNT(scenarios)};
