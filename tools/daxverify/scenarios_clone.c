/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a mapping of blocks that two files share promises: that it works like any other.
 * The kernel keeps who shares a page in a field that other parts of it use for something
 * else.
 */
#include "daxverify.h"

#include "actor.h"
#include "file.h"
#include "rig.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TAKEN 1

/* A file of so many pages, mapped, and a clone that shares all its blocks. */
static int make(struct dv_ctx *c, char path[PATH_MAX], char clone[PATH_MAX],
		unsigned npages)
{
	int ret = dv_path(c, path, "file");

	if (!ret)
		ret = dv_path(c, clone, "clone");
	return ret ? ret : dv_file_make(path, npages);
}

static void *map(const char *path, unsigned npages)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *p = fd < 0 ? MAP_FAILED : dv_map_dax(fd, npages * dv_page_size(), false);

	if (fd >= 0)
		close(fd);
	return p;
}

static long futex(uint32_t *word, int op, uint32_t value)
{
	return syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

/* Until the child sleeps in the futex: then it is in the queue. */
static bool seen_waiting(pid_t pid)
{
	int64_t end = dv_now_ns() + DV_LIMIT_MS * INT64_C(1000000);
	struct dv_sight s;

	for (;;) {
		dv_look(pid, &s);
		if (s.state == 'S' && strstr(s.where, "futex"))
			return true;
		if (!s.state || s.state == 'Z' || dv_now_ns() > end)
			return false;
		dv_sleep_ms(10);
	}
}

/*
 * The store after the clone gives the file a block of its own again: the page is not even
 * shared any more when it is waited on.
 */
static enum dv_verdict run_futex(struct dv_ctx *c)
{
	char path[PATH_MAX], clone[PATH_MAX];
	int ret = make(c, path, clone, DV_FILE_PAGES);
	uint32_t *word;
	long woken;
	pid_t pid;

	if (!ret && !dv_sabotaged(c, DV_SAB_NO_TOUCH))
		ret = dv_file_clone(path, clone);
	if (ret)
		return dv_broken(c, "cannot clone a file: %s", strerror(-ret));
	word = map(path, DV_FILE_PAGES);
	if (word == MAP_FAILED)
		return dv_broken(c, "cannot map the file: %s", strerror(errno));
	*word = TAKEN;
	pid = dv_child_fork();
	if (pid == 0)
		_exit(futex(word, FUTEX_WAIT, TAKEN) ? 1 : 0);
	if (pid < 0 || !seen_waiting(pid))
		return dv_broken(c, "the child does not wait on the futex");
	woken = dv_sabotaged(c, DV_SAB_NO_SIGNAL) ? 0 : futex(word, FUTEX_WAKE, 1);
	dv_oracle(c, woken == 1, DV_SYM_WAKE_LOST, "futex",
		  "FUTEX_WAKE wakes the one that waits", "it woke %ld", woken);
	if (woken != 1)
		kill(pid, SIGKILL);
	ret = dv_child_wait(pid, DV_LIMIT_MS, NULL);
	return ret ? dv_broken(c, "who was woken does not go on") : DV_OK;
}

/* One load by a small entry, and the entry is gone again. */
static int load_small(const char *path, unsigned page, unsigned npages)
{
	char *p = map(path, npages);

	if (p == MAP_FAILED)
		return -errno;
	if (madvise(p, npages * dv_page_size(), MADV_NOHUGEPAGE))
		return -errno;
	(void)*(volatile char *)(p + page * dv_page_size());
	munmap(p, npages * dv_page_size());
	/* To the size that it has: the kernel forgets what was in the page cache. */
	return truncate(path, (off_t)(npages * dv_page_size())) ? -errno : 0;
}

/* In the child: 0 when the page behind the one that was touched is as it should be. */
static int load_huge(const char *path, unsigned page, unsigned npages)
{
	char *p = map(path, npages);

	if (p == MAP_FAILED)
		return 1;
	return dv_page_look(p + (page + 1) * dv_page_size(), page + 1) == DV_PAGE_ORIGINAL
		       ? 0
		       : 2;
}

/*
 * The second 2 MiB of the file: the trace that a page of them leaves is its place in the
 * file, and the place 0 cannot be told from no trace.
 */
static enum dv_verdict run_huge(struct dv_ctx *c)
{
	unsigned page = DV_HUGE_PAGES, npages = 2 * DV_HUGE_PAGES;
	char path[PATH_MAX], clone[PATH_MAX];
	int ret = make(c, path, clone, npages), status = 0;
	pid_t pid;

	if (!ret && !dv_sabotaged(c, DV_SAB_NO_TOUCH))
		ret = load_small(path, page, npages);
	if (!ret)
		ret = dv_file_clone(path, clone);
	if (ret)
		return dv_broken(c, "cannot make a file, use and clone it: %s",
				 strerror(-ret));
	pid = dv_child_fork();
	if (pid == 0)
		_exit(load_huge(path, page, npages));
	ret = pid < 0 ? -errno : dv_child_wait(pid, DV_LIMIT_MS, &status);
	if (ret || (WIFEXITED(status) && WEXITSTATUS(status) == 1))
		return dv_broken(c, "cannot map the file: %s",
				 strerror(ret ? -ret : EIO));
	if (WIFSIGNALED(status))
		dv_oracle(c, false, DV_SYM_SIGBUS, "load",
			  "the page, as it is in the file", "%s",
			  strsignal(WTERMSIG(status)));
	else
		dv_oracle(c, status == 0, DV_SYM_NONE, "load",
			  "the page, as it is in the file", "%s",
			  status ? "something else" : "so it is");
	return DV_OK;
}

#define NEEDS (DV_NEED_DAX | DV_NEED_REFLINK)

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{.name = "clone-futex",
	 .claim = "a futex in a file that was cloned wakes who waits for it in another process",
	 .needs = NEEDS, .defect = &dv_futex_after_clone, .run = run_futex},
	{.name = "clone-huge-load",
	 .claim = "a block that was used by a small entry, and then cloned, can be mapped by one "
		  "of 2 MiB",
	 .needs = NEEDS | DV_NEED_HUGE, .defect = &dv_sigbus_after_clone, .run = run_huge},
	/* clang-format on */
};

const struct dv_group dv_group_clone = {scenarios, DV_COUNT(scenarios)};
