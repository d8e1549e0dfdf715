/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench io: what the heap's io_uring calls cost, and what going straight to the heap brings.
 *
 * Calls: the time that preparing an operation and taking its completion takes in the process,
 * without the system calls between; that of liburing alone, and that of the heap, which counts it
 * at the gate and at its block, and remembers it.
 *
 * Throughput: from blocks of the heap to a file, and back, durable then, by the ways that the heap
 * has; and by hand, as without it: by way of a registered buffer in DRAM, from or to which the CPU
 * copies, past the cache on the way into the heap.
 */
#include <daxheap-uring.h>
#include <fcntl.h>
#include <libpmem.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define POOL_SIZE	(UINT64_C(320) << 20)
#define BYTES		(UINT64_C(128) << 20)	/* of a round */
#define DEPTH		8u
#define CALLS		128u
#define STAGED_MAX	(1u << 20)	/* of the heap */

struct subject {
	struct daxheap *heap;
	char *path;
	char **blocks;
	unsigned count;
	size_t size;			/* of a block */
};

static void must(int err, const char *what)
{
	if (err < 0)
		die("%s: %s", what, daxheap_errormsg());
}

static void must_ring(int err, const char *what)
{
	if (err < 0)
		die("%s: %s", what, strerror(-err));
}

static struct subject open_subject(const char *dir, size_t size, unsigned count)
{
	struct subject subject = {.path = temporary_path(dir, "io"), .count = count, .size = size};

	must(daxheap_create(subject.path, POOL_SIZE, 0, &subject.heap), "create");
	subject.blocks = calloc(count, sizeof(*subject.blocks));
	if (!subject.blocks)
		die("out of memory");
	for (unsigned i = 0; i < count; i++) {
		must(daxheap_alloc_as(subject.heap, size, 4096, 0, (void **)&subject.blocks[i]),
		     "alloc");
		memset(subject.blocks[i], (int)i, size);
	}
	return subject;
}

static void close_subject(struct subject *subject)
{
	daxheap_close(subject->heap);
	unlink(subject->path);
	free(subject->path);
	free(subject->blocks);
}

/* --- calls --- */

/* The sum of both timed parts for CALLS operations; @uring NULL: liburing's alone. */
static uint64_t time_calls(struct io_uring *ring, struct daxheap_uring *uring, int fd,
			   const struct subject *subject)
{
	struct io_uring_cqe *cqes[CALLS];
	uint64_t ns = now_ns();

	for (unsigned i = 0; i < CALLS; i++) {
		struct io_uring_sqe *sqe;

		if (uring) {
			must(daxheap_uring_prep_write(uring, fd, subject->blocks[i], 64, 0,
						      &cqes[i], &sqe), "prepare");
			continue;
		}
		sqe = io_uring_get_sqe(ring);
		io_uring_prep_write(sqe, fd, subject->blocks[i], 64, 0);
		io_uring_sqe_set_data(sqe, &cqes[i]);
	}
	ns = now_ns() - ns;
	must_ring(io_uring_submit_and_wait(ring, CALLS), "submit");
	if (io_uring_peek_batch_cqe(ring, cqes, CALLS) != CALLS)
		die("not all operations completed");
	ns -= now_ns();
	for (unsigned i = 0; i < CALLS; i++) {
		struct daxheap_uring_completion done = {.result = cqes[i]->res};

		if (uring && daxheap_uring_complete(uring, cqes[i], &done) != 1)
			die("complete: %s", daxheap_errormsg());
		if (done.result != 64)
			die("an operation failed");
		io_uring_cqe_seen(ring, cqes[i]);
	}
	return ns + now_ns();
}

/*
 * What the gate does in them, alone: to count up and look, to remember since when, to count down
 * and look.
 */
static double time_gate(unsigned rounds)
{
	static atomic_uint in_flight, closed, waited;
	double *ns = calloc(rounds, sizeof(*ns)), result;

	if (!ns)
		die("out of memory");
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t start_ns = now_ns();

		for (unsigned j = 0; j < CALLS; j++) {
			struct timespec now;

			atomic_fetch_add(&in_flight, 1);
			if (atomic_load(&closed))
				waited++;
			clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
			if (atomic_fetch_sub(&in_flight, 1) == 1 && atomic_load(&closed))
				waited++;
		}
		ns[i] = (double)(now_ns() - start_ns) / CALLS;
	}
	result = median(ns, rounds);
	free(ns);
	return result;
}

