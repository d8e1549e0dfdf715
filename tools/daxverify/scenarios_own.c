/* SPDX-License-Identifier: BSD-3-Clause */
/* A process that holds a page of its own file in its own pipe, and then gives the file
 * up. */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "file.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define OWN "a page of the process's own file, in its own pipe"
#define HIGH_FD                                                                          \
	500 /* descriptors are closed upwards, and what they hold goes downwards */

enum how { BY_CLOSE, BY_EXIT };

/* In the child: the file at a high descriptor, its page in the pipe, and no name any
 * more. */
static int hold_own(const char *path, int pipe_w)
{
	struct iovec iov = {.iov_len = dv_page_size()};
	int low, fd, ret = dv_file_make(path, 1);
	char *p;

	if (ret)
		return ret;
	low = open(path, O_RDWR | O_CLOEXEC);
	fd = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, HIGH_FD);
	p = fd < 0 ? MAP_FAILED : dv_map_dax(fd, dv_page_size(), false);
	if (p == MAP_FAILED)
		return -errno;
	close(low);
	*(volatile char *)p = *p;
	iov.iov_base = p;
	if (vmsplice(pipe_w, &iov, 1, SPLICE_F_NONBLOCK) != (ssize_t)iov.iov_len)
		return -EIO;
	return munmap(p, dv_page_size()) || unlink(path) ? -errno : fd;
}

static void child_main(struct dv_ctx *c, struct dv_actor_shm *shm)
{
	char path[PATH_MAX];
	int own[2], fd;

	/* The runner's pipes are no way out here. */
	if (dv_path(c, path, "file") || pipe2(own, O_CLOEXEC))
		_exit(1);
	fd = hold_own(path, own[1]);
	shm->ret = own[0];
	if (fd < 0) {
		shm->err = -fd;
		_exit(1);
	}
	shm->start_ns = dv_now_ns();
	shm->started = 1;
	if (c->sc->arg == BY_CLOSE) {
		shm->err = close(fd) ? errno : 0;
		shm->end_ns = dv_now_ns();
		shm->done = 1;
	}
	_exit(0);
}

/* Another process can take the page out, as long as the holder has its descriptors. */
static int rescue(struct dv_actor *a)
{
	char path[64];
	int fd, ret;

	snprintf(path, sizeof(path), "/proc/%d/fd/%ld", (int)a->pid, a->shm->ret);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = dv_drain(fd, NULL, 0, NULL);
	close(fd);
	return ret;
}

static void judge_end(struct dv_ctx *c, struct dv_actor *a, enum dv_seen seen)
{
	bool gone = dv_actor_kill(a, DV_WAKE_MS) == 0; /* one that has ended does not mind */
	unsigned symptom = a->sight.state == 'D' ? DV_SYM_UNKILLABLE : DV_SYM_NONE;

	dv_oracle(c, gone, symptom, "end",
		  "it ends by itself, or SIGKILL ends it", "%s%s%s",
		  gone ? seen == DV_SEEN_DONE ? "ended by itself" : "ended by SIGKILL"
		       : "SIGKILL does not end it, asleep in ",
		  gone ? "" : a->sight.where,
		  gone			  ? ""
		  : a->sight.state == 'D' ? " (D)"
					  : "");
}

static enum dv_verdict run_own(struct dv_ctx *c)
{
	static const struct dv_action by_close = {"close", DV_ACT_CLOSE, 0, 0};
	static const struct dv_action by_exit = {"exit", DV_ACT_EXIT, 0, 0};
	struct dv_actor a = {.shm = &c->shm->actors[0]};
	enum dv_seen seen;
	int ret;

	c->shm->nactors = 1;
	a.action = c->sc->arg == BY_CLOSE ? &by_close : &by_exit;
	a.pid = dv_child_fork();
	if (a.pid == 0)
		child_main(c, a.shm);
	if (a.pid < 0)
		return dv_broken(c, "cannot fork: %s", strerror(errno));
	seen = dv_actor_watch(&a);
	if (!a.shm->started)
		return dv_broken(c, "the process could not pin its page: %s",
				 strerror(a.shm->err));
	judge_end(c, &a, seen);
	if (c->res->oracles[c->res->noracles - 1].ok || c->sc->arg == BY_EXIT)
		return DV_OK; /* nothing is to be done for it, and nothing can be */
	ret = rescue(&a);
	if (!ret)
		ret = dv_child_wait(a.pid, DV_LIMIT_MS, NULL);
	return ret ? dv_broken(c, "emptying its pipe did not help: %s", strerror(-ret))
		   : DV_OK;
}

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{.name = "own-pin-close",
	 .claim = "who closes an unlinked file, and has its page in a pipe, can be killed",
	 .needs = DV_NEED_DAX, .holder = OWN, .defect = &dv_unkillable_eviction, .run = run_own,
	 .arg = BY_CLOSE},
	{.name = "own-pin-exit",
	 .claim = "who exits with a page of its own unlinked file in its own pipe is gone then",
	 .needs = DV_NEED_DAX | DV_NEED_DANGER, .holder = OWN, .defect = &dv_unkillable_eviction,
	 .run = run_own, .arg = BY_EXIT},
	/* clang-format on */
};

const struct dv_group dv_group_own = {scenarios, DV_COUNT(scenarios)};
