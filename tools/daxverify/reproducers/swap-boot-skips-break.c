/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * swap-boot-skips-break: EXT4_IOC_SWAP_BOOT gives the blocks of a DAX file to the boot loader's
 * inode while they are pinned, and leaves them mapped: the old mapping goes on showing what is
 * another inode's data now.
 *
 *	cc -o r swap-boot-skips-break.c && ./r DIR
 *
 * DIR: a folder on ext4, mounted with -o dax=always on a pmem device. Needs root. The second
 * EXT4_IOC_SWAP_BOOT at the end gives the blocks back.
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
#ifndef EXT4_IOC_SWAP_BOOT
#define EXT4_IOC_SWAP_BOOT _IO('f', 17)
#endif

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
				cannot("EXT4_IOC_SWAP_BOOT");
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
	char *map, page[4096], byte = 0;
	int fd, p[2], q[2], held = 0, passed;
	pid_t pid;

	if (argc != 2)
		return fprintf(stderr, "usage: %s DIR\n", argv[0]), 2;
	fd = make_file(argv[1]);
	if (ioctl(fd, EXT4_IOC_SWAP_BOOT) || ioctl(fd, EXT4_IOC_SWAP_BOOT))
		cannot("EXT4_IOC_SWAP_BOOT while nothing is pinned");
	map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED || pipe(p) || pipe(q))
		cannot("mapping the file");
	map[0] = 42;
	iov.iov_base = map;
	if (vmsplice(p[1], &iov, 1, 0) != 4096)
		cannot("vmsplice");

	pid = fork();
	if (pid == 0)
		_exit(ioctl(fd, EXT4_IOC_SWAP_BOOT) ? errno : 0);
	passed = ended(pid, 2000);
	ioctl(p[0], FIONREAD, &held);
	if (passed)
		printf("SWAP_BOOT returned; the pipe still holds %d bytes of a block that is the "
		       "boot loader's now\n", held);
	else
		printf("SWAP_BOOT waits while the pipe holds the page\n");
	/* By write(2), which says EFAULT where a look at the page would end in SIGBUS. */
	if (passed && write(q[1], map, 1) == 1 && read(q[0], &byte, 1) == 1)
		printf("and is still mapped by who mapped the file: %d is there, as before\n",
		       byte);
	if (read(p[0], page, sizeof(page)) != 4096)
		cannot("reading the pipe");
	if (!passed && !ended(pid, 5000))
		printf("and does not end when it has been let go, either\n");

	if (ioctl(fd, EXT4_IOC_SWAP_BOOT))
		printf("the blocks could not be swapped back: %s\n", strerror(errno));
	munmap(map, LEN);
	unlink(path);
	return passed && held;
}
