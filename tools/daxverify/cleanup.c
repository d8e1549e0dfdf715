/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * After each scenario nothing may be left: no pinned page, no child, no file, no missing
 * mount. The order matters: pages first, since a process that sleeps uninterruptibly for
 * one of them can't be killed; and all that touches the file system is done by a child
 * with a limit.
 */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "file.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN_MS 10000
#define REMOVE_MS   30000

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)ftw;
	return type == FTW_DP ? rmdir(path) : unlink(path);
}

/* Remove a folder and what is in it. Fails rather than hangs. */
int dv_remove_tree(const char *path)
{
	int ret, status = 0;
	pid_t pid = dv_child_fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) &&
				      errno != ENOENT
			      ? 1
			      : 0);
	do {
		ret = dv_child_wait(pid, REMOVE_MS, &status);
	} while (ret == -EINTR);
	if (ret)
		kill(pid, SIGKILL);
	return ret ? ret : WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

/* Children of children come to us, too: the runner is their subreaper. */
static bool all_reaped(void)
{
	pid_t pid;

	do {
		pid = waitpid(-1, NULL, WNOHANG);
	} while (pid > 0);
	return pid < 0 && errno == ECHILD;
}

/* 0 when no child is left, -EBUSY when one can't be got rid of. */
int dv_end_children(pid_t group, const struct dv_ctx *c)
{
	int64_t begin = dv_now_ns();

	do {
		dv_grip_release(c->grip, NULL, 0, NULL);
		dv_drain(c->pipe_r, NULL, 0, NULL);
		dv_drain(c->tee_r, NULL, 0, NULL);
		if (c->sc->action && c->sc->action->kind == DV_ACT_FREEZE)
			dv_thaw(&c->env->facts); /* an error if it is thawed already */
		kill(-group, SIGKILL);
		kill(-group, SIGCONT);
		if (all_reaped())
			return 0;
		dv_sleep_ms(2);
	} while (dv_now_ns() - begin < CHILDREN_MS * INT64_C(1000000));
	return -EBUSY;
}

/* A child of ours that is still there, or 0. */
static pid_t leftover(void)
{
	char path[64], text[1024];
	struct dirent *e;
	pid_t pid = 0, parent;
	DIR *proc = opendir("/proc");

	while (proc && !pid && (e = readdir(proc))) {
		snprintf(path, sizeof(path), "/proc/%.20s/stat", e->d_name);
		if (e->d_name[0] < '1' || e->d_name[0] > '9' ||
		    dv_read_text(AT_FDCWD, path, text, sizeof(text)) ||
		    !strrchr(text, ')') ||
		    sscanf(strrchr(text, ')'), ") %*c %d", &parent) != 1)
			continue;
		if (parent == getpid())
			pid = (pid_t)atoi(e->d_name);
	}
	if (proc)
		closedir(proc);
	return pid;
}

/* A stack of every task in state D, for the kernel log; where that is allowed. */
static void log_blocked(void)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "w", 1) != 1)
		fprintf(stderr, "daxverify: cannot have blocked tasks logged: %s\n",
			strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* A process that pages were let go for, and SIGKILL was sent to, is there still. */
void dv_judge_leftover(struct dv_ctx *c)
{
	struct dv_sight s = {0};
	pid_t pid = leftover();

	log_blocked();
	c->res->reason[0] = 0;

	if (pid)
		dv_look(pid, &s);
	c->res->hung = true;
	dv_oracle(c, false, DV_SYM_UNKILLABLE, "processes", "all can be ended",
		  "one is left in state %c, asleep in %s, %d s after SIGKILL",
		  s.state ? s.state : '?', s.where[0] ? s.where : "?",
		  CHILDREN_MS / 1000);
}
