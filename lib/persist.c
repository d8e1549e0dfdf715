/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <libpmem.h>
#include <string.h>
#include <sys/mman.h>

#include "error.h"
#include "format.h"
#include "persist.h"

static const struct dh_persist_listener *listener;
static void *listener_arg;

void dh_persist_listen(const struct dh_persist_listener *new_listener, void *arg)
{
	listener_arg = arg;
	listener = new_listener;
}

void dh_persist_init(struct dh_persist *persist, enum daxheap_durability durability)
{
	memset(persist, 0, sizeof(*persist));
	persist->durability = durability;
	pthread_mutex_init(&persist->pending_lock, NULL);
}

void dh_persist_destroy(struct dh_persist *persist)
{
	pthread_mutex_destroy(&persist->pending_lock);
}

void dh_store64(uint64_t *at, uint64_t value)
{
	__atomic_store_n(at, value, __ATOMIC_RELEASE);
	if (listener)
		listener->store(listener_arg, at, sizeof(value));
}

bool dh_compare_store64(uint64_t *at, uint64_t *seen, uint64_t value)
{
	if (!__atomic_compare_exchange_n(at, seen, value, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		return false;
	if (listener)
		listener->store(listener_arg, at, sizeof(value));
	return true;
}

void dh_write(void *at, const void *from, size_t size)
{
	memcpy(at, from, size);
	if (listener)
		listener->store(listener_arg, at, size);
}

static bool flushes_lines(const struct dh_persist *persist)
{
	return persist->durability == DAXHEAP_MAP_SYNC ||
	       persist->durability == DAXHEAP_DAX_MSYNC;
}

static bool needs_msync(const struct dh_persist *persist)
{
	return persist->durability == DAXHEAP_DAX_MSYNC ||
	       persist->durability == DAXHEAP_PAGE_CACHE;
}

static void add_pending(struct dh_persist *persist, const void *at, size_t size)
{
	uintptr_t start = (uintptr_t)at & ~(uintptr_t)(DH_PAGE_SIZE - 1);
	uintptr_t end = (uintptr_t)at + size;

	pthread_mutex_lock(&persist->pending_lock);
	if (!persist->pending_end || start < persist->pending_start)
		persist->pending_start = start;
	if (end > persist->pending_end)
		persist->pending_end = end;
	pthread_mutex_unlock(&persist->pending_lock);
}

void dh_flush(struct dh_persist *persist, const void *at, size_t size)
{
	uintptr_t first = (uintptr_t)at / DH_LINE_SIZE;
	uintptr_t last = ((uintptr_t)at + size - 1) / DH_LINE_SIZE;

	if (!size || persist->durability == DAXHEAP_NOTHING_WRITTEN)
		return;
	if (flushes_lines(persist))
		pmem_flush(at, size);
	if (needs_msync(persist))
		add_pending(persist, at, size);
	atomic_fetch_add_explicit(&persist->flushed_lines, last - first + 1,
				  memory_order_relaxed);
	if (listener)
		listener->flush(listener_arg, at, size);
}

/*
 * Under the lock, so that a thread whose flushes another thread's fence took over finds
 * them durable when it gets the lock for its own.
 */
static int sync_pending(struct dh_persist *persist)
{
	int err = 0;

	pthread_mutex_lock(&persist->pending_lock);
	if (persist->pending_end) {
		if (msync((void *)persist->pending_start,
			  persist->pending_end - persist->pending_start, MS_SYNC))
			err = errno;
		persist->pending_start = persist->pending_end = 0;
	}
	if (err)
		atomic_store(&persist->failed, true);
	pthread_mutex_unlock(&persist->pending_lock);
	return err;
}

int dh_fence(struct dh_persist *persist)
{
	int err = 0;

	if (persist->durability == DAXHEAP_NOTHING_WRITTEN)
		return 0;
	if (flushes_lines(persist))
		pmem_drain();
	if (needs_msync(persist))
		err = sync_pending(persist);
	if (err || atomic_load_explicit(&persist->failed, memory_order_relaxed))
		return dh_fail(EIO, "the system could not make data durable (msync%s%s): see "
			       "the kernel log, then close the pool and open it again",
			       err ? ": " : " failed earlier", err ? strerror(err) : "");
	atomic_fetch_add_explicit(&persist->fences, 1, memory_order_relaxed);
	if (listener)
		listener->fence(listener_arg);
	return 0;
}
