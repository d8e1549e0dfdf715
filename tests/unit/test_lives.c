/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Power cuts with blocks of all sizes, so that spans and chunks change their format, and
 * what comes after a cut: the image is opened for writing, worked on, and cut again, in its
 * recovery and in its work.  Cuts in the creation of a pool and of a root.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "heap.h"
#include "pool.h"
#include "shadow.h"
#include "tree.h"

TestSuite(lives, .fini = pool_cleanup, .timeout = 300);

/* The life that is being lived: its heap, what it must hold, what is in flight. */
struct life {
	struct daxheap *heap;
	struct tree tree;
	struct tree_op flying;
	unsigned flights;		/* 1 while an operation is in flight */
	bool second;
};

static struct life life;
static uint64_t random_state;
static uint64_t checks, flushes, second_lives, changes;

static unsigned must_match(struct daxheap *heap)
{
	unsigned happened = 0;
	const char *bad = tree_check(heap, &life.tree, &life.flying, life.flights, &happened);

	cr_assert_null(bad, "%s", bad);
	return happened;
}

/* One operation in the heap of this life. */
static void operate(void)
{
	struct tree_op op;
	int err;

	tree_plan(&life.tree, &random_state, &op);
	err = tree_prepare(life.heap, &life.tree, &op);
	if (err == -ENOMEM)
		return;
	must(err);
	life.flying = op;
	life.flights = 1;
	must(tree_commit(life.heap, &op));
	tree_apply(&life.tree, &op);
	life.flights = 0;
	changes++;
}

static void *operate_in(void *arg)
{
	(void)arg;
	operate();
	return NULL;
}

/* Now and then in another thread, whose lane then is idle. */
static void operate_somewhere(void)
{
	pthread_t thread;

	if (tree_random(&random_state) % 8) {
		operate();
		return;
	}
	pthread_create(&thread, NULL, operate_in, NULL);
	pthread_join(thread, NULL);
}

