/* SPDX-License-Identifier: BSD-3-Clause */
/* io_uring on blocks: what is transferred, counted, durable, refused. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap.h"
#include "ring.h"

TestSuite(uring, .fini = pool_cleanup, .timeout = 60);

/* --- transfers --- */

static void must_be_file(const unsigned char *at, size_t size, size_t offset)
{
	for (size_t i = 0; i < size; i++)
		cr_assert_eq(at[i], file_byte(offset + i), "byte %zu", i);
}

Test(uring, reads_into_a_block)
{
	struct rig rig;
	unsigned char *block;

	rig_open(&rig, 8, 0);
	block = pool_block(rig.heap, 8192, 0xee);
	cr_assert_eq(rig_read(&rig, block, 8192, 4096), 8192);
	must_be_file(block, 8192, 4096);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

Test(uring, reads_into_a_range_of_a_block)
{
	struct rig rig;
	unsigned char *block;

	rig_open(&rig, 8, 0);
	block = pool_block(rig.heap, 1000, 0xee);
	cr_assert_eq(rig_read(&rig, block + 101, 333, 7), 333);
	must_be_file(block + 101, 333, 7);
	cr_assert_eq(block[100], 0xee);
	cr_assert_eq(block[434], 0xee);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

Test(uring, writes_from_a_live_block)
{
	struct rig rig;
	unsigned char *block, bytes[4096];
	daxheap_ref *root;

	rig_open(&rig, 8, 0);
	root = pool_root(rig.heap, "r");
	block = pool_publish(rig.heap, root, 4096, 0x5a);
	must(daxheap_uring_prep_write(rig.uring, rig.file, block, 4096, 8192, NULL, NULL));
	rig_submit(&rig);
	cr_assert_eq(rig_reap(&rig).result, 4096);
	cr_assert_eq(pread(rig.file, bytes, 4096, 8192), 4096);
	cr_assert_eq(memcmp(bytes, block, 4096), 0);
	rig_close(&rig);
}

Test(uring, sends_and_receives)
{
	struct rig rig;
	char *from, *to;

	rig_open(&rig, 8, 0);
	from = pool_block(rig.heap, 5000, 'f');
	to = pool_block(rig.heap, 5000, 't');
	rig_recv(&rig, to, 5000, to);
	must(daxheap_uring_prep_send(rig.uring, rig.there, from, 5000, MSG_NOSIGNAL, from, NULL));
	rig_submit(&rig);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(rig_reap(&rig).result, 5000);
	cr_assert_eq(memcmp(from, to, 5000), 0);
	must(daxheap_cancel(rig.heap, from));
	must(daxheap_cancel(rig.heap, to));
	rig_close(&rig);
}

/* Of three chunks: more than a registered buffer. */
Test(uring, a_block_of_several_chunks)
{
	struct rig rig;
	unsigned char *block;

	rig_open(&rig, 8, 0);
	must(daxheap_alloc(rig.heap, 5 * MiB, (void **)&block));
	cr_assert_eq(rig_read(&rig, block + 2 * MiB - 100000, FILE_SIZE, 0), (int)FILE_SIZE);
	must_be_file(block + 2 * MiB - 100000, FILE_SIZE, 0);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

Test(uring, data_comes_back)
{
	struct rig rig;
	unsigned char *block;
	int a, b;

	rig_open(&rig, 8, 0);
	block = pool_block(rig.heap, 4096, 0);
	rig_recv(&rig, block, 100, &a);
	must(daxheap_uring_prep_read(rig.uring, rig.file, block, 100, 0, &b, NULL));
	rig_submit(&rig);
	cr_assert_eq(rig_reap(&rig).data, (void *)&b);
	rig_feed(&rig, 100, 1);
	cr_assert_eq(rig_reap(&rig).data, (void *)&a);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

Test(uring, short_transfers_and_errors_are_the_kernels)
{
	struct rig rig;
	unsigned char *block;

	rig_open(&rig, 8, 0);
	block = pool_block(rig.heap, 4096, 0);
	cr_assert_eq(rig_read(&rig, block, 4096, FILE_SIZE - 100), 100);
	must_be_file(block, 100, FILE_SIZE - 100);
	cr_assert_eq(rig_read(&rig, block, 4096, FILE_SIZE), 0);
	rig_recv(&rig, block, 4096, NULL);
	rig_feed(&rig, 10, 1);
	cr_assert_eq(rig_reap(&rig).result, 10);
	must(daxheap_uring_prep_read(rig.uring, -1, block, 10, 0, NULL, NULL));
	rig_submit(&rig);
	cr_assert_eq(rig_reap(&rig).result, -EBADF);
	must(daxheap_uring_prep_recv(rig.uring, rig.here, block, 10, MSG_DONTWAIT, NULL, NULL));
	rig_submit(&rig);
	cr_assert_eq(rig_reap(&rig).result, -EAGAIN);
	close(rig.there);
	rig.there = -1;
	rig_recv(&rig, block, 10, NULL);
	cr_assert_eq(rig_reap(&rig).result, 0);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

/* --- durability --- */

static struct daxheap_info heap_info(struct rig *rig)
{
	struct daxheap_info info;

	must(daxheap_get_info(rig->heap, &info));
	return info;
}

/* What was asked for and not transferred is not flushed, nor is what a device only read. */
Test(uring, flushes_and_fences_what_a_device_wrote)
{
	struct daxheap_info before, after;
	struct rig rig;
	char *block;

	rig_open(&rig, 8, 0);
	block = pool_block(rig.heap, 65536, 0);
	before = heap_info(&rig);
	cr_assert_eq(rig_read(&rig, block, 65536, FILE_SIZE - 6400), 6400);
	after = heap_info(&rig);
	cr_assert_eq(after.flushed_lines - before.flushed_lines, 100);
	cr_assert_eq(after.fences - before.fences, 1);
	must(daxheap_uring_prep_write(rig.uring, rig.file, block, 4096, 0, NULL, NULL));
	rig_submit(&rig);
	rig_reap(&rig);
	cr_assert_eq(heap_info(&rig).flushed_lines, after.flushed_lines);
	cr_assert_eq(heap_info(&rig).fences, after.fences);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

Test(uring, no_fence_is_the_callers_to_do)
{
	struct daxheap_info before, after;
	struct rig rig;
	char *block;

	rig_open(&rig, 8, DAXHEAP_URING_NO_FENCE);
	block = pool_block(rig.heap, 65536, 0);
	before = heap_info(&rig);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(rig_read(&rig, block, 640, 0), 640);
	after = heap_info(&rig);
	cr_assert_eq(after.flushed_lines - before.flushed_lines, 30);
	cr_assert_eq(after.fences, before.fences);
	must(daxheap_fence(rig.heap));
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

static char *protected;
static volatile sig_atomic_t pages_touched;

static void on_store(int signal, siginfo_t *info, void *context)
{
	char *page = (char *)((uintptr_t)info->si_addr & ~(uintptr_t)4095);

	(void)context;
	if (page < protected || page >= protected + 5 * 4096)
		_exit(signal);
	mprotect(page, 4096, PROT_READ | PROT_WRITE);
	pages_touched++;
}

/*
 * An msync() of another thread cleans pages that a device still writes, and the kernel marks them
 * as dirty again only some time after the completion: so each is stored to before our msync().
 */
Test(uring, marks_what_a_device_wrote_for_msync)
{
	const struct sigaction action = {.sa_sigaction = on_store, .sa_flags = SA_SIGINFO};
	struct io_uring_cqe *cqe;
	struct rig rig;
	char *block;

	rig_open(&rig, 8, DAXHEAP_URING_NO_STAGE);
	if (!rig.heap->persist.syncs)
		cr_skip_test("no msync at a fence here");
	must(daxheap_alloc_as(rig.heap, 5 * 4096, 4096, 0, (void **)&block));
	must(daxheap_uring_prep_read(rig.uring, rig.file, block + 4000, 3 * 4096, 0, NULL, NULL));
	rig_submit(&rig);
	cr_assert_eq(io_uring_wait_cqe(&rig.ring, &cqe), 0);
	protected = block;
	cr_assert_eq(sigaction(SIGSEGV, &action, NULL), 0);
	cr_assert_eq(mprotect(block, 5 * 4096, PROT_READ), 0);
	cr_assert_eq(rig_reap(&rig).result, 3 * 4096);
	cr_assert_eq(pages_touched, 4);
	signal(SIGSEGV, SIG_DFL);
	mprotect(block, 5 * 4096, PROT_READ | PROT_WRITE);
	must_be_file((unsigned char *)block + 4000, 3 * 4096, 0);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

/* The bytes are there, and the system could not make them durable, now or earlier. */
Test(uring, not_durable)
{
	struct daxheap_uring_completion done;
	struct rig rig;
	unsigned char *block;

	rig_open(&rig, 8, 0);
	block = pool_block(rig.heap, 1000, 0);
	if (!rig.heap->persist.syncs)
		cr_skip_test("no msync at a fence here");
	rig_recv(&rig, block, 100, block);
	atomic_store(&rig.heap->persist.failed, true);
	rig_feed(&rig, 100, 7);
	done = rig_reap(&rig);
	cr_assert_eq(done.result, -EIO);
	must_say("msync");
	cr_assert_eq(done.data, block);
	cr_assert_eq(block[99], 7);
	cr_assert_eq(rig_info(&rig).in_flight, 0);
	must(daxheap_cancel(rig.heap, block));
	atomic_store(&rig.heap->persist.failed, false);
	rig_close(&rig);
}

/*
 * With MSG_TRUNC the result is the length of the message, though it was cut to the range: whoever
 * sends decides on it.  Nothing behind the range is touched.
 */
static void longer_than_the_range(unsigned flags)
{
	static const unsigned char message[8192] = {1};
	struct daxheap_info before;
	unsigned char *block;
	struct rig rig;
	int pair[2];

	rig_open(&rig, 8, flags);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
	block = pool_block(rig.heap, 8192, 0xee);
	before = heap_info(&rig);
	cr_assert_eq(send(pair[1], message, sizeof(message), 0), (ssize_t)sizeof(message));
	must(daxheap_uring_prep_recv(rig.uring, pair[0], block, 64, MSG_TRUNC, NULL, NULL));
	rig_submit(&rig);
	cr_assert_eq(rig_reap(&rig).result, (int)sizeof(message));
	cr_assert_eq(heap_info(&rig).flushed_lines - before.flushed_lines, 1);
	cr_assert_eq(memcmp(block, message, 64), 0);
	for (unsigned i = 64; i < 8192; i++)
		cr_assert_eq(block[i], 0xee, "byte %u", i);
	must(daxheap_cancel(rig.heap, block));
	close(pair[0]);
	close(pair[1]);
	rig_close(&rig);
}

Test(uring, a_message_longer_than_the_range)
{
	longer_than_the_range(DAXHEAP_URING_NO_STAGE);
}

Test(uring, a_message_longer_than_the_range_staged)
{
	longer_than_the_range(DAXHEAP_URING_STAGE);
}

/* TCP with MSG_TRUNC drops what it counts: nothing that was staged before takes its place. */
Test(uring, bytes_that_were_dropped)
{
	unsigned char *block;
	struct rig rig;
	int pair[2];

	rig_open(&rig, 8, DAXHEAP_URING_STAGE);
	connect_tcp(pair);
	block = pool_block(rig.heap, 64, 0xee);
	cr_assert_eq(rig_read(&rig, block, 64, 0), 64);
	memset(block, 0xee, 64);
	cr_assert_eq(send(pair[1], "dropped", 7, 0), 7);
	must(daxheap_uring_prep_recv(rig.uring, pair[0], block, 7, MSG_TRUNC, NULL, NULL));
	rig_submit(&rig);
	cr_assert_eq(rig_reap(&rig).result, 7);
	for (unsigned i = 0; i < 64; i++)
		cr_assert_eq(block[i], 0xee, "byte %u", i);
	must(daxheap_cancel(rig.heap, block));
	close(pair[0]);
	close(pair[1]);
	rig_close(&rig);
}

/* --- what is refused --- */

Test(uring, attach_refuses)
{
	struct daxheap_uring *out = (void *)0x1234;
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	struct io_uring ring;

	ring_open(&ring, 4);
	must_fail(EINVAL, daxheap_uring_attach(heap, &ring, 65537, 0, &out));
	must_fail(EINVAL, daxheap_uring_attach(heap, &ring, 0, 1 << 9, &out));
	ring.features &= ~IORING_FEAT_NODROP;
	must_fail(EOPNOTSUPP, daxheap_uring_attach(heap, &ring, 0, 0, &out));
	cr_assert_eq((void *)out, (void *)0x1234);
	must(daxheap_uring_detach(NULL));
	io_uring_queue_exit(&ring);
	daxheap_close(heap);
}

/* As many as by themselves: what the largest completion queue has. */
Test(uring, as_many_as_the_largest_queue_has)
{
	struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE, .cq_entries = 65536};
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	struct daxheap_uring_info info;
	struct daxheap_uring *uring;
	struct io_uring ring;

	ring_open(&ring, 4);
	io_uring_queue_exit(&ring);
	cr_assert_eq(io_uring_queue_init_params(4, &ring, &params), 0);
	for (unsigned entries = 0; entries <= 65536; entries += 65536) {
		must(daxheap_uring_attach(heap, &ring, entries, 0, &uring));
		must(daxheap_uring_info(uring, &info));
		cr_assert_eq(info.entries, 65536);
		must(daxheap_uring_detach(uring));
	}
	io_uring_queue_exit(&ring);
	daxheap_close(heap);
}

#define must_not_prepare(err, rig, at, size)                                                   \
	do {                                                                                   \
		struct io_uring_sqe *out = (void *)0x1234;                                     \
		must_fail(err, daxheap_uring_prep_read((rig)->uring, (rig)->file, at, size, 0, \
						       NULL, &out));                           \
		cr_assert_eq((void *)out, (void *)0x1234);                                     \
	} while (0)

Test(uring, only_ranges_of_a_block_in_use)
{
	struct rig rig;
	char *block, *freed, outside[64];
	uint64_t usable;

	rig_open(&rig, 8, 0);
	block = pool_block(rig.heap, 1000, 1);
	freed = pool_block(rig.heap, 1000, 1);
	must(daxheap_cancel(rig.heap, freed));
	usable = (uint64_t)daxheap_usable_size(rig.heap, block);
	must_not_prepare(EINVAL, &rig, block, 0);
	must_not_prepare(EINVAL, &rig, block, (size_t)1 << 31);
	must_not_prepare(EINVAL, &rig, block, usable + 1);
	must_not_prepare(EINVAL, &rig, block + usable - 1, 2);
	must_not_prepare(EINVAL, &rig, freed, 10);
	must_not_prepare(EINVAL, &rig, outside, 10);
	must_not_prepare(EINVAL, &rig, daxheap_ptr(rig.heap, 4096), 10);
	must_not_prepare(EINVAL, &rig, daxheap_ptr(rig.heap, POOL_SIZE - 4), 10);
	must_not_prepare(EINVAL, &rig, NULL, 10);
	cr_assert_eq(rig_info(&rig).in_flight, 0);
	cr_assert_eq(io_uring_sq_ready(&rig.ring), 0);
	cr_assert_eq(rig_read(&rig, block + usable - 2, 2, 0), 2);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

/* The kernel would read the block after the completion, on a socket with SO_ZEROCOPY. */
Test(uring, no_send_that_outlasts_its_completion)
{
	struct rig rig;
	char *block;

	rig_open(&rig, 8, 0);
	block = pool_block(rig.heap, 1000, 1);
	must_fail(EINVAL, daxheap_uring_prep_send(rig.uring, rig.here, block, 1000, MSG_ZEROCOPY,
						  NULL, NULL));
	must_say("daxheap_uring_prep_send_zc()");
	cr_assert_eq(rig_info(&rig).in_flight, 0);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

Test(uring, others_completions_are_told_apart)
{
	struct daxheap_uring_completion done = {.result = 77};
	struct io_uring_cqe *cqe, copy;
	struct io_uring_sqe *sqe;
	struct rig rig;
	char *block;

	rig_open(&rig, 8, 0);
	block = pool_block(rig.heap, 1000, 1);
	sqe = io_uring_get_sqe(&rig.ring);
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data(sqe, &rig);
	rig_submit(&rig);
	cr_assert_eq(io_uring_wait_cqe(&rig.ring, &cqe), 0);
	cr_assert_eq(daxheap_uring_complete(rig.uring, cqe, &done), 0);
	cr_assert_eq(done.result, 77);
	io_uring_cqe_seen(&rig.ring, cqe);
	/* Twice the same, also while the entry has a next operation. */
	must(daxheap_uring_prep_read(rig.uring, rig.file, block, 100, 0, NULL, NULL));
	rig_submit(&rig);
	cr_assert_eq(io_uring_wait_cqe(&rig.ring, &cqe), 0);
	copy = *cqe;
	cr_assert_eq(daxheap_uring_complete(rig.uring, cqe, &done), 1);
	io_uring_cqe_seen(&rig.ring, cqe);
	must_fail(EINVAL, daxheap_uring_complete(rig.uring, &copy, &done));
	rig_recv(&rig, block, 100, NULL);
	must_fail(EINVAL, daxheap_uring_complete(rig.uring, &copy, &done));
	cr_assert_eq(rig_info(&rig).in_flight, 1);
	rig_feed(&rig, 100, 1);
	rig_reap(&rig);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

/* --- full queues --- */

Test(uring, a_full_submission_queue)
{
	struct rig rig;
	char *block;

	rig_open(&rig, 4, 0);
	block = pool_block(rig.heap, 1000, 1);
	for (int i = 0; i < 4; i++)
		must(daxheap_uring_prep_read(rig.uring, rig.file, block, 10, 0, NULL, NULL));
	must_not_prepare(EAGAIN, &rig, block, 10);
	must_say("io_uring_submit");
	cr_assert_eq(rig_info(&rig).in_flight, 4);
	rig_submit(&rig);
	must(daxheap_uring_prep_read(rig.uring, rig.file, block, 10, 0, NULL, NULL));
	rig_submit(&rig);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(rig_reap(&rig).result, 10);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

Test(uring, all_entries_in_flight)
{
	struct daxheap_uring *few;
	struct rig rig;
	char *block;

	rig_open(&rig, 16, 0);
	must(daxheap_uring_detach(rig.uring));
	must(daxheap_uring_attach(rig.heap, &rig.ring, 3, 0, &few));
	rig.uring = few;
	block = pool_block(rig.heap, 1000, 1);
	for (int i = 0; i < 3; i++)
		must(daxheap_uring_prep_read(rig.uring, rig.file, block, 10, 0, NULL, NULL));
	rig_submit(&rig);
	must_not_prepare(EAGAIN, &rig, block, 10);
	must_say("take completions");
	cr_assert_eq(rig_reap(&rig).result, 10);
	must(daxheap_uring_prep_read(rig.uring, rig.file, block, 10, 0, NULL, NULL));
	must_not_prepare(EAGAIN, &rig, block, 10);
	rig_submit(&rig);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(rig_reap(&rig).result, 10);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

/* More completions than their queue has room for: the kernel keeps them, all are counted. */
Test(uring, an_overflowing_completion_queue)
{
	struct daxheap_uring *many;
	unsigned submitted = 0;
	struct rig rig;
	char *block;

	rig_open(&rig, 2, 0);
	must(daxheap_uring_detach(rig.uring));
	must(daxheap_uring_attach(rig.heap, &rig.ring, 64, 0, &many));
	rig.uring = many;
	block = pool_block(rig.heap, 1000, 1);
	while (submitted < 40) {
		must(daxheap_uring_prep_send(rig.uring, rig.there, block, 10, 0, NULL, NULL));
		/* On old kernels, full: reap first. */
		if (io_uring_submit(&rig.ring) < 0)
			break;
		submitted++;
	}
	cr_assert_gt(submitted, rig.ring.cq.ring_entries);
	cr_assert(io_uring_cq_has_overflow(&rig.ring));
	for (unsigned i = rig_info(&rig).in_flight; i; i--) {
		cr_assert_eq(rig_reap(&rig).result, 10);
		if (io_uring_sq_ready(&rig.ring))
			io_uring_submit(&rig.ring);
	}
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

Test(uring, cancelled_by_user_data)
{
	struct daxheap_uring_completion done;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	struct rig rig;
	uint64_t token;
	char *block;

	rig_open(&rig, 8, 0);
	block = pool_block(rig.heap, 1000, 1);
	must(daxheap_uring_prep_recv(rig.uring, rig.here, block, 10, 0, &done, &sqe));
	token = sqe->user_data;
	rig_submit(&rig);
	sqe = io_uring_get_sqe(&rig.ring);
	io_uring_prep_cancel64(sqe, token, 0);
	io_uring_sqe_set_data64(sqe, 0);
	rig_submit(&rig);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(io_uring_wait_cqe(&rig.ring, &cqe), 0);
		if (daxheap_uring_complete(rig.uring, cqe, &done) == 0)
			cr_assert_eq(cqe->res, 0);
		else
			cr_assert_eq(done.result, -ECANCELED);
		io_uring_cqe_seen(&rig.ring, cqe);
	}
	cr_assert_eq(done.data, &done);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

/* A failing operation of a chain: those after it complete, cancelled. */
Test(uring, linked_operations)
{
	struct io_uring_sqe *sqe;
	struct rig rig;
	char *block;

	rig_open(&rig, 8, 0);
	block = pool_block(rig.heap, 1000, 1);
	must(daxheap_uring_prep_read(rig.uring, -1, block, 10, 0, NULL, &sqe));
	sqe->flags |= IOSQE_IO_LINK;
	must(daxheap_uring_prep_read(rig.uring, rig.file, block, 10, 0, NULL, NULL));
	rig_submit(&rig);
	cr_assert_eq(rig_reap(&rig).result, -EBADF);
	cr_assert_eq(rig_reap(&rig).result, -ECANCELED);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

/* As the header says: the second finds what the first read if that is not staged. */
static void copied_by_a_chain(unsigned flags, bool expect_data)
{
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	unsigned char byte;
	struct rig rig;
	char *block;

	rig_open(&rig, 8, flags);
	block = pool_block(rig.heap, 1000, 0x5a);
	must(daxheap_uring_prep_read(rig.uring, rig.file, block, 1, 3, NULL, &sqe));
	sqe->flags |= IOSQE_IO_LINK;
	must(daxheap_uring_prep_write(rig.uring, rig.file, block, 1, 0, NULL, NULL));
	rig_submit(&rig);
	/* Both, before the first is handed over. */
	cr_assert_eq(io_uring_wait_cqe_nr(&rig.ring, &cqe, 2), 0);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(rig_reap(&rig).result, 1);
	cr_assert_eq(pread(rig.file, &byte, 1, 0), 1);
	cr_assert_eq(byte, expect_data ? file_byte(3) : 0x5a);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

Test(uring, a_chain_goes_through_the_block)
{
	copied_by_a_chain(DAXHEAP_URING_NO_STAGE, true);
}

Test(uring, a_chain_behind_a_staged_read_does_not)
{
	copied_by_a_chain(DAXHEAP_URING_STAGE, false);
}

/* --- the ends --- */

Test(uring, detach_with_io_in_flight)
{
	struct rig rig;
	char *block;

	rig_open(&rig, 8, 0);
	block = pool_block(rig.heap, 1000, 1);
	rig_recv(&rig, block, 123, NULL);
	must_fail(EBUSY, daxheap_uring_detach(rig.uring));
	must_say("a recv of 123 bytes");
	must_say("after io_uring_queue_exit()");
	rig_feed(&rig, 123, 2);
	must_fail(EBUSY, daxheap_uring_detach(rig.uring));
	rig_reap(&rig);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

/* What was in flight then can be seen by nobody to end: its block is not given out. */
Test(uring, the_ring_goes_before_the_detach)
{
	char *block, *other;
	struct rig rig;

	rig_open(&rig, 8, DAXHEAP_URING_NO_STAGE);
	io_uring_queue_exit(&rig.ring);
	must(daxheap_uring_detach(rig.uring));
	ring_open(&rig.ring, 8);
	must(daxheap_uring_attach(rig.heap, &rig.ring, 0, DAXHEAP_URING_NO_STAGE, &rig.uring));
	must(daxheap_alloc(rig.heap, 2 * MiB, (void **)&block));
	rig_recv(&rig, block, 123, NULL);
	io_uring_queue_exit(&rig.ring);
	must_fail(EBUSY, daxheap_uring_detach(rig.uring));
	must(daxheap_cancel(rig.heap, block));
	must(daxheap_alloc(rig.heap, 2 * MiB, (void **)&other));
	cr_assert_neq(block, other);
	daxheap_close(rig.heap);
	must_fail(EBUSY, daxheap_open(pool_path("pool"), 0, &rig.heap));
}

/*
 * The kernel ends a dead process's I/O when the device has; until then nobody may open the pool.
 * Here what keeps the ring is this process.
 */
static void die_attached(const char *path, struct io_uring *ring, unsigned flags, int lock_reason)
{
	struct daxheap_uring_info info;
	struct daxheap_uring *uring;
	struct daxheap *heap;
	int status;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (!pid)
		_exit(daxheap_create(path, POOL_SIZE, 0, &heap) ||
		      daxheap_uring_attach(heap, ring, 0, flags, &uring) ||
		      daxheap_uring_info(uring, &info) || info.lock_reason != lock_reason);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
}

static void must_be_free(const char *path)
{
	struct daxheap *heap;

	must(daxheap_open(path, 0, &heap));
	daxheap_close(heap);
}

Test(uring, the_lock_lasts_as_long_as_the_ring)
{
	const char *path = pool_path("pool");
	struct io_uring ring;
	struct daxheap *heap;

	ring_open(&ring, 8);
	die_attached(path, &ring, 0, 0);
	must_fail(EBUSY, daxheap_open(path, 0, &heap));
	io_uring_queue_exit(&ring);
	must_be_free(path);
}

/* So it does in a table of the application's, of two heaps. */
Test(uring, the_locks_of_two_heaps_last)
{
	char first[256], second[256];
	struct io_uring ring;
	struct daxheap *heap;

	snprintf(first, sizeof(first), "%s", pool_path("first"));
	snprintf(second, sizeof(second), "%s", pool_path("second"));
	ring_open(&ring, 8);
	cr_assert_eq(io_uring_register_files_sparse(&ring, 4), 0);
	die_attached(first, &ring, DAXHEAP_URING_FILE_SLOT(3), 0);
	die_attached(second, &ring, DAXHEAP_URING_FILE_SLOT(0), 0);
	must_fail(EBUSY, daxheap_open(first, 0, &heap));
	must_fail(EBUSY, daxheap_open(second, 0, &heap));
	io_uring_queue_exit(&ring);
	must_be_free(first);
	must_be_free(second);
}

/* Without a slot that is not so, and it is said. */
Test(uring, a_lock_that_does_not_last)
{
	const char *path = pool_path("pool");
	struct io_uring ring;

	ring_open(&ring, 8);
	cr_assert_eq(io_uring_register_files_sparse(&ring, 4), 0);
	die_attached(path, &ring, 0, EBUSY);
	must_be_free(path);
	io_uring_queue_exit(&ring);
}

/* Two heaps, the first of which takes the table: the second is told so. */
Test(uring, the_second_heap_of_a_ring)
{
	struct daxheap_uring *second;
	struct daxheap_uring_info info;
	struct daxheap *heap;
	struct rig rig;

	rig_open(&rig, 8, 0);
	cr_assert_eq(rig_info(&rig).lock_reason, 0);
	heap = pool_create("second", POOL_SIZE);
	must(daxheap_uring_attach(heap, &rig.ring, 0, 0, &second));
	must(daxheap_uring_info(second, &info));
	cr_assert_eq(info.lock_reason, EBUSY);
	must(daxheap_uring_detach(second));
	/* The first one's slot is the first's still. */
	cr_assert_eq(io_uring_unregister_files(&rig.ring), 0);
	daxheap_close(heap);
	rig_close(&rig);
}

Test(uring, a_slot_that_is_not_there)
{
	struct daxheap_uring *out = (void *)0x1234;
	int here;
	struct rig rig;

	rig_open(&rig, 8, 0);
	must_fail(EINVAL, daxheap_uring_attach(rig.heap, &rig.ring, 0,
					       DAXHEAP_URING_FILE_SLOT(1), &out));
	must_say("slot 1");
	must(daxheap_uring_detach(rig.uring));
	must_fail(ENXIO, daxheap_uring_attach(rig.heap, &rig.ring, 0,
					      DAXHEAP_URING_FILE_SLOT(0), &out));
	must_say("io_uring_register_files_sparse()");
	cr_assert_eq((void *)out, (void *)0x1234);
	/* One that had the pool's file can be used again after the detach. */
	here = rig.here;
	cr_assert_eq(io_uring_register_files_sparse(&rig.ring, 2), 0);
	must(daxheap_uring_attach(rig.heap, &rig.ring, 0, DAXHEAP_URING_FILE_SLOT(1), &rig.uring));
	must(daxheap_uring_detach(rig.uring));
	cr_assert_eq(io_uring_register_files_update(&rig.ring, 1, &here, 1), 1);
	must(daxheap_uring_attach(rig.heap, &rig.ring, 0, DAXHEAP_URING_FILE_SLOT(0), &rig.uring));
	rig_close(&rig);
}

/* It stays as it is, and is used as ever. */
Test(uring, a_ring_with_files_of_its_own)
{
	struct io_uring_sqe *sqe;
	struct rig rig;
	char *block;
	int files[2];

	rig_open(&rig, 8, 0);
	must(daxheap_uring_detach(rig.uring));
	files[0] = rig.here;
	files[1] = rig.file;
	cr_assert_eq(io_uring_register_files(&rig.ring, files, 2), 0);
	must(daxheap_uring_attach(rig.heap, &rig.ring, 0, 0, &rig.uring));
	block = pool_block(rig.heap, 100, 0);
	must(daxheap_uring_prep_read(rig.uring, 1, block, 100, 0, NULL, &sqe));
	sqe->flags |= IOSQE_FIXED_FILE;
	rig_submit(&rig);
	cr_assert_eq(rig_reap(&rig).result, 100);
	must(daxheap_uring_detach(rig.uring));
	cr_assert_eq(io_uring_unregister_files(&rig.ring), 0);
	must(daxheap_uring_attach(rig.heap, &rig.ring, 0, 0, &rig.uring));
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

/* The pool stays mapped and locked until the device has done and the ring is detached. */
Test(uring, a_heap_closed_with_io_in_flight)
{
	struct daxheap *again = NULL;
	daxheap_ref *root;
	struct rig rig;
	char *block;

	rig_open(&rig, 8, 0);
	root = pool_root(rig.heap, "r");
	block = pool_publish(rig.heap, root, 1000, 1);
	rig_recv(&rig, block, 100, NULL);
	daxheap_close(rig.heap);
	must_fail(EBUSY, daxheap_open(pool_path("pool"), 0, &again));
	must_not_prepare(EBADF, &rig, block, 10);
	must_fail(EBUSY, daxheap_uring_detach(rig.uring));
	rig_feed(&rig, 100, 0x42);
	cr_assert_eq(rig_reap(&rig).result, 100);
	cr_assert_eq(block[99], 0x42);
	must_fail(EBUSY, daxheap_open(pool_path("pool"), 0, &again));
	must(daxheap_uring_detach(rig.uring));
	rig.heap = pool_open("pool", 0);
	block = daxheap_ptr(rig.heap, *pool_root(rig.heap, "r"));
	cr_assert_eq(block[99], 0x42);
	must(daxheap_uring_attach(rig.heap, &rig.ring, 0, 0, &rig.uring));
	rig_close(&rig);
}

Test(uring, read_only)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	struct daxheap_uring_info info;
	struct io_uring_cqe *cqe;
	struct daxheap_uring_completion done;
	struct daxheap_uring *uring;
	struct io_uring ring;
	int pipes[2];
	char *block, bytes[100];

	pool_publish(heap, pool_root(heap, "r"), 100, 3);
	daxheap_close(heap);
	heap = pool_open("pool", DAXHEAP_READ_ONLY);
	block = daxheap_ptr(heap, *pool_root(heap, "r"));
	ring_open(&ring, 4);
	cr_assert_eq(pipe(pipes), 0);
	must(daxheap_uring_attach(heap, &ring, 0, DAXHEAP_URING_REGISTER, &uring));
	must_fail(EROFS, daxheap_uring_prep_read(uring, pipes[0], block, 10, 0, NULL, NULL));
	must_fail(EROFS, daxheap_uring_prep_recv(uring, pipes[0], block, 10, 0, NULL, NULL));
	must(daxheap_uring_prep_write(uring, pipes[1], block, 100, 0, NULL, NULL));
	cr_assert_eq(io_uring_submit(&ring), 1);
	cr_assert_eq(io_uring_wait_cqe(&ring, &cqe), 0);
	cr_assert_eq(daxheap_uring_complete(uring, cqe, &done), 1);
	cr_assert_eq(done.result, 100);
	cr_assert_eq(read(pipes[0], bytes, 100), 100);
	cr_assert_eq(bytes[99], 3);
	must(daxheap_uring_info(uring, &info));
	cr_assert_eq(info.write_path, DAXHEAP_URING_DIRECT);
	cr_assert_eq(info.reason, EROFS);
	must(daxheap_uring_detach(uring));
	io_uring_queue_exit(&ring);
	daxheap_close(heap);
}

static int refused(struct rig *rig, void *block)
{
	struct daxheap_uring_completion done;
	struct io_uring_cqe cqe = {.user_data = (uint64_t)-1};
	struct daxheap_uring_info info;
	struct daxheap_uring *uring;

	if (daxheap_uring_prep_read(rig->uring, rig->file, block, 8, 0, NULL, NULL) != -EPERM ||
	    daxheap_uring_prep_write(rig->uring, rig->file, block, 8, 0, NULL, NULL) != -EPERM)
		return 1;
	if (daxheap_uring_prep_recv(rig->uring, rig->here, block, 8, 0, NULL, NULL) != -EPERM ||
	    daxheap_uring_prep_send(rig->uring, rig->here, block, 8, 0, NULL, NULL) != -EPERM ||
	    daxheap_uring_prep_send_zc(rig->uring, rig->here, block, 8, 0, NULL, NULL) != -EPERM)
		return 2;
	if (daxheap_uring_complete(rig->uring, &cqe, &done) != -EPERM)
		return 3;
	if (daxheap_uring_info(rig->uring, &info) != -EPERM ||
	    daxheap_uring_detach(rig->uring) != -EPERM)
		return 4;
	if (daxheap_uring_attach(rig->heap, &rig->ring, 0, 0, &uring) != -EPERM)
		return 5;
	daxheap_close(rig->heap);
	return 0;
}

/* With I/O in flight, which stays the parent's. */
Test(uring, a_forked_child_is_refused)
{
	struct rig rig;
	char *block;
	int status;
	pid_t pid;

	rig_open(&rig, 8, 0);
	block = pool_block(rig.heap, 1000, 1);
	rig_recv(&rig, block, 100, NULL);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid)
		_exit(refused(&rig, block));
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 0, "step %d", WEXITSTATUS(status));
	rig_feed(&rig, 100, 9);
	cr_assert_eq(rig_reap(&rig).result, 100);
	cr_assert_eq(block[99], 9);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

/* --- registered buffers --- */

static unsigned registered(struct rig *rig, const void *block)
{
	return atomic_load(&rig->heap->space.chunks[daxheap_ref_of(rig->heap, block) /
						    DH_CHUNK_SIZE].registered);
}

/* Where the kernel takes them, chunk by chunk; where not, it is said why. */
Test(uring, buffers_are_registered_where_the_kernel_takes_them)
{
	struct daxheap_uring_info info;
	struct rig rig;
	char *block;

	rig_open(&rig, 8, DAXHEAP_URING_REGISTER | DAXHEAP_URING_NO_STAGE);
	block = pool_block(rig.heap, 1000, 1);
	info = rig_info(&rig);
	cr_assert_eq(info.registered_bytes, 0);
	cr_assert_eq(info.read_path, info.write_path);
	cr_assert_eq(rig_read(&rig, block, 100, 0), 100);
	cr_assert_eq(rig_read(&rig, block, 100, 0), 100);
	if (info.write_path == DAXHEAP_URING_DIRECT) {
		cr_assert_neq(info.reason, 0);
		cr_assert_eq(rig_info(&rig).direct, 2);
		cr_assert_eq(registered(&rig, block), 0);
	} else {
		cr_assert_eq(info.write_path, DAXHEAP_URING_REGISTERED);
		cr_assert_eq(info.reason, 0);
		info = rig_info(&rig);
		cr_assert_eq(info.through_registered, 2);
		cr_assert_eq(info.direct, 0);
		cr_assert_eq(info.registered_bytes, DH_CHUNK_SIZE);
		cr_assert_eq(registered(&rig, block), 1);
	}
	must_be_file((unsigned char *)block, 100, 0);
	must(daxheap_uring_detach(rig.uring));
	cr_assert_eq(registered(&rig, block), 0);
	must(daxheap_uring_attach(rig.heap, &rig.ring, 0, DAXHEAP_URING_NO_STAGE, &rig.uring));
	cr_assert_eq(rig_read(&rig, block, 100, 0), 100);
	info = rig_info(&rig);
	cr_assert_eq(info.write_path, DAXHEAP_URING_DIRECT);
	cr_assert_eq(info.reason, ECANCELED);
	cr_assert_eq(info.direct, 1);
	cr_assert_eq(registered(&rig, block), 0);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

/* Prepared and reaped; returns the operation that the kernel was given. */
static int staged_opcode(struct rig *rig, char *block, uint64_t offset)
{
	struct io_uring_sqe *sqe;
	int opcode;

	must(daxheap_uring_prep_read(rig->uring, rig->file, block, 100, offset, NULL, &sqe));
	opcode = sqe->opcode;
	rig_submit(rig);
	cr_assert_eq(rig_reap(rig).result, 100);
	must_be_file((unsigned char *)block, 100, offset);
	return opcode;
}

/* Whether or not it takes the pool's memory. */
Test(uring, staging_buffers_are_registered)
{
	struct rig rig;
	char *block;

	rig_open(&rig, 8, DAXHEAP_URING_REGISTER | DAXHEAP_URING_STAGE);
	block = pool_block(rig.heap, 1000, 1);
	cr_assert_eq(rig_info(&rig).registered_bytes, 0);
	cr_assert_eq(staged_opcode(&rig, block, 0), IORING_OP_READ_FIXED);
	cr_assert_eq(staged_opcode(&rig, block, 5000), IORING_OP_READ_FIXED);
	cr_assert_eq(rig_info(&rig).registered_bytes, 1 << 20, "the same buffer again");
	cr_assert_eq(rig_info(&rig).staged, 2);
	cr_assert_eq(registered(&rig, block), 0, "not the block's chunk");
	rig_recv(&rig, block, 100, NULL);
	rig_feed(&rig, 100, 'r');
	cr_assert_eq(rig_reap(&rig).result, 100);
	cr_assert_eq(block[99], 'r');
	must(daxheap_uring_detach(rig.uring));
	must(daxheap_uring_attach(rig.heap, &rig.ring, 0, DAXHEAP_URING_STAGE, &rig.uring));
	cr_assert_eq(staged_opcode(&rig, block, 0), IORING_OP_READ, "not asked for");
	cr_assert_eq(rig_info(&rig).registered_bytes, 0);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

/* The application's own table is left alone. */
Test(uring, a_ring_with_buffers_of_its_own)
{
	static char own[4096];
	const struct iovec iov = {own, sizeof(own)};
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	struct rig rig;
	char *block;

	rig_open(&rig, 8, 0);
	must(daxheap_uring_detach(rig.uring));
	cr_assert_eq(io_uring_register_buffers(&rig.ring, &iov, 1), 0);
	must(daxheap_uring_attach(rig.heap, &rig.ring, 0, DAXHEAP_URING_REGISTER, &rig.uring));
	cr_assert_eq(rig_info(&rig).write_path, DAXHEAP_URING_DIRECT);
	cr_assert_eq(rig_info(&rig).reason, EBUSY);
	block = pool_block(rig.heap, 1000, 1);
	cr_assert_eq(rig_read(&rig, block, 100, 0), 100);
	sqe = io_uring_get_sqe(&rig.ring);
	io_uring_prep_read_fixed(sqe, rig.file, own, 100, 0, 0);
	rig_submit(&rig);
	cr_assert_eq(io_uring_wait_cqe(&rig.ring, &cqe), 0);
	cr_assert_eq(cqe->res, 100);
	io_uring_cqe_seen(&rig.ring, cqe);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

/* --- staging --- */

/* The default goes by how data is made durable. */
Test(uring, staged_where_lines_are_flushed)
{
	struct daxheap_info heap;
	struct rig rig;

	rig_open(&rig, 8, 0);
	must(daxheap_get_info(rig.heap, &heap));
	cr_assert_eq(rig_info(&rig).read_path == DAXHEAP_URING_STAGED,
		     heap.durability == DAXHEAP_MAP_SYNC || heap.durability == DAXHEAP_FORCED);
	must(daxheap_uring_detach(rig.uring));
	must_fail(EINVAL, daxheap_uring_attach(rig.heap, &rig.ring, 0, DAXHEAP_URING_STAGE |
					       DAXHEAP_URING_NO_STAGE, &rig.uring));
	must(daxheap_uring_attach(rig.heap, &rig.ring, 0, DAXHEAP_URING_STAGE, &rig.uring));
	cr_assert_eq(rig_info(&rig).read_path, DAXHEAP_URING_STAGED);
	cr_assert_eq(rig_info(&rig).write_path, DAXHEAP_URING_DIRECT);
	rig_close(&rig);
}

/* On DAX without MAP_SYNC lines are flushed, too, but what takes the time is msync(). */
Test(uring, not_staged_where_msync_makes_durable)
{
	struct dh_persist kept;
	struct rig rig;

	rig_open(&rig, 8, 0);
	must(daxheap_uring_detach(rig.uring));
	kept = rig.heap->persist;
	rig.heap->persist.flushes = rig.heap->persist.fences = rig.heap->persist.syncs = true;
	must(daxheap_uring_attach(rig.heap, &rig.ring, 0, 0, &rig.uring));
	cr_assert_eq(rig_info(&rig).read_path, DAXHEAP_URING_DIRECT);
	rig.heap->persist = kept;
	rig_close(&rig);
}

/* Also what comes short; no byte behind it; more than there are buffers, and larger. */
Test(uring, staged_data_comes_with_the_completion)
{
	struct daxheap_info before, after;
	struct rig rig;
	unsigned char *block;

	rig_open(&rig, 128, DAXHEAP_URING_STAGE);
	block = pool_block(rig.heap, 65536, 0xee);
	before = heap_info(&rig);
	cr_assert_eq(rig_read(&rig, block, 65536, FILE_SIZE - 6400), 6400);
	after = heap_info(&rig);
	must_be_file(block, 6400, FILE_SIZE - 6400);
	cr_assert_eq(block[6400], 0xee);
	cr_assert_eq(after.flushed_lines - before.flushed_lines, 100);
	cr_assert_eq(after.fences - before.fences, 1);
	for (unsigned i = 0; i < 100; i++)
		must(daxheap_uring_prep_read(rig.uring, rig.file, block + i * 100, 100, i * 100,
					     NULL, NULL));
	rig_submit(&rig);
	for (unsigned i = 0; i < 100; i++)
		cr_assert_eq(rig_reap(&rig).result, 100);
	must_be_file(block, 10000, 0);
	cr_assert_eq(rig_info(&rig).staged, 33);
	cr_assert_eq(rig_info(&rig).direct, 68);
	must(daxheap_cancel(rig.heap, block));
	must(daxheap_alloc(rig.heap, 2 * MiB, (void **)&block));
	cr_assert_eq(rig_read(&rig, block, 2 * MiB, 0), (int)FILE_SIZE);
	must_be_file(block, FILE_SIZE, 0);
	cr_assert_eq(rig_info(&rig).direct, 69);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}
