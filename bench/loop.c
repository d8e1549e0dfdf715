/* SPDX-License-Identifier: BSD-3-Clause */
/* daxbench loop: operations of daxheap alone, many of a kind, for profilers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "peer.h"

#define POOL_SIZE	(UINT64_C(1) << 30)
#define BLOCK_SIZE	64u

static void report_phase(struct pool *pool, const char *what, unsigned n, struct counters *before)
{
	struct counters now = daxheap_peer.counters(pool);

	printf("%s: %.3f fences, %.3f flushed lines\n", what,
	       (double)(now.fences - before->fences) / n,
	       (double)(now.flushed_lines - before->flushed_lines) / n);
	*before = now;
}

static void loop_publish(struct pool *pool, unsigned n)
{
	struct counters before = daxheap_peer.counters(pool);

	for (unsigned i = 0; i < n; i++)
		daxheap_peer.publish(pool, i, BLOCK_SIZE, false);
	report_phase(pool, "publish", n, &before);
	for (unsigned i = 0; i < n; i++)
		daxheap_peer.unpublish(pool, i);
	report_phase(pool, "free", n, &before);
}

static void loop_reserve(struct pool *pool, unsigned n)
{
	struct counters before = daxheap_peer.counters(pool);
	void **blocks = calloc(n, sizeof(*blocks));

	if (!blocks)
		die("out of memory");
	for (unsigned i = 0; i < n; i++)
		blocks[i] = daxheap_peer.alloc(pool, BLOCK_SIZE);
	report_phase(pool, "reserve", n, &before);
	for (unsigned i = 0; i < n; i++)
		daxheap_peer.free(pool, blocks[i]);
	report_phase(pool, "cancel", n, &before);
	free(blocks);
}

int bench_loop(const struct options *options, const char *what, unsigned n)
{
	char *path = temporary_path(options->dir, daxheap_peer.name);
	struct pool *pool = daxheap_peer.create(&daxheap_peer, path, POOL_SIZE, n);

	unlink(path);
	free(path);
	if (!strcmp(what, "publish"))
		loop_publish(pool, n);
	else
		loop_reserve(pool, n);
	daxheap_peer.close(pool);
	return EXIT_SUCCESS;
}
