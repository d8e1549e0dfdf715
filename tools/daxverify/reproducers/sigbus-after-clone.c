/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sigbus-after-clone: a DAX file whose second 2 MiB were read once by a small page table
 *entry is cloned (reflinked). Reading them by an entry of 2 MiB gives SIGBUS then, and
 *warnings.
 *
 *	cc -o r sigbus-after-clone.c && ./r DIR
 *
 * DIR: a folder on xfs with reflinks that gives files extents of 2 MiB (mkfs.xfs -d
 *su=2m,sw=1), mounted with -o dax=always on a pmem device. No root needed. Exit status: 0
 *the kernel is right, 1 the defect was seen, 2 it could not be tried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define HUGE (2 << 20)
#define LEN  (2 * HUGE)

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
	if (statx(fd, "", AT_EMPTY_PATH, 0, &stx) ||
	    !(stx.stx_attributes & STATX_ATTR_DAX)) {
		errno = EOPNOTSUPP;
		cannot("DAX there");
	}
	return fd;
}

static void fill(int fd)
{
	char *content = malloc(LEN);

	if (!content)
		cannot("memory");
	memset(content, 'a', LEN);
	if (write(fd, content, LEN) != LEN || fsync(fd))
		cannot("writing the file");
	free(content);
}

static volatile char *map(int fd)
{
	/* Where an entry of 2 MiB can be: the kernel chooses such a place for this much.
	 */
	char *p = mmap(NULL, LEN, PROT_READ, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		cannot("mapping the file");
	return p;
}

/* Is there, beside the page that was touched, one that nobody has touched? */
static int is_huge(volatile char *p)
{
	unsigned char there = 0;

	return mincore((void *)(p + LEN - 4096), 4096, &there) == 0 && there & 1;
}

int main(int argc, char **argv)
{
	volatile char *p;
	int a, b, status;
	pid_t pid;

	if (argc != 2)
		return fprintf(stderr, "usage: %s DIR\n", argv[0]), 2;
	a = make_file(argv[1], path[0]);
	b = make_file(argv[1], path[1]);
	fill(a);

	p = map(a);
	if (madvise((void *)p, LEN, MADV_NOHUGEPAGE))
		cannot("MADV_NOHUGEPAGE");
	(void)p[HUGE];
	munmap((void *)p, LEN);
	if (ftruncate(a, LEN)) /* the same size: the kernel forgets the entry */
		cannot("ftruncate");
	if (ioctl(b, FICLONE, a))
		cannot("a clone");

	pid = fork();
	if (pid == 0) {
		p = map(a);
		(void)p[HUGE];
		_exit(is_huge(p) ? 0 : 3);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		cannot("a process");
	unlink(path[0]);
	unlink(path[1]);
	if (WIFSIGNALED(status)) {
		printf("the load ended with signal %d\n", WTERMSIG(status));
		return WTERMSIG(status) == SIGBUS ? 1 : 2;
	}
	printf("the load went well%s\n", status ? ", by a small entry" : "");
	return 0;
}
