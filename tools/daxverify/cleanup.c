/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * After each scenario nothing may be left: no pinned page, no child, no file, no missing
 * mount. The order matters: pages first, since a process that sleeps uninterruptibly for
 * one of them can't be killed; and all that touches the file system is done by a child
 * with a limit.
 */
#include "daxverify.h"

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
int dv_end_children(pid_t group, const int pipes[2])
{
	int64_t begin = dv_now_ns();
	unsigned i;

	do {
		for (i = 0; i < 2; i++)
			dv_drain(pipes[i], NULL, 0, NULL);
		kill(-group, SIGKILL);
		kill(-group, SIGCONT);
		if (all_reaped())
			return 0;
		dv_sleep_ms(2);
	} while (dv_now_ns() - begin < CHILDREN_MS * INT64_C(1000000));
	return -EBUSY;
}
