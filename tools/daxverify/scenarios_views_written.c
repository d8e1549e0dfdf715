/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which pages were written to since one last asked: the soft-dirty bits, and write
 * protection by userfaultfd that a fault takes away again by itself (as PAGEMAP_SCAN and
 * CRIU use it).
 */
#include "daxverify.h"

#include "actor.h"
#include "file.h"
#include "rig.h"
#include "userfault.h"
#include "view.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static bool is_huge(const struct dv_ctx *c)
{
	return c->sc->needs & DV_NEED_HUGE;
}

static void touch(struct dv_ctx *c, char *page, bool store)
{
	volatile char *p = page + 512;

	if (dv_sabotaged(c, DV_SAB_NO_TOUCH))
		return;
	if (store)
		*p = *p;
	else
		(void)*p;
}

static char *nth(const struct dv_counted *t, unsigned page)
{
	return t->map + page * dv_page_size();
}

/* What is done with which page. */
enum { STORED = 3, LOADED = 5, LEFT = 8 };

/* arg: and then a page that was never there */
enum { WITH_FILL = 1 };

/* An entry of 2 MiB is dirty as a whole. */
static bool is_right(const struct dv_ctx *c, uint64_t pages, uint64_t want)
{
	return is_huge(c) && want ? pages != 0 && (pages & want) == want : pages == want;
}

static void judge_pages(struct dv_ctx *c, const char *name, uint64_t pages, uint64_t want)
{
	bool missing = want & ~pages;
	char expected[64];

	snprintf(expected, sizeof(expected), "%spages %#llx",
		 is_huge(c) && want ? "at least " : "", (unsigned long long)want);
	dv_oracle(c, is_right(c, pages, want), missing ? DV_SYM_UNTOLD : DV_SYM_NONE,
		  name, expected, "pages %#llx", (unsigned long long)pages);
}

static bool soft_dirty_is_there(void)
{
	volatile char *p = mmap(NULL, dv_page_size(), PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct dv_view v = {0};

	if (p == MAP_FAILED)
		return false;
	*p = 1;
	dv_view_take((void *)p, dv_page_size(), (void *)p, &v);
	munmap((void *)p, dv_page_size());
	return v.soft_dirty;
}

static int clear_soft_dirty(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, "4", 1) == 1 ? 0 : -errno;
	close(fd);
	return ret;
}

static enum dv_verdict judge_soft_dirty(struct dv_ctx *c, const struct dv_counted *t,
					const char *name, uint64_t want)
{
	uint64_t pages = 0;
	struct dv_view v;
	unsigned i;
	int ret;

	for (i = 0; i < DV_FILE_PAGES; i++) {
		ret = dv_view_take(t->map, t->len, nth(t, i), &v);
		if (ret)
			return dv_broken(c, "cannot look at the mapping: %s",
					 strerror(-ret));
		pages |= (uint64_t)v.soft_dirty << i;
	}
	judge_pages(c, name, pages, want);
	return DV_OK;
}

static enum dv_verdict run_soft_dirty(struct dv_ctx *c)
{
	struct dv_counted t;
	enum dv_verdict v = (enum dv_verdict)dv_counted_begin(c, &t);
	int ret;

	if (v != DV_OK)
		return v;
	if (!soft_dirty_is_there())
		return dv_skip(
			c, "this kernel has no soft-dirty bits (CONFIG_MEM_SOFT_DIRTY)");
	touch(c, nth(&t, STORED), true);
	ret = clear_soft_dirty();
	if (ret)
		return dv_broken(c, "cannot clear the soft-dirty bits: %s",
				 strerror(-ret));
	if (dv_sabotaged(c, DV_SAB_EXTRA_TOUCH))
		dv_counted_store(&t);
	v = judge_soft_dirty(c, &t, "cleared", 0);
	if (v != DV_OK)
		return v;
	touch(c, nth(&t, STORED), true);
	touch(c, nth(&t, LOADED), false);
	touch(c, nth(&t, LEFT), false);
	return judge_soft_dirty(c, &t, "stored to", 1 << STORED);
}

/* Write protection that a fault takes away again by itself. Since Linux 6.7. */
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

/*
 * There or not, all of the mapping; by PAGEMAP_SCAN what is there, which leaves entries
 * of 2 MiB as they are.
 */
static int protect(const struct dv_counted *t, int fd, bool huge)
{
	struct uffdio_writeprotect all = {.range = {(uintptr_t)t->map, t->len},
					  .mode = UFFDIO_WRITEPROTECT_MODE_WP};
	uint64_t ignored;

	if (huge)
		return dv_view_scan(t->map, t->len, DV_SCAN_WRITTEN, true, &ignored);
	return ioctl(fd, UFFDIO_WRITEPROTECT, &all) ? -errno : 0;
}

/* A userfaultfd, or -errno; -ENOTTY: the kernel has nothing of the sort for this mapping.
 */
static int watch_writes(const struct dv_counted *t, bool huge)
{
	int fd = dv_userfault_open(t->map, t->len, UFFDIO_REGISTER_MODE_WP,
				   UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED);
	int ret;

	if (fd < 0)
		return fd == -EINVAL ? -ENOTTY : fd;
	ret = protect(t, fd, huge);
	if (ret)
		close(fd);
	return ret ? ret : fd;
}

