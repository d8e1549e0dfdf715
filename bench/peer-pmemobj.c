/* SPDX-License-Identifier: BSD-3-Clause */
/* libpmemobj by its three ways to allocate: atomic, actions, transactions. */
#include <libpmemobj.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "peer.h"

#define LAYOUT "daxbench"

struct pool {
	PMEMobjpool *pop;
	PMEMoid *slots;		/* the root object */
	uint64_t uuid;		/* of all object identifiers of the pool */
};

static void must(int err)
{
	if (err)
		die("libpmemobj: %s", pmemobj_errormsg());
}

static struct pool *new_pool(PMEMobjpool *pop)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		die("out of memory");
	if (!pop)
		die("libpmemobj: %s", pmemobj_errormsg());
	pool->pop = pop;
	return pool;
}

static void find_slots(struct pool *pool, size_t size)
{
	PMEMoid root = pmemobj_root(pool->pop, size);

	must(OID_IS_NULL(root));
	pool->slots = pmemobj_direct(root);
	pool->uuid = root.pool_uuid_lo;
}

static struct pool *obj_create(const struct peer *peer, const char *path, uint64_t size,
			       unsigned slots)
{
	struct pool *pool = new_pool(pmemobj_create(path, LAYOUT, size, 0600));

	(void)peer;
	if (slots)
		find_slots(pool, slots * sizeof(PMEMoid));
	return pool;
}

static struct pool *obj_open(const char *path)
{
	struct pool *pool = new_pool(pmemobj_open(path, LAYOUT));

	find_slots(pool, pmemobj_root_size(pool->pop));
	return pool;
}

static void obj_close(struct pool *pool)
{
	pmemobj_close(pool->pop);
	free(pool);
}

/* Atomic. */

struct content {
	unsigned slot;
	size_t size;
};

static int fill(PMEMobjpool *pop, void *block, void *arg)
{
	const struct content *content = arg;

	pmemobj_memset_persist(pop, block, (int)content->slot, content->size);
	return 0;
}

static void *atomic_alloc(struct pool *pool, size_t size)
{
	PMEMoid oid;

	must(pmemobj_alloc(pool->pop, &oid, size, 0, NULL, NULL));
	return pmemobj_direct(oid);
}

static void atomic_free(struct pool *pool, void *block)
{
	PMEMoid oid = pmemobj_oid(block);

	(void)pool;
	pmemobj_free(&oid);
}

static void atomic_publish(struct pool *pool, unsigned slot, size_t size, bool with_content)
{
	struct content content = {slot, size};

	must(pmemobj_alloc(pool->pop, &pool->slots[slot], size, 0, with_content ? fill : NULL,
			   &content));
}

static void atomic_unpublish(struct pool *pool, unsigned slot)
{
	pmemobj_free(&pool->slots[slot]);
}

const struct peer pmemobj_atomic_peer = {
	.name = "pmemobj-atomic",
	.create = obj_create,
	.open = obj_open,
	.close = obj_close,
	.slot_size = sizeof(PMEMoid),
	.allocates_all = true,
	.alloc = atomic_alloc,
	.free = atomic_free,
	.publish = atomic_publish,
	.unpublish = atomic_unpublish,
};

/* Actions.  A slot is one word here, the offset, so that setting it is one action. */

static void reserve(struct pool *pool, struct pobj_action actions[2], unsigned slot,
		    size_t size, bool content)
{
	PMEMoid oid = pmemobj_reserve(pool->pop, &actions[0], size, 0);

	must(OID_IS_NULL(oid));
	if (content)
		pmemobj_memset_persist(pool->pop, pmemobj_direct(oid), (int)slot, size);
	pmemobj_set_value(pool->pop, &actions[1], &pool->slots[slot].off, oid.off);
}

static void defer_free(struct pool *pool, struct pobj_action actions[2], unsigned slot)
{
	uint64_t *word = &pool->slots[slot].off;

	pmemobj_defer_free(pool->pop, (PMEMoid){pool->uuid, *word}, &actions[0]);
	pmemobj_set_value(pool->pop, &actions[1], word, 0);
}

