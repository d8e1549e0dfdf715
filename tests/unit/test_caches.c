/* SPDX-License-Identifier: BSD-3-Clause */
/* What threads keep for themselves: none of it is lost when they go, wherever blocks go. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"
#include "tree.h"

TestSuite(caches, .fini = pool_cleanup, .timeout = 120);

struct job {
	struct daxheap *heap;
	daxheap_ref *slots;
	void **blocks;
	unsigned count;
	uint64_t random;
	int failed;
};

static void run_thread(void *(*work)(void *), struct job *job)
{
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, work, job), 0);
	pthread_join(thread, NULL);
	cr_assert_eq(job->failed, 0, "%d", job->failed);
}

static void note(struct job *job, int err)
{
	if (err && !job->failed)
		job->failed = err;
}

/* A few blocks of some sizes, published and freed, reserved and given back. */
static void *come_and_go(void *arg)
{
	struct job *job = arg;

	for (unsigned i = 0; i < 20; i++) {
		size_t size = 1 + tree_random(&job->random) % (i % 5 ? 2000 : 60000);
		void *kept, *block;

		note(job, daxheap_alloc(job->heap, size, &kept));
		note(job, daxheap_alloc(job->heap, size, &block));
		note(job, daxheap_publish(job->heap, job->slots, block));
		note(job, daxheap_free(job->heap, job->slots));
		note(job, daxheap_cancel(job->heap, kept));
	}
	return NULL;
}

/* Far more threads than caches, spans or units: each takes what those before it left. */
Test(caches, a_thousand_short_lived_threads)
{
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	struct job job = {.heap = heap, .slots = pool_root(heap, "r"), .random = test_seed()};
	void *block;

	for (unsigned i = 0; i < 1000; i++)
		run_thread(come_and_go, &job);
	cr_assert_eq(pool_stats(heap).reserved_blocks, 0);
	cr_assert_eq(pool_census(heap).blocks, 0);
	/* All of it, in one piece. */
	must(daxheap_alloc(heap, 14 * MiB, &block));
	daxheap_close(heap);
}

static void *reserve(void *arg)
{
	struct job *job = arg;

	for (unsigned i = 0; i < job->count; i++)
		note(job, daxheap_alloc(job->heap, 1 + tree_random(&job->random) % 5000,
					&job->blocks[i]));
	return NULL;
}

static void *publish(void *arg)
{
	struct job *job = arg;

	for (unsigned i = 0; i < job->count; i++)
		note(job, daxheap_publish(job->heap, &job->slots[i], job->blocks[i]));
	return NULL;
}

static void *free_all(void *arg)
{
	struct job *job = arg;

	for (unsigned i = 0; i < job->count; i++)
		note(job, daxheap_free(job->heap, &job->slots[i]));
	return NULL;
}

static void *cancel_all(void *arg)
{
	struct job *job = arg;

	for (unsigned i = 0; i < job->count; i++)
		note(job, daxheap_cancel(job->heap, job->blocks[i]));
	return NULL;
}

/* Each step on a thread of its own, which is gone before the next. */
Test(caches, blocks_outlive_their_threads)
{
	enum { COUNT = 500 };
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	void *blocks[COUNT], *block;
	struct job job = {.heap = heap, .blocks = blocks, .count = COUNT, .random = test_seed(),
			  .slots = pool_publish(heap, pool_root(heap, "r"), COUNT * 8, 0)};

	for (unsigned round = 0; round < 30; round++) {
		run_thread(reserve, &job);
		cr_assert_eq(pool_stats(heap).reserved_blocks, COUNT, "exit cancels nothing");
		if (round % 3) {
			run_thread(publish, &job);
			cr_assert_eq(pool_census(heap).blocks, COUNT + 1);
			run_thread(free_all, &job);
		} else {
			run_thread(cancel_all, &job);
		}
		cr_assert_eq(pool_stats(heap).reserved_blocks, 0);
		cr_assert_eq(pool_census(heap).blocks, 1);
	}
	must(daxheap_free(heap, pool_root(heap, "r")));
	must(daxheap_alloc(heap, 14 * MiB, &block));
	daxheap_close(heap);
}

/* --- a queue from makers to takers --- */

enum { QUEUE = 64, PASSED = 20000 };

struct queue {
	struct daxheap *heap;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	void *blocks[QUEUE];
	unsigned in, out;
	int failed;
};

static void *make(void *arg)
{
	struct queue *queue = arg;

	for (unsigned i = 0; i < PASSED; i++) {
		uint64_t *block;
		int err = daxheap_alloc(queue->heap, 64 + i % 400, (void **)&block);

		if (!err)
			block[0] = i;
		pthread_mutex_lock(&queue->lock);
		queue->failed |= err;
		while (queue->in - queue->out == QUEUE)
			pthread_cond_wait(&queue->changed, &queue->lock);
		queue->blocks[queue->in++ % QUEUE] = err ? NULL : block;
		pthread_cond_signal(&queue->changed);
		pthread_mutex_unlock(&queue->lock);
	}
	return NULL;
}

