/* SPDX-License-Identifier: BSD-3-Clause */
/* Child processes, time, and pipes that hold pages. */
#include "daxverify.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int64_t dv_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

void dv_sleep_ms(int ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

/*
 * A child with no signal handler or mask of ours that goes when its parent goes. (A child
 * that sleeps uninterruptibly does not: that is why pipes are drained first, see
 * runner.c.)
 */
pid_t dv_child_fork(void)
{
	pid_t parent = getpid(), pid;
	sigset_t none;
	unsigned i;

	fflush(NULL);
	pid = fork();
	if (pid)
		return pid;
	for (i = 0; i < DV_STOPS; i++)
		signal(dv_stops[i], SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	return 0;
}

/* 0 when the child is gone and reaped; -ETIMEDOUT; -EINTR when a signal came to us. */
int dv_child_wait(pid_t pid, int limit_ms, int *status)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0), n, st = 0;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct timespec ts = {limit_ms / 1000, limit_ms % 1000 * 1000000L};
	sigset_t none;

	if (fd < 0)
		return -errno;
	sigemptyset(&none);
	n = ppoll(&p, 1, &ts, &none);
	if (n < 0)
		n = -errno;
	close(fd);
	if (n <= 0)
		return n ? n : -ETIMEDOUT;
	if (waitpid(pid, &st, 0) < 0)
		return -errno;
	if (status)
		*status = st;
	return 0;
}

/* Another process's descriptor as one of ours, or -errno. */
int dv_fd_borrow(pid_t pid, int theirs)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), ours;

	if (pidfd < 0)
		return -errno;
	ours = (int)syscall(SYS_pidfd_getfd, pidfd, theirs, 0);
	if (ours < 0)
		ours = -errno;
	close(pidfd);
	return ours;
}

/* Of a child: a filter of system calls may refuse it, or a policy about ptrace. */
int dv_fd_can_borrow(void)
{
	int fd = memfd_create("daxverify", MFD_CLOEXEC), ret;
	pid_t pid = fd < 0 ? -1 : dv_child_fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		for (;;)
			pause();
	}
	ret = dv_fd_borrow(pid, fd);
	if (ret >= 0)
		close(ret);
	close(fd);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return ret < 0 ? ret : 0;
}

/*
 * Read all that is in a pipe (its read end is non-blocking), which lets the pages go.
 * Bytes beyond len are read and dropped. buf may be NULL.
 */
int dv_drain(int fd, void *buf, size_t len, size_t *got)
{
	char spill[4096];
	size_t have = 0;
	ssize_t n;

	for (;;) {
		if (buf && have < len)
			n = read(fd, (char *)buf + have, len - have);
		else
			n = read(fd, spill, sizeof(spill));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n <= 0)
			break;
		if (buf && have < len)
			have += (size_t)n;
	}
	if (got)
		*got = have;
	return 0;
}

/* Bytes that wait in the pipe, or -errno. */
int dv_pipe_fill(int fd)
{
	int n = 0;

	return ioctl(fd, FIONREAD, &n) ? -errno : n;
}