static void measure_calls(const struct options *options, bool table, struct json_object *report)
{
	struct subject subject = open_subject(options->dir, 4096, CALLS);
	struct json_object *row = json_object_new_object();
	struct daxheap_uring *uring;
	struct io_uring ring;
	unsigned rounds = options->rounds * 50;
	double *plain = calloc(rounds, sizeof(*plain)), *heap = calloc(rounds, sizeof(*heap));
	double plain_ns, heap_ns, gate_ns = time_gate(rounds);
	int fd = open("/dev/null", O_WRONLY);

	if (!plain || !heap || fd < 0)
		die("out of memory");
	must_ring(io_uring_queue_init(CALLS, &ring, 0), "io_uring");
	must(daxheap_uring_attach(subject.heap, &ring, 0, 0, &uring), "attach");
	for (unsigned i = 0; i < rounds; i++) {
		plain[i] = (double)time_calls(&ring, NULL, fd, &subject) / CALLS;
		heap[i] = (double)time_calls(&ring, uring, fd, &subject) / CALLS;
	}
	plain_ns = median(plain, rounds);
	heap_ns = median(heap, rounds);
	must(daxheap_uring_detach(uring), "detach");
	io_uring_queue_exit(&ring);
	close(fd);
	free(plain);
	free(heap);
	close_subject(&subject);
	report_add_number(row, "liburing_ns", plain_ns);
	report_add_number(row, "heap_ns", heap_ns);
	report_add_number(row, "gate_ns", gate_ns);
	json_object_object_add(report, "calls", row);
	if (table)
		printf("Preparing an operation and taking its completion, ns (median)\n\n"
		       "  liburing alone %25.1f\n  the heap's calls %23.1f\n"
		       "  so they add %28.1f\n  of that the gate %23.1f   at most 20: %s\n\n",
		       plain_ns, heap_ns, heap_ns - plain_ns, gate_ns, verdict(gate_ns, 20));
}

/* --- throughput --- */

enum way { DIRECT, STAGED, REGISTERED, BY_HAND, WAYS };

static const struct {
	const char *name;
	unsigned flags;
} ways[] = {
	[DIRECT] = {"direct", DAXHEAP_URING_NO_STAGE},
	[STAGED] = {"staged", DAXHEAP_URING_STAGE},
	[REGISTERED] = {"registered", DAXHEAP_URING_NO_STAGE | DAXHEAP_URING_REGISTER},
	[BY_HAND] = {"by_hand", 0},
};

struct run {
	const struct subject *subject;
	struct io_uring ring;
	struct daxheap_uring *uring;	/* NULL: by hand */
	bool reads;
	int fd;
	char *staging;			/* DEPTH buffers */
	unsigned block[DEPTH];		/* that a buffer is for */
	uintptr_t unused[DEPTH];
	unsigned unused_count;
};

static void issue(struct run *run, unsigned i)
{
	const struct subject *subject = run->subject;
	uintptr_t buffer = run->unused[--run->unused_count];
	char *block = subject->blocks[i], *staged = run->staging + buffer * subject->size;
	uint64_t offset = i * subject->size;
	struct io_uring_sqe *sqe;

	run->block[buffer] = i;
	if (run->uring && run->reads) {
		must(daxheap_uring_prep_read(run->uring, run->fd, block, subject->size, offset,
					     (void *)buffer, NULL), "prepare");
	} else if (run->uring) {
		must(daxheap_uring_prep_write(run->uring, run->fd, block, subject->size, offset,
					      (void *)buffer, NULL), "prepare");
	} else {
		sqe = io_uring_get_sqe(&run->ring);
		if (!run->reads)
			memcpy(staged, block, subject->size);
		if (run->reads)
			io_uring_prep_read_fixed(sqe, run->fd, staged, (unsigned)subject->size,
						 offset, 0);
		else
			io_uring_prep_write_fixed(sqe, run->fd, staged, (unsigned)subject->size,
						  offset, 0);
		io_uring_sqe_set_data(sqe, (void *)buffer);
	}
}

static void reap(struct run *run, struct io_uring_cqe *cqe)
{
	const struct subject *subject = run->subject;
	struct daxheap_uring_completion done = {
		.data = io_uring_cqe_get_data(cqe), .result = cqe->res,
	};
	uintptr_t buffer;

	if (run->uring && daxheap_uring_complete(run->uring, cqe, &done) != 1)
		die("complete: %s", daxheap_errormsg());
	if (done.result != (int)subject->size)
		die("a transfer failed: %s", strerror(done.result < 0 ? -done.result : 0));
	buffer = (uintptr_t)done.data;
	if (!run->uring && run->reads)
		pmem_memcpy_persist(subject->blocks[run->block[buffer]],
				    run->staging + buffer * subject->size, subject->size);
	run->unused[run->unused_count++] = buffer;
	io_uring_cqe_seen(&run->ring, cqe);
}

/* GB/s */
static double one_round(struct run *run)
{
	uint64_t start_ns = now_ns();
	unsigned issued = 0;
	struct io_uring_cqe *cqe;

	while (issued < run->subject->count || run->unused_count < DEPTH) {
		while (issued < run->subject->count && run->unused_count)
			issue(run, issued++);
		must_ring(io_uring_submit_and_wait(&run->ring, 1), "submit");
		while (!io_uring_peek_cqe(&run->ring, &cqe))
			reap(run, cqe);
	}
	return (double)BYTES / (double)(now_ns() - start_ns);
}

