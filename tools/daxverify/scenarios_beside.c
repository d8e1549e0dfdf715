/* SPDX-License-Identifier: BSD-3-Clause */
/* Who else has to wait while a truncate, punch or reflink waits for a pinned page, and
 * who has not. */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "rig.h"

#include <string.h>

#define BEHIND(what)                                                                     \
	"a page of the file vmspliced into a pipe, and " what " that waits for it"
#define PIPE BEHIND("a truncate")

#define THROUGH_MS 10000 /* asleep in one place this long: it does not go through */

/*
 * EITHER: file systems differ. BY_WORKER: a thread of io_uring waits, and not who
 * submits. BY_ANYONE: who submits may wait, too.
 */
enum beside { GOES_THROUGH, QUEUES, EITHER, BY_WORKER, BY_ANYONE };

/* arg: what is expected, which call waits for the page, and to which file the other goes.
 */
enum { TRUNCATE = 0, PUNCH = 1 << 4, REFLINK = 2 << 4, OF_OTHER = 1 << 8 };
#define HOW(arg) ((enum beside)((arg)&15))

static const struct dv_action *waiter(const struct dv_ctx *c)
{
	switch (c->sc->arg & 0xf0) {
	case PUNCH:
		return &dv_punch;
	case REFLINK:
		return &dv_reflink;
	default:
		return &dv_truncate_grow;
	}
}

static bool as_expected(struct dv_ctx *c, const struct dv_rig *r,
			const struct dv_actor *beside, bool queued, bool through)
{
	through = through && beside->shm->ret >= 0 && dv_rig_held(c, r);
	switch (HOW(c->sc->arg)) {
	case GOES_THROUGH:
		return through;
	case QUEUES:
		return queued && !beside->sight.worker;
	case BY_WORKER:
		return queued && beside->sight.worker;
	case BY_ANYONE:
		return queued;
	default:
		return through || queued;
	}
}

/*
 * One that is expected to go through may sleep on the way, for the journal say, for as
 * long as a slow machine takes.
 */
static void judge_meanwhile(struct dv_ctx *c, struct dv_rig *r, struct dv_actor *beside)
{
	static const char *const expected[] = {
		[GOES_THROUGH] = "ends with success while the page is held",
		[QUEUES] = "asleep until the call that waits has ended",
		[EITHER] =
			"ends with success, or asleep until the call that waits has ended",
		[BY_WORKER] =
			"a worker sleeps until the call that waits has ended, no one else",
		[BY_ANYONE] = "asleep until the call that waits has ended",
	};
	bool patient = HOW(c->sc->arg) == GOES_THROUGH;
	bool queued = dv_actor_queues(beside, patient ? THROUGH_MS : DV_QUEUED_MS);
	bool through = !queued && dv_actor_wait(beside, DV_LIMIT_MS, DV_LIMIT_MS) == 0;
	const char *how = !queued		 ? through ? "ended" : "neither"
			  : beside->sight.worker ? "a worker asleep in state D in"
						 : "asleep in state D in";
	const char *where = queued ? beside->sight.where : "";

	if (through && beside->shm->err)
		where = strerrorname_np(beside->shm->err);
	dv_oracle(c, as_expected(c, r, beside, queued, through), DV_SYM_NONE, "meanwhile",
		  expected[HOW(c->sc->arg)], "%s: %s %s", c->sc->action->name, how,
		  where);
}

/* Who has queued has ended since the release, and not a moment before. */
static void judge_afterwards(struct dv_ctx *c, const struct dv_rig *r,
			     struct dv_actor *beside)
{
	bool ended = dv_actor_wait(beside, DV_WAKE_MS, DV_LIMIT_MS) == 0;
	bool queues = HOW(c->sc->arg) != GOES_THROUGH && HOW(c->sc->arg) != EITHER;
	bool early = ended && queues && beside->shm->end_ns < r->release_ns;

	dv_oracle(c, ended && !early && beside->shm->ret >= 0, DV_SYM_NONE, "afterwards",
		  queues ? "has ended with success, since the release"
			 : "has ended with success",
		  "%s %s",
		  !ended  ? "has not ended"
		  : early ? "ended before the release"
			  : "ended",
		  beside->shm->err ? strerrorname_np(beside->shm->err) : "");
}

/* The second call, while the first one is asleep. */
static enum dv_verdict run_beside(struct dv_ctx *c)
{
	char path[PATH_MAX + 8];
	struct dv_actor beside;
	enum dv_verdict v;
	struct dv_rig r;

	v = dv_rig_begin(c, &r, waiter(c), DV_HANDLER_NONE);
	if (v != DV_OK)
		return v;
	dv_rig_judge_wait(c, &r);
	snprintf(path, sizeof(path), "%s%s", r.path,
		 c->sc->arg & OF_OTHER ? ".other" : "");
	if (dv_actor_start(c, &beside, c->sc->action, path, DV_HANDLER_NONE))
		return dv_broken(c, "cannot start %s", c->sc->action->name);
	judge_meanwhile(c, &r, &beside);
	if (dv_rig_release(c, &r))
		return dv_broken(c, "cannot read the pipe");
	if (r.seen != DV_SEEN_DONE)
		dv_rig_judge_wake(c, &r);
	judge_afterwards(c, &r, &beside);
	v = dv_rig_judge_content(c, &r);
	/* What is written beside is another content, and comes before or after. */
	if (v == DV_OK && r.actor.shm->done && c->sc->action->kind != DV_ACT_WRITE)
		dv_rig_judge_file(c, &r, "file", waiter(c));
	return v;
}

