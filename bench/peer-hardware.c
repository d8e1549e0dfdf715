/* SPDX-License-Identifier: BSD-3-Clause */
/* The floor: what flushes and fences cost by themselves, in a mapped file. */
#include <libpmem.h>
#include <stdlib.h>

#include "bench.h"
#include "peer.h"

#define LINE_SIZE	64u

struct pool {
	char *lines;
	size_t size;
};

static struct pool *hardware_create(const struct peer *peer, const char *path, uint64_t size,
				    unsigned slots)
{
	struct pool *pool = malloc(sizeof(*pool));

	(void)peer;
	(void)size;
	(void)slots;
	if (!pool)
		die("out of memory");
	pool->lines = pmem_map_file(path, MAX_THREADS * PERSIST_LINES * LINE_SIZE,
				    PMEM_FILE_CREATE | PMEM_FILE_EXCL, 0600, &pool->size, NULL);
	if (!pool->lines)
		die("%s: %s", path, pmem_errormsg());
	return pool;
}

static void hardware_close(struct pool *pool)
{
	pmem_unmap(pool->lines, pool->size);
	free(pool);
}

static void hardware_persist_lines(struct pool *pool, unsigned thread, unsigned first,
				   unsigned count)
{
	char *line = pool->lines + (thread * PERSIST_LINES + first) * (size_t)LINE_SIZE;

	for (unsigned i = 0; i < count; i++)
		++*(volatile uint64_t *)(line + i * LINE_SIZE);
	pmem_flush(line, count * LINE_SIZE);
	pmem_drain();
}

/* The least that a durable step could do: one line, fenced; one more for the content. */
static void hardware_publish(struct pool *pool, unsigned slot, size_t size, bool content)
{
	(void)size;
	for (unsigned i = 0; i <= content; i++)
		hardware_persist_lines(pool, slot / SLOTS_PER_THREAD, slot % PERSIST_LINES, 1);
}

static void hardware_unpublish(struct pool *pool, unsigned slot)
{
	hardware_publish(pool, slot, 0, false);
}

static void hardware_action(struct pool *pool, unsigned thread, struct slots publish,
			    struct slots unpublish, size_t size)
{
	(void)unpublish;
	(void)size;
	hardware_persist_lines(pool, thread, publish.first % PERSIST_LINES, 1);
}

const struct peer hardware_peer = {
	.name = "hardware",
	.create = hardware_create,
	.close = hardware_close,
	.publish = hardware_publish,
	.unpublish = hardware_unpublish,
	.action = hardware_action,
	.persist_lines = hardware_persist_lines,
};