static void action_publish(struct pool *pool, unsigned slot, size_t size, bool content)
{
	struct pobj_action actions[2];

	reserve(pool, actions, slot, size, content);
	must(pmemobj_publish(pool->pop, actions, 2));
}

static void action_unpublish(struct pool *pool, unsigned slot)
{
	struct pobj_action actions[2];

	defer_free(pool, actions, slot);
	must(pmemobj_publish(pool->pop, actions, 2));
}

/* As daxheap's does, the array of actions stays from one step to the next. */
static struct pobj_action *gathered(unsigned count)
{
	static _Thread_local struct pobj_action *actions;
	static _Thread_local unsigned room;

	if (count > room) {
		actions = realloc(actions, count * sizeof(*actions));
		if (!actions)
			die("out of memory");
		room = count;
	}
	return actions;
}

static void action_action(struct pool *pool, unsigned thread, struct slots publish,
			  struct slots unpublish, size_t size)
{
	unsigned count = 2 * (publish.count + unpublish.count);
	struct pobj_action *actions = gathered(count), *next = actions;

	(void)thread;
	for (unsigned i = 0; i < publish.count; i++, next += 2)
		reserve(pool, next, publish.first + i, size, false);
	for (unsigned i = 0; i < unpublish.count; i++, next += 2)
		defer_free(pool, next, unpublish.first + i);
	must(pmemobj_publish(pool->pop, actions, count));
}

const struct peer pmemobj_action_peer = {
	.name = "pmemobj-action",
	.create = obj_create,
	.open = obj_open,
	.close = obj_close,
	.slot_size = sizeof(PMEMoid),
	.allocates_all = true,
	.publish = action_publish,
	.unpublish = action_unpublish,
	.action = action_action,
};

/* Transactions. */

static void tx_action(struct pool *pool, unsigned thread, struct slots publish,
		      struct slots unpublish, size_t size)
{
	(void)thread;
	TX_BEGIN(pool->pop) {
		if (publish.count)
			pmemobj_tx_add_range_direct(&pool->slots[publish.first],
						    publish.count * sizeof(PMEMoid));
		for (unsigned i = 0; i < publish.count; i++)
			pool->slots[publish.first + i] = pmemobj_tx_alloc(size, 0);
		if (unpublish.count)
			pmemobj_tx_add_range_direct(&pool->slots[unpublish.first],
						    unpublish.count * sizeof(PMEMoid));
		for (unsigned i = 0; i < unpublish.count; i++) {
			pmemobj_tx_free(pool->slots[unpublish.first + i]);
			pool->slots[unpublish.first + i] = OID_NULL;
		}
	} TX_ONABORT {
		die("libpmemobj: %s", pmemobj_errormsg());
	} TX_END
}

static void tx_publish(struct pool *pool, unsigned slot, size_t size, bool content)
{
	TX_BEGIN(pool->pop) {
		PMEMoid oid = pmemobj_tx_alloc(size, 0);

		/* A new object's content is flushed with the transaction. */
		if (content)
			memset(pmemobj_direct(oid), (int)slot, size);
		pmemobj_tx_add_range_direct(&pool->slots[slot], sizeof(PMEMoid));
		pool->slots[slot] = oid;
	} TX_ONABORT {
		die("libpmemobj: %s", pmemobj_errormsg());
	} TX_END
}

static void tx_unpublish(struct pool *pool, unsigned slot)
{
	tx_action(pool, 0, (struct slots){0, 0}, (struct slots){slot, 1}, 0);
}

const struct peer pmemobj_tx_peer = {
	.name = "pmemobj-tx",
	.create = obj_create,
	.open = obj_open,
	.close = obj_close,
	.slot_size = sizeof(PMEMoid),
	.allocates_all = true,
	.publish = tx_publish,
	.unpublish = tx_unpublish,
	.action = tx_action,
};
