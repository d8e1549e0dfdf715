/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * unkillable-eviction: the last close of an unlinked DAX file waits for a page that a pipe holds,
 * and nothing ends that wait, not even SIGKILL. Whoever holds the pipe alone waits for itself.
 *
 *	cc -o r unkillable-eviction.c && ./r DIR
 *
 * DIR: a folder on ext4 or xfs, mounted with -o dax=always on a pmem device. No root needed.
 * Another process reads the pipe at the end, so nothing stays behind. Without that the process
 * would be there until the machine is restarted.
 * Exit status: 0 the kernel is right, 1 the defect was seen, 2 it could not be tried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEN 16384

static char path[4096];

static _Noreturn void cannot(const char *what)
{
	printf("could not be tried: %s: %s\n", what, strerror(errno));
	unlink(path);
	exit(2);
}

static int make_file(const char *dir)
{
	char zeroes[LEN] = {0};
	struct statx stx;
	int fd;

	snprintf(path, sizeof(path), "%s/reproducer-XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		cannot("making a file there");
	if (statx(fd, "", AT_EMPTY_PATH, 0, &stx) || !(stx.stx_attributes & STATX_ATTR_DAX)) {
		errno = EOPNOTSUPP;
		cannot("DAX there");
	}
	if (write(fd, zeroes, LEN) != LEN || fsync(fd))
		cannot("writing the file");
	return fd;
}

/* S and D: asleep, and not merely slow to be run. Where nothing tells, time has to do. */
static int is_asleep(pid_t pid)
{
	char name[64], line[512], *p = NULL;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
	f = fopen(name, "r");
	if (f && fgets(line, sizeof(line), f))
		p = strrchr(line, ')');
	if (f)
		fclose(f);
	return !p || p[2] == 'S' || p[2] == 'D';
}

/* Has the child ended, or is it seen asleep for so many milliseconds on end? */
static int ended(pid_t pid, int ms, int *status)
{
	int asleep = 0;

	while (asleep < ms) {
		if (waitpid(pid, status, WNOHANG) == pid)
			return 1;
		usleep(10000);
		asleep = is_asleep(pid) ? asleep + 10 : 0;
	}
	return 0;
}

static void where_is(pid_t pid, char *text, size_t len)
{
	char name[64];
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/wchan", (int)pid);
	f = fopen(name, "r");
	if (!f || !fgets(text, (int)len, f))
		snprintf(text, len, "?");
	if (f)
		fclose(f);
}

/* All by itself: makes the page, pins it, and gives the file up. */
static void close_own_pin(const char *dir, int pipe_w)
{
	struct iovec iov = {.iov_len = 4096};
	int fd = make_file(dir);
	char *map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		cannot("mapping the file");
	map[0] = 42;
	iov.iov_base = map;
	if (vmsplice(pipe_w, &iov, 1, 0) != 4096)
		cannot("vmsplice");
	munmap(map, LEN);
	unlink(path);
	close(fd); /* the last reference */
	exit(0);
}

int main(int argc, char **argv)
{
	char page[4096], where[128] = "?";
	int p[2], status = 0;
	pid_t pid;

	if (argc != 2)
		return fprintf(stderr, "usage: %s DIR\n", argv[0]), 2;
	if (pipe(p))
		cannot("making a pipe");
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		close_own_pin(argv[1], p[1]);
	if (ended(pid, 2000, &status)) {
		if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
			return 2;
		printf("close does not wait for the page (see unmapped-busy-page)\n");
		return 0;
	}
	where_is(pid, where, sizeof(where));
	printf("close waits for the page, in %s\n", where);
	kill(pid, SIGKILL);
	if (ended(pid, 3000, &status)) {
		printf("SIGKILL ended the process\n");
		return 0;
	}
	printf("SIGKILL does not end the process\n");
	if (read(p[0], page, sizeof(page)) == 4096 && ended(pid, 10000, &status))
		printf("it ended when another process read the pipe\n");
	return 1;
}
