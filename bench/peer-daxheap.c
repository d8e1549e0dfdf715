/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>
#include <string.h>

#include <daxheap.h>

#include "bench.h"
#include "peer.h"

struct pool {
	struct daxheap *heap;
	daxheap_ref *slots;
	struct daxheap_action *actions[MAX_THREADS];	/* made when first used */
};

static void must(int err)
{
	if (err < 0)
		die("daxheap: %s", daxheap_errormsg());
}

static struct pool *new_pool(void)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		die("out of memory");
	return pool;
}

static struct pool *heap_create(const struct peer *peer, const char *path, uint64_t size,
				unsigned slots)
{
	struct pool *pool = new_pool();
	daxheap_ref *root;
	void *block;

	(void)peer;
	must(daxheap_create(path, size, 0, &pool->heap));
	if (!slots)
		return pool;
	must(daxheap_root(pool->heap, "slots", &root));
	must(daxheap_calloc(pool->heap, slots, sizeof(daxheap_ref), &block));
	must(daxheap_persist(pool->heap, block, slots * sizeof(daxheap_ref)));
	must(daxheap_publish(pool->heap, root, block));
	pool->slots = block;
	return pool;
}

static struct pool *heap_open(const char *path)
{
	struct pool *pool = new_pool();
	daxheap_ref *root;

	must(daxheap_open(path, 0, &pool->heap));
	must(daxheap_root(pool->heap, "slots", &root));
	pool->slots = daxheap_ptr(pool->heap, *root);
	return pool;
}

static void heap_close(struct pool *pool)
{
	for (unsigned i = 0; i < MAX_THREADS; i++)
		daxheap_action_delete(pool->actions[i]);
	daxheap_close(pool->heap);
	free(pool);
}

static void *heap_alloc(struct pool *pool, size_t size)
{
	void *block;

	must(daxheap_alloc(pool->heap, size, &block));
	return block;
}

static void heap_free(struct pool *pool, void *block)
{
	must(daxheap_cancel(pool->heap, block));
}

static void heap_publish(struct pool *pool, unsigned slot, size_t size, bool content)
{
	void *block = heap_alloc(pool, size);

	if (content) {
		memset(block, (int)slot, size);
		must(daxheap_persist(pool->heap, block, size));
	}
	must(daxheap_publish(pool->heap, &pool->slots[slot], block));
}

static void heap_trim(struct pool *pool)
{
	must(daxheap_trim(pool->heap, 0, 60000, NULL));
}

static void heap_unpublish(struct pool *pool, unsigned slot)
{
	must(daxheap_free(pool->heap, &pool->slots[slot]));
}

static void heap_action(struct pool *pool, unsigned thread, struct slots publish,
			struct slots unpublish, size_t size)
{
	struct daxheap_action *action;

	if (!pool->actions[thread])
		must(daxheap_action_new(pool->heap, &pool->actions[thread]));
	action = pool->actions[thread];
	for (unsigned i = 0; i < publish.count; i++)
		must(daxheap_action_publish(action, &pool->slots[publish.first + i],
					    heap_alloc(pool, size)));
	for (unsigned i = 0; i < unpublish.count; i++)
		must(daxheap_action_free(action, &pool->slots[unpublish.first + i]));
	must(daxheap_action_commit(action));
}

static struct counters heap_counters(struct pool *pool)
{
	struct daxheap_info info;

	must(daxheap_get_info(pool->heap, &info));
	return (struct counters){info.fences, info.flushed_lines, info.replayed};
}

const struct peer daxheap_peer = {
	.name = "daxheap",
	.create = heap_create,
	.open = heap_open,
	.close = heap_close,
	.alloc = heap_alloc,
	.free = heap_free,
	.publish = heap_publish,
	.unpublish = heap_unpublish,
	.trim = heap_trim,
	.action = heap_action,
	.counters = heap_counters,
	.slot_size = sizeof(daxheap_ref),
};
