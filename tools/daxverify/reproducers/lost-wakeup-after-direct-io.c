/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lost-wakeup-after-direct-io: truncate waits for a page of a DAX file that a device reads into
 * (O_DIRECT); the read ends, and truncate sleeps on.
 *
 *	modprobe -a loop dm-delay; cc -o r lost-wakeup-after-direct-io.c && ./r DIR
 *
 * DIR: a folder on ext4 or xfs, mounted with -o dax=always on a pmem device. Needs root: it makes
 * a device whose reads take 3 s, and takes it away again.
 * Exit status: 0 the kernel is right, 1 the defect was seen, 2 it could not be tried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/loop.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEN	 16384
#define SLOW	 "lost-wakeup-after-direct-io"
#define SLOW_MS	 3000
#define SECTORS	 2048

struct request {
	struct dm_ioctl head;
	struct dm_target_spec target;
	char params[128];
};

static char path[4096];
static int slow = -1;

static int dm(unsigned long command, struct request *r)
{
	int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC), ret;

	r->head.version[0] = DM_VERSION_MAJOR;
	r->head.data_size = sizeof(*r);
	r->head.data_start = offsetof(struct request, target);
	strcpy(r->head.name, SLOW);
	ret = fd < 0 ? -1 : ioctl(fd, command, r);
	if (fd >= 0)
		close(fd);
	return ret;
}

/* A child that was killed has the device open for a moment longer. */
static void tidy_up(void)
{
	struct request r;
	int tries = 0;

	if (slow >= 0)
		close(slow);
	do {
		memset(&r, 0, sizeof(r));
		usleep(tries * 1000);
	} while (dm(DM_DEV_REMOVE, &r) && errno == EBUSY && ++tries < 100);
	unlink(path);
}

static _Noreturn void cannot(const char *what)
{
	printf("could not be tried: %s: %s\n", what, strerror(errno));
	tidy_up();
	exit(2);
}

/* A loop device over memory. */
static dev_t make_loop(void)
{
	struct loop_config config = {.info.lo_flags = LO_FLAGS_AUTOCLEAR};
	int control = open("/dev/loop-control", O_RDWR), fd;
	struct stat st;
	char name[32];

	config.fd = memfd_create("disk", MFD_CLOEXEC);
	snprintf(name, sizeof(name), "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
	fd = open(name, O_RDWR);
	if (fd < 0 || ftruncate(config.fd, SECTORS * 512) ||
	    ioctl(fd, LOOP_CONFIGURE, &config) || fstat(fd, &st))
		cannot("making a loop device");
	return st.st_rdev;
}

/* dm-delay over it. */
static void make_slow(void)
{
	struct request made = {0}, load = {0}, resume = {0};
	dev_t below = make_loop();
	char name[32];
	int tries;

	load.head.target_count = 1;
	load.target.length = SECTORS;
	strcpy(load.target.target_type, "delay");
	snprintf(load.params, sizeof(load.params), "%u:%u 0 %d", major(below), minor(below),
		 SLOW_MS);
	if (dm(DM_DEV_CREATE, &made) || dm(DM_TABLE_LOAD, &load) || dm(DM_DEV_SUSPEND, &resume))
		cannot("making a slow device (modprobe dm-delay)");
	snprintf(name, sizeof(name), "/dev/dm-%u", minor(made.head.dev));
	for (tries = 0; tries < 100; tries++) {
		slow = open(name, O_RDONLY | O_DIRECT | O_CLOEXEC);
		if (slow >= 0)
			return;
		usleep(10000);
	}
	cannot("opening the slow device");
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

/* S and D: asleep, and not merely slow to be run. Where nothing tells, time has to do. */
static int is_asleep(pid_t pid)
{
	char name[64], line[512], *p = NULL;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
	f = fopen(name, "r");
	if (f && fgets(line, sizeof(line), f))
		p = strrchr(line, ')');
	if (f)
		fclose(f);
	return !p || p[2] == 'S' || p[2] == 'D';
}

/* Has the child ended, or is it seen asleep for so many milliseconds on end? */
static int ended(pid_t pid, int ms)
{
	int asleep = 0, status;

	while (asleep < ms) {
		if (waitpid(pid, &status, WNOHANG) == pid) {
			errno = WEXITSTATUS(status);
			if (status)
				cannot("ftruncate, or reading from the slow device");
			return 1;
		}
		usleep(10000);
		asleep = is_asleep(pid) ? asleep + 10 : 0;
	}
	return 0;
}

int main(int argc, char **argv)
{
	int fd, status = 0;
	pid_t reader, cutter;
	char *map;

	if (argc != 2)
		return fprintf(stderr, "usage: %s DIR\n", argv[0]), 2;
	fd = make_file(argv[1]);
	map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		cannot("mapping the file");
	make_slow();

	reader = fork();
	if (reader == 0)
		_exit(pread(slow, map + 8192, 4096, 0) == 4096 ? 0 : errno);
	if (ended(reader, 100)) { /* asleep: the read is under way */
		errno = EBUSY;
		cannot("the slow device is fast; a wait");
	}
	cutter = fork();
	if (cutter == 0)
		_exit(ftruncate(fd, 4096) ? errno : 0);
	if (ended(cutter, 1000)) {
		waitpid(reader, &status, 0);
		errno = EBUSY;
		cannot("ftruncate did not wait for the read, so no wake-up can be lost; a wait");
	}
	if (waitpid(reader, &status, 0) != reader || status) {
		kill(cutter, SIGKILL);
		cannot("reading from the slow device");
	}

	if (ended(cutter, 3000)) {
		printf("ftruncate ended when the read had ended\n");
		tidy_up();
		return 0;
	}
	printf("ftruncate is asleep 3 s after the read has ended, and its process, too\n");
	kill(cutter, SIGSTOP);
	usleep(200000);
	kill(cutter, SIGCONT);
	if (ended(cutter, 5000)) {
		printf("SIGSTOP and SIGCONT made it look again, and it ended at once\n");
		tidy_up();
		return 1;
	}
	kill(cutter, SIGKILL);
	waitpid(cutter, NULL, 0);
	errno = EBUSY;
	cannot("SIGSTOP and SIGCONT did not wake it, so no wake-up was lost; a wait");
}