/* What a child finds, step by step: it may not come back from a store. */
struct found {
	_Atomic int stored, filled; /* it came back from the store */
	int ret;
	uint64_t before, after, at_end;
};

static void child_writes(struct dv_ctx *c, struct dv_counted *t, struct found *f)
{
	int fd;

	f->ret = dv_counted_map(t);
	if (!f->ret)
		touch(c, nth(t, STORED), true);
	fd = f->ret ? -1 : watch_writes(t, is_huge(c));
	if (!f->ret && fd < 0)
		f->ret = fd;
	if (dv_sabotaged(c, DV_SAB_EXTRA_TOUCH))
		*(volatile char *)nth(t, STORED) = 0;
	if (!f->ret)
		f->ret = dv_view_scan(t->map, t->len, DV_SCAN_WRITTEN, false, &f->before);
	if (f->ret)
		_exit(1);
	touch(c, nth(t, STORED), true);
	f->stored = 1;
	f->ret = dv_view_scan(t->map, t->len, DV_SCAN_WRITTEN, false, &f->after);
	if (f->ret || c->sc->arg != WITH_FILL)
		_exit(0);
	touch(c, nth(t, LEFT), true);
	f->filled = 1;
	f->ret = dv_view_scan(t->map, t->len, DV_SCAN_WRITTEN, false, &f->at_end);
	_exit(0);
}

#define SPIN_MS 2000 /* of CPU time, for one store */

/* 0, its status, or -ETIMEDOUT: it faults for ever. */
static int wait_for(pid_t pid, int *status)
{
	struct dv_sight s;
	int ret;

	do {
		ret = dv_child_wait(pid, 100, status);
		dv_look(pid, &s);
	} while (ret == -EINTR || (ret == -ETIMEDOUT && s.cpu_ms < SPIN_MS));
	if (ret)
		kill(pid, SIGKILL);
	return ret;
}

static const char *end_of(int ret, int status)
{
	if (ret)
		return "it faults again and again";
	return WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "it went through";
}

static enum dv_verdict run_written(struct dv_ctx *c)
{
	struct found *f = mmap(NULL, sizeof(*f), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct dv_counted t;
	enum dv_verdict v = (enum dv_verdict)dv_counted_begin(c, &t);
	int ret, status = 0;
	pid_t pid;

	if (v != DV_OK)
		return v;
	munmap(t.map, t.len);
	pid = f == MAP_FAILED ? -1 : dv_child_fork();
	if (pid == 0)
		child_writes(c, &t, f);
	if (pid < 0)
		return dv_broken(c, "cannot fork: %s", strerror(errno));
	ret = wait_for(pid, &status);
	if (f->ret == -ENOTTY)
		return dv_skip(c,
			       "this kernel does not write-protect DAX by userfaultfd");
	if (f->ret)
		return dv_broken(c, "cannot write-protect the mapping: %s",
				 strerror(-f->ret));
	judge_pages(c, "protected", f->before, 0);
	dv_oracle(c, f->stored, DV_SYM_NONE, "store", "goes through", "%s",
		  f->stored ? "it went through" : end_of(ret, status));
	if (f->stored)
		judge_pages(c, "stored to", f->after, 1 << STORED);
	if (!f->stored || c->sc->arg != WITH_FILL)
		return DV_OK;
	dv_oracle(c, f->filled, ret ? DV_SYM_FAULTS : DV_SYM_NONE,
		  "store to a page not there", "goes through", "%s",
		  f->filled ? "it went through" : end_of(ret, status));
	if (f->filled)
		judge_pages(c, "both stored to", f->at_end, 1 << STORED | 1 << LEFT);
	return DV_OK;
}

#define NEEDS (DV_NEED_DAX | DV_NEED_ROOT | DV_NEED_COUNTS)
#define HUGE  (NEEDS | DV_NEED_HUGE)

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{.name = "view-soft-dirty",
	 .claim = "the soft-dirty bit, once cleared, is set for a page that is stored to, and no "
		  "other",
	 .needs = NEEDS, .defect = &dv_soft_dirty_lost, .run = run_soft_dirty},
	{.name = "view-written",
	 .claim = "write-protected by userfaultfd, a page that is stored to is told as written, "
		  "and no other",
	 .needs = NEEDS | DV_NEED_USERFAULT, .run = run_written},
	{.name = "view-written-filled",
	 .claim = "write-protected by userfaultfd, a page that is not there yet can be stored to",
	 .needs = NEEDS | DV_NEED_USERFAULT, .defect = &dv_marker_loop, .run = run_written,
	 .arg = WITH_FILL},
	{.name = "view-huge-soft-dirty",
	 .claim = "the soft-dirty bit of an entry of 2 MiB, once cleared, is set by a store to it",
	 .needs = HUGE, .defect = &dv_soft_dirty_lost, .run = run_soft_dirty},
	{.name = "view-huge-written",
	 .claim = "write-protected by userfaultfd, an entry of 2 MiB that is stored to is told as "
		  "written",
	 .needs = HUGE | DV_NEED_USERFAULT, .defect = &dv_misses_huge, .run = run_written},
	/* clang-format on */
};

const struct dv_group dv_group_views_written = {scenarios, DV_COUNT(scenarios)};
