/* SPDX-License-Identifier: BSD-3-Clause */
/* Create, open, close. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache.h"
#include "error.h"
#include "heap.h"
#include "super.h"

static atomic_uint fork_generation;

static void in_child(void)
{
	atomic_fetch_add(&fork_generation, 1);
	dh_caches_forked();
}

__attribute__((constructor)) static void watch_fork(void)
{
	pthread_atfork(NULL, NULL, in_child);
}

int dh_check_usable(const struct daxheap *heap)
{
	if (heap->fork_generation != atomic_load(&fork_generation))
		return dh_fail(EPERM, "the pool was opened before fork(): the child may not use "
			       "it; open it in one process alone");
	return 0;
}

int dh_check_writable(const struct daxheap *heap)
{
	if (heap->flags & DAXHEAP_READ_ONLY)
		return dh_fail(EROFS, "the pool is open read-only");
	return dh_check_usable(heap);
}

static struct daxheap *new_heap(unsigned flags)
{
	static atomic_uint_fast64_t ids;
	struct daxheap *heap = aligned_alloc(DH_LINE_SIZE, sizeof(*heap));

	if (!heap) {
		dh_fail(ENOMEM, "no memory for the heap");
		return NULL;
	}
	memset(heap, 0, sizeof(*heap));
	heap->flags = flags;
	heap->id = atomic_fetch_add(&ids, 1) + 1;
	atomic_init(&heap->holds, 1);
	heap->fork_generation = atomic_load(&fork_generation);
	dh_lock_init(&heap->root_lock, DH_RANK_ROOTS);
	dh_gate_init(&heap->gate);
	dh_trim_init(heap);
	for (unsigned i = 0; i < DH_STRIPES; i++)
		dh_lock_init(&heap->stripes[i].lock, DH_RANK_STRIPE);
	return heap;
}

/*
 * After a kill in the middle of growth the file's length may not be durable, and who uses what is
 * there, without growing it again, would lose it with the power.
 */
static int settle_file(struct daxheap *heap)
{
	if (heap->flags & DAXHEAP_READ_ONLY || heap->mapping.is_device ||
	    dh_faulty(DH_FAULT_OPEN_NOT_SYNCED))
		return 0;
	return dh_mapping_sync(&heap->mapping, 0, DH_PAGE_SIZE);
}

static int open_space(struct daxheap *heap)
{
	int err = dh_space_open(&heap->space, &heap->media, &heap->mapping, &heap->persist,
				&heap->log, &heap->trim_due);

	if (err || heap->flags & DAXHEAP_READ_ONLY)
		return err;
	err = dh_trim_finish(heap);
	if (err)
		dh_space_close(&heap->space);
	return err;
}

/* Reads log and blocks of the mapped pool. */
static int start(struct daxheap *heap)
{
	struct dh_change *changes;
	size_t count, records;
	int err = settle_file(heap);

	if (err)
		return err;
	dh_media_init(&heap->media, heap->base, &heap->sb, &heap->mapping.length);
	/* A name may be in the CPU's cache alone after a kill; the log's fence covers it. */
	dh_flush(&heap->persist, &heap->traffic, heap->base + DH_ROOTS_OFFSET,
		 DH_ROOTS * sizeof(struct dh_root));
	err = dh_log_open(&heap->log, heap->base, atomic_load(&heap->mapping.length), &heap->sb,
			  &heap->persist, &heap->traffic, &changes, &count, &records);
	if (err)
		return err;
	err = dh_roots_check(heap);
	if (!err)
		err = dh_recover(heap, changes, count);
	free(changes);
	heap->replayed = records;
	if (!err)
		err = open_space(heap);
	if (err)
		dh_log_close(&heap->log);
	return err;
}

