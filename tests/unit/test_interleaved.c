/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Power cuts while two threads are in the middle of their operations.  A baton goes from one
 * to the other at stores, flushes and fences, so one may be stalled anywhere between its
 * announcement and its last in-place store while the other completes operations and the
 * horizon advances as far as it may.  Deterministic by its seed.
 *
 * Nobody waits for a lock that a stalled thread holds: the two change slots of their own, on
 * pages of their own stripes, with blocks that were reserved while both were idle, and the
 * horizon is asked for no more than it can reach.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "heap.h"
#include "pool.h"
#include "shadow.h"
#include "tree.h"

TestSuite(interleaved, .fini = pool_cleanup, .timeout = 300);

#define ACTORS		2
#define SLOTS		8
#define STOCK		20
#define BLOCK_SIZE	DH_PAGE_SIZE	/* a page of its own, so one stripe */

struct actor {
	pthread_t thread;
	sem_t go;
	bool busy, quit;
	unsigned countdown;		/* events until the baton goes back; 0: at the end */
	uint32_t stripes;		/* that its operation holds */
	/* Its slots: what they hold when all that returned is done. */
	daxheap_ref *slots;
	uint64_t ids[SLOTS];
	/* The operation in flight. */
	unsigned slot;
	uint64_t new_id;
	void *block;
	int err;
};

static struct daxheap *heap;
static struct actor actors[ACTORS];
static __thread struct actor *self;
static sem_t back;
static void *stock[STOCK];
static uint64_t random_state, last_id, operations;

static void *act(void *arg)
{
	struct actor *actor = arg;

	self = actor;
	for (;;) {
		daxheap_ref *slot;

		sem_wait(&actor->go);
		if (actor->quit)
			return NULL;
		slot = &actor->slots[actor->slot];
		if (!actor->new_id)
			actor->err = daxheap_free(heap, slot);
		else if (!actor->ids[actor->slot])
			actor->err = daxheap_publish(heap, slot, actor->block);
		else
			actor->err = daxheap_replace(heap, slot, actor->block);
		actor->countdown = 0;
		actor->busy = false;
		sem_post(&back);
	}
}

/* After each event, in the thread that caused it. */
static void pass_baton(void *arg)
{
	(void)arg;
	if (!self || !self->countdown || --self->countdown)
		return;
	sem_post(&back);
	sem_wait(&self->go);
}

/* Lets the actor run for @events events, or to the end of its operation with 0. */
static void give(struct actor *actor, unsigned events)
{
	actor->countdown = events;
	sem_post(&actor->go);
	sem_wait(&back);
	if (actor->busy)
		return;
	cr_assert_eq(actor->err, 0, "%d", actor->err);
	actor->ids[actor->slot] = actor->new_id;
	operations++;
}

/* --- what an image must hold --- */

static uint64_t id_at(struct daxheap *image, daxheap_ref ref)
{
	const uint64_t *block = daxheap_ptr(image, ref);

	if (!ref)
		return 0;
	cr_assert_eq(daxheap_usable_size(image, block), BLOCK_SIZE, "%s", daxheap_errormsg());
	for (unsigned i = 1; i < 8; i++)
		cr_assert_eq(block[i], block[0], "content of a block");
	return block[0];
}

static void check_image(void *arg)
{
	uint64_t reached = ACTORS;
	struct daxheap *image;

	(void)arg;
	must(daxheap_open(shadow_image_path(), DAXHEAP_READ_ONLY, &image));
	for (unsigned i = 0; i < ACTORS; i++) {
		const struct actor *actor = &actors[i];
		const daxheap_ref *slots = daxheap_ptr(image, *pool_root(image, i ? "b" : "a"));

		for (unsigned slot = 0; slot < SLOTS; slot++) {
			uint64_t id = id_at(image, slots[slot]);

			reached += id != 0;
			if (actor->busy && slot == actor->slot && id == actor->new_id)
				continue;
			cr_assert_eq(id, actor->ids[slot], "actor %u, slot %u: %llu, not %llu",
				     i, slot, (unsigned long long)id,
				     (unsigned long long)actor->ids[slot]);
		}
	}
	cr_assert_eq(pool_census(image).blocks, reached, "leaked or lost");
	daxheap_close(image);
}

/* --- choosing --- */

static uint32_t stripe_of(uint64_t offset)
{
	return UINT32_C(1) << offset / DH_PAGE_SIZE % DH_STRIPES;
}

