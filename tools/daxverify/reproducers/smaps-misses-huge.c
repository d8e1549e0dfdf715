/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * smaps-misses-huge: a mapping of a DAX file by an entry of 2 MiB is added to RssFile of the
 * process, and /proc/PID/smaps shows none of it.
 *
 *	cc -o r smaps-misses-huge.c && ./r DIR
 *
 * DIR: a folder on ext4 or xfs, mounted with -o dax=always on a pmem device, where files get
 * 2 MiB in one piece (mkfs.ext4 -E stride=512,stripe_width=512, mkfs.xfs -d su=2m,sw=1). No root
 * needed.
 * Exit status: 0 the kernel is right, 1 the defect was seen, 2 it could not be tried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEN   (2 << 20)
#define PAGES 512

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

/* The first line that begins so, after the one that begins with `after`: KiB. */
static long field(const char *file, const char *after, const char *name)
{
	FILE *f = fopen(file, "r");
	int there = !after;
	char line[4200];
	long kib = -1;

	if (!f)
		cannot(file);
	while (kib < 0 && fgets(line, sizeof(line), f)) {
		if (!there)
			there = strncmp(line, after, strlen(after)) == 0;
		else if (strncmp(line, name, strlen(name)) == 0)
			kib = atol(line + strlen(name));
	}
	fclose(f);
	return kib;
}

int main(int argc, char **argv)
{
	unsigned char in[PAGES];
	long before, rss_file, rss;
	char address[32];
	volatile char *map;
	int i;

	if (argc != 2)
		return fprintf(stderr, "usage: %s DIR\n", argv[0]), 2;
	map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, make_file(argv[1]), 0);
	if (map == MAP_FAILED)
		cannot("mapping the file");
	before = field("/proc/self/status", NULL, "RssFile:");
	map[0] = 1;
	if (mincore((void *)map, LEN, in))
		cannot("mincore");
	for (i = 0; i < PAGES; i++) {
		if (!(in[i] & 1)) {
			errno = ENODEV;
			cannot("2 MiB of the file in one page table entry");
		}
	}
	rss_file = field("/proc/self/status", NULL, "RssFile:") - before;
	snprintf(address, sizeof(address), "%lx-", (unsigned long)map);
	rss = field("/proc/self/smaps", address, "Rss:");
	unlink(path);
	printf("RssFile has grown by %ld KiB, and smaps shows %ld KiB of the mapping\n", rss_file,
	       rss);
	return rss_file > LEN / 2048 && rss == 0;
}