/* Maps the file of which heap->sb tells, and starts. */
static int map_and_start(struct daxheap *heap, const char *path, bool format)
{
	int err;

	heap->mapping.size = heap->sb.size;
	err = dh_mapping_map(&heap->mapping, path, heap->flags);
	if (!err)
		err = dh_mapping_detach(&heap->mapping, heap->mapping.base,
					heap->sb.first_chunk * DH_CHUNK_SIZE);
	if (err)
		return err;
	heap->base = heap->mapping.base;
	dh_persist_init(&heap->persist, heap->mapping.durability);
	if (format) {
		dh_log_format(heap->base, &heap->persist, &heap->traffic,
			      dh_pool_seed(&heap->sb));
		err = dh_fence(&heap->persist, &heap->traffic);
		if (!err)
			err = dh_super_write(heap->base, &heap->persist, &heap->traffic,
					     &heap->sb);
		if (!err)
			err = dh_mapping_sync_name(&heap->mapping, path);
	}
	return err ? err : start(heap);
}

static int check_flags(unsigned flags, unsigned allowed)
{
	if (flags & ~allowed)
		return dh_fail(EINVAL, "unknown flags %#x", flags & ~allowed);
	if ((flags & DAXHEAP_READ_ONLY) && (flags & DAXHEAP_REQUIRE_MAP_SYNC))
		return dh_fail(EINVAL, "a read-only open writes nothing, so it can't require "
			       "MAP_SYNC");
	return 0;
}

/*
 * What is used from the start: all in front of the chunk table, and the superblock's copy.  On DAX
 * the whole first chunk, for a huge page, and since what follows in the file will lie behind it.
 */
static int allocate_front(struct daxheap *heap)
{
	uint64_t log_size = heap->sb.lanes * heap->sb.ring * sizeof(struct dh_record);
	int err;

	if (heap->mapping.is_dax)
		return dh_mapping_allocate(&heap->mapping, 0, DH_CHUNK_SIZE);
	err = dh_mapping_allocate(&heap->mapping, 0, DH_LOG_OFFSET + log_size);
	return err ? err : dh_mapping_allocate(&heap->mapping, DH_COPY_OFFSET, DH_PAGE_SIZE);
}

/* Whether @size will do, rounded up to whole chunks; on a device 0 is all of it. */
static int choose_size(const struct daxheap *heap, const char *path, uint64_t *size)
{
	uint64_t chosen = *size;
	int err = heap->mapping.is_device ?
			  dh_devdax_pool_size(&heap->mapping.device, path, &chosen) : 0;

	if (err)
		return err;
	if (chosen < DH_SIZE_MIN || chosen > DH_SIZE_MAX)
		return dh_fail(EINVAL, "a pool has %llu MiB to %llu TiB, not %llu bytes",
			       (unsigned long long)(DH_SIZE_MIN >> 20),
			       (unsigned long long)(DH_SIZE_MAX >> 40),
			       (unsigned long long)chosen);
	*size = (chosen + DH_CHUNK_SIZE - 1) / DH_CHUNK_SIZE * DH_CHUNK_SIZE;
	return 0;
}

static int create_file(struct daxheap *heap, const char *path)
{
	if (heap->flags & DAXHEAP_OVERWRITE)
		return dh_fail(EINVAL, "%s: only what is on a device can be overwritten: remove "
			       "the file first, if there is one", path);
	return dh_mapping_create(&heap->mapping, path, heap->sb.first_chunk * DH_CHUNK_SIZE);
}

static int clear_device(struct daxheap *heap, const char *path)
{
	return dh_devdax_clear(heap->mapping.fd, &heap->mapping.device, path,
			       heap->flags & DAXHEAP_OVERWRITE,
			       heap->sb.first_chunk * DH_CHUNK_SIZE, heap->sb.size);
}

/* A new file, or a device, and the superblock that it shall have. */
static int create_place(struct daxheap *heap, const char *path, uint64_t size, unsigned lanes,
			unsigned ring)
{
	bool on_device = dh_devdax_may_be(path);
	int err = on_device ? dh_mapping_open(&heap->mapping, path, 0) : 0;

	if (err)
		return err;
	err = choose_size(heap, path, &size);
	if (!err)
		err = dh_super_init(&heap->sb, size, lanes, ring);
	if (!err)
		err = on_device ? clear_device(heap, path) : create_file(heap, path);
	if (err && on_device)
		dh_mapping_close(&heap->mapping);
	return err;
}

