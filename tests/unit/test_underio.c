/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What must not happen while a device writes: that its block is given out again, that the gate
 * closes, that a death of thread or process loses anything.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"
#include "heap.h"
#include "ring.h"

static void reset(void)
{
	dh_fault = DH_FAULT_NONE;
}

static void tear_down(void)
{
	reset();
	pool_cleanup();
}

TestSuite(underio, .init = reset, .fini = tear_down, .timeout = 60);

static void finish_recv(struct rig *rig, size_t size)
{
	rig_feed(rig, size, 0x42);
	cr_assert_eq(rig_reap(rig).result, (int)size);
}

/* --- blocks given back under I/O --- */

/*
 * Whether @block is among all blocks of its size that the pool has to give: takes them all, and
 * gives them back.
 */
static bool is_given_out(struct rig *rig, size_t size, const void *block)
{
	static void *blocks[20000];
	unsigned count = 0;
	bool found = false;

	while (count < 20000 && !daxheap_alloc(rig->heap, size, &blocks[count]))
		found |= blocks[count++] == block;
	cr_assert_lt(count, 20000);
	while (count)
		must(daxheap_cancel(rig->heap, blocks[--count]));
	return found;
}

static void cancelled_under_io(size_t size, bool expect_early)
{
	struct rig rig;
	void *block;

	rig_open(&rig, 8, 0);
	must(daxheap_alloc(rig.heap, size, &block));
	rig_recv(&rig, block, 100, NULL);
	must(daxheap_cancel(rig.heap, block));
	cr_assert_eq(is_given_out(&rig, size, block), expect_early);
	finish_recv(&rig, 100);
	cr_assert(is_given_out(&rig, size, block));
	rig_close(&rig);
}

Test(underio, a_cancelled_block_is_not_given_out)
{
	cancelled_under_io(500, false);
}

Test(underio, a_cancelled_huge_block_is_not_given_out)
{
	cancelled_under_io(3 * MiB, false);
}

/* The negative control of these. */
Test(underio, released_at_once_it_would_be)
{
	dh_fault = DH_FAULT_RELEASE_UNDER_IO;
	cancelled_under_io(500, true);
}

Test(underio, released_at_once_a_huge_one_would_be)
{
	dh_fault = DH_FAULT_RELEASE_UNDER_IO;
	cancelled_under_io(3 * MiB, true);
}

static void freed_under_io(size_t size)
{
	daxheap_ref *root;
	struct rig rig;
	void *block;

	rig_open(&rig, 8, 0);
	root = pool_root(rig.heap, "r");
	block = pool_publish(rig.heap, root, size, 1);
	rig_recv(&rig, block, 100, NULL);
	must(daxheap_free(rig.heap, root));
	/* Free it is, and durably so: */
	cr_assert_eq(pool_census(rig.heap).blocks, 0);
	cr_assert_eq(pool_stats(rig.heap).reserved_blocks, 1);
	cr_assert(!is_given_out(&rig, size, block));
	finish_recv(&rig, 100);
	cr_assert_eq(pool_stats(rig.heap).reserved_blocks, 0);
	cr_assert(is_given_out(&rig, size, block));
	rig_close(&rig);
}

Test(underio, a_freed_block_is_not_given_out)
{
	freed_under_io(500);
}

Test(underio, a_freed_huge_block_is_not_given_out)
{
	freed_under_io(3 * MiB);
}

/* replace, realloc and actions free blocks as well. */
Test(underio, however_it_was_freed)
{
	struct daxheap_action *action;
	daxheap_ref *root;
	struct rig rig;
	void *block;

	rig_open(&rig, 8, 0);
	root = pool_root(rig.heap, "r");
	block = pool_publish(rig.heap, root, 500, 1);
	rig_recv(&rig, block, 100, NULL);
	must(daxheap_replace(rig.heap, root, pool_block(rig.heap, 500, 1)));
	cr_assert(!is_given_out(&rig, 500, block));
	finish_recv(&rig, 100);
	cr_assert(is_given_out(&rig, 500, block));

	block = daxheap_ptr(rig.heap, *root);
	rig_recv(&rig, block, 100, NULL);
	must(daxheap_realloc(rig.heap, root, 5000));
	cr_assert(!is_given_out(&rig, 500, block));
	finish_recv(&rig, 100);
	cr_assert(is_given_out(&rig, 500, block));

	block = daxheap_ptr(rig.heap, *root);
	rig_recv(&rig, block, 100, NULL);
	must(daxheap_action_new(rig.heap, &action));
	must(daxheap_action_free(action, root));
	must(daxheap_action_commit(action));
	daxheap_action_delete(action);
	cr_assert(!is_given_out(&rig, 5000, block));
	finish_recv(&rig, 100);
	cr_assert(is_given_out(&rig, 5000, block));
	rig_close(&rig);
}

