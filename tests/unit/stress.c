/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads on one heap, for ThreadSanitizer, under which Criterion does not run: plain C that
 * prints TAP.  They publish into, replace and free shared slots, some of them inside blocks
 * that others free, and come and go; two more look on.  More threads than the log has lanes.
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
#define INNER_SLOTS	4
#define WORKERS		(DH_LANES + 8)
#define OPERATIONS	400

struct table {
	daxheap_ref slot[SLOTS];
};

static struct daxheap *heap;
static struct table *table;
static atomic_bool done;
static atomic_uint unexpected;

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

/* A slot of the table, or of a block that it refers to and that may be freed meanwhile. */
static daxheap_ref *some_slot(unsigned *seed)
{
	daxheap_ref *slot = &table->slot[(unsigned)rand_r(seed) % SLOTS];
	daxheap_ref block = __atomic_load_n(slot, __ATOMIC_ACQUIRE);

	if (!block || rand_r(seed) % 4)
		return slot;
	return (daxheap_ref *)daxheap_ptr(heap, block) + (unsigned)rand_r(seed) % INNER_SLOTS;
}

static void one_operation(unsigned *seed)
{
	size_t size = INNER_SLOTS * 8 + (unsigned)rand_r(seed) % 2000;
	unsigned what = (unsigned)rand_r(seed) % 4;
	void *block;
	int err;

	if (what == 0) {
		note(daxheap_free(heap, some_slot(seed)));
		return;
	}
	if (rand_r(seed) % 100 == 0)
		size = 3 << 20;
	err = daxheap_alloc(heap, size, &block);
	note(err);
	if (err)
		return;
	for (unsigned i = 0; i < INNER_SLOTS; i++)
		__atomic_store_n((daxheap_ref *)block + i, 0, __ATOMIC_RELAXED);
	note(daxheap_persist(heap, block, INNER_SLOTS * 8));
	if (what == 1)
		err = daxheap_replace(heap, some_slot(seed), block);
	else
		err = daxheap_publish(heap, some_slot(seed), block);
	note(err);
	if (err)
		note(daxheap_cancel(heap, block));
}

static void *work(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < OPERATIONS; i++)
		one_operation(&seed);
	return NULL;
}

static void *look_on(void *arg)
{
	(void)arg;
	while (!atomic_load(&done)) {
		struct daxheap_block block = {0};
		struct daxheap_info info;

		note(daxheap_get_info(heap, &info));
		while (daxheap_next(heap, &block) > 0)
			;
	}
	return NULL;
}

static void open_pool(const char *path)
{
	daxheap_ref *root;
	void *block;

	if (daxheap_create(path, 128 << 20, 0, &heap) || daxheap_root(heap, "table", &root) ||
	    daxheap_alloc(heap, sizeof(*table), &block))
		die("create");
	memset(block, 0, sizeof(*table));
	if (daxheap_persist(heap, block, sizeof(*table)) || daxheap_publish(heap, root, block))
		die("publish");
	table = block;
}

static void run_threads(unsigned round)
{
	pthread_t workers[WORKERS], onlookers[2];

	atomic_store(&done, false);
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&onlookers[i], NULL, look_on, NULL);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_create(&workers[i], NULL, work,
			       (void *)(uintptr_t)(round * WORKERS + i + 1));
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(workers[i], NULL);
	atomic_store(&done, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(onlookers[i], NULL);
}

static uint64_t live_blocks(void)
{
	struct daxheap_info info;

	if (daxheap_get_info(heap, &info))
		die("info");
	if (info.reserved_blocks) {
		printf("# %llu reservations are left\n",
		       (unsigned long long)info.reserved_blocks);
		atomic_fetch_add(&unexpected, 1);
	}
	return info.live_blocks;
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
	uint64_t live, stepped = 0;
	struct daxheap_block block = {0};
	char path[4096];

	if (argc > 1 && !strncmp(argv[1], "--tap=", 6) && !freopen(argv[1] + 6, "w", stdout))
		return 1;
	snprintf(path, sizeof(path), "%s/stress.%d", folder ? folder : "/tmp", (int)getpid());
	printf("1..3\n");
	open_pool(path);
	for (unsigned round = 0; round < 2; round++)
		run_threads(round);
	result(!atomic_load(&unexpected), "each call ends as the header says");
	live = live_blocks();
	while (daxheap_next(heap, &block) > 0)
		stepped++;
	result(live > 1 && live == stepped, "the count of live blocks is that of those there are");
	daxheap_close(heap);
	if (daxheap_open(path, 0, &heap))
		die("open");
	result(live_blocks() == live, "the same blocks live after a reopen");
	daxheap_close(heap);
	unlink(path);
	return atomic_load(&unexpected) ? 1 : 0;
}
