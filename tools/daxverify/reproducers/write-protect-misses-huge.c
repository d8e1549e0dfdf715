/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * write-protect-misses-huge: a mapping of a DAX file by an entry of 2 MiB is write-protected by
 * userfaultfd, in the way in which a store takes the protection away by itself, to learn what is
 * written to. A store goes through, and PAGEMAP_SCAN tells of none.
 *
 *	cc -o r write-protect-misses-huge.c && ./r DIR
 *
 * DIR: a folder on ext4 or xfs, mounted with -o dax=always on a pmem device, where files get
 * 2 MiB in one piece (mkfs.ext4 -E stride=512,stripe_width=512, mkfs.xfs -d su=2m,sw=1). No root
 * needed.
 * Exit status: 0 the kernel is right, 1 the defect was seen, 2 it could not be tried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LEN	       (2 << 20)
#define WP_UNPOPULATED (1 << 13)
#define WP_ASYNC       (1 << 15)
#define USER_MODE_ONLY 1

/* linux/fs.h has these since 6.7. */
struct region {
	uint64_t start, end, categories;
};
struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, any,
		wanted;
};
#define SCAN	      _IOWR('f', 16, struct scan)
#define WP_MATCHING   1
#define PAGE_WRITTEN  (1 << 1)
#define PAGE_PRESENT  (1 << 3)
#define PAGE_HUGE     (1 << 6)

static char path[4096];

static _Noreturn void cannot(const char *what)
{
	printf("could not be tried: %s: %s\n", what, strerror(errno));
	unlink(path);
	exit(2);
}

static int make_file(const char *dir)
{
	static char zeroes[LEN];
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
	if (fallocate(fd, 0, 0, LEN) || write(fd, zeroes, LEN) != LEN || fsync(fd))
		cannot("writing the file");
	return fd;
}

/* The bytes that are of this category. */
static uint64_t scan(volatile char *map, uint64_t category, uint64_t flags)
{
	struct region regions[8];
	struct scan s = {.size = sizeof(s), .flags = flags, .start = (uintptr_t)map,
			 .end = (uintptr_t)map + LEN, .vec = (uintptr_t)regions, .vec_len = 8,
			 .any = category, .wanted = category};
	int pagemap = open("/proc/self/pagemap", O_RDONLY), n, i;
	uint64_t bytes = 0;

	n = pagemap < 0 ? -1 : ioctl(pagemap, SCAN, &s);
	if (n < 0)
		cannot("PAGEMAP_SCAN");
	for (i = 0; i < n; i++)
		bytes += regions[i].end - regions[i].start;
	close(pagemap);
	return bytes;
}

static void watch(volatile char *map)
{
	struct uffdio_api api = {.api = UFFD_API, .features = WP_ASYNC | WP_UNPOPULATED};
	struct uffdio_register reg = {.range = {(uintptr_t)map, LEN},
				      .mode = UFFDIO_REGISTER_MODE_WP};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | USER_MODE_ONLY);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		cannot("userfaultfd with UFFD_FEATURE_WP_ASYNC");
}

int main(int argc, char **argv)
{
	volatile char *map;

	if (argc != 2)
		return fprintf(stderr, "usage: %s DIR\n", argv[0]), 2;
	map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, make_file(argv[1]), 0);
	if (map == MAP_FAILED)
		cannot("mapping the file");
	map[0] = 1;
	if (scan(map, PAGE_HUGE, 0) != LEN) {
		errno = ENODEV;
		cannot("2 MiB of the file in one page table entry");
	}
	watch(map);
	scan(map, PAGE_WRITTEN, WP_MATCHING);
	if (scan(map, PAGE_WRITTEN, 0)) {
		errno = EIO;
		cannot("write-protecting the mapping");
	}
	map[0] = 2;
	unlink(path);
	if (scan(map, PAGE_WRITTEN, 0)) {
		printf("PAGEMAP_SCAN tells of the store\n");
		return 0;
	}
	printf("map[0] is %d by now, and PAGEMAP_SCAN tells of no page that was written to\n",
	       map[0]);
	return 1;
}