Test(underio, after_the_last_of_several)
{
	struct rig rig;
	void *block;

	rig_open(&rig, 8, 0);
	must(daxheap_alloc(rig.heap, 500, &block));
	rig_recv(&rig, block, 100, NULL);
	rig_recv(&rig, (char *)block + 100, 100, NULL);
	must(daxheap_cancel(rig.heap, block));
	finish_recv(&rig, 100);
	cr_assert(!is_given_out(&rig, 500, block));
	finish_recv(&rig, 100);
	cr_assert(is_given_out(&rig, 500, block));
	rig_close(&rig);
}

/* Its neighbours are, and so is it itself without I/O in flight. */
Test(underio, others_of_its_span_are_given_out)
{
	void *block, *other;
	struct rig rig;

	rig_open(&rig, 8, 0);
	must(daxheap_alloc(rig.heap, 500, &block));
	must(daxheap_alloc(rig.heap, 500, &other));
	rig_recv(&rig, block, 100, NULL);
	must(daxheap_cancel(rig.heap, other));
	cr_assert(is_given_out(&rig, 500, other));
	finish_recv(&rig, 100);
	must(daxheap_cancel(rig.heap, block));
	cr_assert(is_given_out(&rig, 500, block));
	rig_close(&rig);
}

/* What was given back is its owner's no more. */
Test(underio, a_block_that_waits_is_not_used)
{
	daxheap_ref *root;
	struct rig rig;
	void *blocks[2];

	rig_open(&rig, 8, 0);
	root = pool_root(rig.heap, "r");
	must(daxheap_alloc(rig.heap, 500, &blocks[0]));
	must(daxheap_alloc(rig.heap, 3 * MiB, &blocks[1]));
	for (unsigned i = 0; i < 2; i++) {
		rig_recv(&rig, blocks[i], 100, NULL);
		must(daxheap_cancel(rig.heap, blocks[i]));
		must_fail(EINVAL, daxheap_cancel(rig.heap, blocks[i]));
		must_fail(EINVAL, daxheap_publish(rig.heap, root, blocks[i]));
		must_fail(EINVAL, daxheap_usable_size(rig.heap, blocks[i]));
		must_fail(EINVAL, daxheap_uring_prep_read(rig.uring, rig.file, blocks[i], 10, 0,
							  NULL, NULL));
		must_say("free");
		finish_recv(&rig, 100);
		must_fail(EINVAL, daxheap_cancel(rig.heap, blocks[i]));
	}
	rig_close(&rig);
}

struct foreign {
	struct rig *rig;
	void *block;
	int err;
};

static void *cancel_it(void *arg)
{
	struct foreign *foreign = arg;

	foreign->err = daxheap_cancel(foreign->rig->heap, foreign->block);
	return NULL;
}

static void *reserve_it(void *arg)
{
	struct foreign *foreign = arg;

	foreign->err = daxheap_alloc(foreign->rig->heap, 500, &foreign->block);
	return NULL;
}

static void in_thread(void *(*work)(void *), void *arg)
{
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, work, arg), 0);
	pthread_join(thread, NULL);
}

/* Reserved by a thread that is gone, cancelled by another, completed by a third. */
Test(underio, across_threads)
{
	struct rig rig;
	struct foreign foreign = {.rig = &rig};

	rig_open(&rig, 8, 0);
	in_thread(reserve_it, &foreign);
	must(foreign.err);
	rig_recv(&rig, foreign.block, 100, NULL);
	in_thread(cancel_it, &foreign);
	must(foreign.err);
	cr_assert(!is_given_out(&rig, 500, foreign.block));
	finish_recv(&rig, 100);
	cr_assert(is_given_out(&rig, 500, foreign.block));
	rig_close(&rig);
}

