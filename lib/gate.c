/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "fault.h"
#include "gate.h"
#include "persist.h"

#define NS_PER_S UINT64_C(1000000000)

uint64_t dh_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* May return early. */
static void sleep_while(atomic_uint *word, unsigned value, uint64_t deadline)
{
	const struct timespec until = {
		.tv_sec = (time_t)(deadline / NS_PER_S),
		.tv_nsec = (long)(deadline % NS_PER_S),
	};

	if (dh_listened_wait())
		return;
	/* Of the kinds of futex waits the one whose time is absolute. */
	syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, value, &until, NULL,
		FUTEX_BITSET_MATCH_ANY);
}

static void wake_all(atomic_uint *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, NULL, NULL, 0);
}

void dh_gate_init(struct dh_gate *gate)
{
	atomic_init(&gate->closed, 0);
	atomic_init(&gate->drained, 0);
	dh_lock_init(&gate->lock, DH_RANK_GATE);
	gate->users = NULL;
}

void dh_gate_join(struct dh_gate *gate, struct dh_gate_user *user)
{
	atomic_init(&user->in_flight, 0);
	user->gate = gate;
	dh_lock(&gate->lock);
	user->next = gate->users;
	gate->users = user;
	dh_unlock(&gate->lock);
}

void dh_gate_quit(struct dh_gate_user *user)
{
	struct dh_gate *gate = user->gate;
	struct dh_gate_user **at = &gate->users;

	dh_lock(&gate->lock);
	while (*at != user)
		at = &(*at)->next;
	*at = user->next;
	dh_unlock(&gate->lock);
}

/* Under the lock. */
static const struct dh_gate_user *first_busy(const struct dh_gate *gate)
{
	const struct dh_gate_user *user = gate->users;

	while (user && !atomic_load(&user->in_flight))
		user = user->next;
	return user;
}

static bool is_busy(struct dh_gate *gate)
{
	bool busy;

	dh_lock(&gate->lock);
	busy = first_busy(gate) != NULL;
	dh_unlock(&gate->lock);
	return busy;
}

static int took_too_long(struct dh_gate *gate)
{
	const struct dh_gate_user *user;
	char who[256] = "it ended just now";

	dh_lock(&gate->lock);
	user = first_busy(gate);
	if (user)
		user->describe(user, who, sizeof(who));
	dh_unlock(&gate->lock);
	return dh_fail(ETIMEDOUT, "I/O on the pool's memory did not end in time (%s): reap or "
		       "cancel it, then try again", who);
}

int dh_gate_close(struct dh_gate *gate, uint64_t deadline)
{
	unsigned state = DH_GATE_OPEN;

	/* Who may not wait turns nothing new away for it either. */
	if (is_busy(gate) && dh_now_ns() >= deadline && !dh_faulty(DH_FAULT_NO_GATE))
		return took_too_long(gate);
	while (!atomic_compare_exchange_strong(&gate->closed, &state, DH_GATE_CLOSING)) {
		if (dh_now_ns() >= deadline)
			return dh_fail(ETIMEDOUT, "another thread keeps I/O from the pool's "
				       "memory, to trim it: try again");
		sleep_while(&gate->closed, state, deadline);
		state = DH_GATE_OPEN;
	}
	while (!dh_faulty(DH_FAULT_NO_GATE)) {
		unsigned drained = atomic_load(&gate->drained);

		if (!is_busy(gate))
			break;
		if (dh_now_ns() >= deadline) {
			int err = took_too_long(gate);

			dh_gate_open(gate);
			return err;
		}
		sleep_while(&gate->drained, drained, deadline);
	}
	atomic_store(&gate->closed, DH_GATE_CLOSED);
	return 0;
}

void dh_gate_open(struct dh_gate *gate)
{
	atomic_store(&gate->closed, DH_GATE_OPEN);
	wake_all(&gate->closed);
}

bool dh_gate_is_closed(const struct dh_gate *gate)
{
	return atomic_load(&gate->closed) == DH_GATE_CLOSED;
}

void dh_gate_note_drained(struct dh_gate *gate)
{
	atomic_fetch_add(&gate->drained, 1);
	wake_all(&gate->drained);
}

int dh_gate_enter_closed(struct dh_gate_user *user, uint64_t patience_ns)
{
	struct dh_gate *gate = user->gate;
	uint64_t deadline = dh_now_ns() + patience_ns;
	unsigned state;

	do {
		/* Out again, so that the closer does not wait for what waits for it. */
		if (atomic_fetch_sub(&user->in_flight, 1) > 1)
			return dh_fail(EAGAIN, "the pool is about to be trimmed: reap the "
				       "completions of the I/O in flight, then try again");
		dh_gate_note_drained(gate);
		while ((state = atomic_load(&gate->closed))) {
			if (dh_now_ns() >= deadline)
				return dh_fail(EAGAIN, "the pool is being trimmed: try again");
			sleep_while(&gate->closed, state, deadline);
		}
		atomic_fetch_add(&user->in_flight, 1);
	} while (atomic_load(&gate->closed));
	return 0;
}
