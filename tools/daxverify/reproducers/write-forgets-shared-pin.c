/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * write-forgets-shared-pin: write(2) to a page of a reflinked DAX file moves the file to another
 * block and forgets that the old one is pinned: when the other file gives it up, nobody waits,
 * and the block is free while a pipe still holds it.
 *
 *	cc -o r write-forgets-shared-pin.c && ./r DIR
 *
 * DIR: a folder on xfs with reflinks, mounted with -o dax=always on a pmem device. No root
 * needed.
 * Exit status: 0 the kernel is right, 1 the defect was seen, 2 it could not be tried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
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

static char path[2][4096];

static _Noreturn void cannot(const char *what)
{
	printf("could not be tried: %s: %s\n", what, strerror(errno));
	unlink(path[0]);
	unlink(path[1]);
	exit(2);
}

static int make_file(const char *dir, char name[4096])
{
	char content[LEN];
	struct statx stx;
	int fd;

	memset(content, 'a', LEN);
	snprintf(name, 4096, "%s/reproducer-XXXXXX", dir);
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0)
		cannot("making a file there");
	if (statx(fd, "", AT_EMPTY_PATH, 0, &stx) || !(stx.stx_attributes & STATX_ATTR_DAX)) {
		errno = EOPNOTSUPP;
		cannot("DAX there");
	}
	if (write(fd, content, LEN) != LEN || fsync(fd))
		cannot("writing the file");
	return fd;
}

/* Where the file's first page lies on the device, 0 for nowhere. */
static unsigned long long place(int fd)
{
	/* The list of extents is at the end of the struct, with room for one. */
	struct fiemap *map = calloc(1, sizeof(*map) + sizeof(map->fm_extents[0]));
	unsigned long long at;

	if (!map)
		cannot("memory");
	map->fm_length = 4096;
	map->fm_flags = FIEMAP_FLAG_SYNC;
	map->fm_extent_count = 1;
	if (ioctl(fd, FS_IOC_FIEMAP, map))
		cannot("FS_IOC_FIEMAP");
	at = map->fm_mapped_extents ? map->fm_extents[0].fe_physical : 0;
	free(map);
	return at;
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
				cannot("writing to one file, or truncating the other");
			return 1;
		}
		usleep(10000);
		asleep = is_asleep(pid) ? asleep + 10 : 0;
	}
	return 0;
}

static pid_t start_write(int fd)
{
	char content[4096];
	pid_t pid = fork();

	if (pid)
		return pid;
	memset(content, 'w', sizeof(content));
	_exit(pwrite(fd, content, sizeof(content), 0) == sizeof(content) ? 0 : errno);
}

static pid_t start_truncate(int fd)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(ftruncate(fd, 0) ? errno : 0);
	return pid;
}

int main(int argc, char **argv)
{
	struct iovec iov = {.iov_len = 4096};
	int a, b, p[2], held = 0, wrote, freed = 0;
	unsigned long long before;
	char *map, page[4096];
	pid_t pid;

	if (argc != 2)
		return fprintf(stderr, "usage: %s DIR\n", argv[0]), 2;
	a = make_file(argv[1], path[0]);
	b = make_file(argv[1], path[1]);
	if (ioctl(b, FICLONE, a))
		cannot("a reflink");
	before = place(a);
	if (place(b) != before)
		cannot("sharing the first page");

	map = mmap(NULL, LEN, PROT_READ, MAP_SHARED, a, 0);
	if (map == MAP_FAILED || pipe(p))
		cannot("mapping the file");
	iov.iov_base = map; /* only read: the page is clean, and both files' */
	if (*(volatile char *)map != 'a' || vmsplice(p[1], &iov, 1, 0) != 4096)
		cannot("vmsplice");

	pid = start_write(a);
	wrote = ended(pid, 2000);
	printf("write(2) %s while the pipe holds the page\n", wrote ? "returned" : "waits");
	if (wrote && place(a) == before) {
		errno = EBUSY;
		cannot("the write went to the same block; a move to another one");
	}
	if (wrote) {
		pid = start_truncate(b);
		freed = ended(pid, 2000);
		ioctl(p[0], FIONREAD, &held);
		printf("truncating the other file, which has the block alone now, %s\n",
		       freed ? "returned: the block is free" : "waits");
	}
	if (freed)
		printf("and the pipe still holds %d bytes of it\n", held);
	if (read(p[0], page, sizeof(page)) != 4096)
		cannot("reading the pipe");
	if (!(wrote && freed) && !ended(pid, 5000))
		printf("and does not end when it has been let go, either\n");
	munmap(map, LEN);
	unlink(path[0]);
	unlink(path[1]);
	return freed && held;
}
