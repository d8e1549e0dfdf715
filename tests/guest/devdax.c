/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pool on device DAX: runs in a guest.  devdax fixed|uring|damage|occupied DEVICE: 0 if all is
 * as it should be.
 *
 *	fixed		io_uring reads into, and writes from, a block that is a registered buffer
 *	uring		the same by daxheap_uring_*, which registers buffers by itself
 *	damage		a lost superblock is found, and repaired, and so is a lost word
 *	occupied	a device that holds something, or is no such device, is refused
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daxheap-uring.h"

#define MIB		((size_t)1 << 20)
#define BLOCK		(4 * MIB)
#define PIECE		(64u << 10)
#define WINDOW		(2 * MIB)	/* the device's alignment */

#define must(what)                                                                             \
	do {                                                                                   \
		if (!(what)) {                                                                 \
			printf("line %d: not so: %s: %s\n", __LINE__, #what,                   \
			       daxheap_errormsg());                                            \
			exit(1);                                                               \
		}                                                                              \
	} while (0)

static struct daxheap *heap;

static int check(const char *path, unsigned flags)
{
	return daxheap_check(path, flags, NULL, NULL);
}

/* --- registered buffers --- */

static char *pattern(void)
{
	uint64_t *words = malloc(BLOCK);

	must(words);
	for (size_t i = 0; i < BLOCK / sizeof(*words); i++)
		words[i] = i * UINT64_C(0x9E3779B97F4A7C15);
	return (char *)words;
}

/* Reads or writes the whole buffer, in pieces that are all in flight at once. */
static void transfer(struct io_uring *ring, int fd, char *block, bool reads)
{
	for (unsigned at = 0; at < BLOCK; at += PIECE) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

		must(sqe);
		if (reads)
			io_uring_prep_read_fixed(sqe, fd, block + at, PIECE, at, 0);
		else
			io_uring_prep_write_fixed(sqe, fd, block + at, PIECE, at, 0);
	}
	must(io_uring_submit(ring) == (int)(BLOCK / PIECE));
	for (unsigned i = 0; i < BLOCK / PIECE; i++) {
		struct io_uring_cqe *cqe;

		must(!io_uring_wait_cqe(ring, &cqe) && cqe->res == (int)PIECE);
		io_uring_cqe_seen(ring, cqe);
	}
}

static int temporary_file(const void *content)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	must(fd >= 0);
	must(!content || pwrite(fd, content, BLOCK, 0) == (ssize_t)BLOCK);
	return fd;
}

static void fixed(const char *path)
{
	char *expected = pattern(), *written = malloc(BLOCK);
	int source = temporary_file(expected), target = temporary_file(NULL);
	struct io_uring ring;
	struct iovec buffer = {.iov_len = BLOCK};
	daxheap_ref *root;

	must(written && !daxheap_open(path, 0, &heap));
	must(!daxheap_root(heap, "fixed", &root) && !*root);
	must(!daxheap_alloc(heap, BLOCK, &buffer.iov_base));
	must(!io_uring_queue_init(BLOCK / PIECE, &ring, 0));
	must(!io_uring_register_buffers(&ring, &buffer, 1));
	transfer(&ring, source, buffer.iov_base, true);
	must(!daxheap_persist(heap, buffer.iov_base, BLOCK));
	must(!daxheap_publish(heap, root, buffer.iov_base));
	transfer(&ring, target, buffer.iov_base, false);
	must(pread(target, written, BLOCK, 0) == (ssize_t)BLOCK);
	must(!memcmp(expected, written, BLOCK));
	io_uring_queue_exit(&ring);
	daxheap_close(heap);

	must(!daxheap_open(path, DAXHEAP_READ_ONLY, &heap));
	must(!daxheap_root(heap, "fixed", &root));
	must(!memcmp(expected, daxheap_ptr(heap, *root), BLOCK));
	daxheap_close(heap);
	must(!daxheap_open(path, 0, &heap) && !daxheap_root(heap, "fixed", &root));
	must(!daxheap_free(heap, root));
	daxheap_close(heap);
	must(!check(path, 0));
	puts("registered, read into, written from");
}

/* The whole block, in pieces that are all in flight at once. */
static void transfer_by_heap(struct daxheap_uring *uring, struct io_uring *ring, int fd,
			     char *block, bool reads)
{
	for (unsigned at = 0; at < BLOCK; at += PIECE)
		must(reads ? !daxheap_uring_prep_read(uring, fd, block + at, PIECE, at, NULL, NULL) :
			     !daxheap_uring_prep_write(uring, fd, block + at, PIECE, at, NULL,
						       NULL));
	must(io_uring_submit(ring) == (int)(BLOCK / PIECE));
	for (unsigned i = 0; i < BLOCK / PIECE; i++) {
		struct daxheap_uring_completion done;
		struct io_uring_cqe *cqe;

		must(!io_uring_wait_cqe(ring, &cqe));
		must(daxheap_uring_complete(uring, cqe, &done) == 1);
		must(done.result == (int)PIECE);
		io_uring_cqe_seen(ring, cqe);
	}
}

