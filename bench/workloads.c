/* SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "workload.h"

#define BLOCK_SIZE	64u

/* Blocks are written to, as any user of theirs would. */
static void *alloc_written(const struct job *job, size_t size)
{
	void *block = job->peer->alloc(job->pool, size);

	if (!block)
		die("%s: out of memory", job->peer->name);
	*(volatile char *)block = 1;
	return block;
}

static void *zeroed(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory)
		die("out of memory");
	return memory;
}

static unsigned first_slot(unsigned thread)
{
	return thread * SLOTS_PER_THREAD;
}

/* The floor. */

static bool can_persist_lines(const struct peer *peer)
{
	return peer->persist_lines;
}

static void run_lines(struct job *job, unsigned thread)
{
	unsigned count = job->workload->parameter;

	for (unsigned i = 0; i < job->workload->pairs; i++)
		job->peer->persist_lines(job->pool, thread, i * count % PERSIST_LINES, count);
}

static void run_same_line(struct job *job, unsigned thread)
{
	for (unsigned i = 0; i < job->workload->pairs; i++)
		job->peer->persist_lines(job->pool, thread, 0, 1);
}

/* Volatile: threadtest allocates many blocks, then frees them in the same order. */

static bool can_alloc(const struct peer *peer)
{
	return peer->alloc;
}

static void prepare_threadtest(struct job *job, unsigned thread)
{
	job->workers[thread].blocks = zeroed(job->workload->pairs, sizeof(void *));
}

static void run_threadtest(struct job *job, unsigned thread)
{
	void **blocks = job->workers[thread].blocks;
	unsigned pairs = job->workload->pairs;

	for (unsigned i = 0; i < pairs; i++)
		blocks[i] = alloc_written(job, BLOCK_SIZE);
	for (unsigned i = 0; i < pairs; i++)
		job->peer->free(job->pool, blocks[i]);
}

static void finish_threadtest(struct job *job, unsigned thread)
{
	free(job->workers[thread].blocks);
}

/*
 * Larson and shbench replace random blocks by others of random size.  Larson's are handed to
 * the next thread after each round, so that it frees what another allocated.
 */

#define SIZES		4096u

static size_t next_size(struct worker *worker)
{
	return worker->sizes[random_below(&worker->random, SIZES)];
}

static void prepare_replace(struct job *job, unsigned thread)
{
	struct worker *worker = &job->workers[thread];

	worker->blocks = zeroed(job->workload->parameter, sizeof(void *));
	for (unsigned i = 0; i < job->workload->parameter; i++)
		worker->blocks[i] = alloc_written(job, next_size(worker));
}

/* 64 to 512 bytes, each as likely. */
static void prepare_larson(struct job *job, unsigned thread)
{
	struct worker *worker = &job->workers[thread];

	worker->sizes = zeroed(SIZES, sizeof(*worker->sizes));
	for (unsigned i = 0; i < SIZES; i++)
		worker->sizes[i] = (uint16_t)(64 + random_below(&worker->random, 449));
	prepare_replace(job, thread);
}

/* 8 bytes to 64 KiB less one, each doubling as likely. */
static void prepare_shbench(struct job *job, unsigned thread)
{
	struct worker *worker = &job->workers[thread];

	worker->sizes = zeroed(SIZES, sizeof(*worker->sizes));
	for (unsigned i = 0; i < SIZES; i++)
		worker->sizes[i] = (uint16_t)exp2(3 + random_below(&worker->random, 13000) / 1e3);
	prepare_replace(job, thread);
}

static void replace_random(struct job *job, struct worker *worker, void **blocks)
{
	for (unsigned i = 0; i < job->workload->pairs; i++) {
		void **block = &blocks[random_below(&worker->random, job->workload->parameter)];

		job->peer->free(job->pool, *block);
		*block = alloc_written(job, next_size(worker));
	}
}

static void run_larson(struct job *job, unsigned thread)
{
	replace_random(job, &job->workers[thread],
		       job->workers[(thread + job->round) % job->threads].blocks);
}

static void run_shbench(struct job *job, unsigned thread)
{
	replace_random(job, &job->workers[thread], job->workers[thread].blocks);
}

