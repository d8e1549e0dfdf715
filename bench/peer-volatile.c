/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Allocators of volatile memory, and with a slot in a mapped file, which is flushed and
 * fenced: the least that a durable publish could cost, but no crash-safe one.
 *
 * jemalloc and mimalloc would take the place of malloc() for the whole process if they were
 * linked; loaded apart, each answers by its own functions, and glibc stays glibc.
 */
#include <dlfcn.h>
#include <libgen.h>
#include <libpmem.h>
#include <stdlib.h>
#include <string.h>
#ifdef HAVE_MEMKIND
#include <memkind.h>
#endif

#include "bench.h"
#include "peer.h"

struct pool {
	const struct peer *peer;
	uint64_t *slots;	/* addresses */
	size_t slots_size;
#ifdef HAVE_MEMKIND
	memkind_t kind;
#endif
};

static struct pool *create_slots(const struct peer *peer, const char *path, uint64_t size,
				 unsigned slots)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	(void)size;
	if (!pool)
		die("out of memory");
	pool->peer = peer;
	pool->slots = pmem_map_file(path, slots * sizeof(uint64_t),
				    PMEM_FILE_CREATE | PMEM_FILE_EXCL, 0600, &pool->slots_size,
				    NULL);
	if (!pool->slots)
		die("%s: %s", path, pmem_errormsg());
	return pool;
}

static void close_slots(struct pool *pool)
{
	pmem_unmap(pool->slots, pool->slots_size);
	free(pool);
}

static void *alloc_block(struct pool *pool, size_t size)
{
	void *block = pool->peer->alloc(pool, size);

	if (!block)
		die("%s: out of memory", pool->peer->name);
	return block;
}

static void publish_slot(struct pool *pool, unsigned slot, size_t size, bool content)
{
	void *block = alloc_block(pool, size);

	if (content) {
		memset(block, (int)slot, size);
		pmem_persist(block, size);
	}
	pool->slots[slot] = (uintptr_t)block;
	pmem_persist(&pool->slots[slot], sizeof(uint64_t));
}

static void unpublish_slot(struct pool *pool, unsigned slot)
{
	void *block = (void *)(uintptr_t)pool->slots[slot];

	pool->slots[slot] = 0;
	pmem_persist(&pool->slots[slot], sizeof(uint64_t));
	pool->peer->free(pool, block);
}

static void act_on_slots(struct pool *pool, unsigned thread, struct slots publish,
			 struct slots unpublish, size_t size)
{
	(void)thread;
	for (unsigned i = 0; i < publish.count; i++)
		pool->slots[publish.first + i] = (uintptr_t)alloc_block(pool, size);
	for (unsigned i = 0; i < unpublish.count; i++) {
		uint64_t *slot = &pool->slots[unpublish.first + i];

		pool->peer->free(pool, (void *)(uintptr_t)*slot);
		*slot = 0;
	}
	if (publish.count)
		pmem_flush(&pool->slots[publish.first], publish.count * sizeof(uint64_t));
	if (unpublish.count)
		pmem_flush(&pool->slots[unpublish.first], unpublish.count * sizeof(uint64_t));
	pmem_drain();
}

static void *load(const char *library)
{
	return dlopen(library, RTLD_NOW | RTLD_LOCAL);
}

static void *glibc_alloc(struct pool *pool, size_t size)
{
	(void)pool;
	return malloc(size);
}

static void glibc_free(struct pool *pool, void *block)
{
	(void)pool;
	free(block);
}

static void *(*je_malloc)(size_t size);
static void (*je_free)(void *block);

static bool jemalloc_found(void)
{
	void *library = load("libjemalloc.so");

	if (library) {
		*(void **)&je_malloc = dlsym(library, "malloc");
		*(void **)&je_free = dlsym(library, "free");
	}
	return je_malloc && je_free;
}

static void *jemalloc_alloc(struct pool *pool, size_t size)
{
	(void)pool;
	return je_malloc(size);
}

static void jemalloc_free(struct pool *pool, void *block)
{
	(void)pool;
	je_free(block);
}

static void *(*mi_malloc)(size_t size);
static void (*mi_free)(void *block);

static bool mimalloc_found(void)
{
	void *library = load("libmimalloc.so");

	if (library) {
		*(void **)&mi_malloc = dlsym(library, "mi_malloc");
		*(void **)&mi_free = dlsym(library, "mi_free");
	}
	return mi_malloc && mi_free;
}

static void *mimalloc_alloc(struct pool *pool, size_t size)
{
	(void)pool;
	return mi_malloc(size);
}

static void mimalloc_free(struct pool *pool, void *block)
{
	(void)pool;
	mi_free(block);
}

#ifdef HAVE_MEMKIND
static struct pool *kind_create(const struct peer *peer, const char *path, uint64_t size,
				unsigned slots)
{
	struct pool *pool = create_slots(peer, path, size, slots);
	char *dir = strdup(path);

	if (!dir || memkind_create_pmem(dirname(dir), size, &pool->kind))
		die("%s: memkind_create_pmem failed", path);
	free(dir);
	return pool;
}

static void kind_close(struct pool *pool)
{
	memkind_destroy_kind(pool->kind);
	close_slots(pool);
}

static void *kind_alloc(struct pool *pool, size_t size)
{
	return memkind_malloc(pool->kind, size);
}

static void kind_free(struct pool *pool, void *block)
{
	memkind_free(pool->kind, block);
}
#endif

#define VOLATILE_PEER(PEER, ALLOC, FREE, ...)						\
	const struct peer PEER##_peer = {						\
		.name = #PEER,								\
		.alloc = ALLOC,								\
		.free = FREE,								\
		.publish = publish_slot,						\
		.unpublish = unpublish_slot,						\
		.action = act_on_slots,							\
		__VA_ARGS__								\
	}

VOLATILE_PEER(glibc, glibc_alloc, glibc_free,
	      .create = create_slots, .close = close_slots);
VOLATILE_PEER(jemalloc, jemalloc_alloc, jemalloc_free,
	      .create = create_slots, .close = close_slots, .found = jemalloc_found);
VOLATILE_PEER(mimalloc, mimalloc_alloc, mimalloc_free,
	      .create = create_slots, .close = close_slots, .found = mimalloc_found);
#ifdef HAVE_MEMKIND
/* memkind 1.14 crashes with two threads, once in some tens of runs, in its own jemalloc. */
VOLATILE_PEER(memkind, kind_alloc, kind_free,
	      .create = kind_create, .close = kind_close, .one_thread = true);
#endif
