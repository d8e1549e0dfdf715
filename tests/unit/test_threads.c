/* SPDX-License-Identifier: BSD-3-Clause */
/* Many threads on one heap, on slots of their own and on shared ones. */
#include <pthread.h>
#include <stdio.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "heap.h"
#include "lock.h"
#include "pool.h"
#include "tree.h"

TestSuite(threads, .fini = pool_cleanup);

#define SLOTS	64u
#define MARK	UINT64_C(0x0dedbeef00000000)

struct worker {
	pthread_t thread;
	struct daxheap *heap;
	daxheap_ref *slots;
	unsigned first, count;		/* the slots that it works on */
	unsigned steps;
	uint64_t random;
	atomic_uint *lost;		/* races lost, NULL where none can be */
	int failed;			/* an errno that should not be */
};

static void *new_block(struct worker *worker, size_t *size)
{
	uint64_t *block;

	*size = 16 + tree_random(&worker->random) % 3000;
	if (daxheap_alloc(worker->heap, *size, (void **)&block))
		return NULL;
	block[0] = MARK | *size;
	memset(block + 1, (int)*size, *size - 8);
	return daxheap_persist(worker->heap, block, *size) ? NULL : block;
}

/* An error that the loser of a race may get; else the worker failed. */
static void lost(struct worker *worker, int err)
{
	if (worker->lost && (err == -EEXIST || err == -ENOENT || err == -EINVAL))
		atomic_fetch_add(worker->lost, 1);
	else
		worker->failed = err;
}

static void step(struct worker *worker)
{
	daxheap_ref *slot = &worker->slots[worker->first +
					   tree_random(&worker->random) % worker->count];
	uint64_t choice = tree_random(&worker->random) % 3;
	void *block = NULL;
	size_t size;
	int err;

	if (choice) {
		block = new_block(worker, &size);
		if (!block)
			return;
	}
	if (!worker->lost)
		choice = !__atomic_load_n(slot, __ATOMIC_ACQUIRE) ? (block ? 1 : 3) :
								    (block ? 2 : 0);
	if (choice == 3)
		return;
	if (choice == 0)
		err = daxheap_free(worker->heap, slot);
	else if (choice == 1)
		err = daxheap_publish(worker->heap, slot, block);
	else
		err = daxheap_replace(worker->heap, slot, block);
	if (!err)
		return;
	lost(worker, err);
	/* Of a refused block the reservation stays. */
	if (block && daxheap_cancel(worker->heap, block))
		worker->failed = -ENOTRECOVERABLE;
}

static void *work(void *arg)
{
	struct worker *worker = arg;

	for (unsigned i = 0; i < worker->steps && !worker->failed; i++)
		step(worker);
	return NULL;
}

/* Every slot's block is whole and live, and nothing else is. */
static void check(struct daxheap *heap)
{
	const daxheap_ref *slots = daxheap_ptr(heap, *pool_root(heap, "t"));
	uint64_t reached = 1;

	for (unsigned i = 0; i < SLOTS; i++) {
		const uint64_t *block = daxheap_ptr(heap, slots[i]);
		uint64_t size;

		if (!block)
			continue;
		reached++;
		size = block[0] & 0xffffffff;
		cr_assert_eq(block[0], MARK | size);
		cr_assert_geq(daxheap_usable_size(heap, block), (int64_t)size);
		for (uint64_t byte = 8; byte < size; byte++)
			cr_assert_eq(((const unsigned char *)block)[byte],
				     (unsigned char)size);
	}
	cr_assert_eq(pool_census(heap).blocks, reached);
}

static void race(unsigned threads, bool shared, unsigned steps)
{
	struct daxheap *heap = pool_create("pool", 16 * MiB), *copy;
	daxheap_ref *slots = pool_publish(heap, pool_root(heap, "t"), SLOTS * 8, 0);
	struct worker workers[64] = {0};
	atomic_uint races_lost = 0;

	for (unsigned i = 0; i < threads; i++) {
		workers[i] = (struct worker){
			.heap = heap, .slots = slots, .steps = steps, .random = i + 1,
			.first = shared ? 0 : i * (SLOTS / threads),
			.count = shared ? 5 : SLOTS / threads,
			.lost = shared ? &races_lost : NULL,
		};
		cr_assert_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		cr_assert_eq(workers[i].failed, 0, "thread %u: %s", i,
			     strerror(-workers[i].failed));
	}
	check(heap);
	cr_assert_eq(pool_stats(heap).reserved_blocks, 0, "no reservation is lost");
	pool_copy("pool", "copy");
	copy = pool_open("copy", 0);
	check(copy);
	daxheap_close(copy);
	heap = pool_reopen(heap, "pool");
	check(heap);
	daxheap_close(heap);
}

