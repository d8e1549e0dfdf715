/* SPDX-License-Identifier: BSD-3-Clause */
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ring.h"

void ring_open(struct io_uring *ring, unsigned entries)
{
	int err = io_uring_queue_init(entries, ring, 0);

	if (err == -ENOSYS || err == -EPERM)
		cr_skip_test("no io_uring here: %s", strerror(-err));
	cr_assert_eq(err, 0, "%s", strerror(-err));
}

static int make_file(void)
{
	unsigned char *bytes = malloc(FILE_SIZE);
	int fd = open(pool_path("file"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	cr_assert(bytes && fd >= 0);
	for (size_t i = 0; i < FILE_SIZE; i++)
		bytes[i] = file_byte(i);
	cr_assert_eq(write(fd, bytes, FILE_SIZE), (ssize_t)FILE_SIZE);
	free(bytes);
	return fd;
}

void rig_open(struct rig *rig, unsigned entries, unsigned flags)
{
	int pair[2];

	ring_open(&rig->ring, entries);
	rig->heap = pool_create("pool", POOL_SIZE);
	must(daxheap_uring_attach(rig->heap, &rig->ring, 0, flags, &rig->uring));
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	rig->here = pair[0];
	rig->there = pair[1];
	rig->file = make_file();
}

void rig_close(struct rig *rig)
{
	cr_assert_eq(rig_info(rig).in_flight, 0);
	must(daxheap_uring_detach(rig->uring));
	io_uring_queue_exit(&rig->ring);
	cr_assert_eq(pool_stats(rig->heap).reserved_blocks, 0);
	pool_census(rig->heap);
	daxheap_close(rig->heap);
	cr_assert_eq(daxheap_check(pool_path("pool"), 0, NULL, NULL), 0);
	close(rig->here);
	close(rig->there);
	close(rig->file);
}

void rig_submit(struct rig *rig)
{
	cr_assert_geq(io_uring_submit(&rig->ring), 0);
}

struct daxheap_uring_completion rig_reap(struct rig *rig)
{
	struct daxheap_uring_completion done;
	struct io_uring_cqe *cqe;

	cr_assert_eq(io_uring_wait_cqe(&rig->ring, &cqe), 0);
	cr_assert_eq(daxheap_uring_complete(rig->uring, cqe, &done), 1, "%s",
		     daxheap_errormsg());
	io_uring_cqe_seen(&rig->ring, cqe);
	return done;
}

int rig_read(struct rig *rig, void *at, size_t size, uint64_t offset)
{
	must(daxheap_uring_prep_read(rig->uring, rig->file, at, size, offset, at, NULL));
	rig_submit(rig);
	return rig_reap(rig).result;
}

void rig_recv(struct rig *rig, void *at, size_t size, void *data)
{
	must(daxheap_uring_prep_recv(rig->uring, rig->here, at, size, 0, data, NULL));
	rig_submit(rig);
}

void rig_feed(struct rig *rig, size_t size, int byte)
{
	char *bytes = malloc(size);

	cr_assert(bytes);
	memset(bytes, byte, size);
	cr_assert_eq(send(rig->there, bytes, size, 0), (ssize_t)size);
	free(bytes);
}

struct daxheap_uring_info rig_info(struct rig *rig)
{
	struct daxheap_uring_info info;

	must(daxheap_uring_info(rig->uring, &info));
	return info;
}

void connect_tcp(int pair[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(bind(listener, (void *)&address, size), 0);
	cr_assert_eq(listen(listener, 1), 0);
	cr_assert_eq(getsockname(listener, (void *)&address, &size), 0);
	pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(connect(pair[0], (void *)&address, size), 0);
	pair[1] = accept(listener, NULL, NULL);
	cr_assert_geq(pair[1], 0);
	close(listener);
}