static void *take(void *arg)
{
	struct queue *queue = arg;

	for (unsigned i = 0; i < PASSED; i++) {
		uint64_t *block;

		pthread_mutex_lock(&queue->lock);
		while (queue->in == queue->out)
			pthread_cond_wait(&queue->changed, &queue->lock);
		block = queue->blocks[queue->out++ % QUEUE];
		pthread_cond_signal(&queue->changed);
		pthread_mutex_unlock(&queue->lock);
		if (!block || block[0] != i || daxheap_cancel(queue->heap, block)) {
			pthread_mutex_lock(&queue->lock);
			queue->failed |= 1;
			pthread_mutex_unlock(&queue->lock);
		}
	}
	return NULL;
}

/* One thread reserves all, another gives all back: it must go back to the first. */
Test(caches, made_here_and_cancelled_there)
{
	struct queue queue = {.heap = pool_create("pool", POOL_SIZE),
			      .lock = PTHREAD_MUTEX_INITIALIZER,
			      .changed = PTHREAD_COND_INITIALIZER};
	struct daxheap_stats stats;
	pthread_t maker, taker;

	/* One pair of each: in - out is one maker's and one taker's. */
	for (unsigned round = 0; round < 3; round++) {
		queue.in = queue.out = 0;
		pthread_create(&maker, NULL, make, &queue);
		pthread_create(&taker, NULL, take, &queue);
		pthread_join(maker, NULL);
		pthread_join(taker, NULL);
		cr_assert_eq(queue.failed, 0);
		stats = pool_stats(queue.heap);
		cr_assert_eq(stats.reserved_blocks, 0);
		/* 64 blocks of at most 512 bytes at a time, in seven classes or so. */
		cr_assert_leq(stats.span_bytes, 3 * MiB);
	}
	daxheap_close(queue.heap);
}

/* --- many heaps --- */

enum { HEAPS = 24 };

struct tour {
	struct daxheap **heaps;
	daxheap_ref **roots;		/* this thread's, one in each heap */
	uint64_t random;
	int failed;
};

static void *visit_all(void *arg)
{
	struct tour *tour = arg;

	for (unsigned i = 0; i < 2000 && !tour->failed; i++) {
		unsigned h = (unsigned)(tree_random(&tour->random) % HEAPS);
		struct daxheap *heap = tour->heaps[h];
		void *block;

		if (*tour->roots[h]) {
			tour->failed = daxheap_free(heap, tour->roots[h]);
			continue;
		}
		tour->failed = daxheap_alloc(heap, 1 + tree_random(&tour->random) % 3000, &block);
		if (!tour->failed)
			tour->failed = daxheap_publish(heap, tour->roots[h], block);
	}
	return NULL;
}

Test(caches, many_heaps_at_once)
{
	enum { THREADS = 4 };
	struct daxheap *heaps[HEAPS];
	daxheap_ref *roots[THREADS][HEAPS];
	struct tour tours[THREADS];
	pthread_t threads[THREADS];
	char name[16];

	for (unsigned h = 0; h < HEAPS; h++) {
		snprintf(name, sizeof(name), "pool%u", h);
		heaps[h] = pool_create(name, POOL_SIZE);
	}
	for (unsigned t = 0; t < THREADS; t++) {
		for (unsigned h = 0; h < HEAPS; h++) {
			snprintf(name, sizeof(name), "root%u", t);
			roots[t][h] = pool_root(heaps[h], name);
		}
		tours[t] = (struct tour){heaps, roots[t], t + 1, 0};
		pthread_create(&threads[t], NULL, visit_all, &tours[t]);
	}
	for (unsigned t = 0; t < THREADS; t++) {
		pthread_join(threads[t], NULL);
		cr_assert_eq(tours[t].failed, 0);
	}
	for (unsigned h = 0; h < HEAPS; h++) {
		uint64_t live = 0;

		for (unsigned t = 0; t < THREADS; t++)
			live += *roots[t][h] != 0;
		cr_assert_eq(pool_census(heaps[h]).blocks, live);
		daxheap_close(heaps[h]);
	}
}

/* A heap opened where another was, and threads that knew the other. */
struct visitor {
	pthread_barrier_t *barrier;
	struct daxheap **heap;
	int failed;
};

static void *visit_each(void *arg)
{
	struct visitor *visitor = arg;

	for (unsigned i = 0; i < 50; i++) {
		void *block, *other;

		pthread_barrier_wait(visitor->barrier);
		for (unsigned k = 0; k < 10 && !visitor->failed; k++) {
			visitor->failed = daxheap_alloc(*visitor->heap, 100, &block);
			if (!visitor->failed)
				visitor->failed = daxheap_alloc(*visitor->heap, 100, &other);
			if (!visitor->failed)
				visitor->failed = daxheap_cancel(*visitor->heap, block);
		}
		pthread_barrier_wait(visitor->barrier);
	}
	return NULL;
}

