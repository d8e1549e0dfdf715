/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a process sees of its mappings of a file on DAX: smaps, pagemap, PAGEMAP_SCAN,
 * mincore and numa_maps, after each step of a short course.
 */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "file.h"
#include "rig.h"
#include "view.h"

#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum op { LOOK, LOAD, STORE, SYNC, DONTNEED, PUNCH, TRUNCATE, PIN };

struct step {
	const char *name;
	enum op op;
	struct dv_view_want want;
};

enum file { WRITTEN, UNWRITTEN, HOLE };

struct course {
	enum file file;
	bool private;
	struct step steps[5];
};

static int take(struct dv_ctx *c, const struct dv_counted *t, struct dv_view *v)
{
	if (dv_sabotaged(c, DV_SAB_EXTRA_TOUCH))
		(void)*(volatile char *)t->page;
	return dv_view_take(t->map, t->len, t->page, v);
}

static enum dv_verdict look(struct dv_ctx *c, const struct dv_counted *t,
			    const struct step *s)
{
	struct dv_view v;
	int ret = take(c, t, &v);

	if (ret)
		return dv_broken(c, "cannot look at the mapping: %s", strerror(-ret));
	dv_view_judge(c, s->name, &s->want, &v, t->pfn);
	return DV_OK;
}

static int touch(struct dv_ctx *c, struct dv_counted *t, bool store)
{
	if (dv_sabotaged(c, DV_SAB_NO_TOUCH))
		return 0;
	if (store)
		dv_counted_store(t);
	else
		(void)*(volatile char *)t->page;
	return 0;
}

static int do_action(struct dv_counted *t, const struct dv_action *action)
{
	struct dv_target target = {.action = action, .fd = t->fd};

	return dv_action_do(&target) < 0 ? -errno : 0;
}

static int put_into_pipe(struct dv_ctx *c, struct dv_counted *t)
{
	struct iovec iov = {.iov_base = t->page, .iov_len = dv_page_size()};

	return vmsplice(c->pipe_w, &iov, 1, SPLICE_F_NONBLOCK) < 0 ? -errno : 0;
}

static int do_step(struct dv_ctx *c, struct dv_counted *t, enum op op)
{
	switch (op) {
	case LOOK:
		return 0;
	case LOAD:
	case STORE:
		return touch(c, t, op == STORE);
	case SYNC:
		return fsync(t->fd) ? -errno : 0;
	case DONTNEED:
		return madvise(t->map, t->len, MADV_DONTNEED) ? -errno : 0;
	case PUNCH:
		return do_action(t, &dv_punch);
	case TRUNCATE:
		return do_action(t, &dv_truncate_zero);
	case PIN:
		return put_into_pipe(c, t);
	}
	return -EINVAL;
}

/* A file of which no page is known before, in place of the one that is. */
static int replace_file(struct dv_ctx *c, struct dv_counted *t, enum file file)
{
	static const struct dv_span none = {0, 0, 1};
	unsigned npages = (unsigned)(t->len / dv_page_size());
	int ret = dv_path(c, t->path, "sparse");

	t->pfn = 0;
	close(t->fd);
	if (!ret)
		ret = file == HOLE ? dv_file_sparse(t->path, npages)
				   : dv_file_make_at(t->path, npages, &none);
	t->fd = ret ? -1 : open(t->path, O_RDWR | O_CLOEXEC);
	return ret ? ret : t->fd < 0 ? -errno : 0;
}

/* Mapped anew: of what was touched before there is nothing. */
static enum dv_verdict map_fresh(struct dv_ctx *c, struct dv_counted *t,
				 const struct course *course)
{
	enum dv_verdict v = (enum dv_verdict)dv_counted_begin(c, t);
	int ret = 0;

	if (v != DV_OK)
		return v;
	munmap(t->map, t->len);
	if (course->file != WRITTEN)
		ret = replace_file(c, t, course->file);
	if (!ret && course->private) {
		t->map =
			mmap(NULL, t->len, PROT_READ | PROT_WRITE, MAP_PRIVATE, t->fd, 0);
		t->page = t->map + DV_PIN_PAGE * dv_page_size();
		ret = t->map == MAP_FAILED ? -errno : 0;
	} else if (!ret) {
		ret = dv_counted_map(t);
	}
	return ret ? dv_broken(c, "cannot map the file: %s", strerror(-ret)) : DV_OK;
}

/* clang-format off */
#define NONE   {DV_SHOWS_NOTHING}
#define PAGES  {DV_SHOWS_PAGES}
#define DIRTY  {DV_SHOWS_PAGES, .dirty = true}
#define COPY   {DV_SHOWS_COPY, .dirty = true}
#define ZEROES {DV_SHOWS_ZERO}
#define STORED {"stored", STORE, DIRTY}
#define GONE   {"dropped", DONTNEED, NONE}

