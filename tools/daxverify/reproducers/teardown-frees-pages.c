/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * teardown-frees-pages: the driver of a pmem device can be unbound while a process maps a file on
 * it and has a page of it in a pipe. The driver does not wait, and takes the page's struct page
 * away.
 *
 *	cc -o r teardown-frees-pages.c && ./r DIR take-down
 *
 * DIR: a folder on ext4 or xfs, mounted with -o dax=always on a pmem device (nd_pmem). As root,
 * and on a machine that can be reset: the file system is lost until then. When the defect was
 * seen, a process stays behind that keeps both and does nothing. To end it, or to touch what it
 * maps, is an oops: it uses memory that is not there any more.
 * Exit status: 0 the kernel is right, 1 the defect was seen, 2 it could not be tried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEN 16384

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

/* The name on the bus of the device that the file lies on. */
static void find_device(int fd, char name[NAME_MAX + 1])
{
	char link[64], folder[PATH_MAX], driver[PATH_MAX + 8];
	struct stat st;

	if (fstat(fd, &st))
		cannot("looking at the file");
	snprintf(link, sizeof(link), "/sys/dev/block/%u:%u/device", major(st.st_dev),
		 minor(st.st_dev));
	if (!realpath(link, folder))
		cannot("finding the device in /sys");
	snprintf(name, NAME_MAX + 1, "%s", strrchr(folder, '/') + 1);
	snprintf(driver, sizeof(driver), "/sys/bus/nd/drivers/nd_pmem/%s", name);
	if (access(driver, F_OK))
		cannot("a device of the driver nd_pmem");
}

/* In a process of its own, which stays: it maps the file, and has a page of it in its pipe. */
static void hold_page(int fd, int tell)
{
	struct iovec iov = {.iov_len = 4096};
	int p[2];
	char *map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED || pipe(p))
		exit(1);
	map[0] = 42;
	iov.iov_base = map;
	if (vmsplice(p[1], &iov, 1, 0) != 4096 || write(tell, "", 1) != 1)
		exit(1);
	close(fd);
	close(tell);
	setsid();
	fclose(stdout);
	fclose(stderr);
	for (;;)
		pause();
}

static void unbind(const char *name)
{
	int fd = open("/sys/bus/nd/drivers/nd_pmem/unbind", O_WRONLY);

	exit(fd < 0 || write(fd, name, strlen(name)) < 0);
}

/* Has the child ended within so many milliseconds? */
static int ended(pid_t pid, int ms, int *status)
{
	for (; ms > 0; ms -= 10) {
		if (waitpid(pid, status, WNOHANG) == pid)
			return 1;
		usleep(10000);
	}
	return 0;
}

int main(int argc, char **argv)
{
	char name[NAME_MAX + 1], byte;
	int tell[2], fd, status = 0;
	pid_t pid, holder;

	if (argc != 3 || strcmp(argv[2], "take-down") != 0)
		return fprintf(stderr, "usage: %s DIR take-down\n", argv[0]), 2;
	if (pipe(tell))
		cannot("making a pipe");
	fd = make_file(argv[1]);
	find_device(fd, name);
	fflush(stdout);
	holder = fork();
	if (holder == 0)
		hold_page(fd, tell[1]);
	close(fd);
	close(tell[1]);
	if (read(tell[0], &byte, 1) != 1)
		cannot("holding a page of the file");
	pid = fork();
	if (pid == 0)
		unbind(name);
	if (!ended(pid, 5000, &status)) {
		printf("the driver waits for the page\n");
		kill(holder, SIGKILL);
		if (!ended(pid, 10000, &status))
			printf("and still waits when the page was let go\n");
		return 0;
	}
	if (status) {
		printf("the driver stays\n");
		kill(holder, SIGKILL);
		return 0;
	}
	printf("the driver of %s is gone, and process %d still maps and holds a page\n", name,
	       (int)holder);
	return 1;
}