Test(caches, heaps_come_and_go_below_living_threads)
{
	struct daxheap *heap = NULL;
	struct visitor visitors[2];
	pthread_barrier_t barrier;
	pthread_t threads[2];

	pthread_barrier_init(&barrier, NULL, 3);
	for (unsigned t = 0; t < 2; t++) {
		visitors[t] = (struct visitor){&barrier, &heap, 0};
		pthread_create(&threads[t], NULL, visit_each, &visitors[t]);
	}
	for (unsigned i = 0; i < 50; i++) {
		heap = i ? pool_open("pool", 0) : pool_create("pool", POOL_SIZE);
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		cr_assert_eq(pool_stats(heap).reserved_blocks, 20);
		daxheap_close(heap);
	}
	for (unsigned t = 0; t < 2; t++) {
		pthread_join(threads[t], NULL);
		cr_assert_eq(visitors[t].failed, 0);
	}
	pthread_barrier_destroy(&barrier);
	heap = pool_open("pool", 0);
	cr_assert_eq(pool_stats(heap).reserved_blocks, 0);
	daxheap_close(heap);
}

/* --- more threads than lanes --- */

static void *own_slots(void *arg)
{
	struct job *job = arg;

	for (unsigned i = 0; i < 300; i++) {
		void *block;

		if (*job->slots) {
			note(job, daxheap_free(job->heap, job->slots));
			continue;
		}
		note(job, daxheap_alloc(job->heap, 64, &block));
		note(job, daxheap_publish(job->heap, job->slots, block));
	}
	return NULL;
}

static void crowd(unsigned lanes, unsigned ring, unsigned threads)
{
	struct daxheap *heap = pool_create_small("pool", 16 * MiB, lanes, ring), *copy;
	daxheap_ref *slots = pool_publish(heap, pool_root(heap, "r"), threads * 8, 0);
	struct job *jobs = calloc(threads, sizeof(*jobs));
	pthread_t *ids = calloc(threads, sizeof(*ids));
	uint64_t live = 1;

	for (unsigned t = 0; t < threads; t++) {
		jobs[t] = (struct job){.heap = heap, .slots = &slots[t]};
		cr_assert_eq(pthread_create(&ids[t], NULL, own_slots, &jobs[t]), 0);
	}
	for (unsigned t = 0; t < threads; t++) {
		pthread_join(ids[t], NULL);
		cr_assert_eq(jobs[t].failed, 0, "%d", jobs[t].failed);
		live += slots[t] != 0;
	}
	cr_assert_eq(pool_census(heap).blocks, live);
	pool_copy("pool", "copy");
	copy = pool_open("copy", 0);
	cr_assert_eq(pool_census(copy).blocks, live);
	daxheap_close(copy);
	daxheap_close(heap);
	free(jobs);
	free(ids);
	cr_assert_eq(remove(pool_path("pool")), 0);
}

Test(caches, more_threads_than_lanes)
{
	crowd(2, 8, 2);
	crowd(2, 8, 20);
	crowd(4, 16, 100);
	crowd(DH_LANES_MAX, DH_RING_MAX, 70);
}

/* A thread that goes leaves its lane to others, with what is in it. */
Test(caches, lanes_are_handed_on)
{
	struct daxheap *heap = pool_create_small("pool", POOL_SIZE, 4, 8), *copy;
	daxheap_ref *slots = pool_publish(heap, pool_root(heap, "r"), 200 * 8, 0);

	for (unsigned t = 0; t < 200; t++) {
		struct job job = {.heap = heap, .slots = &slots[t], .count = 1};
		void *block = pool_block(heap, 64, 1);

		job.blocks = &block;
		run_thread(publish, &job);
		if (t % 3 == 2) {
			job.slots = &slots[t - 1];
			run_thread(free_all, &job);
		}
	}
	pool_copy("pool", "copy");
	copy = pool_open("copy", 0);
	cr_assert_eq(pool_census(copy).blocks, 1 + 200 - 66);
	daxheap_close(copy);
	daxheap_close(heap);
}

static void *cancel_one(void *arg)
{
	struct job *job = arg;

	note(job, daxheap_cancel(job->heap, job->blocks[0]));
	return NULL;
}

/* The owner of a span does not yet know what others gave back there. */
Test(caches, cancelled_by_another_and_again_by_the_owner)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	struct job job = {.heap = heap};
	void *block;

	must(daxheap_alloc(heap, 64, &block));
	job.blocks = &block;
	run_thread(cancel_one, &job);
	cr_assert_eq(daxheap_cancel(heap, block), -EINVAL);
	cr_assert_eq(pool_stats(heap).reserved_blocks, 0);
	daxheap_close(heap);
}

/* More full spans than a refill looks at, and a block that another thread freed in any of them. */
Test(caches, freed_by_another_in_any_full_span)
{
	enum { BLOCKS = 4096 };
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	void **blocks = calloc(BLOCKS, sizeof(*blocks)), *block;
	struct job job = {.heap = heap};
	unsigned count = 0;

	while (count < BLOCKS && !daxheap_alloc(heap, 8192, &blocks[count]))
		count++;
	cr_assert_lt(count, BLOCKS);
	for (unsigned i = 0; i < count; i += 7) {
		job.blocks = &blocks[i];
		run_thread(cancel_one, &job);
		must(daxheap_alloc(heap, 8192, &block));
		cr_assert_eq(block, blocks[i]);
	}
	daxheap_close(heap);
	free(blocks);
}