static void write_file(const char *name, const void *bytes)
{
	int fd = open(pool_path(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	cr_assert_eq(write(fd, bytes, POOL_SIZE), (ssize_t)POOL_SIZE);
	close(fd);
}

static void check_image(void *arg);

/* @bytes are a pool after a crash: a life of its own, cut everywhere too. */
static void live_again(struct shadow *shadow, const void *bytes)
{
	struct life first = life;

	second_lives++;
	write_file("second", bytes);
	life.second = true;
	shadow_listen(shadow, 2, check_image, NULL, NULL);
	must(daxheap_open(pool_path("second"), 0, &life.heap));
	shadow_try(shadow);
	if (must_match(life.heap))
		tree_apply(&life.tree, &life.flying);
	life.flights = 0;
	for (int i = 0; i < 5; i++)
		operate();
	shadow_stop();
	daxheap_close(life.heap);
	shadow_free(shadow);
	life = first;
}

/* After a power cut the image is all there is. */
static void cut(void)
{
	live_again(shadow_new(NULL, shadow_image(), POOL_SIZE, SHADOW_HONEST,
			      (unsigned)tree_random(&random_state)), shadow_image());
}

/*
 * After a kill all is there that was stored, and what is not settled of it may still be lost
 * in a cut.  Where a format or the horizon is in the making, each time.
 */
static void kill_at_flush(void *arg)
{
	const struct shadow *shadow = *(struct shadow **)arg;
	size_t at = shadow_last_flush(shadow);
	bool special = (at >= DH_HORIZON_OFFSET && at < DH_LOG_OFFSET) ||
		       (at >= DH_TABLE_OFFSET && at < DH_CHUNK_SIZE);

	if (special || ++flushes % 60 == 0)
		live_again(shadow_after_kill(shadow), life.heap->base);
}

/* Opened for writing, worked on, and opened again. */
static void work_on_image(void)
{
	struct life saved = life;

	must(daxheap_open(shadow_image_path(), 0, &life.heap));
	if (must_match(life.heap))
		tree_apply(&life.tree, &life.flying);
	life.flights = 0;
	for (int i = 0; i < 4; i++)
		operate();
	must_match(life.heap);
	daxheap_close(life.heap);
	must(daxheap_open(shadow_image_path(), 0, &life.heap));
	must_match(life.heap);
	daxheap_close(life.heap);
	shadow_image_spoiled();
	life = saved;
}

static void check_image(void *arg)
{
	struct daxheap *heap;

	(void)arg;
	checks++;
	if (!life.second && checks % 300 == 7) {
		cut();
		return;
	}
	if (checks % 20 == 3) {
		work_on_image();
		return;
	}
	must(daxheap_open(shadow_image_path(), DAXHEAP_READ_ONLY, &heap));
	must_match(heap);
	daxheap_close(heap);
}

/* The last sequence that any thread drew. */
static uint64_t newest_seq(struct daxheap *heap)
{
	uint64_t newest = 0;

	for (unsigned i = 0; i < heap->log.lane_count; i++)
		newest = dh_max(newest, atomic_load(&heap->log.lanes[i].clock));
	return newest;
}

static void start(bool huge)
{
	life = (struct life){.tree.huge = huge};
	tree_on_store = shadow_stored;
	unlink(pool_path("pool"));
	/* Few rings and short, so that they wrap. */
	life.heap = pool_create_small("pool", POOL_SIZE, 4, 16);
	must(tree_start(life.heap));
	life.heap = pool_reopen(life.heap, "pool");
}

/*
 * @quiet operations between the watched ones, without images, so that rings wrap, spans run
 * empty and chunks change hands.
 */
static void run(unsigned seed, unsigned rounds, unsigned watched, unsigned quiet, bool huge)
{
	struct dh_traffic traffic = {0};
	const char *base;

	random_state = seed;
	start(huge);
	base = life.heap->base;
	for (unsigned i = 0; i < rounds; i++) {
		struct shadow *shadow;

		for (unsigned j = 0; j < quiet; j++)
			operate_somewhere();
		/* From a durable state, as after the horizon took everything. */
		must(dh_log_advance(&life.heap->log, &traffic, newest_seq(life.heap)));
		shadow = shadow_new(base, base, POOL_SIZE, SHADOW_HONEST, seed + i);
		shadow_listen(shadow, 3, check_image, kill_at_flush, &shadow);
		for (unsigned j = 0; j < watched; j++) {
			operate_somewhere();
			shadow_try(shadow);
		}
		shadow_stop();
		shadow_free(shadow);
	}
	daxheap_close(life.heap);
	fprintf(stderr, "seed %u: %llu images, %llu second lives, %llu operations\n", seed,
		(unsigned long long)shadow_images(), (unsigned long long)second_lives,
		(unsigned long long)changes);
}

Test(lives, small_and_large_blocks)
{
	run(test_seed(), 2, 40, 60, false);
}

Test(lives, huge_blocks_too)
{
	run(test_seed(), 3, 25, 40, true);
}

/* --- creation --- */

static bool created;

static void check_created(void *arg)
{
	struct daxheap *heap;
	int err = daxheap_open(shadow_image_path(), DAXHEAP_READ_ONLY, &heap);

	(void)arg;
	if (!err) {
		cr_assert_eq(pool_census(heap).blocks, 0);
		daxheap_close(heap);
		return;
	}
	cr_assert(!created, "%s", daxheap_errormsg());
	if (err == -EMEDIUMTYPE)
		return;
	/* The copy is there and the superblock is not yet, or either is torn. */
	cr_assert(err == -EBADMSG && strstr(daxheap_errormsg(), "superblock"), "%s",
		  daxheap_errormsg());
	if (!strstr(daxheap_errormsg(), "--repair"))
		return;
	cr_assert_eq(daxheap_check(shadow_image_path(), DAXHEAP_CHECK_REPAIR, NULL, NULL), 0);
	must(daxheap_open(shadow_image_path(), DAXHEAP_READ_ONLY, &heap));
	cr_assert_eq(pool_census(heap).blocks, 0);
	daxheap_close(heap);
	shadow_image_spoiled();
}

Test(lives, creation_is_a_pool_or_none)
{
	static const char zeros[POOL_SIZE];
	struct shadow *shadow = shadow_new(NULL, zeros, POOL_SIZE, SHADOW_HONEST, 1);
	struct daxheap *heap;

	shadow_starts_at(shadow, DH_HORIZON_OFFSET);
	shadow_listen(shadow, 200, check_created, NULL, NULL);
	heap = pool_create("pool", POOL_SIZE);
	created = true;
	shadow_try(shadow);
	shadow_stop();
	shadow_free(shadow);
	daxheap_close(heap);
}

/* --- roots --- */

static unsigned roots_made, blocks_published;
static const char *killed_base;

static bool has_root(struct daxheap *heap, const char *name)
{
	const struct dh_root *root = (const struct dh_root *)(heap->base + DH_ROOTS_OFFSET);

	for (unsigned i = 0; i < DH_ROOTS; i++)
		if (!strcmp(root[i].name, name) &&
		    dh_root_slot(heap, DH_ROOTS_OFFSET + i * sizeof(*root)))
			return true;
	return false;
}

static unsigned count_roots(struct daxheap *heap, unsigned *published)
{
	unsigned found = 0;

	*published = 0;
	for (unsigned i = 0; i < 16; i++) {
		char name[16];
		daxheap_ref *slot;

		/* Asked for, a root would be made. */
		snprintf(name, sizeof(name), "root %u", i);
		if (!has_root(heap, name) || daxheap_root(heap, name, &slot))
			break;
		found++;
		*published += *slot != 0;
	}
	return found;
}

static void check_roots(void *arg)
{
	unsigned found, published;
	struct daxheap *heap;

	(void)arg;
	must(daxheap_open(shadow_image_path(), DAXHEAP_READ_ONLY, &heap));
	found = count_roots(heap, &published);
	cr_assert(found == roots_made || found == roots_made + 1, "%u roots of %u", found,
		  roots_made);
	cr_assert(published == blocks_published || published == blocks_published + 1,
		  "%u published of %u", published, blocks_published);
	cr_assert_eq(pool_census(heap).blocks, published);
	daxheap_close(heap);
}

/* One root more, and a block that needs a new span or a new chunk.  Nobody makes its content
 * durable: the fences are the heap's own alone. */
static void add_root(struct daxheap *heap)
{
	unsigned i = roots_made;
	char name[16];
	daxheap_ref *slot;
	void *block;

	snprintf(name, sizeof(name), "root %u", i);
	slot = pool_root(heap, name);
	roots_made++;
	if (*slot)
		return;
	must(daxheap_alloc(heap, i == 3 ? 2 * MiB : 64u << i, &block));
	must(daxheap_publish(heap, slot, block));
	blocks_published++;
}

/* After a kill: what is there is counted, work goes on, and all of it is cut again. */
static void kill_roots(void *arg)
{
	struct shadow *shadow = shadow_after_kill(*(struct shadow **)arg);
	unsigned made = roots_made, published = blocks_published;
	struct daxheap *heap;

	write_file("second", killed_base);
	shadow_listen(shadow, 12, check_roots, NULL, NULL);
	heap = pool_open("second", 0);
	/* Whichever way the operation in flight went, it is decided now. */
	shadow_try(shadow);
	shadow_stop();
	roots_made = count_roots(heap, &blocks_published);
	shadow_listen(shadow, 12, check_roots, NULL, NULL);
	if (blocks_published < roots_made)
		roots_made--;
	add_root(heap);
	add_root(heap);
	shadow_stop();
	daxheap_close(heap);
	shadow_free(shadow);
	roots_made = made;
	blocks_published = published;
}

static void live_with_roots(shadow_check *at_flush, unsigned samples)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	struct shadow *shadow = shadow_new(heap->base, heap->base, POOL_SIZE, SHADOW_HONEST, 1);

	killed_base = heap->base;
	shadow_listen(shadow, samples, check_roots, at_flush, &shadow);
	for (unsigned i = 0; i < 6; i++) {
		add_root(heap);
		shadow_try(shadow);
	}
	shadow_stop();
	shadow_free(shadow);
	daxheap_close(heap);
}

Test(lives, roots_and_blocks_without_content)
{
	live_with_roots(NULL, 60);
}

Test(lives, killed_while_a_root_or_a_chunk_is_made)
{
	live_with_roots(kill_roots, 0);
}