Test(threads, four_on_slots_of_their_own)
{
	race(4, false, 4000);
}

Test(threads, four_on_shared_slots)
{
	race(4, true, 4000);
}

/* Two threads or more in one lane. */
Test(threads, more_than_lanes)
{
	race(40, false, 400);
}

Test(threads, more_than_lanes_on_shared_slots)
{
	race(64, true, 200);
}

struct reader {
	struct daxheap *heap;
	atomic_bool stop;
	int failed;
};

static void *step_through(void *arg)
{
	struct reader *reader = arg;

	while (!atomic_load(&reader->stop)) {
		struct daxheap_block block = {0};
		struct daxheap_stats stats;
		int more;

		while ((more = daxheap_next(reader->heap, &block)) > 0)
			;
		if (!more)
			more = daxheap_get_stats(reader->heap, &stats);
		if (more)
			reader->failed = more;
	}
	return NULL;
}

/* A chunk goes from spans to content and back while another thread steps through. */
Test(threads, iteration_beside_changes_of_format)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	daxheap_ref *root = pool_root(heap, "r");
	struct reader reader = {.heap = heap};
	pthread_t thread;

	pthread_create(&thread, NULL, step_through, &reader);
	for (int i = 0; i < 300; i++) {
		pool_publish(heap, root, 100, 0xff);
		must(daxheap_free(heap, root));
		pool_publish(heap, root, 6 * MiB, 0xff);
		must(daxheap_free(heap, root));
	}
	atomic_store(&reader.stop, true);
	pthread_join(thread, NULL);
	cr_assert_eq(reader.failed, 0, "%d", reader.failed);
	daxheap_close(heap);
}

static void *make_roots(void *arg)
{
	struct worker *worker = arg;

	for (unsigned i = 0; i < 50; i++) {
		char name[16];
		daxheap_ref *slot;

		snprintf(name, sizeof(name), "root %u", i);
		if (daxheap_root(worker->heap, name, &slot))
			worker->failed = 1;
		/* All want to fill it, one does. */
		void *block;

		if (daxheap_alloc(worker->heap, 16, &block) ||
		    (daxheap_publish(worker->heap, slot, block) &&
		     daxheap_cancel(worker->heap, block)))
			worker->failed = 1;
	}
	return NULL;
}

Test(threads, roots_are_made_once)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	struct worker workers[4] = {0};

	for (int i = 0; i < 4; i++) {
		workers[i].heap = heap;
		pthread_create(&workers[i].thread, NULL, make_roots, &workers[i]);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(workers[i].thread, NULL);
		cr_assert_eq(workers[i].failed, 0);
	}
	cr_assert_eq(pool_census(heap).blocks, 50);
	for (unsigned i = 0; i < DH_ROOTS - 50; i++) {
		char name[16];

		snprintf(name, sizeof(name), "more %u", i);
		pool_root(heap, name);
	}
	daxheap_close(heap);
}

struct passer {
	pthread_barrier_t *barrier;
	struct daxheap *heap;
	daxheap_ref *from, *to;
	unsigned won;
};

static void *free_it(void *arg)
{
	struct passer *passer = arg;

	for (int i = 0; i < 500; i++) {
		pthread_barrier_wait(passer->barrier);
		passer->won += !daxheap_free(passer->heap, passer->from);
		pthread_barrier_wait(passer->barrier);
	}
	return NULL;
}

/* One slot, freed by two at once: it is freed once. */
Test(threads, two_free_one_slot)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	daxheap_ref *root = pool_root(heap, "r");
	struct passer passers[2];
	pthread_barrier_t barrier;
	pthread_t threads[2];

	pthread_barrier_init(&barrier, NULL, 3);
	for (int i = 0; i < 2; i++) {
		passers[i] = (struct passer){&barrier, heap, root, NULL, 0};
		pthread_create(&threads[i], NULL, free_it, &passers[i]);
	}
	for (int i = 0; i < 500; i++) {
		pool_publish(heap, root, 64, 1);
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(passers[0].won + passers[1].won, 500);
	cr_assert_eq(pool_census(heap).blocks, 0);
	pthread_barrier_destroy(&barrier);
	daxheap_close(heap);
}

/* The inner library, which all tests link, asserts the order of locks: this is how it fails. */
Test(threads, control_wrong_order_of_locks, .signal = SIGABRT)
{
	struct dh_lock stripe, space;

	dh_lock_init(&stripe, DH_RANK_STRIPE);
	dh_lock_init(&space, DH_RANK_SPACE);
	dh_lock(&stripe);
	dh_lock(&space);
	dh_unlock(&space);
	dh_unlock(&stripe);
	dh_lock(&space);
	dh_lock(&stripe);
}
