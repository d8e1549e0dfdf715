/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rings on one heap, beside a thread that trims it and one that cancels blocks under I/O: for
 * ThreadSanitizer as well, so plain C that prints TAP.  Each read brings a part of a file whose
 * bytes are known into a block; when it is complete they must be there, so no block may have been
 * given out twice, and no page have been taken away, meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daxheap-uring.h"

#define RINGS		4
#define DEPTH		16
#define OPERATIONS	2000	/* of a ring */
#define DESKS		16
#define FILE_SIZE	(1u << 20)
#define PART_MAX	(100u << 10)

static struct daxheap *heap;
static int file;
static atomic_bool done;
static atomic_uint unexpected, wrong_bytes, verified;
/* Blocks that another thread is to cancel. */
static _Atomic(void *) desks[DESKS];

static void die(const char *what)
{
	printf("Bail out! %s: %s\n", what, daxheap_errormsg());
	exit(1);
}

static void must(int err)
{
	if (err) {
		printf("# %d: %s\n", err, daxheap_errormsg());
		atomic_fetch_add(&unexpected, 1);
	}
}

static unsigned choose(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

static unsigned char byte_at(unsigned at)
{
	return (unsigned char)(at * 31 + at / 251);
}

/* Of a part of the file; when it is complete it is verified, unless its block was cancelled. */
struct part {
	unsigned char *block;
	unsigned offset, size;
	bool cancelled;
};

struct worker {
	unsigned seed;
	struct io_uring ring;
	struct daxheap_uring *uring;
	struct part parts[DEPTH];
	struct part *unused[DEPTH];
	unsigned unused_count;
};

static void verify(const struct part *part)
{
	for (unsigned i = 0; i < part->size; i++)
		if (part->block[i] != byte_at(part->offset + i)) {
			atomic_fetch_add(&wrong_bytes, 1);
			return;
		}
	atomic_fetch_add(&verified, 1);
}

static void reap(struct worker *worker)
{
	struct daxheap_uring_completion completion;
	struct io_uring_cqe *cqe;
	struct part *part;

	must(io_uring_wait_cqe(&worker->ring, &cqe));
	if (daxheap_uring_complete(worker->uring, cqe, &completion) != 1)
		die("complete");
	io_uring_cqe_seen(&worker->ring, cqe);
	part = completion.data;
	if (completion.result != (int)part->size)
		must(-EIO);
	if (!part->cancelled) {
		verify(part);
		must(daxheap_cancel(heap, part->block));
	}
	worker->unused[worker->unused_count++] = part;
}

/* Now, by another thread some time, or after the completion. */
static void dispose(struct worker *worker, struct part *part, void *block)
{
	part->cancelled = choose(&worker->seed, 3) != 0;
	if (!part->cancelled)
		return;
	if (choose(&worker->seed, 2))
		block = atomic_exchange(&desks[choose(&worker->seed, DESKS)], block);
	if (block)
		must(daxheap_cancel(heap, block));
}

static void one_operation(struct worker *worker)
{
	struct part *part = worker->unused[--worker->unused_count];
	size_t size = choose(&worker->seed, 8) ? 16 + choose(&worker->seed, 20000) : 3 << 20;
	void *block;
	int err;

	if (daxheap_alloc(heap, size, &block))
		die("alloc");
	part->block = block;
	part->size = 1 + choose(&worker->seed, size < PART_MAX ? (unsigned)size : PART_MAX);
	part->offset = choose(&worker->seed, FILE_SIZE / 2);
	/* Until whoever trims has done, or got nowhere. */
	while ((err = daxheap_uring_prep_read(worker->uring, file, block, part->size, part->offset,
					      part, NULL)) == -EAGAIN &&
	       worker->unused_count < DEPTH - 1)
		reap(worker);
	while (err == -EAGAIN)
		err = daxheap_uring_prep_read(worker->uring, file, block, part->size,
					      part->offset, part, NULL);
	if (err)
		die("prepare");
	must(io_uring_submit(&worker->ring) != 1);
	dispose(worker, part, block);
}

static void *work(void *arg)
{
	static const unsigned flags[] = {DAXHEAP_URING_NO_STAGE, DAXHEAP_URING_STAGE,
					 DAXHEAP_URING_NO_STAGE | DAXHEAP_URING_REGISTER, 0};
	struct worker *worker = arg;

	worker->seed++;
	must(io_uring_queue_init(DEPTH, &worker->ring, 0));
	must(daxheap_uring_attach(heap, &worker->ring, 0, flags[worker->seed % 4], &worker->uring));
	while (worker->unused_count < DEPTH) {
		worker->unused[worker->unused_count] = &worker->parts[worker->unused_count];
		worker->unused_count++;
	}
	for (unsigned i = 0; i < OPERATIONS; i++) {
		while (worker->unused_count < DEPTH &&
		       (!worker->unused_count || choose(&worker->seed, 2)))
			reap(worker);
		one_operation(worker);
	}
	while (worker->unused_count < DEPTH)
		reap(worker);
	must(daxheap_uring_detach(worker->uring));
	io_uring_queue_exit(&worker->ring);
	return NULL;
}

static void *cancel(void *arg)
{
	unsigned seed = 99;

	(void)arg;
	while (!atomic_load(&done)) {
		void *block = atomic_exchange(&desks[choose(&seed, DESKS)], NULL);

		if (block)
			must(daxheap_cancel(heap, block));
	}
	return NULL;
}

static void *trim(void *arg)
{
	(void)arg;
	while (!atomic_load(&done)) {
		int err = daxheap_trim(heap, 0, 200, NULL);

		if (err && err != -ETIMEDOUT)
			must(err);
		usleep(2000);
	}
	return NULL;
}

/* What it is that is being tested, for the log and the test in guests. */
static void tell_paths(struct io_uring *ring)
{
	struct daxheap_uring_info staged, registered;
	struct daxheap_uring *uring;

	if (daxheap_uring_attach(heap, ring, 0, 0, &uring) ||
	    daxheap_uring_info(uring, &staged) || daxheap_uring_detach(uring))
		die("attach");
	if (daxheap_uring_attach(heap, ring, 0, DAXHEAP_URING_REGISTER, &uring) ||
	    daxheap_uring_info(uring, &registered) || daxheap_uring_detach(uring))
		die("attach");
	printf("# reads staged by default: %s\n# buffers registered: %s\n",
	       staged.read_path == DAXHEAP_URING_STAGED ? "yes" : "no",
	       registered.reason ? strerror(registered.reason) : "yes");
	io_uring_queue_exit(ring);
}

static void run_threads(void)
{
	static struct worker workers[RINGS];
	pthread_t threads[RINGS], others[2];

	pthread_create(&others[0], NULL, cancel, NULL);
	pthread_create(&others[1], NULL, trim, NULL);
	for (unsigned i = 0; i < RINGS; i++) {
		workers[i].seed = i;
		pthread_create(&threads[i], NULL, work, &workers[i]);
	}
	for (unsigned i = 0; i < RINGS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&done, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(others[i], NULL);
	for (unsigned i = 0; i < DESKS; i++)
		if (desks[i])
			must(daxheap_cancel(heap, desks[i]));
}

static void make_file(const char *path)
{
	static unsigned char bytes[FILE_SIZE];

	for (unsigned i = 0; i < FILE_SIZE; i++)
		bytes[i] = byte_at(i);
	file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (file < 0 || write(file, bytes, FILE_SIZE) != (ssize_t)FILE_SIZE)
		die("no file");
	unlink(path);
}

static void result(bool good, const char *what)
{
	static unsigned number;

	printf("%s %u - %s\n", good ? "ok" : "not ok", ++number, what);
	if (!good)
		atomic_fetch_add(&unexpected, 1);
}

/* What another process of this program left. */
static int trim_pool(const char *path)
{
	uint64_t bytes;

	if (daxheap_open(path, 0, &heap) || daxheap_trim(heap, 0, 10000, &bytes)) {
		fprintf(stderr, "%s\n", daxheap_errormsg());
		return 1;
	}
	daxheap_close(heap);
	printf("%llu bytes\n", (unsigned long long)bytes);
	return !bytes;
}

/* run-tap asks for the TAP in a file: --tap=FILE. */
int main(int argc, char **argv)
{
	const char *folder = getenv("DAXHEAP_TEST_DIR");
	struct daxheap_stats stats;
	struct daxheap_info info;
	struct io_uring ring;
	char path[4096];
	int err;

	if (argc == 3 && !strcmp(argv[1], "trim"))
		return trim_pool(argv[2]);
	if (argc > 1 && !strncmp(argv[1], "--tap=", 6) && !freopen(argv[1] + 6, "w", stdout))
		return 1;
	err = io_uring_queue_init(1, &ring, 0);
	if (err == -ENOSYS || err == -EPERM) {
		printf("1..1\nok 1 # SKIP no io_uring here: %s\n", strerror(-err));
		return 0;
	}
	snprintf(path, sizeof(path), "%s/stress_io.%d", folder ? folder : "/tmp", (int)getpid());
	printf("1..5\n");
	make_file(path);
	if (err || daxheap_create(path, 1 << 30, 0, &heap))
		die("create");
	tell_paths(&ring);
	run_threads();
	if (daxheap_get_stats(heap, &stats) || daxheap_get_info(heap, &info))
		die("stats");
	printf("# %u reads verified, %llu MiB trimmed\n", atomic_load(&verified),
	       (unsigned long long)info.trimmed_bytes >> 20);
	result(!atomic_load(&unexpected), "each call ends as the header says");
	result(!atomic_load(&wrong_bytes), "what was read is there");
	result(atomic_load(&verified) && info.trimmed_bytes, "there was something to see");
	result(!stats.reserved_blocks && !stats.live_blocks, "no block is lost");
	daxheap_close(heap);
	result(!daxheap_check(path, 0, NULL, NULL), "the pool is whole");
	unlink(path);
	return atomic_load(&unexpected) ? 1 : 0;
}
