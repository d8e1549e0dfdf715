/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench grow: what it costs that the file grows with use.  Blocks are published into a new pool,
 * each call timed by itself; where the file is longer behind one than before it, that call grew it.
 * What it took beyond a call that did not is the price of growing, shared by all of them.  Most of
 * it is the file system's, which has to find the space at some time: the bare fallocate() calls are
 * timed in the same round.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <daxheap.h>

#include "bench.h"

#define POOL_SIZE	(UINT64_C(2) << 30)
#define BLOCK_SIZE	64u
#define BLOCKS		(1u << 20)
#define GOAL		0.01

enum figure {
	PUBLISH_NS,			/* mean of the calls that did not grow the file */
	GROW_NS,			/* for each call, if all share what growing took */
	BARE_NS,			/* the same of fallocate() alone */
	SHARE,				/* of growing, without fallocate(), in all the time */
	FIGURES,
};

static const char *const names[] = {"publish_ns", "grow_ns", "fallocate_ns", "share"};

static void must(int err)
{
	if (err)
		die("daxheap: %s", daxheap_errormsg());
}

static uint64_t file_length(struct daxheap *heap)
{
	struct daxheap_info info;

	must(daxheap_get_info(heap, &info));
	return info.length;
}

static daxheap_ref *make_slots(struct daxheap *heap)
{
	daxheap_ref *root;
	void *slots;

	must(daxheap_root(heap, "slots", &root));
	must(daxheap_calloc(heap, BLOCKS, sizeof(*root), &slots));
	must(daxheap_persist(heap, slots, BLOCKS * sizeof(*root)));
	must(daxheap_publish(heap, root, slots));
	return slots;
}

/* ns of the calls that give a file @length bytes in so many steps */
static uint64_t time_bare(const char *path, uint64_t length, unsigned steps)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	uint64_t step = length / steps, ns = now_ns();

	for (unsigned i = 0; i < steps; i++)
		if (fallocate(fd, 0, (off_t)(i * step), (off_t)step))
			die("%s: %s", path, strerror(errno));
	ns = now_ns() - ns;
	close(fd);
	unlink(path);
	return ns;
}

/* One round; returns the number of steps. */
static unsigned fill(const char *path, double figures[FIGURES])
{
	uint64_t growing_ns = 0, other_ns = 0, begin, length;
	struct daxheap *heap;
	daxheap_ref *slots;
	unsigned steps = 0;
	double bare_ns;

	must(daxheap_create(path, POOL_SIZE, 0, &heap));
	slots = make_slots(heap);
	begin = length = file_length(heap);
	for (unsigned i = 0; i < BLOCKS; i++) {
		uint64_t ns = now_ns(), before = length;
		void *block;

		must(daxheap_alloc(heap, BLOCK_SIZE, &block));
		must(daxheap_publish(heap, &slots[i], block));
		ns = now_ns() - ns;
		length = file_length(heap);
		*(length == before ? &other_ns : &growing_ns) += ns;
		steps += length != before;
	}
	daxheap_close(heap);
	unlink(path);
	if (!steps)
		die("the pool did not grow");
	bare_ns = (double)time_bare(path, length - begin, steps);
	figures[PUBLISH_NS] = (double)other_ns / (BLOCKS - steps);
	figures[GROW_NS] = ((double)growing_ns - steps * figures[PUBLISH_NS]) / BLOCKS;
	figures[BARE_NS] = bare_ns / BLOCKS;
	figures[SHARE] = (figures[GROW_NS] - figures[BARE_NS]) /
			 (figures[PUBLISH_NS] + figures[GROW_NS]);
	return steps;
}

static void print(const double medians[FIGURES], unsigned steps, unsigned rounds)
{
	printf("%u blocks of %u B published into a new pool, which grew %u times; ns for each, "
	       "median of %u\n\n"
	       "publish           %9.1f      without growing; first touches of pages included\n"
	       "growing           %9.1f      shared by all\n"
	       "fallocate alone   %9.1f      the file system's part of growing\n"
	       "the heap's part   %8.2f%%      with the format of new chunks; at most %.0f%%: "
	       "%s\n", BLOCKS, BLOCK_SIZE, steps, rounds, medians[PUBLISH_NS], medians[GROW_NS], medians[BARE_NS],
	       100 * medians[SHARE], 100 * GOAL, verdict(medians[SHARE], GOAL));
}

int bench_grow(const struct options *options)
{
	char *path = temporary_path(options->dir, "grow");
	struct json_object *report = report_new(options, "grow");
	double *rounds[FIGURES], medians[FIGURES];
	unsigned steps = 0;

	for (unsigned i = 0; i < FIGURES; i++) {
		rounds[i] = calloc(options->rounds, sizeof(double));
		if (!rounds[i])
			die("out of memory");
	}
	for (unsigned i = 0; i < options->rounds; i++) {
		double figures[FIGURES];

		steps = fill(path, figures);
		for (unsigned j = 0; j < FIGURES; j++)
			rounds[j][i] = figures[j];
	}
	for (unsigned i = 0; i < FIGURES; i++) {
		medians[i] = median(rounds[i], options->rounds);
		report_add_number(report, names[i], medians[i]);
		free(rounds[i]);
	}
	report_add_number(report, "publishes", BLOCKS);
	report_add_number(report, "steps", steps);
	if (prints_table(options))
		print(medians, steps, options->rounds);
	report_write(options, report);
	free(path);
	return EXIT_SUCCESS;
}
