/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shared-read-warns: two DAX files share a block, and both are mapped and read. The kernel does
 * not see that the page is shared, and warns.
 *
 *	cc -o r shared-read-warns.c && ./r DIR
 *
 * DIR: a folder on xfs with reflinks, mounted with -o dax=always on a pmem device. As root: it
 * reads the kernel's log.
 * Exit status: 0 the kernel is right, 1 the defect was seen, 2 it could not be tried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
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
	struct statx stx;
	int fd;

	snprintf(name, 4096, "%s/reproducer-XXXXXX", dir);
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0)
		cannot("making a file there");
	if (statx(fd, "", AT_EMPTY_PATH, 0, &stx) || !(stx.stx_attributes & STATX_ATTR_DAX)) {
		errno = EOPNOTSUPP;
		cannot("DAX there");
	}
	return fd;
}

/* What is warned of once only may be warned of again. Where that is not to be had, so be it. */
static void warn_again(void)
{
	int fd = open("/sys/kernel/debug/clear_warn_once", O_WRONLY);

	if (fd >= 0 && write(fd, "1", 1) != 1)
		printf("(the kernel warns of it once only)\n");
	if (fd >= 0)
		close(fd);
}

static void read_page(int fd)
{
	volatile char *map = mmap(NULL, LEN, PROT_READ, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		cannot("mapping the file");
	(void)*map;
}

static int warned(int log)
{
	char record[8192];
	ssize_t n;

	while ((n = read(log, record, sizeof(record) - 1)) > 0 || errno == EPIPE) {
		if (n < 0)
			continue;
		record[n] = 0;
		if (strstr(record, "WARNING:") && strstr(record, "dax_insert_entry"))
			return printf("%s", strchr(record, ';') + 1);
	}
	return 0;
}

int main(int argc, char **argv)
{
	char content[LEN];
	int a, b, log;

	if (argc != 2)
		return fprintf(stderr, "usage: %s DIR\n", argv[0]), 2;
	a = make_file(argv[1], path[0]);
	memset(content, 'a', LEN);
	if (write(a, content, LEN) != LEN || fsync(a))
		cannot("writing the file");
	b = make_file(argv[1], path[1]);
	if (ioctl(b, FICLONE, a) || fsync(b))
		cannot("a reflink");
	warn_again();
	log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	if (log < 0 || lseek(log, 0, SEEK_END) < 0)
		cannot("reading the kernel's log");
	read_page(a);
	read_page(b);
	unlink(path[0]);
	unlink(path[1]);
	if (warned(log))
		return 1;
	printf("both files were read through mappings, and nothing was logged\n");
	return 0;
}