enum { LOADS, STORES, DROPS, PRIVATE, HUGE_PRIVATE, HOLES, UNWRITTENS, PUNCHES, TRUNCATES, PINS };

static const struct course courses[] = {
	[LOADS] = {.steps = {{"mapped", LOOK, NONE}, {"loaded", LOAD, PAGES}}},
	[STORES] = {.steps = {STORED, {"synced", SYNC, PAGES}, {"stored again", STORE, DIRTY}}},
	[DROPS] = {.steps = {STORED, GONE, {"loaded", LOAD, PAGES}}},
	[PRIVATE] = {.private = true,
		     .steps = {{"read", LOAD, PAGES}, {"written", STORE, COPY}, GONE,
			       {"read again", LOAD, PAGES}}},
	/* What is read again has a table of small entries by then. */
	[HUGE_PRIVATE] = {.private = true,
			  .steps = {{"read", LOAD, PAGES}, {"written", STORE, COPY}, GONE}},
	[HOLES] = {.file = HOLE, .steps = {{"loaded", LOAD, ZEROES}, STORED}},
	[UNWRITTENS] = {.file = UNWRITTEN, .steps = {{"loaded", LOAD, ZEROES}, STORED}},
	[PUNCHES] = {.steps = {STORED, {"punched", PUNCH, NONE}, {"loaded", LOAD, ZEROES}}},
	[TRUNCATES] = {.steps = {STORED, {"truncated", TRUNCATE, NONE}}},
	[PINS] = {.steps = {STORED, {"held", PIN, DIRTY}, GONE, {"loaded", LOAD, PAGES}}},
};
/* clang-format on */