/* False: not to be had here. */
static bool open_run(struct run *run, const struct subject *subject, enum way way, bool reads,
		     int fd)
{
	const struct iovec iov = {.iov_base = run->staging, .iov_len = DEPTH * subject->size};
	struct daxheap_uring_info info;

	run->subject = subject;
	run->reads = reads;
	run->fd = fd;
	run->uring = NULL;
	run->unused_count = 0;
	while (run->unused_count < DEPTH) {
		run->unused[run->unused_count] = run->unused_count;
		run->unused_count++;
	}
	must_ring(io_uring_queue_init(DEPTH, &run->ring, 0), "io_uring");
	if (way == BY_HAND) {
		must_ring(io_uring_register_buffers(&run->ring, &iov, 1), "register");
		return true;
	}
	must(daxheap_uring_attach(subject->heap, &run->ring, 0, ways[way].flags, &run->uring),
	     "attach");
	must(daxheap_uring_info(run->uring, &info), "info");
	if (way == STAGED)
		return reads && subject->size <= STAGED_MAX;
	return way == DIRECT || info.write_path == DAXHEAP_URING_REGISTERED;
}

static void close_run(struct run *run)
{
	must(daxheap_uring_detach(run->uring), "detach");
	io_uring_queue_exit(&run->ring);
}

/* The ways take turns; 0: not to be had. */
static void measure(const struct options *options, const struct subject *subject, bool reads,
		    int fd, double gbs[WAYS])
{
	struct run *runs = calloc(WAYS, sizeof(*runs));
	double *rounds = calloc(WAYS * options->rounds, sizeof(*rounds));
	char *staging = aligned_alloc(4096, DEPTH * subject->size);
	bool there[WAYS];

	if (!runs || !rounds || !staging)
		die("out of memory");
	memset(staging, 0, DEPTH * subject->size);
	for (unsigned way = 0; way < WAYS; way++) {
		runs[way].staging = staging;
		there[way] = open_run(&runs[way], subject, way, reads, fd);
	}
	for (unsigned i = 0; i < options->rounds; i++)
		for (unsigned way = 0; way < WAYS; way++)
			if (there[way])
				rounds[way * options->rounds + i] = one_round(&runs[way]);
	for (unsigned way = 0; way < WAYS; way++) {
		gbs[way] = median(rounds + way * options->rounds, options->rounds);
		close_run(&runs[way]);
	}
	free(runs);
	free(rounds);
	free(staging);
}

struct target {
	const char *name, *path;	/* NULL: a file beside the pool */
	bool reads;
};

static void measure_target(const struct options *options, const struct target *target, size_t size,
			   bool table, struct json_object *list)
{
	struct subject subject = open_subject(options->dir, size, (unsigned)(BYTES / size));
	char *path = temporary_path(options->dir, "target");
	int fd = target->path ? open(target->path, O_RDWR) : open(path, O_RDWR | O_CREAT, 0600);
	struct json_object *row = json_object_new_object();
	double gbs[WAYS], best = 0;

	if (fd < 0 || (!target->path && posix_fallocate(fd, 0, (off_t)BYTES)))
		die("%s can't be made", path);
	measure(options, &subject, target->reads, fd, gbs);
	close(fd);
	if (!target->path)
		unlink(path);
	free(path);
	close_subject(&subject);
	report_add_string(row, "target", target->name);
	report_add_number(row, "kib", (double)size / 1024);
	for (unsigned way = 0; way < WAYS; way++)
		if (gbs[way] > 0)
			report_add_number(row, ways[way].name, gbs[way]);
	json_object_array_add(list, row);
	if (!table)
		return;
	for (unsigned way = 0; way < BY_HAND; way++)
		best = gbs[way] > best ? gbs[way] : best;
	printf("%-20s %5zu KiB", target->name, size / 1024);
	for (unsigned way = 0; way < WAYS; way++) {
		if (gbs[way] > 0)
			printf(" %10.2f", gbs[way]);
		else
			printf(" %10s", "-");
	}
	printf(" %8.2f\n", best / gbs[BY_HAND]);
}

int bench_io(const struct options *options)
{
	static const struct target targets[] = {
		{"heap to file", NULL, false},
		{"file to heap", NULL, true},
		{"heap to /dev/null", "/dev/null", false},
	};
	static const size_t sizes[] = {4096, 65536, 262144, 1048576};
	struct json_object *report = report_new(options, "io");
	struct json_object *list = json_object_new_array();
	bool table = prints_table(options);

	measure_calls(options, table, report);
	if (table)
		puts("Throughput, GB/s (median; -: not to be had), and the best of the heap's ways "
		     "over that by hand\n\n"
		     "                              direct     staged registered    by hand    "
		     "gain");
	for (unsigned i = 0; i < sizeof(targets) / sizeof(targets[0]); i++)
		for (unsigned j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++)
			measure_target(options, &targets[i], sizes[j], table, list);
	json_object_object_add(report, "throughput", list);
	report_write(options, report);
	return EXIT_SUCCESS;
}
