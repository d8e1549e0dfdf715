/* SPDX-License-Identifier: BSD-3-Clause */
/* A page of a DAX file fails. It stays poisoned, so this wants a machine of its own. */
#include "daxverify.h"

#include "actor.h"
#include "file.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_BYTES (2UL << 20)

static struct dv_actor_shm *told;

/* What the signal says goes where the scenario can see it: address, code, and
 * granularity. */
static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	told->ret = (long)(uintptr_t)info->si_addr;
	told->err = info->si_code;
	told->signals = info->si_addr_lsb;
	told->done = 1;
	_exit(0);
}

static char *map_aligned(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char *p;

	if (fd < 0 || fallocate(fd, 0, 0, 2 * HUGE_BYTES))
		return MAP_FAILED;
	p = dv_map_dax(fd, 2 * HUGE_BYTES, false);
	close(fd);
	return p;
}

/* start_ns: the address of the page that is poisoned. */
static void poison_main(const struct dv_ctx *c, const char *path)
{
	struct sigaction sa = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
	size_t page = dv_page_size();
	char *p = map_aligned(path);

	if (p == MAP_FAILED)
		_exit(1);
	memset(p, 1, 2 * HUGE_BYTES);
	p += HUGE_BYTES + 3 * page;
	told->start_ns = (int64_t)(uintptr_t)p;
	sigaction(SIGBUS, &sa, NULL);
	told->started = 1;
	if (!dv_sabotaged(c, DV_SAB_NO_SIGNAL) && madvise(p, page, MADV_HWPOISON)) {
		told->end_ns = -errno;
		_exit(2);
	}
	*(volatile char *)p = 2; /* now at the latest */
	_exit(3);
}

static enum dv_verdict run_poison(struct dv_ctx *c)
{
	uintptr_t at, page = 0;
	char path[PATH_MAX];
	int ret, status = 0;
	bool named;
	pid_t pid;

	told = &c->shm->actors[0];
	if (dv_path(c, path, "file"))
		return dv_broken(c, "the path is too long");
	pid = dv_child_fork();
	if (pid == 0)
		poison_main(c, path);
	ret = pid < 0 ? -errno : dv_child_wait(pid, DV_LIMIT_MS, &status);
	if (told->end_ns < 0)
		return dv_skip(c, "cannot poison a page: %s",
			       strerror((int)-told->end_ns));
	if (!told->started)
		return dv_broken(c, "cannot map the file: %s", strerror(-ret));
	page = (uintptr_t)told->start_ns;
	at = (uintptr_t)told->ret & ~((UINT64_C(1) << told->signals) - 1);
	named = told->done && page >= at && page - at < UINT64_C(1) << told->signals;
	dv_oracle(c, named, DV_SYM_NONE, "SIGBUS",
		  "names a range that has the poisoned page",
		  "%s code %d, %d pages %s, 2^%d bytes",
		  told->done ? "came:"
		  : ret	     ? "none, and it hangs:"
			     : "none:",
		  told->err,
		  told->done ? (int)((intptr_t)(told->ret - (long)page) /
				     (long)dv_page_size())
			     : 0,
		  "from the page", told->signals);
	return DV_OK;
}

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{.name = "poison-mapped-page",
	 .claim = "who maps a page that fails is told by SIGBUS, with a range that has the page",
	 .needs = DV_NEED_DAX | DV_NEED_ROOT | DV_NEED_DANGER, .run = run_poison},
	/* clang-format on */
};

const struct dv_group dv_group_poison = {scenarios, DV_COUNT(scenarios)};
