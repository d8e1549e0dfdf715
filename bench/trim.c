/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench trim: what it takes to give 512 MiB of empty chunks back to the file system, against
 * the bare calls of fallocate() that punch the same holes into a file of the same kind: allocated,
 * mapped and stored to in the same way, with something behind the hole.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <daxheap.h>

#include "bench.h"

#define MIB		(UINT64_C(1) << 20)
#define HOLE		(512 * MIB)
#define CALL		(256 * MIB)	/* as the heap does it */
#define TIME_LIMIT_MS	60000u
#define GOAL		1.1

static void must(int err)
{
	if (err)
		die("daxheap: %s", daxheap_errormsg());
}

/* ns */
static double time_trim(struct daxheap *heap)
{
	void *hole, *behind;
	uint64_t begin, freed;

	must(daxheap_alloc(heap, HOLE, &hole));
	memset(hole, 1, HOLE);
	must(daxheap_alloc(heap, 2 * MIB, &behind));
	/* What was allocated ahead of use is not to be counted. */
	must(daxheap_trim(heap, 0, TIME_LIMIT_MS, NULL));
	must(daxheap_cancel(heap, hole));
	begin = now_ns();
	must(daxheap_trim(heap, 0, TIME_LIMIT_MS, &freed));
	begin = now_ns() - begin;
	if (freed != HOLE)
		die("%llu bytes were given back", (unsigned long long)freed);
	must(daxheap_cancel(heap, behind));
	return (double)begin;
}

static double time_bare(int fd, char *mapped)
{
	uint64_t begin;

	if (fallocate(fd, 0, 0, (off_t)(HOLE + 2 * MIB)))
		die("fallocate: %s", strerror(errno));
	memset(mapped, 1, HOLE);
	begin = now_ns();
	for (uint64_t at = 0; at < HOLE; at += CALL)
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
			      (off_t)CALL))
			die("no holes can be punched: %s", strerror(errno));
	return (double)(now_ns() - begin);
}

static char *map_file(int fd)
{
	char *mapped;

	if (fd < 0 || ftruncate(fd, (off_t)(HOLE + 2 * MIB)))
		die("no file: %s", strerror(errno));
	mapped = mmap(NULL, HOLE + 2 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mapped == MAP_FAILED)
		die("no mapping: %s", strerror(errno));
	return mapped;
}

static void write_report(const struct options *options, double heap, double bare)
{
	struct json_object *report = report_new(options, "trim");

	report_add_number(report, "bytes", (double)HOLE);
	report_add_number(report, "trim_ns", heap);
	report_add_number(report, "fallocate_ns", bare);
	report_add_number(report, "ratio", heap / bare);
	report_write(options, report);
}

int bench_trim(const struct options *options)
{
	char *pool_path = temporary_path(options->dir, "trim-pool");
	char *file_path = temporary_path(options->dir, "trim-file");
	double *heap_times = calloc(options->rounds, sizeof(double));
	double *bare_times = calloc(options->rounds, sizeof(double)), heap_ns, bare_ns;
	int fd = open(file_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	char *mapped = map_file(fd);
	struct daxheap *heap;

	if (!heap_times || !bare_times)
		die("out of memory");
	must(daxheap_create(pool_path, 2 * HOLE, 0, &heap));
	for (unsigned i = 0; i < options->rounds; i++) {
		heap_times[i] = time_trim(heap);
		bare_times[i] = time_bare(fd, mapped);
	}
	heap_ns = median(heap_times, options->rounds);
	bare_ns = median(bare_times, options->rounds);
	if (prints_table(options))
		printf("512 MiB of empty chunks, median of %u\n\n"
		       "daxheap_trim      %9.3f ms\nbare fallocate    %9.3f ms\n"
		       "ratio             %9.3f      at most %.2f: %s\n", options->rounds,
		       heap_ns / 1e6, bare_ns / 1e6, heap_ns / bare_ns, GOAL,
		       verdict(heap_ns / bare_ns, GOAL));
	write_report(options, heap_ns, bare_ns);
	daxheap_close(heap);
	munmap(mapped, HOLE + 2 * MIB);
	close(fd);
	unlink(pool_path);
	unlink(file_path);
	free(pool_path);
	free(file_path);
	free(heap_times);
	free(bare_times);
	return EXIT_SUCCESS;
}
