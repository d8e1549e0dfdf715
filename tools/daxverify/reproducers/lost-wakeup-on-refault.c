/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lost-wakeup-on-refault: truncate waits for a pinned page of a DAX file; somebody touches that
 * page meanwhile; the pin goes, and truncate sleeps on.
 *
 *	cc -o r lost-wakeup-on-refault.c && ./r DIR
 *
 * DIR: a folder on ext4 or xfs, mounted with -o dax=always on a pmem device. No root needed.
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
static int ended(pid_t pid, int ms)
{
	int asleep = 0, status;

	while (asleep < ms) {
		if (waitpid(pid, &status, WNOHANG) == pid) {
			errno = WEXITSTATUS(status);
			if (status)
				cannot("ftruncate");
			return 1;
		}
		usleep(10000);
		asleep = is_asleep(pid) ? asleep + 10 : 0;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct iovec iov = {.iov_len = 4096};
	volatile char *map;
	char page[4096];
	int fd, p[2];
	pid_t pid;

	if (argc != 2)
		return fprintf(stderr, "usage: %s DIR\n", argv[0]), 2;
	fd = make_file(argv[1]);
	map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED || pipe(p))
		cannot("mapping the file");
	map[8192] = 42;
	iov.iov_base = (void *)(map + 8192);
	if (vmsplice(p[1], &iov, 1, 0) != 4096)
		cannot("vmsplice");

	pid = fork();
	if (pid == 0)
		_exit(ftruncate(fd, 4096) ? errno : 0);
	if (ended(pid, 1000)) {
		errno = EBUSY;
		cannot("ftruncate did not wait for the page, so no wake-up can be lost; a wait");
	}
	map[8192] = 43; /* maps the page again: the file still has it */
	if (read(p[0], page, sizeof(page)) != 4096)
		cannot("reading the pipe");

	if (ended(pid, 3000)) {
		printf("ftruncate ended when the page was let go\n");
		unlink(path);
		return 0;
	}
	printf("ftruncate is asleep 3 s after the page was let go\n");
	kill(pid, SIGSTOP);
	usleep(200000);
	kill(pid, SIGCONT);
	if (ended(pid, 5000)) {
		printf("SIGSTOP and SIGCONT made it look again, and it ended at once\n");
		unlink(path);
		return 1;
	}
	kill(pid, SIGKILL);
	errno = EBUSY;
	cannot("SIGSTOP and SIGCONT did not wake it, so no wake-up was lost; a wait");
}
