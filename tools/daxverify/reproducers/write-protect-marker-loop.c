/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * write-protect-marker-loop: a mapping of a DAX file is write-protected by userfaultfd, in the
 * way in which a store takes the protection away by itself. Whoever then touches a page that
 * was not mapped yet faults for ever.
 *
 *	cc -o r write-protect-marker-loop.c && ./r DIR
 *
 * DIR: a folder on ext4 or xfs, mounted with -o dax=always on a pmem device. No root needed.
 * Exit status: 0 the kernel is right, 1 the defect was seen, 2 it could not be tried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEN	       16384
#define PAGE	       4096
#define WP_UNPOPULATED (1 << 13)
#define WP_ASYNC       (1 << 15)
#define USER_MODE_ONLY 1
#define CPU_SECONDS    2

static char path[4096];

static _Noreturn void cannot(const char *what)
{
	printf("could not be tried: %s: %s\n", what, strerror(errno));
	fflush(stdout);
	unlink(path);
	_exit(2);
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

static void write_protect(volatile char *map)
{
	struct uffdio_api api = {.api = UFFD_API, .features = WP_ASYNC | WP_UNPOPULATED};
	struct uffdio_register reg = {.range = {(uintptr_t)map, LEN},
				      .mode = UFFDIO_REGISTER_MODE_WP};
	struct uffdio_writeprotect wp = {.range = {(uintptr_t)map, LEN},
					 .mode = UFFDIO_WRITEPROTECT_MODE_WP};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | USER_MODE_ONLY);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		cannot("userfaultfd with UFFD_FEATURE_WP_ASYNC");
	if (ioctl(fd, UFFDIO_REGISTER, &reg) || ioctl(fd, UFFDIO_WRITEPROTECT, &wp))
		cannot("write-protecting the mapping");
}

/* The child has a limit of CPU time: what faults for ever is ended by it. */
static void touch(int fd)
{
	struct rlimit limit = {CPU_SECONDS, CPU_SECONDS};
	volatile char *map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		cannot("mapping the file");
	map[0] = 1;
	write_protect(map);
	map[0] = 2;
	setrlimit(RLIMIT_CPU, &limit);
	_exit(map[PAGE]);
}

int main(int argc, char **argv)
{
	int fd, status;
	pid_t pid;

	if (argc != 2)
		return fprintf(stderr, "usage: %s DIR\n", argv[0]), 2;
	fd = make_file(argv[1]);
	pid = fork();
	if (pid == 0)
		touch(fd);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		cannot("forking");
	unlink(path);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
		return 2;
	if (WIFEXITED(status)) {
		printf("the load from a page that was not mapped went through\n");
		return 0;
	}
	printf("the load from a page that was not mapped was ended by signal %d (%s)\n",
	       WTERMSIG(status),
	       WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGXCPU
		       ? "the limit of CPU time"
		       : strsignal(WTERMSIG(status)));
	return 1;
}
