/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "error.h"
#include "format.h"
#include "persist.h"

#ifdef DH_TEST_HOOKS
#include "fault.h"

enum dh_fault dh_fault;
static const struct dh_persist_listener *listener;
static void *listener_arg;

void dh_persist_listen(const struct dh_persist_listener *new_listener, void *arg)
{
	listener_arg = arg;
	listener = new_listener;
}

void dh_listened_store(const void *at, size_t size)
{
	if (listener)
		listener->store(listener_arg, at, size);
}

void dh_listened_flush(const void *at, size_t size)
{
	if (listener)
		listener->flush(listener_arg, at, size);
}

void dh_listened_fence(void)
{
	if (listener)
		listener->fence(listener_arg);
}

bool dh_listened_wait(void)
{
	if (!listener || !listener->wait)
		return false;
	listener->wait(listener_arg);
	return true;
}
#endif

static int auto_flush;
static pthread_once_t auto_flush_once = PTHREAD_ONCE_INIT;

static void read_auto_flush(void)
{
	auto_flush = pmem_has_auto_flush();
}

/*
 * Whether pmem_flush() does nothing: with eADR, where the CPUs' caches outlive a power cut too, or
 * since the user says so; see libpmem(7).
 */
static bool flushes_are_dropped(void)
{
	const char *no_flush = getenv("PMEM_NO_FLUSH");

	if (no_flush && (!strcmp(no_flush, "0") || !strcmp(no_flush, "1")))
		return *no_flush == '1';
	pthread_once(&auto_flush_once, read_auto_flush);
	return auto_flush == 1;
}

void dh_persist_init(struct dh_persist *persist, enum daxheap_durability durability)
{
	memset(persist, 0, sizeof(*persist));
	persist->fences = durability == DAXHEAP_MAP_SYNC || durability == DAXHEAP_FORCED ||
			  durability == DAXHEAP_DAX_MSYNC;
	persist->flushes = persist->fences && !flushes_are_dropped();
	persist->syncs = durability == DAXHEAP_DAX_MSYNC || durability == DAXHEAP_PAGE_CACHE;
	dh_lock_init(&persist->pending_lock, DH_RANK_PENDING);
}

void dh_add_pending(struct dh_persist *persist, const void *at, size_t size)
{
	uintptr_t start = (uintptr_t)at & ~(uintptr_t)(DH_PAGE_SIZE - 1);
	uintptr_t end = (uintptr_t)at + size;

	dh_lock(&persist->pending_lock);
	if (!persist->pending_end || start < persist->pending_start)
		persist->pending_start = start;
	if (end > persist->pending_end)
		persist->pending_end = end;
	dh_unlock(&persist->pending_lock);
}

/*
 * Under the lock, so that a thread whose flushes another thread's fence took over finds
 * them durable when it gets the lock for its own.
 */
int dh_sync_pending(struct dh_persist *persist)
{
	bool failed;
	int err = 0;

	dh_lock(&persist->pending_lock);
	if (persist->pending_end) {
		if (msync((void *)persist->pending_start,
			  persist->pending_end - persist->pending_start, MS_SYNC))
			err = errno;
		persist->pending_start = persist->pending_end = 0;
	}
	if (err)
		atomic_store(&persist->failed, true);
	failed = atomic_load_explicit(&persist->failed, memory_order_relaxed);
	dh_unlock(&persist->pending_lock);
	if (!failed)
		return 0;
	return dh_fail(EIO, "the system could not make data durable (msync%s%s): see the kernel "
		       "log, then close the pool and open it again",
		       err ? ": " : " failed earlier", err ? strerror(err) : "");
}
