/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads on one heap, for ThreadSanitizer, under which Criterion does not run: plain C that
 * prints TAP.  They use every call: publish into, replace, grow and free shared slots, and slots
 * inside blocks of their own (a slot's block must not be freed while it is used), commit actions,
 * hand reservations to each other to be published or cancelled, and come and go; two more look
 * on, one trims, and so do those who free, by policy.  More threads than the log has lanes.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daxheap.h"
#include "format.h"

#define SLOTS		256
#define GROWN		8	/* of these: nobody may write into what daxheap_realloc() moves */
#define WORDS		64
#define INNER_SLOTS	4
#define OWN_SLOTS	4	/* of each worker */
#define WORKERS		(DH_LANES_MAX + 8)
#define OPERATIONS	400
#define ROUNDS		2
#define TAGS		3
#define DESKS		64
#define TRIM_LIMIT_MS	600000
#define ENTRIES_MAX	(DH_LANES_MAX * DH_RING_MAX)

struct table {
	daxheap_ref slot[SLOTS];
	daxheap_ref own[WORKERS][OWN_SLOTS];
	uint64_t word[WORDS];
};

static struct daxheap *heap;
static struct table *table;
static atomic_bool done;
static atomic_uint unexpected;
/* Where reservations wait for whichever thread comes next. */
static _Atomic(void *) desks[DESKS];

static void die(const char *what)
{
	printf("Bail out! %s: %s\n", what, daxheap_errormsg());
	exit(1);
}

/* What a thread may be told when it loses a race; all else is a bug of the heap. */
static void note(int err)
{
	if (err && err != -EEXIST && err != -ENOENT && err != -EINVAL && err != -ENOMEM) {
		printf("# %d: %s\n", err, daxheap_errormsg());
		atomic_fetch_add(&unexpected, 1);
	}
}

/* What no race excuses. */
static void must(int err)
{
	if (err) {
		printf("# %d: %s\n", err, daxheap_errormsg());
		atomic_fetch_add(&unexpected, 1);
	}
}

static unsigned choose(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

static __thread daxheap_ref *own;

/* A slot of the table that all use, or one of the thread's own or inside a block there. */
static daxheap_ref *some_slot(unsigned *seed)
{
	daxheap_ref *slot = &own[choose(seed, OWN_SLOTS)];

	if (choose(seed, 3))
		return &table->slot[choose(seed, SLOTS)];
	if (!*slot || choose(seed, 2))
		return slot;
	return (daxheap_ref *)daxheap_ptr(heap, *slot) + choose(seed, INNER_SLOTS);
}

/* A new reservation, its slots empty; or one that another thread left; NULL: no room. */
static void *some_block(unsigned *seed)
{
	size_t size = INNER_SLOTS * 8 + choose(seed, 2000);
	void *block = NULL;
	int err;

	if (choose(seed, 4) == 0)
		block = atomic_exchange(&desks[choose(seed, DESKS)], NULL);
	if (block)
		return block;
	if (choose(seed, 100) == 0)
		size = 3 << 20;
	if (choose(seed, 3))
		err = daxheap_alloc(heap, size, &block);
	else
		err = daxheap_alloc_as(heap, size, 0, (uint16_t)choose(seed, TAGS), &block);
	note(err);
	if (err)
		return NULL;
	for (unsigned i = 0; i < INNER_SLOTS; i++)
		__atomic_store_n((daxheap_ref *)block + i, 0, __ATOMIC_RELAXED);
	must(daxheap_persist(heap, block, INNER_SLOTS * 8));
	return block;
}

/* For another thread to use or cancel; what lay there is cancelled here. */
static void hand_over(unsigned *seed, void *block)
{
	block = atomic_exchange(&desks[choose(seed, DESKS)], block);
	if (block)
		must(daxheap_cancel(heap, block));
}

static void publish(unsigned *seed)
{
	void *block = some_block(seed);
	int err;

	if (!block)
		return;
	err = choose(seed, 2) ? daxheap_replace(heap, some_slot(seed), block) :
				daxheap_publish(heap, some_slot(seed), block);
	note(err);
	if (err)
		hand_over(seed, block);
}

/* A mixed bag: it may well be refused. */
static void act(struct daxheap_action *action, unsigned *seed)
{
	unsigned changes = choose(seed, 6), count = 0;
	void *blocks[6];
	int err;

	for (unsigned i = 0; i < changes; i++) {
		daxheap_ref *slot = some_slot(seed);
		bool full = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
		void *block = NULL;

		if (choose(seed, 3) == 0) {
			note(daxheap_action_set(action, &table->word[choose(seed, WORDS)], i));
		} else if (full && choose(seed, 2)) {
			note(daxheap_action_free(action, slot));
		} else if ((block = some_block(seed))) {
			err = full ? daxheap_action_replace(action, slot, block) :
				     daxheap_action_publish(action, slot, block);
			note(err);
			if (err)
				hand_over(seed, block);
			else
				blocks[count++] = block;
		}
	}
	err = daxheap_action_commit(action);
	note(err);
	if (!err)
		return;
	daxheap_action_reset(action);
	for (unsigned i = 0; i < count; i++)
		hand_over(seed, blocks[i]);
}

static void grow(unsigned *seed)
{
	note(daxheap_realloc(heap, &table->slot[choose(seed, GROWN)], 64 + choose(seed, 5000)));
}

static void one_operation(struct daxheap_action *action, unsigned *seed)
{
	void *block;

	switch (choose(seed, 8)) {
	case 0:
	case 1:
		note(daxheap_free(heap, some_slot(seed)));
		break;
	case 2:
		block = some_block(seed);
		if (block)
			hand_over(seed, block);
		break;
	case 3:
		act(action, seed);
		break;
	case 4:
		grow(seed);
		break;
	default:
		publish(seed);
	}
}

static void *work(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	struct daxheap_action *action;

	own = table->own[seed % WORKERS];
	must(daxheap_action_new(heap, &action));
	for (unsigned i = 0; i < OPERATIONS; i++)
		one_operation(action, &seed);
	daxheap_action_delete(action);
	return NULL;
}

static void *look_on(void *arg)
{
	(void)arg;
	while (!atomic_load(&done)) {
		struct daxheap_block block = {0}, tagged = {0};
		struct daxheap_class_stats classes[8];
		struct daxheap_stats stats;
		struct daxheap_info info;

		must(daxheap_get_info(heap, &info));
		must(daxheap_get_stats(heap, &stats));
		if (daxheap_get_class_stats(heap, classes, 8) < 8)
			must(-EIO);
		while (daxheap_next(heap, &block) > 0)
			;
		while (daxheap_next_tagged(heap, 1, &tagged) > 0)
			;
	}
	return NULL;
}

static void *trim(void *arg)
{
	unsigned seed = 1;

	(void)arg;
	while (!atomic_load(&done)) {
		must(daxheap_trim(heap, choose(&seed, 2) * (8u << 20), TRIM_LIMIT_MS, NULL));
		must(daxheap_set_trim_policy(heap, choose(&seed, 4) << 20, choose(&seed, 20),
					     TRIM_LIMIT_MS));
		usleep(5000);
	}
	return NULL;
}

static void open_pool(const char *path)
{
	daxheap_ref *root;
	void *block;

	if (daxheap_create(path, 128 << 20, 0, &heap) || daxheap_root(heap, "table", &root) ||
	    daxheap_calloc(heap, 1, sizeof(*table), &block))
		die("create");
	if (daxheap_persist(heap, block, sizeof(*table)) || daxheap_publish(heap, root, block))
		die("publish");
	table = block;
}

static void run_threads(unsigned round)
{
	pthread_t workers[WORKERS], onlookers[3];

	atomic_store(&done, false);
	for (unsigned i = 0; i < 3; i++)
		pthread_create(&onlookers[i], NULL, i < 2 ? look_on : trim, NULL);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_create(&workers[i], NULL, work,
			       (void *)(uintptr_t)(round * WORKERS + i + 1));
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(workers[i], NULL);
	atomic_store(&done, true);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(onlookers[i], NULL);
}

static struct daxheap_stats get_stats(void)
{
	struct daxheap_stats stats;

	if (daxheap_get_stats(heap, &stats))
		die("stats");
	return stats;
}

static void clear_desks(void)
{
	for (unsigned i = 0; i < DESKS; i++) {
		void *block = atomic_exchange(&desks[i], NULL);

		if (block)
			must(daxheap_cancel(heap, block));
	}
}

static void result(bool good, const char *what)
{
	static unsigned number;

	printf("%s %u - %s\n", good ? "ok" : "not ok", ++number, what);
	if (!good)
		atomic_fetch_add(&unexpected, 1);
}

/* run-tap asks for the TAP in a file: --tap=FILE. */
int main(int argc, char **argv)
{
	const char *folder = getenv("DAXHEAP_TEST_DIR");
	struct daxheap_block block = {0};
	struct daxheap_info info;
	uint64_t live, stepped = 0;
	char path[4096];

	if (argc > 1 && !strncmp(argv[1], "--tap=", 6) && !freopen(argv[1] + 6, "w", stdout))
		return 1;
	snprintf(path, sizeof(path), "%s/stress.%d", folder ? folder : "/tmp", (int)getpid());
	printf("1..5\n");
	open_pool(path);
	for (unsigned round = 0; round < ROUNDS; round++)
		run_threads(round);
	result(!atomic_load(&unexpected), "each call ends as the header says");
	/* Then there are entries of actions that the horizon has not passed, if any. */
	clear_desks();
	result(get_stats().reserved_blocks <= ENTRIES_MAX, "no reservation is lost");
	live = get_stats().live_blocks;
	while (daxheap_next(heap, &block) > 0)
		stepped++;
	if (daxheap_get_info(heap, &info))
		die("info");
	result(info.trimmed_bytes, "space was given back meanwhile");
	result(live > 1 && live == stepped, "the count of live blocks is that of those there are");
	daxheap_close(heap);
	if (daxheap_open(path, 0, &heap))
		die("open");
	result(get_stats().live_blocks == live, "the same blocks live after a reopen");
	daxheap_close(heap);
	unlink(path);
	return atomic_load(&unexpected) ? 1 : 0;
}