/* A span that had I/O serves another class later, with more blocks. */
Test(underio, a_span_that_changes_its_class)
{
	static const size_t sizes[] = {4000, 700, 100, 16, 300};
	struct rig rig;

	rig_open(&rig, 8, 0);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char *first, *block;

		must(daxheap_alloc(rig.heap, sizes[i], (void **)&first));
		must(daxheap_alloc(rig.heap, sizes[i], (void **)&block));
		for (int j = 0; j < 3; j++) {
			rig_recv(&rig, block, 16, NULL);
			finish_recv(&rig, 16);
		}
		must(daxheap_cancel(rig.heap, block));
		must(daxheap_cancel(rig.heap, first));
		/* So that the empty spans are given up. */
		must(daxheap_alloc(rig.heap, 5 * MiB, (void **)&block));
		must(daxheap_cancel(rig.heap, block));
	}
	rig_close(&rig);
}

/* --- the gate --- */

static uint64_t in_ms(unsigned ms)
{
	return dh_now_ns() + ms * UINT64_C(1000000);
}

struct closer {
	struct daxheap *heap;
	atomic_bool released;
	bool early;
	int err;
};

static void *close_gate(void *arg)
{
	struct closer *closer = arg;

	closer->err = dh_gate_close(&closer->heap->gate, UINT64_MAX);
	closer->early = !atomic_load(&closer->released);
	dh_gate_open(&closer->heap->gate);
	return NULL;
}