static const struct dv_action stat_file = {"stat(2)", DV_ACT_STAT, 0, 0};
static const struct dv_action fsync_file = {"fsync(2)", DV_ACT_FSYNC, 0, 0};
static const struct dv_action sync_fs = {"syncfs(2)", DV_ACT_SYNCFS, 0, 0};
static const struct dv_action load = {"a load from page 1", DV_ACT_LOAD, 1, 1};
static const struct dv_action store = {"a store to page 1", DV_ACT_STORE, 1, 1};
static const struct dv_action msync_page = {"a store to page 1 and msync", DV_ACT_MSYNC,
					    1, 1};
static const struct dv_action write_one = {"write(2) of page 1", DV_ACT_WRITE, 1, 1};
static const struct dv_action allocate = {"fallocate of page 1", DV_ACT_ALLOCATE, 1, 1};
static const struct dv_action chmod_file = {"fchmod", DV_ACT_CHMOD, 0, 0};
static const struct dv_action seek_hole = {"lseek(SEEK_HOLE)", DV_ACT_SEEK_HOLE, 0, 0};
static const struct dv_action read_nowait = {"preadv2(RWF_NOWAIT)", DV_ACT_READ_NOWAIT, 1,
					     1};
static const struct dv_action uring_read = {"an io_uring read of page 1",
					    DV_ACT_URING_READ, 1, 1};
static const struct dv_action uring_allocate = {"an io_uring fallocate of page 1",
						DV_ACT_URING_ALLOCATE, 1, 1};

