/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * swapext-skips-break: XFS_IOC_SWAPEXT (what xfs_fsr uses) exchanges the blocks of two DAX files
 * while a page of one is pinned, without waiting for it.
 *
 *	cc -o r swapext-skips-break.c && ./r DIR
 *
 * DIR: a folder on xfs, mounted with -o dax=always on a pmem device. Needs root.
 * Exit status: 0 the kernel is right, 1 the defect was seen, 2 it could not be tried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
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

/* As xfs_fs.h has them, so that no package of xfs is needed. */
struct bstime {
	long sec;
	int32_t nsec;
};

struct bstat {
	uint64_t ino;
	uint16_t mode, nlink;
	uint32_t uid, gid, rdev;
	int32_t blksize;
	int64_t size;
	struct bstime atime, mtime, ctime;
	int64_t blocks;
	uint32_t xflags;
	int32_t extsize, extents;
	uint32_t gen;
	uint16_t projid_lo, forkoff, projid_hi;
	uint16_t sick, checked;
	uint8_t pad[2];
	uint32_t cowextsize, dmevmask;
	uint16_t dmstate, aextents;
};

struct swapext {
	int64_t version, target, donor;
	int64_t offset, length;
	uint8_t pad[16];
	struct bstat stat;
};

struct bulkreq {
	uint64_t *ino;
	int32_t count;
	void *buffer;
	int32_t *got;
};

#define SWAPEXT	       _IOWR('X', 109, struct swapext)
#define BULKSTAT_SINGLE _IOWR('X', 102, struct bulkreq)

static char path[2][4096];

static _Noreturn void cannot(const char *what)
{
	printf("could not be tried: %s: %s\n", what, strerror(errno));
	unlink(path[0]);
	unlink(path[1]);
	exit(2);
}

static int make_file(const char *dir, char name[4096], char fill)
{
	char content[LEN];
	struct statx stx;
	int fd;

	memset(content, fill, LEN);
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

/* The target must be as it was when the donor was made: that is what the bstat is for. */
static int swap(int target, int donor)
{
	struct swapext sx = {.version = 0, .target = target, .donor = donor, .length = LEN};
	struct bulkreq req = {.count = 1, .buffer = &sx.stat};
	int32_t got = 0;
	uint64_t ino;
	struct stat st;

	if (fstat(target, &st))
		return -1;
	ino = st.st_ino;
	req.ino = &ino;
	req.got = &got;
	if (ioctl(target, BULKSTAT_SINGLE, &req))
		return -1;
	return ioctl(target, SWAPEXT, &sx);
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
				cannot("XFS_IOC_SWAPEXT");
			return 1;
		}
		usleep(10000);
		asleep = is_asleep(pid) ? asleep + 10 : 0;
	}
	return 0;
}

static int is_mapped(void *page)
{
	unsigned char in = 0;

	return mincore(page, 4096, &in) == 0 && in & 1;
}

int main(int argc, char **argv)
{
	struct iovec iov = {.iov_len = 4096};
	int a, b, p[2], held = 0, passed;
	char *map, page[4096], byte = 0;
	pid_t pid;

	if (argc != 2)
		return fprintf(stderr, "usage: %s DIR\n", argv[0]), 2;
	a = make_file(argv[1], path[0], 'a');
	b = make_file(argv[1], path[1], 'b');
	if (swap(a, b) || swap(a, b))
		cannot("XFS_IOC_SWAPEXT while nothing is pinned");
	map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, a, 0);
	if (map == MAP_FAILED || pipe(p))
		cannot("mapping the file");
	*(volatile char *)map = 'a';
	iov.iov_base = map;
	if (vmsplice(p[1], &iov, 1, 0) != 4096)
		cannot("vmsplice");

	pid = fork();
	if (pid == 0)
		_exit(swap(a, b) ? errno : 0);
	passed = ended(pid, 2000);
	ioctl(p[0], FIONREAD, &held);
	if (pread(a, &byte, 1, 0) != 1 && passed)
		cannot("reading the file");
	if (passed) {
		printf("SWAPEXT returned; the file has '%c' now, and the pipe still holds %d bytes "
		       "of a block that is the other file's\n", byte, held);
		if (is_mapped(map))
			printf("and is still mapped by who mapped the first file\n");
	} else {
		printf("SWAPEXT waits while the pipe holds the page\n");
	}
	if (read(p[0], page, sizeof(page)) != 4096)
		cannot("reading the pipe");
	if (!passed && !ended(pid, 5000))
		printf("and does not end when it has been let go, either\n");
	munmap(map, LEN);
	unlink(path[0]);
	unlink(path[1]);
	return passed && held;
}