static uint32_t others_stripes(const struct actor *actor)
{
	const struct actor *other = &actors[actor == actors];

	return other->busy ? other->stripes : 0;
}

/* Chooses the actor's next operation; false if each would wait for the other actor. */
static bool choose(struct actor *actor)
{
	uint32_t taken = others_stripes(actor);

	for (int tries = 0; tries < 20; tries++) {
		void **block = &stock[tree_random(&random_state) % STOCK];
		unsigned slot = (unsigned)(tree_random(&random_state) % SLOTS);
		bool fills = !actor->ids[slot] || tree_random(&random_state) % 2;
		uint32_t stripes = stripe_of(daxheap_ref_of(heap, actor->slots));

		if (fills && !*block)
			continue;
		if (fills)
			stripes |= stripe_of(daxheap_ref_of(heap, *block));
		if (actor->ids[slot])
			stripes |= stripe_of(actor->slots[slot]);
		if (stripes & taken)
			continue;
		actor->slot = slot;
		actor->stripes = stripes;
		actor->new_id = fills ? ++last_id : 0;
		actor->block = fills ? *block : NULL;
		if (fills)
			*block = NULL;
		return true;
	}
	return false;
}

static void fill_block(const struct actor *actor)
{
	uint64_t content[8];

	if (!actor->block)
		return;
	for (unsigned i = 0; i < 8; i++)
		content[i] = actor->new_id;
	dh_write(actor->block, content, sizeof(content));
	must(daxheap_persist(heap, actor->block, sizeof(content)));
}

/* As far as the horizon can go without waiting for who is in flight. */
static void advance(void)
{
	uint64_t limit = atomic_load(&heap->log.seq);

	for (unsigned i = 0; i < DH_LANES; i++) {
		uint64_t announced = atomic_load(&heap->log.lanes[i].announced);

		if (announced <= limit)
			limit = announced - 1;
	}
	must(dh_log_advance(&heap->log, limit));
}

static void refill_stock(void)
{
	for (unsigned i = 0; i < STOCK; i++)
		if (!stock[i])
			must(daxheap_alloc(heap, BLOCK_SIZE, &stock[i]));
}

static void finish_all(void)
{
	for (unsigned i = 0; i < ACTORS; i++)
		if (actors[i].busy)
			give(&actors[i], 0);
	refill_stock();
	advance();
}

static void start(void)
{
	heap = pool_create("pool", POOL_SIZE);
	for (unsigned i = 0; i < ACTORS; i++)
		pool_publish(heap, pool_root(heap, i ? "b" : "a"), BLOCK_SIZE, 0);
	heap = pool_reopen(heap, "pool");
	sem_init(&back, 0, 0);
	for (unsigned i = 0; i < ACTORS; i++) {
		actors[i].slots = daxheap_ptr(heap, *pool_root(heap, i ? "b" : "a"));
		sem_init(&actors[i].go, 0, 0);
		pthread_create(&actors[i].thread, NULL, act, &actors[i]);
	}
	refill_stock();
}

static void stop(void)
{
	for (unsigned i = 0; i < ACTORS; i++) {
		actors[i].quit = true;
		sem_post(&actors[i].go);
		pthread_join(actors[i].thread, NULL);
	}
	daxheap_close(heap);
}

static void step(void)
{
	struct actor *actor = &actors[tree_random(&random_state) % ACTORS];

	if (!actor->busy) {
		if (!choose(actor))
			return;
		fill_block(actor);
		actor->busy = true;
	}
	give(actor, (unsigned)(tree_random(&random_state) % 7));
	if (tree_random(&random_state) % 8 == 0)
		advance();
}

Test(interleaved, stalled_anywhere)
{
	struct shadow *shadow;

	random_state = test_seed();
	start();
	shadow = shadow_new(heap->base, heap->base, POOL_SIZE, SHADOW_HONEST,
			    (unsigned)random_state);
	shadow_listen(shadow, 3, check_image, NULL, NULL);
	shadow_at_event(shadow, pass_baton);
	for (unsigned i = 0; i < 1500; i++) {
		step();
		/* A lane's ring never fills up: who needs the horizon would wait. */
		if (i % 60 == 59)
			finish_all();
	}
	finish_all();
	shadow_try(shadow);
	shadow_stop();
	shadow_free(shadow);
	stop();
	cr_assert_gt(operations, 300);
	fprintf(stderr, "%llu images, %llu operations\n", (unsigned long long)shadow_images(),
		(unsigned long long)operations);
}
