/* SPDX-License-Identifier: BSD-3-Clause */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "heap.h"
#include "pools.h"

char *pools[POOLS];
static char *crash_image;

void must(int result, const char *what)
{
	if (result < 0)
		errx(1, "%s: %s", what, daxheap_errormsg());
}

daxheap_ref *root(struct daxheap *heap, const char *name)
{
	daxheap_ref *slot;

	must(daxheap_root(heap, name, &slot), "root");
	return slot;
}

unsigned char byte_of(daxheap_ref slot_ref)
{
	return (unsigned char)(slot_ref / 8 % 251 + 1);
}

static void *new_block(struct daxheap *heap, const daxheap_ref *slot, size_t size, uint16_t tag)
{
	void *block;

	must(daxheap_alloc_as(heap, size, 0, tag, &block), "alloc");
	memset(block, byte_of(daxheap_ref_of(heap, slot)), size);
	must(daxheap_persist(heap, block, size), "persist");
	return block;
}

void publish(struct daxheap *heap, daxheap_ref *slot, size_t size, uint16_t tag)
{
	must(daxheap_publish(heap, slot, new_block(heap, slot, size, tag)), "publish");
}

/* Small blocks in one span of chunk 1, large ones in spans of two units; chunks 2 and 3 a huge
 * block, 4 one of a single chunk. */
static void fill(struct daxheap *heap)
{
	daxheap_ref *slots;
	void *block;

	must(daxheap_calloc(heap, SLOTS, 8, &block), "calloc");
	must(daxheap_persist(heap, block, SLOTS * 8), "persist");
	must(daxheap_publish(heap, root(heap, "slots"), block), "publish");
	slots = block;
	for (unsigned i = 0; i < 100; i++)
		publish(heap, &slots[i], 64, 7);
	publish(heap, root(heap, "large"), 100000, 8);
	publish(heap, root(heap, "huge"), 3 << 20, 9);
	publish(heap, root(heap, "one"), 2 << 20, 10);
	for (unsigned i = 0; i < 100; i += 3)
		must(daxheap_free(heap, &slots[i]), "free");
}

static void ignore(void *arg, const void *at, size_t size)
{
	(void)arg;
	(void)at;
	(void)size;
}

static void keep_image(void *arg)
{
	memcpy(crash_image, ((struct daxheap *)arg)->base, POOL_SIZE);
}

/* Records behind the horizon: single ones, an action, and one of which nothing is in place. */
static void crash(struct daxheap *heap, bool in_action)
{
	static const struct dh_persist_listener listener = {
		.store = ignore, .flush = ignore, .fence = keep_image,
	};
	daxheap_ref *slots = daxheap_ptr(heap, *root(heap, "slots"));
	struct daxheap_action *action;

	publish(heap, &slots[100], 64, 7);
	must(daxheap_replace(heap, &slots[1], new_block(heap, &slots[1], 64, 7)), "replace");
	must(daxheap_action_new(heap, &action), "action");
	for (unsigned i = 101; i < 105; i++)
		must(daxheap_action_publish(action, &slots[i],
					    new_block(heap, &slots[i], 64, 7)), "publish");
	if (in_action)
		dh_persist_listen(&listener, heap);
	must(daxheap_action_commit(action), "commit");
	daxheap_action_delete(action);
	if (in_action) {
		dh_persist_listen(NULL, NULL);
		return;
	}
	dh_persist_listen(&listener, heap);
	publish(heap, &slots[105], 64, 7);
	dh_persist_listen(NULL, NULL);
}

static void make_pool(enum pool kind, const char *path)
{
	struct daxheap *heap;

	pools[kind] = malloc(POOL_SIZE);
	if (!pools[kind])
		err(1, "no memory");
	must(dh_create_sized(path, POOL_SIZE, 0, LANES, RING, &heap), "create");
	fill(heap);
	crash_image = pools[kind];
	if (kind != POOL_CLOSED) {
		/* Closed and opened, so that what fill() did is behind the horizon. */
		daxheap_close(heap);
		must(daxheap_open(path, 0, &heap), "open");
		crash(heap, kind == POOL_ACTION);
	}
	daxheap_close(heap);
	if (kind == POOL_CLOSED) {
		must(daxheap_open(path, DAXHEAP_READ_ONLY, &heap), "open");
		memcpy(pools[kind], heap->base, POOL_SIZE);
		daxheap_close(heap);
	}
	unlink(path);
}

void pools_make(void)
{
	const char *base = getenv("TMPDIR");
	char folder[256], path[300];

	if (!base)
		base = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	snprintf(folder, sizeof(folder), "%s/generators.XXXXXX", base);
	if (!mkdtemp(folder))
		err(1, "%s", folder);
	snprintf(path, sizeof(path), "%s/pool", folder);
	make_pool(POOL_CLOSED, path);
	make_pool(POOL_CRASHED, path);
	make_pool(POOL_ACTION, path);
	pools[POOL_TORN] = pools[POOL_CRASHED];
	rmdir(folder);
}