static void by_heap(const char *path)
{
	char *expected = pattern(), *written = malloc(BLOCK);
	int source = temporary_file(expected), target = temporary_file(NULL);
	struct daxheap_uring *uring;
	struct daxheap_uring_info info;
	struct io_uring ring;
	void *block;

	must(written && !daxheap_open(path, 0, &heap));
	must(!daxheap_alloc(heap, BLOCK, &block));
	must(!io_uring_queue_init(BLOCK / PIECE, &ring, 0));
	must(!daxheap_uring_attach(heap, &ring, 0, DAXHEAP_URING_NO_STAGE, &uring));
	transfer_by_heap(uring, &ring, source, block, true);
	must(!memcmp(expected, block, BLOCK));
	transfer_by_heap(uring, &ring, target, block, false);
	must(pread(target, written, BLOCK, 0) == (ssize_t)BLOCK);
	must(!memcmp(expected, written, BLOCK));
	must(!daxheap_uring_info(uring, &info));
	printf("%llu operations through registered buffers, %llu direct\n",
	       (unsigned long long)info.through_registered, (unsigned long long)info.direct);
	must(!info.reason && info.read_path == DAXHEAP_URING_REGISTERED &&
	     info.write_path == DAXHEAP_URING_REGISTERED);
	must(info.through_registered == 2 * BLOCK / PIECE && !info.direct);
	must(!daxheap_uring_detach(uring));
	io_uring_queue_exit(&ring);
	must(!daxheap_cancel(heap, block));
	daxheap_close(heap);
	must(!check(path, 0));
}

/* --- behind the heap's back --- */

static char *map_front(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char *front = mmap(NULL, WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	must(fd >= 0 && front != MAP_FAILED);
	close(fd);
	return front;
}

static void damage(const char *path)
{
	char *front = map_front(path);

	front[100] ^= 1;
	must(check(path, 0) == 1 && check(path, 0) == 1);
	must(daxheap_open(path, 0, &heap) == -EBADMSG);
	must(!check(path, DAXHEAP_CHECK_REPAIR) && !check(path, 0));
	front[4096 + 8] ^= 1;	/* of the first root's name */
	must(check(path, 0) > 0);
	must(check(path, DAXHEAP_CHECK_REPAIR) > 0);	/* the name can't be known */
	must(!check(path, 0));
	must(!daxheap_open(path, 0, &heap));
	daxheap_close(heap);
	munmap(front, WINDOW);
	puts("found and repaired");
}

static void must_refuse(const char *path, uint64_t size, int err, const char *text)
{
	must(daxheap_create(path, size, 0, &heap) == err);
	printf("%s\n", daxheap_errormsg());
	must(strstr(daxheap_errormsg(), text));
}

/* A chunk of spans that a pool without a front leaves behind. */
static void leave_blocks(const char *path)
{
	daxheap_ref *root;
	void *block;

	must(!daxheap_open(path, 0, &heap) && !daxheap_root(heap, "occupied", &root));
	must(!daxheap_alloc(heap, 100, &block) && !daxheap_publish(heap, root, block));
	daxheap_close(heap);
}

static void occupied(const char *path)
{
	char *front = map_front(path);
	struct daxheap_info info;

	leave_blocks(path);
	must_refuse(path, 0, -EEXIST, "there is a pool");
	must(!daxheap_open(path, 0, &heap));
	must_refuse(path, 0, -EBUSY, "open elsewhere");
	daxheap_close(heap);
	memset(front, 0, WINDOW);
	must_refuse(path, 0, -EEXIST, "not empty");
	front[MIB] = 1;
	must_refuse(path, 0, -EEXIST, "not empty");
	must(daxheap_open(path, 0, &heap) == -EMEDIUMTYPE);
	must(front[MIB] == 1);
	must(!daxheap_create(path, 0, DAXHEAP_OVERWRITE, &heap));
	must(!front[MIB] && !daxheap_get_info(heap, &info) && info.size > 512 * MIB);
	daxheap_close(heap);
	must(!check(path, 0));
	must_refuse(path, UINT64_C(1) << 40, -ENOSPC, "the device has");
	must_refuse("/dev/zero", 0, -EMEDIUMTYPE, "a pool is");
	munmap(front, WINDOW);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(const char *path);
	} tests[] = {{"fixed", fixed}, {"uring", by_heap}, {"damage", damage}, {"occupied", occupied}};

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned i = 0; argc == 3 && i < sizeof(tests) / sizeof(tests[0]); i++)
		if (!strcmp(argv[1], tests[i].name)) {
			tests[i].run(argv[2]);
			return 0;
		}
	fputs("usage: devdax fixed|uring|damage|occupied DEVICE\n", stderr);
	return 2;
}
