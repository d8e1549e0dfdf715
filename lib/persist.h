/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one door through which every durable store goes.  A store is durable after a flush
 * of its lines and a fence, both by the thread that stored or saw the store.
 */
#ifndef DH_PERSIST_H
#define DH_PERSIST_H

#include <libpmem.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "daxheap.h"
#include "lock.h"

struct dh_persist {
	bool flushes;			/* cache lines are flushed, by libpmem: not with eADR */
	bool fences;			/* and ordered by its fence */
	bool syncs;			/* msync at a fence */
	atomic_bool failed;		/* an msync failed: nothing can be promised any more */

	/* msync modes: the bytes flushed by any thread and not yet fenced. */
	struct dh_lock pending_lock;
	uintptr_t pending_start;
	uintptr_t pending_end;
};

/* What went through the door, counted by the thread or lane that did it. */
struct dh_traffic {
	atomic_uint_fast64_t fences;
	atomic_uint_fast64_t flushed_lines;
};

/*
 * Told of all that goes through the door, after it happened, and of each step of waiting for
 * another thread (instead of which it may do something else).  For tests that form the images
 * a crash could leave.  Only in the library that the tests link.
 */
struct dh_persist_listener {
	void (*store)(void *arg, const void *at, size_t size);
	void (*flush)(void *arg, const void *at, size_t size);
	void (*fence)(void *arg);
	void (*wait)(void *arg);	/* may be NULL: then threads wait as ever */
};

/* Process-wide; NULL ends it.  Not while a heap is in use by another thread. */
void dh_persist_listen(const struct dh_persist_listener *listener, void *arg);

#ifdef DH_TEST_HOOKS
void dh_listened_store(const void *at, size_t size);
void dh_listened_flush(const void *at, size_t size);
void dh_listened_fence(void);
bool dh_listened_wait(void);
#else
static inline void dh_listened_store(const void *at, size_t size) { (void)at; (void)size; }
static inline void dh_listened_flush(const void *at, size_t size) { (void)at; (void)size; }
static inline void dh_listened_fence(void) {}
static inline bool dh_listened_wait(void) { return false; }
#endif

void dh_persist_init(struct dh_persist *persist, enum daxheap_durability durability);

/* Single writer; readers see some recent count. */
static inline void dh_count(atomic_uint_fast64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter,
			      atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/* Atomic: a reader sees the old word or @value, and what was stored before it. */
static inline void dh_store64(uint64_t *at, uint64_t value)
{
	__atomic_store_n(at, value, __ATOMIC_RELEASE);
	dh_listened_store(at, sizeof(value));
}

/* Stores @value if the word is still *@seen, else updates *@seen. */
static inline bool dh_compare_store64(uint64_t *at, uint64_t *seen, uint64_t value)
{
	if (!__atomic_compare_exchange_n(at, seen, value, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		return false;
	dh_listened_store(at, sizeof(value));
	return true;
}

static inline void dh_write(void *at, const void *from, size_t size)
{
	memcpy(at, from, size);
	dh_listened_store(at, size);
}

/* msync modes. */
void dh_add_pending(struct dh_persist *persist, const void *at, size_t size);
int dh_sync_pending(struct dh_persist *persist);

static __always_inline void dh_count_lines(const struct dh_persist *persist,
					   struct dh_traffic *traffic, const void *at, size_t size)
{
	if (persist->flushes || persist->syncs)
		dh_count(&traffic->flushed_lines,
			 ((uintptr_t)at + size - 1) / 64 - (uintptr_t)at / 64 + 1);
}

/* @size is not 0. */
static __always_inline void dh_flush(struct dh_persist *persist, struct dh_traffic *traffic,
			    const void *at, size_t size)
{
	if (persist->flushes)
		pmem_flush(at, size);
	if (__builtin_expect(persist->syncs, 0))
		dh_add_pending(persist, at, size);
	dh_count_lines(persist, traffic, at, size);
	dh_listened_flush(at, size);
}

/* A store of @size bytes, not 0, and their flush; where lines are flushed, past the cache. */
static inline void dh_copy(struct dh_persist *persist, struct dh_traffic *traffic, void *at,
			   const void *from, size_t size)
{
	if (persist->flushes)
		pmem_memcpy(at, from, size, PMEM_F_MEM_NODRAIN | PMEM_F_MEM_NONTEMPORAL);
	else
		memcpy(at, from, size);
	dh_listened_store(at, size);
	if (persist->syncs)
		dh_add_pending(persist, at, size);
	dh_count_lines(persist, traffic, at, size);
	dh_listened_flush(at, size);
}

/* 0, or -EIO, once and for all, when the system could not make data durable. */
static __always_inline int dh_fence(struct dh_persist *persist, struct dh_traffic *traffic)
{
	if (persist->fences)
		pmem_drain();
	if (__builtin_expect(persist->syncs, 0)) {
		int err = dh_sync_pending(persist);

		if (err)
			return err;
	}
	dh_count(&traffic->fences, 1);
	dh_listened_fence();
	return 0;
}

#endif
