/* SPDX-License-Identifier: BSD-3-Clause */
/* What is measured: the workloads, and the state of a peer at work on one. */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench.h"
#include "peer.h"

struct job;

struct workload {
	const char *name;
	const char *what;	/* one pair of operations */
	unsigned pairs;		/* of a thread in a round */
	unsigned parameter;	/* what it means is up to run */
	bool across;		/* two threads do a pair together */

	bool (*can)(const struct peer *peer);
	/* Called in each thread: before the first round, in each, and after the last.  The
	 * outer ones may be NULL. */
	void (*prepare)(struct job *job, unsigned thread);
	void (*run)(struct job *job, unsigned thread);
	void (*finish)(struct job *job, unsigned thread);
};

/* Ends with one without a name. */
extern const struct workload workloads[];

/* Blocks on their way from one thread to another. */
#define RING_BATCHES	16u
#define RING_BATCH	64u

struct ring {
	alignas(128) atomic_uint filled;
	alignas(128) atomic_uint emptied;
	alignas(128) void *batches[RING_BATCHES][RING_BATCH];
};

/* What a thread knows from one round to the next. */
struct worker {
	alignas(128) uint64_t random;
	unsigned head;		/* of the FIFO of slots */
	void **blocks;
	bool *live;		/* slots */
	uint16_t *sizes;	/* drawn before, so that drawing them costs little */
	struct ring *ring;	/* to the next thread */
};

struct job {
	const struct workload *workload;
	const struct peer *peer;
	struct pool *pool;
	unsigned threads;
	unsigned round;
	struct worker workers[MAX_THREADS];
};

#endif