/* Sabotage: memory that is counted as pinned. */
static int keep_pin(struct dv_ctx *c)
{
	static struct io_uring ring;
	struct iovec iov = {.iov_len = dv_page_size()};
	int ret;

	if (!dv_sabotaged(c, DV_SAB_KEEP_PIN))
		return 0;
	iov.iov_base = mmap(NULL, iov.iov_len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (iov.iov_base == MAP_FAILED)
		return -errno;
	ret = io_uring_queue_init(2, &ring, 0);
	return ret ? ret : io_uring_register_buffers(&ring, &iov, 1);
}

static enum dv_verdict run_course(struct dv_ctx *c)
{
	const struct course *course = &courses[c->sc->arg];
	long pinned = dv_view_status("VmPin"), now;
	const struct step *s;
	struct dv_counted t;
	enum dv_verdict v = map_fresh(c, &t, course);
	int ret;

	for (s = course->steps; v == DV_OK && s->name; s++) {
		ret = do_step(c, &t, s->op);
		if (ret)
			return dv_broken(c, "cannot get to \"%s\": %s", s->name,
					 strerror(-ret));
		v = look(c, &t, s);
	}
	if (v != DV_OK)
		return v;
	ret = keep_pin(c);
	if (ret)
		return dv_broken(c, "cannot pin other memory: %s", strerror(-ret));
	now = dv_view_status("VmPin");
	dv_oracle(c, now == pinned, DV_SYM_NONE, "VmPin", "as before",
		  "%ld KiB, before %ld", now, pinned);
	return DV_OK;
}

/* Both processes look; the child after its own touch, too. */
struct family {
	_Atomic int turn; /* odd: the child's */
	int ret;
	struct dv_view before, after;
};

static void wait_turn(struct family *f, int turn)
{
	while (f->turn != turn)
		dv_sleep_ms(1);
}

static void child_looks(struct dv_ctx *c, struct dv_counted *t, struct family *f)
{
	f->ret = take(c, t, &f->before);
	touch(c, t, false);
	if (!f->ret)
		f->ret = take(c, t, &f->after);
	f->turn = 1;
	wait_turn(f, 2);
	_exit(0);
}

static enum dv_verdict run_fork(struct dv_ctx *c)
{
	static const struct step alone = {"alone", LOOK, {DV_SHOWS_PAGES}},
				 both = {"both", LOOK, {DV_SHOWS_PAGES, .sharers = 1}};
	static const struct dv_view_want none = {DV_SHOWS_NOTHING};
	int64_t begin = dv_now_ns();
	struct dv_counted t;
	enum dv_verdict v = map_fresh(c, &t, &courses[LOADS]);
	struct family *f = mmap(NULL, sizeof(*f), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	if (v != DV_OK)
		return v;
	touch(c, &t, false);
	pid = f == MAP_FAILED ? -1 : dv_child_fork();
	if (pid == 0)
		child_looks(c, &t, f);
	if (pid < 0)
		return dv_broken(c, "cannot fork: %s", strerror(errno));
	while (f->turn != 1 && dv_now_ns() - begin < DV_LIMIT_MS * INT64_C(1000000))
		dv_sleep_ms(1);
	if (f->turn != 1 || f->ret)
		return dv_broken(c, "the child cannot look: %s", strerror(-f->ret));
	dv_view_judge(c, "child", &none, &f->before, t.pfn);
	dv_view_judge(c, "child, both", &both.want, &f->after, t.pfn);
	v = look(c, &t, &both);
	f->turn = 2;
	if (v == DV_OK && dv_child_wait(pid, DV_LIMIT_MS, NULL))
		return dv_broken(c, "the child does not end");
	return v == DV_OK ? look(c, &t, &alone) : v;
}

#define NEEDS (DV_NEED_DAX | DV_NEED_ROOT | DV_NEED_COUNTS)
#define HUGE  (NEEDS | DV_NEED_HUGE)
#define PIPE  "a page of the file vmspliced into a pipe"

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{.name = "view-load",
	 .claim = "a page is seen in the page table once it was loaded from, not when it is "
		  "mapped",
	 .needs = NEEDS, .run = run_course, .arg = LOADS},
	{.name = "view-store",
	 .claim = "a page that was stored to is seen as dirty, and after fsync it is still there",
	 .needs = NEEDS, .run = run_course, .arg = STORES},
	{.name = "view-dontneed",
	 .claim = "after MADV_DONTNEED nothing of the mapping is seen, until it is touched again",
	 .needs = NEEDS, .run = run_course, .arg = DROPS},
	{.name = "view-private",
	 .claim = "a private mapping shows the file's page, once written to a page of its own, and "
		  "after MADV_DONTNEED the file's again",
	 .needs = NEEDS, .run = run_course, .arg = PRIVATE},
	{.name = "view-hole",
	 .claim = "a hole that was loaded from shows the zero page, which is nobody's memory; a "
		  "store brings a page",
	 .needs = NEEDS, .run = run_course, .arg = HOLES},
	{.name = "view-unwritten",
	 .claim = "a page that is allocated and never written shows as a hole until it "
		  "is stored to",
	 .needs = NEEDS, .run = run_course, .arg = UNWRITTENS},
	{.name = "view-punch",
	 .claim = "a page that a punch took away is seen no more, and then as the zero page",
	 .needs = NEEDS | DV_NEED_PUNCH, .run = run_course, .arg = PUNCHES},
	{.name = "view-truncate",
	 .claim = "a page that truncate took away is seen no more",
	 .needs = NEEDS, .run = run_course, .arg = TRUNCATES},
	{.name = "view-pin",
	 .claim = "a page in a pipe is seen as it is without, and not when it is not mapped; no "
		  "pin of the process is counted",
	 .needs = NEEDS, .holder = PIPE, .run = run_course, .arg = PINS},
	{.name = "view-fork",
	 .claim = "a child sees nothing of a shared mapping before it touches it; then "
		  "both share it",
	 .needs = NEEDS, .run = run_fork},
	{.name = "view-huge-load",
	 .claim = "an entry of 2 MiB is seen with all of its pages once one of them "
		  "was loaded from",
	 .needs = HUGE, .defect = &dv_smaps_misses_huge, .run = run_course, .arg = LOADS},
	{.name = "view-huge-store",
	 .claim = "an entry of 2 MiB that was stored to is seen as dirty as a whole, "
		  "and stays there",
	 .needs = HUGE, .defect = &dv_smaps_misses_huge, .run = run_course, .arg = STORES},
	{.name = "view-huge-dontneed",
	 .claim = "after MADV_DONTNEED nothing is seen of an entry of 2 MiB, until it is touched "
		  "again",
	 .needs = HUGE, .defect = &dv_smaps_misses_huge, .run = run_course, .arg = DROPS},
	{.name = "view-huge-private",
	 .claim = "a private mapping shows the file's 2 MiB, and once written to one page, its own",
	 .needs = HUGE, .defect = &dv_smaps_misses_huge, .run = run_course, .arg = HUGE_PRIVATE},
	{.name = "view-huge-hole",
	 .claim = "a hole of 2 MiB that was loaded from shows zero pages, which are "
		  "nobody's memory",
	 .needs = HUGE, .defect = &dv_smaps_misses_huge, .run = run_course, .arg = HOLES},
	{.name = "view-huge-truncate",
	 .claim = "an entry of 2 MiB that truncate took away is seen no more",
	 .needs = HUGE, .defect = &dv_smaps_misses_huge, .run = run_course, .arg = TRUNCATES},
	{.name = "view-huge-fork",
	 .claim = "a child sees nothing of a shared entry of 2 MiB before it touches it",
	 .needs = HUGE, .defect = &dv_smaps_misses_huge, .run = run_fork},
	/* clang-format on */
};

const struct dv_group dv_group_views = {scenarios, DV_COUNT(scenarios)};
