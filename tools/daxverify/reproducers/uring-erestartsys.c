/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uring-erestartsys: an io_uring fallocate that waits for a pinned page of a DAX file is
 * cancelled, and its completion says -512: ERESTARTSYS, an error that is not for user space.
 *
 *	cc -o r uring-erestartsys.c && ./r DIR
 *
 * DIR: a folder on ext4 or xfs, mounted with -o dax=always on a pmem device. No root needed.
 * Exit status: 0 the kernel is right, 1 the defect was seen, 2 it could not be tried.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define LEN	   16384
#define ERESTARTSYS 512
#define FALLOCATE  1 /* the requests' names */
#define CANCEL	   2

static char path[4096];

/* A ring without liburing: just what two requests need. */
static struct {
	int fd;
	struct io_uring_params params;
	char *rings;
	struct io_uring_sqe *sqes;
} ring;

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

static void make_ring(void)
{
	ring.fd = (int)syscall(SYS_io_uring_setup, 4, &ring.params);
	if (ring.fd < 0)
		cannot("io_uring_setup");
	ring.rings = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd,
			  IORING_OFF_SQ_RING);
	ring.sqes = mmap(NULL, ring.params.sq_entries * sizeof(*ring.sqes),
			 PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQES);
	if (ring.rings == MAP_FAILED || ring.sqes == MAP_FAILED ||
	    !(ring.params.features & IORING_FEAT_SINGLE_MMAP))
		cannot("mapping the ring");
}

static unsigned *at(unsigned offset)
{
	return (unsigned *)(ring.rings + offset);
}

static void submit(const struct io_uring_sqe *sqe)
{
	unsigned tail = *at(ring.params.sq_off.tail);
	unsigned slot = tail & *at(ring.params.sq_off.ring_mask);

	ring.sqes[slot] = *sqe;
	at(ring.params.sq_off.array)[slot] = slot;
	__atomic_store_n(at(ring.params.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring.fd, 1, 0, 0, NULL, 0) != 1)
		cannot("io_uring_enter");
}

/* Takes a completion that comes within so many milliseconds. */
static int complete(struct io_uring_cqe *cqe, int ms)
{
	struct io_uring_cqe *cqes = (void *)(ring.rings + ring.params.cq_off.cqes);
	unsigned head = *at(ring.params.cq_off.head);

	for (; ms > 0; ms -= 10) {
		if (head != __atomic_load_n(at(ring.params.cq_off.tail), __ATOMIC_ACQUIRE)) {
			*cqe = cqes[head & *at(ring.params.cq_off.ring_mask)];
			__atomic_store_n(at(ring.params.cq_off.head), head + 1, __ATOMIC_RELEASE);
			return 1;
		}
		syscall(SYS_io_uring_enter, ring.fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0);
		usleep(10000);
	}
	return 0;
}

/* Does a thread of this process, a worker of io_uring, sleep in a wait for a DAX page? */
static int worker_waits(void)
{
	static const char *const waits[] = {"wait_dax_page", "wait_page_idle", "break_layout",
					    "break_dax_layout"};
	char name[300], where[128];
	DIR *dir = opendir("/proc/self/task");
	struct dirent *e;
	int found = 0;
	unsigned i;
	FILE *f;

	while (dir && !found && (e = readdir(dir))) {
		snprintf(name, sizeof(name), "/proc/self/task/%s/wchan", e->d_name);
		f = fopen(name, "r");
		if (f && fgets(where, sizeof(where), f)) {
			for (i = 0; i < sizeof(waits) / sizeof(waits[0]); i++)
				found |= strstr(where, waits[i]) != NULL;
		}
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
	return found;
}

int main(int argc, char **argv)
{
	struct io_uring_sqe punch = {.opcode = IORING_OP_FALLOCATE, .user_data = FALLOCATE,
				     .off = 0, .addr = 4096, /* the length, for this one */
				     .len = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
	struct io_uring_sqe cancel = {.opcode = IORING_OP_ASYNC_CANCEL, .user_data = CANCEL,
				      .addr = FALLOCATE, .fd = -1};
	struct iovec iov = {.iov_len = 4096};
	struct io_uring_cqe cqe;
	int p[2], res = 0, seen = 0, tries;
	char *map, page[4096];

	if (argc != 2)
		return fprintf(stderr, "usage: %s DIR\n", argv[0]), 2;
	punch.fd = make_file(argv[1]);
	make_ring();
	map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, punch.fd, 0);
	if (map == MAP_FAILED || pipe(p))
		cannot("mapping the file");
	map[0] = 42;
	iov.iov_base = map;
	if (vmsplice(p[1], &iov, 1, 0) != 4096)
		cannot("vmsplice");

	submit(&punch);
	for (tries = 0; !worker_waits(); tries++) { /* what has not begun is cancelled well */
		if (complete(&cqe, 10)) {
			errno = cqe.res < 0 ? -cqe.res : EBUSY;
			cannot("the punch did not wait for the page; a wait");
		}
		errno = ETIMEDOUT;
		if (tries == 2000)
			cannot("seeing a worker of io_uring wait (/proc/self/task/*/wchan)");
	}
	submit(&cancel);
	while (complete(&cqe, 2000)) {
		if (cqe.user_data == CANCEL)
			printf("the cancellation ended with %d\n", cqe.res);
		else
			res = cqe.res, seen = 1;
	}
	if (read(p[0], page, sizeof(page)) != 4096)
		cannot("reading the pipe");
	errno = ETIMEDOUT;
	if (!seen && !complete(&cqe, 20000))
		cannot("a completion of the punch");
	res = seen ? res : cqe.res;
	printf("the punch ended with %d%s\n", res, seen ? ", cancelled" : ", when let go");
	unlink(path);
	return res == -ERESTARTSYS;
}
