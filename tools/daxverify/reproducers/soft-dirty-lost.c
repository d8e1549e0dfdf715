/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * soft-dirty-lost: a process clears the soft-dirty bits of its pages, as who makes a snapshot in
 * steps does, and stores to a page of a DAX file; its soft-dirty bit stays clear.
 *
 *	cc -o r soft-dirty-lost.c && ./r DIR
 *
 * DIR: a folder on ext4 or xfs, mounted with -o dax=always on a pmem device. No root needed.
 * Exit status: 0 the kernel is right, 1 the defect was seen, 2 it could not be tried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEN	   16384
#define PAGE	   4096
#define SOFT_DIRTY (UINT64_C(1) << 55)

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

static int is_soft_dirty(volatile char *page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry = 0;

	if (fd < 0 || pread(fd, &entry, 8, (off_t)((uintptr_t)page / PAGE * 8)) != 8)
		cannot("/proc/self/pagemap");
	close(fd);
	return (entry & SOFT_DIRTY) != 0;
}

static void clear(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY);

	if (fd < 0 || write(fd, "4", 1) != 1)
		cannot("/proc/self/clear_refs");
	close(fd);
}

int main(int argc, char **argv)
{
	volatile char *dax, *anon;

	if (argc != 2)
		return fprintf(stderr, "usage: %s DIR\n", argv[0]), 2;
	dax = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, make_file(argv[1]), 0);
	anon = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (dax == MAP_FAILED || anon == MAP_FAILED)
		cannot("mapping memory");
	dax[0] = anon[0] = 1;
	clear();
	if (is_soft_dirty(dax) || is_soft_dirty(anon)) {
		errno = EIO;
		cannot("clearing the bits");
	}
	dax[0] = anon[0] = 2;
	if (!is_soft_dirty(anon)) {
		errno = EOPNOTSUPP;
		cannot("soft-dirty bits (CONFIG_MEM_SOFT_DIRTY)");
	}
	unlink(path);
	if (is_soft_dirty(dax)) {
		printf("the page that was stored to is soft-dirty\n");
		return 0;
	}
	printf("the page that was stored to is not soft-dirty; one of anonymous memory is\n");
	return 1;
}
