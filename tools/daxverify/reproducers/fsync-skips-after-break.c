/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fsync-skips-after-break: fsync does not flush what was stored through a mapping of a DAX file
 * before a hole was punched into another part of the file.
 *
 *	cc -o r fsync-skips-after-break.c && ./r DIR
 *
 * DIR: a folder on ext4 or xfs, mounted with -o dax=always on a pmem device. Needs root, and
 * tracefs on /sys/kernel/tracing: what is flushed is told by fs_dax:dax_writeback_one.
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

#define LEN	 (16 * 4096)
#define INSTANCE "/sys/kernel/tracing/instances/reproducer"
#define EVENT	 INSTANCE "/events/fs_dax/dax_writeback_one"

static char path[4096];

static _Noreturn void cannot(const char *what)
{
	printf("could not be tried: %s: %s\n", what, strerror(errno));
	unlink(path);
	rmdir(INSTANCE);
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
	if (write(fd, zeroes, LEN) != LEN || fsync(fd))
		cannot("writing the file");
	return fd;
}

/* O_TRUNC is what empties the trace. */
static void put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		cannot(file);
	close(fd);
}

/* Of the file only: others may be flushed as well. */
static void watch(int fd)
{
	char filter[48];
	struct stat st;

	if (fstat(fd, &st))
		cannot("fstat");
	snprintf(filter, sizeof(filter), "ino == %llu", (unsigned long long)st.st_ino);
	put(EVENT "/filter", filter);
	put(EVENT "/enable", "1");
}

/* How many pages of the file were flushed since the trace was last emptied. */
static int flushed(void)
{
	FILE *f = fopen(INSTANCE "/trace", "r");
	char line[512];
	int n = 0;

	while (f && fgets(line, sizeof(line), f))
		n += strstr(line, "dax_writeback_one:") != NULL;
	if (!f)
		cannot("reading the trace");
	fclose(f);
	return n;
}

/* Store to pages 0 and 1, punch page 10 or not, fsync: how many pages were flushed? */
static int try(int fd, volatile char *map, int punch)
{
	put(INSTANCE "/trace", "");
	map[0]++;
	map[4096]++;
	if (punch && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10 * 4096, 4096))
		cannot("punching a hole");
	if (fsync(fd))
		cannot("fsync");
	return flushed();
}

int main(int argc, char **argv)
{
	int fd, without, with;
	volatile char *map;

	if (argc != 2)
		return fprintf(stderr, "usage: %s DIR\n", argv[0]), 2;
	fd = make_file(argv[1]);
	map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		cannot("mapping the file");
	if (mkdir(INSTANCE, 0700))
		cannot(INSTANCE);
	watch(fd);

	without = try(fd, map, 0);
	with = try(fd, map, 1);
	put(EVENT "/enable", "0");
	rmdir(INSTANCE);
	unlink(path);

	printf("2 pages stored to, then fsync: %d flushed\n", without);
	printf("2 pages stored to, page 10 punched, then fsync: %d flushed\n", with);
	if (without < 2)
		return printf("could not be tried: the tracepoint shows nothing here\n"), 2;
	return with < 2;
}
