/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * unmapped-busy-page: truncate frees a page of a DAX file that a pipe still holds, because no
 * process maps it any more.
 *
 *	cc -o r unmapped-busy-page.c && ./r DIR
 *
 * DIR: a folder on ext4 or xfs, mounted with -o dax=always on a pmem device. No root needed.
 * Exit status: 0 the kernel is right, 1 the defect was seen, 2 it could not be tried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
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
	int fd, p[2], held = 0, passed;
	char *map, page[4096];
	pid_t pid;

	if (argc != 2)
		return fprintf(stderr, "usage: %s DIR\n", argv[0]), 2;
	fd = make_file(argv[1]);
	map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED || pipe(p))
		cannot("mapping the file");

	map[0] = 42; /* the page is the device's, not a hole's */
	iov.iov_base = map;
	if (vmsplice(p[1], &iov, 1, 0) != 4096)
		cannot("vmsplice");
	munmap(map, LEN); /* from here on the pipe alone holds the page */

	pid = fork();
	if (pid == 0)
		_exit(ftruncate(fd, 0) ? errno : 0);
	passed = pid > 0 && ended(pid, 2000);
	ioctl(p[0], FIONREAD, &held);

	if (passed)
		printf("ftruncate returned, and the pipe still holds %d bytes of a block that is "
		       "free now\n", held);
	else
		printf("ftruncate waits while the pipe holds the page\n");
	if (read(p[0], page, sizeof(page)) != 4096)
		cannot("reading the pipe");
	if (!passed && !ended(pid, 5000))
		printf("and does not end when it has been let go, either\n");
	unlink(path);
	return passed && held;
}
