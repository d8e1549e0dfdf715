/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gate between I/O on the heap's memory and what takes that memory away: a hole punched into
 * the pool's file, or a truncate.
 *
 * The kernel lets neither wait in peace.  On FS DAX a page under I/O holds up every punch and
 * truncate of its file, on current kernels without end while another thread touches that page; on
 * kernels before 6.15 and on tmpfs the page may be gone from the file while the device goes on
 * with it.  So who takes memory away closes the gate first.
 *
 * I/O is counted by who does it (a user of the gate: an attached ring), so no line is shared
 * between them while the gate is open.  Count and gate are a Dekker pair: a user counts up, then
 * looks at the gate; a closer closes, then looks at the counts; all of it sequentially consistent,
 * so at least one of them sees the other.
 */
#ifndef DH_GATE_H
#define DH_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format.h"
#include "lock.h"

struct dh_gate_user;

enum dh_gate_state {
	DH_GATE_OPEN,
	DH_GATE_CLOSING,		/* nothing new, and not all counts were seen at 0 yet */
	DH_GATE_CLOSED,
};

struct dh_gate {
	_Alignas(DH_LINE_SIZE) atomic_uint closed;	/* enum dh_gate_state */
	atomic_uint drained;		/* how often a count fell to 0 while it was closed */
	struct dh_lock lock;
	struct dh_gate_user *users;
};

struct dh_gate_user {
	_Alignas(DH_LINE_SIZE) atomic_uint in_flight;
	struct dh_gate *gate;
	/* Writes what is in flight for a message; by any thread, under the gate's lock. */
	void (*describe)(const struct dh_gate_user *user, char *text, size_t size);
	struct dh_gate_user *next;
};

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t dh_now_ns(void);

void dh_gate_init(struct dh_gate *gate);
/* @user, with `describe` set, may enter from now on; and no more, with nothing in flight. */
void dh_gate_join(struct dh_gate *gate, struct dh_gate_user *user);
void dh_gate_quit(struct dh_gate_user *user);

/*
 * Waits until no I/O is in flight on the heap's memory, and keeps new I/O out until
 * dh_gate_open().  @deadline: ns of CLOCK_MONOTONIC; if it has passed, looks once, and keeps
 * nothing out if something is in flight.  One closer at a time, the others wait.
 *
 * -ETIMEDOUT	with a message that says who holds what; the gate is open then
 */
int dh_gate_close(struct dh_gate *gate, uint64_t deadline);
void dh_gate_open(struct dh_gate *gate);

/*
 * Whether it is closed and nothing in flight: what must hold where memory is taken away.  By the
 * state, since who is about to be turned away is counted for a moment.
 */
bool dh_gate_is_closed(const struct dh_gate *gate);

int dh_gate_enter_closed(struct dh_gate_user *user, uint64_t patience_ns);
void dh_gate_note_drained(struct dh_gate *gate);

/*
 * One more in flight.  By one thread of the user at a time, as is dh_gate_leave().  While the gate
 * is closed a user with nothing in flight waits for it, @patience_ns at most.
 *
 * -EAGAIN	the gate is closed: the user has something in flight itself, which the closer
 *		waits for, or lost its patience
 */
static inline int dh_gate_enter(struct dh_gate_user *user, uint64_t patience_ns)
{
	atomic_fetch_add(&user->in_flight, 1);
	if (__builtin_expect(!atomic_load(&user->gate->closed), 1))
		return 0;
	return dh_gate_enter_closed(user, patience_ns);
}

static inline void dh_gate_leave(struct dh_gate_user *user)
{
	if (atomic_fetch_sub(&user->in_flight, 1) == 1 &&
	    __builtin_expect(atomic_load(&user->gate->closed), 0))
		dh_gate_note_drained(user->gate);
}

#endif