static void finish_replace(struct job *job, unsigned thread)
{
	struct worker *worker = &job->workers[thread];

	for (unsigned i = 0; i < job->workload->parameter; i++)
		job->peer->free(job->pool, worker->blocks[i]);
	free(worker->blocks);
	free(worker->sizes);
}

/* One thread allocates, the next frees; batches keep the cost of the hand-over small. */

static void prepare_produce(struct job *job, unsigned thread)
{
	struct worker *worker = &job->workers[thread];

	worker->ring = aligned_alloc(alignof(struct ring), sizeof(struct ring));
	if (!worker->ring)
		die("out of memory");
	memset(worker->ring, 0, sizeof(struct ring));
}

static void run_producer(struct job *job, struct ring *ring)
{
	for (unsigned batch = 0; batch < job->workload->pairs / RING_BATCH; batch++) {
		unsigned at = atomic_load_explicit(&ring->filled, memory_order_relaxed);

		while (at - atomic_load_explicit(&ring->emptied, memory_order_acquire) ==
		       RING_BATCHES)
			__builtin_ia32_pause();
		for (unsigned i = 0; i < RING_BATCH; i++)
			ring->batches[at % RING_BATCHES][i] = alloc_written(job, BLOCK_SIZE);
		atomic_store_explicit(&ring->filled, at + 1, memory_order_release);
	}
}

static void run_consumer(struct job *job, struct ring *ring)
{
	for (unsigned batch = 0; batch < job->workload->pairs / RING_BATCH; batch++) {
		unsigned at = atomic_load_explicit(&ring->emptied, memory_order_relaxed);

		while (at == atomic_load_explicit(&ring->filled, memory_order_acquire))
			__builtin_ia32_pause();
		for (unsigned i = 0; i < RING_BATCH; i++)
			job->peer->free(job->pool, ring->batches[at % RING_BATCHES][i]);
		atomic_store_explicit(&ring->emptied, at + 1, memory_order_release);
	}
}

static void run_produce(struct job *job, unsigned thread)
{
	if (thread % 2)
		run_consumer(job, job->workers[thread - 1].ring);
	else
		run_producer(job, job->workers[thread].ring);
}

static void finish_produce(struct job *job, unsigned thread)
{
	free(job->workers[thread].ring);
}

/* Durable: the slots are gone through again and again, so that the oldest block goes. */

#define LIVE	1024u

static bool can_publish(const struct peer *peer)
{
	return peer->publish;
}

static void prepare_publish(struct job *job, unsigned thread)
{
	for (unsigned i = 0; i < LIVE; i++)
		job->peer->publish(job->pool, first_slot(thread) + i, BLOCK_SIZE, false);
	job->workers[thread].head = LIVE;
}

static void republish(struct job *job, unsigned thread, bool content)
{
	struct worker *worker = &job->workers[thread];

	for (unsigned i = 0; i < job->workload->pairs; i++, worker->head++) {
		unsigned slot = first_slot(thread) + worker->head % LIVE;

		job->peer->unpublish(job->pool, slot);
		job->peer->publish(job->pool, slot, BLOCK_SIZE, content);
	}
}

static void run_publish(struct job *job, unsigned thread)
{
	republish(job, thread, false);
}

static void run_publish_content(struct job *job, unsigned thread)
{
	republish(job, thread, true);
}

static void finish_publish(struct job *job, unsigned thread)
{
	for (unsigned i = 0; i < LIVE; i++)
		job->peer->unpublish(job->pool, first_slot(thread) + i);
}

/* In an action each slot appears once, so the live ones move through a ring of more. */

#define ACTION_SLOTS	(4 * LIVE)

static bool can_act(const struct peer *peer)
{
	return peer->action;
}

static struct slots action_slots(const struct job *job, unsigned thread, unsigned age)
{
	unsigned slot = (job->workers[thread].head - age) % ACTION_SLOTS;

	return (struct slots){first_slot(thread) + slot, job->workload->parameter};
}

static void run_action(struct job *job, unsigned thread)
{
	unsigned *head = &job->workers[thread].head, n = job->workload->parameter;

	for (unsigned i = 0; i < job->workload->pairs; i += n, *head += n)
		job->peer->action(job->pool, thread, action_slots(job, thread, 0),
				  action_slots(job, thread, LIVE), BLOCK_SIZE);
}

