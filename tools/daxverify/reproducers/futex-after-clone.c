/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * futex-after-clone: a process waits on a futex in a DAX file that was cloned (reflinked)
 *once, and another process wakes it: the wake reaches nobody.
 *
 *	cc -o r futex-after-clone.c && ./r DIR
 *
 * DIR: a folder on xfs with reflinks, mounted with -o dax=always on a pmem device. No
 *root needed. Exit status: 0 the kernel is right, 1 the defect was seen, 2 it could not
 *be tried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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
	if (statx(fd, "", AT_EMPTY_PATH, 0, &stx) ||
	    !(stx.stx_attributes & STATX_ATTR_DAX)) {
		errno = EOPNOTSUPP;
		cannot("DAX there");
	}
	if (write(fd, zeroes, LEN) != LEN || fsync(fd))
		cannot("writing the file");
	return fd;
}

/* Does the process sleep? Then it is in the futex's queue: it has nothing else to do. */
static int asleep(pid_t pid)
{
	char name[64], state = 0;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
	f = fopen(name, "r");
	if (!f || fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		cannot("/proc");
	fclose(f);
	return state == 'S';
}

int main(int argc, char **argv)
{
	int a, b, seen = 0;
	unsigned *word;
	pid_t pid;
	long woken;

	if (argc != 2)
		return fprintf(stderr, "usage: %s DIR\n", argv[0]), 2;
	a = make_file(argv[1], path[0]);
	b = make_file(argv[1], path[1]);
	if (ioctl(b, FICLONE, a))
		cannot("a clone");
	word = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, a, 0);
	if (word == MAP_FAILED)
		cannot("mapping the file");
	*word = 1; /* the file has a block of its own again */

	pid = fork();
	if (pid == 0)
		_exit(syscall(SYS_futex, word, FUTEX_WAIT, 1, NULL, NULL, 0) ? 1 : 0);
	if (pid < 0)
		cannot("a process");
	while (seen < 5) { /* again and again: a fault sleeps as well */
		usleep(100000);
		seen = asleep(pid) ? seen + 1 : 0;
	}
	woken = syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
	printf("one process waits, and FUTEX_WAKE woke %ld\n", woken);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(path[0]);
	unlink(path[1]);
	return woken == 0;
}