Test(underio, the_gate_waits_for_a_recv_and_wakes)
{
	struct rig rig;
	struct closer closer = {0};
	pthread_t thread;
	void *block;

	rig_open(&rig, 8, DAXHEAP_URING_NO_STAGE);
	closer.heap = rig.heap;
	must(daxheap_alloc(rig.heap, 500, &block));
	rig_recv(&rig, block, 100, NULL);
	must_fail(ETIMEDOUT, dh_gate_close(&rig.heap->gate, in_ms(20)));
	must_say("1 operations in flight, the oldest a recv of 100 bytes at offset");
	cr_assert_eq(pthread_create(&thread, NULL, close_gate, &closer), 0);
	while (!atomic_load(&rig.heap->gate.closed))
		usleep(1000);
	/* With I/O of its own in flight it would wait for itself. */
	must_fail(EAGAIN, daxheap_uring_prep_recv(rig.uring, rig.here, block, 10, 0, NULL, NULL));
	must_say("reap");
	rig_feed(&rig, 100, 1);
	usleep(20000);
	atomic_store(&closer.released, true);
	cr_assert_eq(rig_reap(&rig).result, 100);
	pthread_join(thread, NULL);
	cr_assert_eq(closer.err, 0);
	cr_assert(!closer.early);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

struct opener {
	struct daxheap *heap;
	atomic_bool opened;
};

static void *open_gate(void *arg)
{
	struct opener *opener = arg;

	usleep(20000);
	atomic_store(&opener->opened, true);
	dh_gate_open(&opener->heap->gate);
	return NULL;
}

Test(underio, an_idle_ring_waits_for_the_gate)
{
	struct rig rig;
	struct opener opener = {0};
	pthread_t thread;
	void *block;

	rig_open(&rig, 8, DAXHEAP_URING_NO_STAGE);
	opener.heap = rig.heap;
	must(daxheap_alloc(rig.heap, 500, &block));
	must(dh_gate_close(&rig.heap->gate, 0));
	cr_assert_eq(pthread_create(&thread, NULL, open_gate, &opener), 0);
	cr_assert_eq(rig_read(&rig, block, 100, 0), 100);
	cr_assert(atomic_load(&opener.opened));
	pthread_join(thread, NULL);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

Test(underio, or_not_if_so_asked)
{
	struct rig rig;
	void *block;

	rig_open(&rig, 8, DAXHEAP_URING_NO_WAIT | DAXHEAP_URING_NO_STAGE);
	must(daxheap_alloc(rig.heap, 500, &block));
	must(dh_gate_close(&rig.heap->gate, 0));
	must_fail(EAGAIN, daxheap_uring_prep_read(rig.uring, rig.file, block, 10, 0, NULL, NULL));
	dh_gate_open(&rig.heap->gate);
	cr_assert_eq(rig_read(&rig, block, 100, 0), 100);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

/* What is prepared and not submitted yet counts; what was refused does not. */
Test(underio, counts_from_preparation)
{
	struct rig rig;
	void *block;

	rig_open(&rig, 8, DAXHEAP_URING_NO_STAGE);
	must(daxheap_alloc(rig.heap, 500, &block));
	must_fail(EINVAL, daxheap_uring_prep_read(rig.uring, rig.file, block, 600, 0, NULL, NULL));
	must(dh_gate_close(&rig.heap->gate, 0));
	dh_gate_open(&rig.heap->gate);
	must(daxheap_uring_prep_read(rig.uring, rig.file, block, 10, 0, NULL, NULL));
	must_fail(ETIMEDOUT, dh_gate_close(&rig.heap->gate, 0));
	must_say("a read of 10 bytes");
	rig_submit(&rig);
	cr_assert_eq(rig_reap(&rig).result, 10);
	must(dh_gate_close(&rig.heap->gate, 0));
	dh_gate_open(&rig.heap->gate);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

/* A staged recv pins nothing, however long it lasts; its block waits all the same. */
Test(underio, what_is_staged_is_not_at_the_gate)
{
	struct rig rig;
	char *block, *last;

	rig_open(&rig, 8, DAXHEAP_URING_STAGE);
	block = pool_block(rig.heap, 500, 0);
	rig_recv(&rig, block, 100, block);
	must(dh_gate_close(&rig.heap->gate, 0));
	/* Nor does it wait. */
	rig_recv(&rig, block + 100, 100, block + 100);
	rig_feed(&rig, 100, 0x42);
	/* Of the two either. */
	last = rig_reap(&rig).data == block ? block + 100 : block;
	cr_assert_eq(block[last == block ? 199 : 99], 0x42);
	cr_assert_eq(last[99], 0);
	dh_gate_open(&rig.heap->gate);
	must_fail(EBUSY, daxheap_uring_detach(rig.uring));
	must_say("a recv of 100 bytes");
	must(daxheap_cancel(rig.heap, block));
	cr_assert(!is_given_out(&rig, 500, block));
	/* What comes for nobody is thrown away. */
	finish_recv(&rig, 100);
	cr_assert_eq(last[99], 0);
	cr_assert(is_given_out(&rig, 500, block));
	rig_close(&rig);
}

/* --- trimming --- */

#define TRIM_MS 60000
#define FOREVER_MS (1u << 30)

/* Leaves 2 MiB or more to be trimmed. */
static void leave_space(struct rig *rig)
{
	void *block;

	must(daxheap_alloc(rig->heap, 3 * MiB, &block));
	memset(block, 1, 3 * MiB);
	must(daxheap_cancel(rig->heap, block));
}

static uint64_t file_bytes(struct rig *rig)
{
	return pool_stats(rig->heap).file_bytes;
}

/* Nothing is taken away under I/O, also of what is free. */
Test(underio, a_trim_waits_for_a_recv)
{
	uint64_t before, freed = 0;
	struct rig rig;
	void *block;

	rig_open(&rig, 8, DAXHEAP_URING_NO_STAGE);
	must(daxheap_alloc(rig.heap, 500, &block));
	leave_space(&rig);
	before = file_bytes(&rig);
	rig_recv(&rig, block, 100, NULL);
	must_fail(ETIMEDOUT, daxheap_trim(rig.heap, 0, 20, &freed));
	must_say("a recv of 100 bytes");
	cr_assert_eq(file_bytes(&rig), before);
	cr_assert_eq(freed, 0);
	finish_recv(&rig, 100);
	must(daxheap_trim(rig.heap, 0, TRIM_MS, &freed));
	cr_assert_geq(freed, 2 * MiB);
	cr_assert_eq(file_bytes(&rig), before - freed);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

/* The negative control of the test above. */
Test(underio, without_the_gate_it_does_not)
{
	uint64_t freed = 0;
	struct rig rig;
	void *block;

	rig_open(&rig, 8, DAXHEAP_URING_NO_STAGE);
	must(daxheap_alloc(rig.heap, 500, &block));
	leave_space(&rig);
	rig_recv(&rig, block, 100, NULL);
	dh_fault = DH_FAULT_NO_GATE;
	/* Where the file system waits for pages under I/O, it is that which takes too long. */
	if (!daxheap_trim(rig.heap, 0, 1000, &freed))
		cr_assert_geq(freed, 2 * MiB);
	else
		cr_assert_not(strstr(daxheap_errormsg(), "recv"));
	dh_fault = DH_FAULT_NONE;
	finish_recv(&rig, 100);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

/* A staged recv holds up no trim, but the chunks of its block stay. */
Test(underio, a_trim_leaves_a_block_that_waits)
{
	uint64_t freed = 0;
	struct rig rig;
	char *block;

	rig_open(&rig, 8, DAXHEAP_URING_STAGE);
	block = pool_block(rig.heap, 3 * MiB, 1);
	must(daxheap_trim(rig.heap, 0, TRIM_MS, NULL));
	rig_recv(&rig, block, 100, NULL);
	must(daxheap_cancel(rig.heap, block));
	must(daxheap_trim(rig.heap, 0, TRIM_MS, &freed));
	cr_assert_lt(freed, 2 * MiB);
	cr_assert_eq(block[3 * MiB - 1], 1);
	finish_recv(&rig, 100);
	must(daxheap_trim(rig.heap, 0, TRIM_MS, &freed));
	cr_assert_geq(freed, 4 * MiB);
	rig_close(&rig);
}

/* Else the ring would go on with pages that are the file's no more. */
Test(underio, a_trim_leaves_what_is_registered)
{
	uint64_t freed = 0;
	struct rig rig;
	char *block;

	rig_open(&rig, 8, DAXHEAP_URING_NO_STAGE | DAXHEAP_URING_REGISTER);
	if (rig_info(&rig).write_path != DAXHEAP_URING_REGISTERED)
		cr_skip_test("the kernel registers no such memory");
	block = pool_block(rig.heap, 3 * MiB, 1);
	cr_assert_eq(rig_read(&rig, block, 100, 0), 100);
	must(daxheap_cancel(rig.heap, block));
	must(daxheap_trim(rig.heap, 0, TRIM_MS, &freed));
	/* The other chunk of the block. */
	cr_assert_lt(freed, 4 * MiB);
	block = pool_block(rig.heap, 3 * MiB, 2);
	cr_assert_eq(rig_read(&rig, block, 100, 0), 100);
	cr_assert_eq((unsigned char)block[99], file_byte(99));
	cr_assert_eq(rig_info(&rig).through_registered, 2);
	must(daxheap_cancel(rig.heap, block));
	must(daxheap_uring_detach(rig.uring));
	must(daxheap_trim(rig.heap, 0, TRIM_MS, &freed));
	cr_assert_geq(freed, 4 * MiB);
	must(daxheap_uring_attach(rig.heap, &rig.ring, 0, 0, &rig.uring));
	rig_close(&rig);
}

static void *detach(void *arg)
{
	must(daxheap_uring_detach(arg));
	return NULL;
}

/* As long as the kernel has the pages, which is until the ring goes: these the heap can't tell. */
Test(underio, detached_by_a_thread_that_may_not_unregister)
{
	uint64_t freed = 0;
	pthread_t other;
	struct rig rig;
	char *block;
	int err;

	rig_open(&rig, 8, 0);
	must(daxheap_uring_detach(rig.uring));
	io_uring_queue_exit(&rig.ring);
	err = io_uring_queue_init(8, &rig.ring, IORING_SETUP_SINGLE_ISSUER);
	if (err)
		cr_skip_test("no IORING_SETUP_SINGLE_ISSUER here: %s", strerror(-err));
	must(daxheap_uring_attach(rig.heap, &rig.ring, 0, DAXHEAP_URING_NO_STAGE |
				  DAXHEAP_URING_REGISTER, &rig.uring));
	if (rig_info(&rig).write_path != DAXHEAP_URING_REGISTERED)
		cr_skip_test("the kernel registers no such memory");
	block = pool_block(rig.heap, 2 * MiB, 1);
	cr_assert_eq(rig_read(&rig, block, 100, 0), 100);
	must(daxheap_cancel(rig.heap, block));
	pthread_create(&other, NULL, detach, rig.uring);
	pthread_join(other, NULL);
	must(daxheap_uring_attach(rig.heap, &rig.ring, 0, DAXHEAP_URING_REGISTER, &rig.uring));
	cr_assert_eq(rig_info(&rig).reason, EBUSY);
	cr_assert_eq(rig_info(&rig).lock_reason, EBUSY);
	must(daxheap_uring_detach(rig.uring));
	must(daxheap_trim(rig.heap, 0, TRIM_MS, &freed));
	cr_assert_lt(freed, 2 * MiB);
	io_uring_queue_exit(&rig.ring);
	rig.heap = pool_reopen(rig.heap, "pool");
	must(daxheap_trim(rig.heap, 0, TRIM_MS, &freed));
	cr_assert_geq(freed, 2 * MiB);
	ring_open(&rig.ring, 8);
	must(daxheap_uring_attach(rig.heap, &rig.ring, 0, 0, &rig.uring));
	rig_close(&rig);
}

static void *attach(void *arg)
{
	struct rig *rig = arg;

	must(daxheap_uring_attach(rig->heap, &rig->ring, 0, DAXHEAP_URING_REGISTER, &rig->uring));
	cr_assert_eq(rig_info(rig).reason, EEXIST);
	cr_assert_eq(rig_info(rig).lock_reason, EEXIST);
	return NULL;
}

Test(underio, attached_by_a_thread_that_may_not_register)
{
	pthread_t other;
	struct rig rig;
	int err;

	rig_open(&rig, 8, 0);
	must(daxheap_uring_detach(rig.uring));
	io_uring_queue_exit(&rig.ring);
	err = io_uring_queue_init(8, &rig.ring, IORING_SETUP_SINGLE_ISSUER);
	if (err)
		cr_skip_test("no IORING_SETUP_SINGLE_ISSUER here: %s", strerror(-err));
	pthread_create(&other, NULL, attach, &rig);
	pthread_join(other, NULL);
	rig_close(&rig);
}

/* What was given back before is the file's again: it is given back once more. */
Test(underio, a_trim_takes_what_was_registered)
{
	char *blocks[31];
	uint64_t freed = 0;
	struct rig rig;

	rig_open(&rig, 8, DAXHEAP_URING_NO_STAGE | DAXHEAP_URING_REGISTER);
	if (rig_info(&rig).write_path != DAXHEAP_URING_REGISTERED)
		cr_skip_test("the kernel registers no such memory");
	for (unsigned i = 0; i < 31; i++)
		blocks[i] = pool_block(rig.heap, DH_UNIT_SIZE, 1);
	cr_assert_eq(daxheap_ref_of(rig.heap, blocks[0]) / DH_CHUNK_SIZE,
		     daxheap_ref_of(rig.heap, blocks[30]) / DH_CHUNK_SIZE);
	for (unsigned i = 1; i < 31; i++)
		must(daxheap_cancel(rig.heap, blocks[i]));
	must(daxheap_trim(rig.heap, 0, TRIM_MS, &freed));
	cr_assert_eq(freed, 30 * DH_UNIT_SIZE);
	cr_assert_eq(rig_read(&rig, blocks[0], 100, 0), 100);
	cr_assert_eq(rig_info(&rig).through_registered, 1);
	must(daxheap_uring_detach(rig.uring));
	must(daxheap_trim(rig.heap, 0, TRIM_MS, &freed));
	cr_assert_eq(freed, 30 * DH_UNIT_SIZE, "%llu", (unsigned long long)freed);
	must(daxheap_uring_attach(rig.heap, &rig.ring, 0, 0, &rig.uring));
	must(daxheap_cancel(rig.heap, blocks[0]));
	rig_close(&rig);
}

/* Nor does the policy try again and again to take it. */
Test(underio, the_policy_leaves_what_is_registered)
{
	struct rig rig;
	char *block;

	rig_open(&rig, 8, DAXHEAP_URING_NO_STAGE | DAXHEAP_URING_REGISTER);
	if (rig_info(&rig).write_path != DAXHEAP_URING_REGISTERED)
		cr_skip_test("the kernel registers no such memory");
	block = pool_block(rig.heap, 2 * MiB, 1);
	cr_assert_eq(rig_read(&rig, block, 100, 0), 100);
	must(daxheap_set_trim_policy(rig.heap, 0, 0, TRIM_MS));
	must(daxheap_cancel(rig.heap, block));
	cr_assert_not(atomic_load(&rig.heap->trim_due));
	rig_close(&rig);
}

/* Nor does it wait for I/O, which may be that of the thread that frees. */
Test(underio, the_policy_does_not_wait_for_a_recv)
{
	struct rig rig;
	void *block, *free;

	rig_open(&rig, 8, DAXHEAP_URING_NO_STAGE);
	must(daxheap_alloc(rig.heap, 500, &block));
	must(daxheap_alloc(rig.heap, 4 * MiB, &free));
	must(daxheap_set_trim_policy(rig.heap, 0, 0, FOREVER_MS));
	rig_recv(&rig, block, 100, NULL);
	must(daxheap_cancel(rig.heap, free));
	cr_assert_eq(rig_info(&rig).in_flight, 1);
	cr_assert_not(atomic_load(&rig.heap->trim_due), "not tried again at once");
	cr_assert_eq(atomic_load(&rig.heap->trim.trimmed), 0);
	finish_recv(&rig, 100);
	must(daxheap_set_trim_policy(rig.heap, 0, 0, FOREVER_MS));
	must(daxheap_alloc(rig.heap, 4 * MiB, &free));
	must(daxheap_cancel(rig.heap, free));
	cr_assert_geq(atomic_load(&rig.heap->trim.trimmed), 4 * MiB);
	must(daxheap_cancel(rig.heap, block));
	rig_close(&rig);
}

/* --- sends without a copy: two completions --- */

Test(underio, until_the_notification)
{
	struct daxheap_uring_completion done;
	static char bytes[10000];
	struct rig rig;
	char *block;
	int pair[2];

	rig_open(&rig, 8, 0);
	connect_tcp(pair);
	block = pool_block(rig.heap, 10000, 'z');
	must(daxheap_uring_prep_send_zc(rig.uring, pair[0], block, 10000, 0, NULL, NULL));
	rig_submit(&rig);
	done = rig_reap(&rig);
	if (done.result == -EINVAL || done.result == -EOPNOTSUPP)
		cr_skip_test("no send_zc here: %s", strerror(-done.result));
	cr_assert_eq(done.result, 10000);
	cr_assert(done.flags & IORING_CQE_F_MORE);
	cr_assert_eq(rig_info(&rig).in_flight, 1);
	must(daxheap_cancel(rig.heap, block));
	cr_assert(!is_given_out(&rig, 10000, block));
	must_fail(ETIMEDOUT, dh_gate_close(&rig.heap->gate, 0));
	must_say("a send_zc of 10000 bytes");
	cr_assert_eq(recv(pair[1], bytes, sizeof(bytes), MSG_WAITALL), 10000);
	cr_assert_eq(bytes[9999], 'z');
	done = rig_reap(&rig);
	cr_assert(done.flags & IORING_CQE_F_NOTIF);
	cr_assert(!(done.flags & IORING_CQE_F_MORE));
	cr_assert_eq(rig_info(&rig).in_flight, 0);
	cr_assert(is_given_out(&rig, 10000, block));
	close(pair[0]);
	close(pair[1]);
	rig_close(&rig);
}

/* --- deaths --- */

static void *begin_recv(void *arg)
{
	struct foreign *foreign = arg;

	rig_recv(foreign->rig, foreign->block, 100, NULL);
	return NULL;
}

/*
 * What it waits for is still awaited; then the kernel, which has no thread to do it in, may cancel
 * it.  Another thread takes the completion.
 */
Test(underio, a_thread_that_exits)
{
	struct rig rig;
	struct foreign foreign = {.rig = &rig};
	int result;

	rig_open(&rig, 8, DAXHEAP_URING_NO_STAGE);
	must(daxheap_alloc(rig.heap, 500, &foreign.block));
	in_thread(begin_recv, &foreign);
	cr_assert_eq(rig_info(&rig).in_flight, 1);
	must_fail(ETIMEDOUT, dh_gate_close(&rig.heap->gate, 0));
	rig_feed(&rig, 100, 1);
	result = rig_reap(&rig).result;
	cr_assert(result == 100 || result == -ECANCELED, "%d", result);
	must(dh_gate_close(&rig.heap->gate, 0));
	dh_gate_open(&rig.heap->gate);
	must(daxheap_cancel(rig.heap, foreign.block));
	rig_close(&rig);
}

#define LOAD 16

/* In a child, where Criterion's assertions are not to be used. */
static void or_die(int err)
{
	if (!err)
		return;
	fprintf(stderr, "%d: %s\n", err, daxheap_errormsg());
	_exit(1);
}

static void reap_or_die(struct rig *rig)
{
	struct daxheap_uring_completion done;
	struct io_uring_cqe *cqe;

	or_die(io_uring_wait_cqe(&rig->ring, &cqe));
	or_die(daxheap_uring_complete(rig->uring, cqe, &done) != 1);
	io_uring_cqe_seen(&rig->ring, cqe);
}

static void *publish_or_die(struct rig *rig, daxheap_ref *slot, size_t size)
{
	void *block;

	or_die(daxheap_alloc(rig->heap, size, &block));
	memset(block, 0x11, size);
	or_die(daxheap_persist(rig->heap, block, size));
	or_die(daxheap_publish(rig->heap, slot, block));
	return block;
}

static void read_or_die(struct rig *rig, void *at, size_t size)
{
	or_die(daxheap_uring_prep_read(rig->uring, rig->file, at, size, 0, NULL, NULL));
}

static void set_up_or_die(struct rig *rig)
{
	int pair[2];

	or_die(io_uring_queue_init(64, &rig->ring, 0));
	or_die(daxheap_create(pool_path("pool"), 16 * MiB, 0, &rig->heap));
	or_die(daxheap_uring_attach(rig->heap, &rig->ring, 0, 0, &rig->uring));
	or_die(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	rig->here = pair[0];
	rig->file = open("/dev/zero", O_RDONLY);
	or_die(rig->file < 0);
}

/* Reads without end, a recv that never ends, blocks that come and go; says when it is at it. */
static _Noreturn void work_until_killed(int ready)
{
	daxheap_ref *kept, *root;
	char *blocks[LOAD], *huge;
	struct rig rig;

	set_up_or_die(&rig);
	or_die(daxheap_root(rig.heap, "kept", &kept));
	or_die(daxheap_root(rig.heap, "r", &root));
	huge = publish_or_die(&rig, kept, 3 * MiB);
	for (unsigned i = 0; i < LOAD; i++) {
		or_die(daxheap_alloc(rig.heap, 65536, (void **)&blocks[i]));
		read_or_die(&rig, blocks[i], 65536);
	}
	or_die(daxheap_uring_prep_recv(rig.uring, rig.here, huge, 100, 0, NULL, NULL));
	or_die(io_uring_submit(&rig.ring) != LOAD + 1);
	or_die(write(ready, "", 1) != 1);
	for (unsigned i = 0;; i++) {
		char *block = publish_or_die(&rig, root, 5000);

		read_or_die(&rig, block, 5000);
		or_die(daxheap_free(rig.heap, root));
		read_or_die(&rig, blocks[i % LOAD], 65536);
		or_die(io_uring_submit(&rig.ring) != 2);
		reap_or_die(&rig);
		reap_or_die(&rig);
	}
}

static void die_with_io_in_flight(unsigned us)
{
	int ready[2], status;
	pid_t pid;
	char byte;

	/* The folder is this process's. */
	pool_path("pool");
	cr_assert_eq(pipe(ready), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid)
		work_until_killed(ready[1]);
	close(ready[1]);
	cr_assert_eq(read(ready[0], &byte, 1), 1);
	usleep(us);
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	close(ready[0]);
}

static void must_be_whole(void)
{
	struct daxheap *heap = pool_open("pool", 0);
	daxheap_ref *kept = pool_root(heap, "kept"), *root = pool_root(heap, "r");
	struct daxheap_stats stats = pool_stats(heap);
	const char *block = daxheap_ptr(heap, *kept);

	cr_assert_eq(stats.reserved_blocks, 0);
	cr_assert_eq(pool_census(heap).blocks, *root ? 2 : 1);
	for (size_t i = 100; i < 3 * MiB; i++)
		cr_assert_eq(block[i], 0x11);
	must(daxheap_trim(heap, 0, TRIM_MS, NULL));
	daxheap_close(heap);
	cr_assert_eq(daxheap_check(pool_path("pool"), 0, NULL, NULL), 0);
	cr_assert_eq(unlink(pool_path("pool")), 0);
}

/* The pool opens at once, as whole as after any death. */
Test(underio, a_process_killed_with_io_in_flight)
{
	struct rig rig;

	/* Whether there is io_uring. */
	ring_open(&rig.ring, 1);
	io_uring_queue_exit(&rig.ring);
	for (unsigned i = 0; i < 10; i++) {
		die_with_io_in_flight(i * i * 300);
		must_be_whole();
	}
}
