/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one kind of lock in the library: a word that is spun on, then slept on.
 *
 * Sections are short (a flush and a fence), so waiters seldom sleep; a lock costs one atomic
 * instruction, and the explorer of tests/crash can take a waiting thread off the stage.
 *
 * Locks are taken in the order of their rank; equal ranks (stripes) in ascending order of
 * address.  With --enable-debug each thread's order is asserted.
 */
#ifndef DH_LOCK_H
#define DH_LOCK_H

#include <stdatomic.h>
#include <stdint.h>

enum dh_rank {
	DH_RANK_TRIM = 1,		/* one trim at a time */
	DH_RANK_REGISTRY,		/* which threads have caches of which heap */
	DH_RANK_ROOTS,
	DH_RANK_LANE,			/* a lane that threads share */
	DH_RANK_STRIPE,
	DH_RANK_SPACE,
	DH_RANK_HORIZON,
	DH_RANK_LOAD,			/* reading a chunk's state from the media */
	DH_RANK_PENDING,		/* msync modes: what is to be synced */
	DH_RANK_GATE,			/* who may do I/O on the pool */
};

struct dh_lock {
	atomic_uint held;
	uint32_t rank;
};

void dh_lock_init(struct dh_lock *lock, enum dh_rank rank);
/* Waits: pause instructions first, then yields, then sleeps of 50 microseconds. */
void dh_lock_wait(struct dh_lock *lock);

#ifdef DH_DEBUG
void dh_lock_taken(const struct dh_lock *lock);
void dh_lock_given(const struct dh_lock *lock);
#else
static inline void dh_lock_taken(const struct dh_lock *lock) { (void)lock; }
static inline void dh_lock_given(const struct dh_lock *lock) { (void)lock; }
#endif

static inline void dh_lock(struct dh_lock *lock)
{
	if (__builtin_expect(atomic_exchange(&lock->held, 1), 0))
		dh_lock_wait(lock);
	dh_lock_taken(lock);
}

static inline int dh_trylock(struct dh_lock *lock)
{
	if (atomic_exchange(&lock->held, 1))
		return 0;
	dh_lock_taken(lock);
	return 1;
}

static inline void dh_unlock(struct dh_lock *lock)
{
	dh_lock_given(lock);
	atomic_store_explicit(&lock->held, 0, memory_order_release);
}

/* A step of waiting for another thread: @round counts from 0. */
void dh_wait(unsigned round);

#endif