int dh_create_sized(const char *path, uint64_t size, unsigned flags, unsigned lanes,
		    unsigned ring, struct daxheap **heap_out)
{
	struct daxheap *heap;
	int err = check_flags(flags, DAXHEAP_REQUIRE_MAP_SYNC | DAXHEAP_OVERWRITE);

	if (err)
		return err;
	heap = new_heap(flags);
	if (!heap)
		return -ENOMEM;
	err = create_place(heap, path, size, lanes, ring);
	if (!err) {
		err = allocate_front(heap);
		if (!err)
			err = map_and_start(heap, path, true);
		if (err)
			dh_mapping_discard(&heap->mapping, path);
	}
	if (err) {
		free(heap);
		return err;
	}
	*heap_out = heap;
	return 0;
}

DAXHEAP_API int daxheap_create(const char *path, uint64_t size, unsigned flags,
			       struct daxheap **heap)
{
	return dh_create_sized(path, size, flags, DH_LANES_MAX, DH_RING_MAX, heap);
}

DAXHEAP_API int daxheap_open(const char *path, unsigned flags, struct daxheap **heap_out)
{
	struct daxheap *heap;
	int err = check_flags(flags, DAXHEAP_REQUIRE_MAP_SYNC | DAXHEAP_READ_ONLY);

	if (err)
		return err;
	heap = new_heap(flags);
	if (!heap)
		return -ENOMEM;
	err = dh_mapping_open(&heap->mapping, path, flags);
	if (!err) {
		err = dh_super_read(&heap->mapping, path, flags, &heap->sb);
		if (!err)
			err = map_and_start(heap, path, false);
		if (err)
			dh_mapping_close(&heap->mapping);
	}
	if (err) {
		free(heap);
		return err;
	}
	*heap_out = heap;
	return 0;
}

void dh_heap_hold(struct daxheap *heap)
{
	atomic_fetch_add(&heap->holds, 1);
}

void dh_heap_drop(struct daxheap *heap)
{
	if (atomic_fetch_sub(&heap->holds, 1) > 1)
		return;
	/* So that the next open has nothing to replay; if it fails, it will. */
	if (!(heap->flags & DAXHEAP_READ_ONLY))
		dh_log_settle(&heap->log, &heap->traffic);
	dh_caches_close(heap);
	dh_trim_close(heap);
	dh_space_close(&heap->space);
	dh_log_close(&heap->log);
	dh_mapping_close(&heap->mapping);
	free(heap);
}

DAXHEAP_API void daxheap_close(struct daxheap *heap)
{
	/* In a child the mapping is not there, and the lock is the parent's. */
	if (!heap || dh_check_usable(heap))
		return;
	atomic_store(&heap->closed, true);
	dh_heap_drop(heap);
}

DAXHEAP_API int daxheap_get_info(struct daxheap *heap, struct daxheap_info *info)
{
	int err = dh_check_usable(heap);

	if (err)
		return err;
	*info = (struct daxheap_info){
		.size = heap->sb.size,
		.length = atomic_load(&heap->mapping.length),
		.format_version = heap->sb.version,
		.durability = heap->mapping.durability,
		.compat = heap->sb.compat,
		.ro_compat = heap->sb.ro_compat,
		.incompat = heap->sb.incompat,
		.created_s = heap->sb.created_s,
		.replayed = heap->replayed,
		.trimmed_bytes = atomic_load(&heap->trim.trimmed),
	};
	memcpy(info->uuid, heap->sb.uuid, sizeof(info->uuid));
	dh_caches_traffic(heap, &info->fences, &info->flushed_lines);
	return 0;
}

DAXHEAP_API const char *daxheap_durability_name(enum daxheap_durability durability)
{
	switch (durability) {
	case DAXHEAP_MAP_SYNC:
		return "MAP_SYNC: cache-line flushes (none with eADR)";
	case DAXHEAP_DAX_MSYNC:
		return "DAX without MAP_SYNC: msync at each fence, slower";
	case DAXHEAP_PAGE_CACHE:
		return "page cache: msync at each fence, slower; as durable as the file system";
	case DAXHEAP_NOTHING_WRITTEN:
		return "read-only: nothing is written";
	case DAXHEAP_FORCED:
		return "forced (PMEM_IS_PMEM_FORCE): cache-line flushes, and no promise";
	}
	return "unknown";
}

DAXHEAP_API const char *daxheap_version(void)
{
	return PACKAGE_VERSION;
}
