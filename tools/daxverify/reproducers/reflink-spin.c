/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reflink-spin: a reflink between two DAX files of which the one with the higher inode number
 * has a pinned page does not sleep until the page is let go: it spins, and SIGKILL does not end
 * it.
 *
 *	cc -o r reflink-spin.c && ./r DIR
 *
 * DIR: a folder on xfs with reflinks, mounted with -o dax=always on a pmem device. No root
 * needed. Takes one CPU for three seconds.
 * Exit status: 0 the kernel is right, 1 the defect was seen, 2 it could not be tried.
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
#include <sys/uio.h>
#include <sys/wait.h>
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
	char zeroes[LEN] = {0};
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
	if (write(fd, zeroes, LEN) != LEN || fsync(fd))
		cannot("writing the file");
	return fd;
}

static unsigned long long inode(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : st.st_ino;
}

/* What the process has used of a CPU, in clock ticks; its state in *state. */
static long cpu_ticks(pid_t pid, char *state)
{
	unsigned long user = 0, system = 0;
	char name[64], line[1024], *p;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
	f = fopen(name, "r");
	if (!f || !fgets(line, sizeof(line), f) || !(p = strrchr(line, ')')))
		cannot(name);
	fclose(f);
	sscanf(p + 2, "%c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", state, &user, &system);
	return (long)(user + system);
}

/* Has the child ended, or has it slept, or been busy, for so many milliseconds on end? */
static int ended(pid_t pid, int ms)
{
	long before = -1, used, hz = sysconf(_SC_CLK_TCK);
	int asleep = 0;
	char state;

	for (;;) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return 1;
		usleep(10000);
		used = cpu_ticks(pid, &state);
		before = before < 0 ? used : before;
		asleep = state == 'S' || state == 'D' ? asleep + 10 : 0;
		if (asleep >= ms || (used - before) * 1000 / hz >= ms)
			return 0;
	}
}

int main(int argc, char **argv)
{
	struct iovec iov = {.iov_len = 4096};
	int a, b, low, high, p[2], survived;
	long before, used, hz = sysconf(_SC_CLK_TCK);
	char *map, page[4096], state = '?';
	pid_t pid;

	if (argc != 2)
		return fprintf(stderr, "usage: %s DIR\n", argv[0]), 2;
	a = make_file(argv[1], path[0]);
	b = make_file(argv[1], path[1]);
	low = inode(a) < inode(b) ? a : b;
	high = low == a ? b : a;
	if (ioctl(low, FICLONE, high))
		cannot("a reflink while nothing is pinned");

	map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, high, 0);
	if (map == MAP_FAILED || pipe(p))
		cannot("mapping the file");
	map[0] = 42;
	iov.iov_base = map;
	if (vmsplice(p[1], &iov, 1, 0) != 4096)
		cannot("vmsplice");

	pid = fork();
	if (pid == 0)
		_exit(ioctl(low, FICLONE, high) ? 1 : 0);
	if (ended(pid, 1000)) {
		errno = EBUSY;
		cannot("the reflink did not wait for the page; a wait");
	}
	before = cpu_ticks(pid, &state);
	sleep(1);
	used = cpu_ticks(pid, &state) - before;
	kill(pid, SIGKILL);
	survived = !ended(pid, 1000);
	printf("the reflink waits in state %c, used %ld %% of a CPU for a second, and %s SIGKILL\n",
	       state, used * 100 / hz, survived ? "survives" : "ends by");

	if (read(p[0], page, sizeof(page)) != 4096)
		cannot("reading the pipe");
	if (survived && !ended(pid, 10000))
		printf("and goes on now that the page has been let go\n");
	unlink(path[0]);
	unlink(path[1]);
	return survived || used * 2 > hz;
}