static void finish_action(struct job *job, unsigned thread)
{
	const struct slots none = {0, 0};
	unsigned n = job->workload->parameter;

	for (unsigned age = LIVE; age > 0; age -= n)
		job->peer->action(job->pool, thread, none, action_slots(job, thread, age),
				  BLOCK_SIZE);
}

/* Random slots change between empty and published; half are live. */

#define RANDOM_SLOTS	65536u

static void prepare_random(struct job *job, unsigned thread)
{
	struct worker *worker = &job->workers[thread];

	worker->live = zeroed(RANDOM_SLOTS, sizeof(bool));
	for (unsigned i = 0; i < RANDOM_SLOTS; i++) {
		worker->live[i] = next_random(&worker->random) >> 63;
		if (worker->live[i])
			job->peer->publish(job->pool, first_slot(thread) + i, BLOCK_SIZE, false);
	}
}

static void run_random(struct job *job, unsigned thread)
{
	struct worker *worker = &job->workers[thread];

	for (unsigned i = 0; i < 2 * job->workload->pairs; i++) {
		unsigned slot = random_below(&worker->random, RANDOM_SLOTS);

		if (worker->live[slot])
			job->peer->unpublish(job->pool, first_slot(thread) + slot);
		else
			job->peer->publish(job->pool, first_slot(thread) + slot, BLOCK_SIZE, false);
		worker->live[slot] = !worker->live[slot];
	}
}

static void finish_random(struct job *job, unsigned thread)
{
	struct worker *worker = &job->workers[thread];

	for (unsigned i = 0; i < RANDOM_SLOTS; i++)
		if (worker->live[i])
			job->peer->unpublish(job->pool, first_slot(thread) + i);
	free(worker->live);
}

/* Many blocks become reachable by one action, and are freed by another. */
static void run_bulk(struct job *job, unsigned thread)
{
	struct slots all = {first_slot(thread), job->workload->pairs}, none = {0, 0};

	job->peer->action(job->pool, thread, all, none, BLOCK_SIZE);
	job->peer->action(job->pool, thread, none, all, BLOCK_SIZE);
}

#define LINES(N, PAIRS)									\
	{									\
		.name = "lines-" #N, .what = "lines flushed, then one fence: " #N,	\
		.pairs = PAIRS, .parameter = N, .can = can_persist_lines, .run = run_lines, \
	}

/* Rounds are short, so that most of them pass without another process on the CPU. */
const struct workload workloads[] = {
	LINES(1, 5000),
	LINES(2, 5000),
	LINES(4, 5000),
	LINES(8, 5000),
	LINES(16, 4000),
	{"same-line", "the same line again: flushed, fence", 5000, 0, false,
	 can_persist_lines, NULL, run_same_line, NULL},
	{"threadtest", "64 B allocated, and freed after 100,000 others", 100000, 0, false,
	 can_alloc, prepare_threadtest, run_threadtest, finish_threadtest},
	{"larson", "one of 5000 blocks of 64 to 512 B freed, another allocated; blocks change "
	 "threads", 20000, 5000, false,
	 can_alloc, prepare_larson, run_larson, finish_replace},
	{"producer", "64 B allocated by one thread, freed by another", 12800, 0, true,
	 can_alloc, prepare_produce, run_produce, finish_produce},
	{"shbench", "one of 1000 blocks of 8 B to 64 KiB freed, another allocated", 20000, 1000,
	 false,
	 can_alloc, prepare_shbench, run_shbench, finish_replace},
	{"publish", "the oldest of 1024 blocks of 64 B freed, another published into its slot",
	 2000, 0, false,
	 can_publish, prepare_publish, run_publish, finish_publish},
	{"publish-content", "the same, 64 B set and made durable before", 2000, 0, false,
	 can_publish, prepare_publish, run_publish_content, finish_publish},
	{"publish-random", "64 B published into, and freed from, a random one of 65,536 slots",
	 2000, 0, false,
	 can_publish, prepare_random, run_random, finish_random},
	{"action", "1/16 of an action of 16 publishes and 16 frees of 64 B", 8192, 16, false,
	 can_act, prepare_publish, run_action, finish_action},
	{"bulk", "1/100,000 of an action that publishes as many, and one that frees them", 100000,
	 0, false,
	 can_act, NULL, run_bulk, NULL},
	{.name = NULL},
};