#define NEEDS	 (DV_NEED_DAX)
#define BY_PUNCH (DV_NEED_DAX | DV_NEED_PUNCH)
#define BY_CLONE (DV_NEED_DAX | DV_NEED_REFLINK)
#define BY_URING (DV_NEED_DAX | DV_NEED_URING)

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{"beside-truncate-stat",
	 "stat(2) does not wait for a truncate that waits for a pinned page",
	 NEEDS, PIPE, DV_ST_MAPPED, &stat_file, DV_EXPECT_PASS, NULL, run_beside, GOES_THROUGH},
	{"beside-truncate-load",
	 "a load through a new mapping does not wait for a truncate that waits for a pinned page",
	 NEEDS, PIPE, DV_ST_MAPPED, &load, DV_EXPECT_PASS, NULL, run_beside, GOES_THROUGH},
	{"beside-truncate-store",
	 "a store through a new mapping does not wait for a truncate that waits for a pinned page",
	 NEEDS, PIPE, DV_ST_MAPPED, &store, DV_EXPECT_PASS, NULL, run_beside, GOES_THROUGH},
	{"beside-truncate-fsync",
	 "fsync does not wait for a truncate that waits for a pinned page",
	 NEEDS, PIPE, DV_ST_MAPPED, &fsync_file, DV_EXPECT_PASS, NULL, run_beside, GOES_THROUGH},
	{"beside-truncate-syncfs",
	 "syncfs does not wait for a truncate that waits for a pinned page",
	 NEEDS, PIPE, DV_ST_MAPPED, &sync_fs, DV_EXPECT_PASS, NULL, run_beside, GOES_THROUGH},
	{"beside-truncate-msync",
	 "msync does not wait for a truncate that waits for a pinned page",
	 NEEDS, PIPE, DV_ST_MAPPED, &msync_page, DV_EXPECT_PASS, NULL, run_beside, GOES_THROUGH},
	{"beside-truncate-read-nowait",
	 "a read with RWF_NOWAIT says EAGAIN rather than wait behind a truncate",
	 NEEDS, PIPE, DV_ST_MAPPED, &read_nowait, DV_EXPECT_PASS, NULL, run_beside, GOES_THROUGH},
	{"beside-truncate-read",
	 "read(2) sleeps behind a truncate that waits, uninterruptibly, and then ends",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_read, DV_EXPECT_WAIT, NULL, run_beside, QUEUES},
	{"beside-truncate-write",
	 "write(2) sleeps behind a truncate that waits, uninterruptibly, and then ends",
	 NEEDS, PIPE, DV_ST_MAPPED, &write_one, DV_EXPECT_WAIT, NULL, run_beside, QUEUES},
	{"beside-truncate-fallocate",
	 "fallocate sleeps behind a truncate that waits, uninterruptibly, and then ends",
	 NEEDS, PIPE, DV_ST_MAPPED, &allocate, DV_EXPECT_WAIT, NULL, run_beside, QUEUES},
	{"beside-truncate-fchmod",
	 "fchmod sleeps behind a truncate that waits, uninterruptibly, and then ends",
	 NEEDS, PIPE, DV_ST_MAPPED, &chmod_file, DV_EXPECT_WAIT, NULL, run_beside, QUEUES},
	{"beside-truncate-seek-hole",
	 "lseek(SEEK_HOLE) has its answer at the latest when a truncate that waits has ended",
	 NEEDS, PIPE, DV_ST_MAPPED, &seek_hole, DV_EXPECT_ANY, NULL, run_beside, EITHER},
	{"beside-truncate-freeze",
	 "freezing the file system sleeps behind a truncate that waits for a pinned page",
	 NEEDS | DV_NEED_ROOT | DV_NEED_SCRATCH | DV_NEED_OWN_MOUNT, PIPE, DV_ST_MAPPED, &dv_freeze,
	 DV_EXPECT_WAIT, NULL, run_beside, QUEUES},
	{"beside-truncate-uring-read",
	 "an io_uring read sleeps behind a truncate that waits, a worker or who "
	 "submits it, and then ends",
	 BY_URING, PIPE, DV_ST_MAPPED, &uring_read, DV_EXPECT_WAIT, NULL, run_beside, BY_ANYONE},
	{"beside-truncate-uring-fallocate",
	 "an io_uring fallocate behind a truncate that waits holds up a worker, not "
	 "who submitted it",
	 BY_URING, PIPE, DV_ST_MAPPED, &uring_allocate, DV_EXPECT_WAIT, NULL, run_beside,
	 BY_WORKER},
	{"beside-punch-load",
	 "a load through a new mapping does not wait for a punch that waits for a pinned page",
	 BY_PUNCH, BEHIND("a punch"), DV_ST_MAPPED, &load, DV_EXPECT_PASS, NULL, run_beside,
	 PUNCH | GOES_THROUGH},
	{"beside-punch-store",
	 "a store through a new mapping does not wait for a punch that waits for a pinned page",
	 BY_PUNCH, BEHIND("a punch"), DV_ST_MAPPED, &store, DV_EXPECT_PASS, NULL, run_beside,
	 PUNCH | GOES_THROUGH},
	{"beside-punch-fsync",
	 "fsync does not wait for a punch that waits for a pinned page",
	 BY_PUNCH, BEHIND("a punch"), DV_ST_MAPPED, &fsync_file, DV_EXPECT_PASS, NULL, run_beside,
	 PUNCH | GOES_THROUGH},
	{"beside-punch-stat",
	 "stat(2) does not wait for a punch that waits for a pinned page",
	 BY_PUNCH, BEHIND("a punch"), DV_ST_MAPPED, &stat_file, DV_EXPECT_PASS, NULL, run_beside,
	 PUNCH | GOES_THROUGH},
	{"beside-punch-read",
	 "read(2) of a page that is not punched sleeps behind a punch that waits, and then ends",
	 BY_PUNCH, BEHIND("a punch"), DV_ST_MAPPED, &dv_read, DV_EXPECT_WAIT, NULL, run_beside,
	 PUNCH | QUEUES},
	{"beside-punch-write",
	 "write(2) to a page that is not punched sleeps behind a punch that waits, and then ends",
	 BY_PUNCH, BEHIND("a punch"), DV_ST_MAPPED, &write_one, DV_EXPECT_WAIT, NULL, run_beside,
	 PUNCH | QUEUES},
	{"beside-punch-fallocate",
	 "fallocate of another page sleeps behind a punch that waits, and then ends",
	 BY_PUNCH, BEHIND("a punch"), DV_ST_MAPPED, &allocate, DV_EXPECT_WAIT, NULL, run_beside,
	 PUNCH | QUEUES},
	{"beside-reflink-read",
	 "read(2) of the file that a reflink goes to sleeps behind it while it waits",
	 BY_CLONE, BEHIND("a reflink"), DV_ST_MAPPED, &dv_read, DV_EXPECT_WAIT, NULL, run_beside,
	 REFLINK | QUEUES},
	{"beside-reflink-read-source",
	 "read(2) of the file that a reflink is made of sleeps behind it while it waits",
	 BY_CLONE, BEHIND("a reflink"), DV_ST_MAPPED, &dv_read, DV_EXPECT_WAIT, NULL, run_beside,
	 REFLINK | OF_OTHER | QUEUES},
	{"beside-reflink-load-source",
	 "a load from the file that a reflink is made of does not wait for it while it waits",
	 BY_CLONE, BEHIND("a reflink"), DV_ST_MAPPED, &load, DV_EXPECT_PASS, NULL, run_beside,
	 REFLINK | OF_OTHER | GOES_THROUGH},
	{"beside-reflink-stat-source",
	 "stat(2) of the file that a reflink is made of does not wait for it while it waits",
	 BY_CLONE, BEHIND("a reflink"), DV_ST_MAPPED, &stat_file, DV_EXPECT_PASS, NULL, run_beside,
	 REFLINK | OF_OTHER | GOES_THROUGH},
	/* clang-format on */
};

const struct dv_group dv_group_beside = {scenarios, DV_COUNT(scenarios)};
