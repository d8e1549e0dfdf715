/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The process that was started only waits for the runner, its child, and ends as that
 * does. It is there to be killed: when it is gone, the runner gets SIGTERM, and cleans up
 * as it does for that. Who kills the runner as well leaves what only the next run can
 * take away (leftovers.c).
 */
#include "daxverify.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t runner;

static void pass_on(int sig)
{
	if (runner > 0)
		kill(runner, sig);
}

/* Out of the group of processes that a terminal or kill(1) means by a job. */
static void become_runner(pid_t keeper)
{
	setpgid(0, 0);
	signal(SIGTTOU, SIG_IGN); /* it may still write to that terminal */
	dv_catch_stops();
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != keeper)
		raise(SIGTERM);
}

/* The exit status of this program; or -1 in the runner, which is to go on. */
int dv_keep(const char *dir)
{
	pid_t keeper = getpid(), pid;
	sigset_t before;
	int status;

	dv_stops_block(&before);
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		fprintf(stderr, "daxverify: cannot fork: %s\n", strerror(errno));
		return 1;
	}
	if (pid == 0) {
		become_runner(keeper);
		return -1;
	}
	runner = pid;
	dv_stops_handle(pass_on);
	sigprocmask(SIG_SETMASK, &before, NULL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	fprintf(stderr, "daxverify: the process that ran the scenarios died of signal %d\n",
		WTERMSIG(status));
	dv_leftovers_remove(dir);
	return 128 + WTERMSIG(status);
}
