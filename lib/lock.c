/* SPDX-License-Identifier: BSD-3-Clause */
#include <sched.h>
#include <time.h>

#include "lock.h"
#include "persist.h"

#define SPINS	64u
#define YIELDS	64u

void dh_wait(unsigned round)
{
	static const struct timespec pause = {.tv_nsec = 50000};

	if (dh_listened_wait())
		return;
	if (round < SPINS)
		__builtin_ia32_pause();
	else if (round < SPINS + YIELDS)
		sched_yield();
	else
		nanosleep(&pause, NULL);
}

void dh_lock_init(struct dh_lock *lock, enum dh_rank rank)
{
	atomic_init(&lock->held, 0);
	lock->rank = rank;
}

void dh_lock_wait(struct dh_lock *lock)
{
	unsigned round = 0;

	do {
		while (atomic_load_explicit(&lock->held, memory_order_relaxed))
			dh_wait(round++);
	} while (atomic_exchange(&lock->held, 1));
}

#ifdef DH_DEBUG
#include <stdio.h>
#include <stdlib.h>

#define HELD_MAX 300		/* all stripes, and some */

static __thread const struct dh_lock *held[HELD_MAX];
static __thread unsigned held_count;

static void wrong_order(const struct dh_lock *lock, const struct dh_lock *before)
{
	fprintf(stderr, "daxheap: lock of rank %u taken after one of rank %u\n", lock->rank,
		before->rank);
	abort();
}

void dh_lock_taken(const struct dh_lock *lock)
{
	if (held_count) {
		const struct dh_lock *last = held[held_count - 1];

		if (last->rank > lock->rank || (last->rank == lock->rank && last >= lock))
			wrong_order(lock, last);
	}
	if (held_count == HELD_MAX)
		abort();
	held[held_count++] = lock;
}

/* Given back in any order. */
void dh_lock_given(const struct dh_lock *lock)
{
	unsigned i = held_count;

	while (i && held[i - 1] != lock)
		i--;
	if (!i)
		abort();
	for (; i < held_count; i++)
		held[i - 1] = held[i];
	held_count--;
}
#endif
