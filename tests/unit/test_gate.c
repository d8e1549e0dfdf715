/* SPDX-License-Identifier: BSD-3-Clause */
/* The gate: nothing is in flight while it is closed, and nobody waits for himself. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "fault.h"
#include "gate.h"
#include "pool.h"

static void reset(void)
{
	dh_fault = DH_FAULT_NONE;
}

TestSuite(gate, .init = reset, .fini = reset, .timeout = 60);

#define FOREVER	UINT64_MAX
#define PATIENCE_NS (UINT64_C(60) * 1000000000)

static void say(const struct dh_gate_user *user, char *text, size_t size)
{
	snprintf(text, size, "%u of somebody's", atomic_load(&user->in_flight));
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static pthread_t start(void *(*work)(void *), void *arg)
{
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, work, arg), 0);
	return thread;
}

/* A gate with users that have @in_flight each. */
#define USERS 3

struct site {
	struct dh_gate gate;
	struct dh_gate_user users[USERS];
	atomic_bool released;		/* what the closer waits for has ended */
	bool early;			/* it was not waited for */
	atomic_bool ended;
	int err;
};

static void open_site(struct site *site)
{
	memset(site, 0, sizeof(*site));
	dh_gate_init(&site->gate);
	for (unsigned i = 0; i < USERS; i++) {
		site->users[i].describe = say;
		dh_gate_join(&site->gate, &site->users[i]);
	}
}

static void *close_it(void *arg)
{
	struct site *site = arg;

	site->err = dh_gate_close(&site->gate, FOREVER);
	site->early = !atomic_load(&site->released);
	if (!site->err && !dh_faulty(DH_FAULT_NO_GATE) && !dh_gate_is_closed(&site->gate))
		site->err = -EIO;
	dh_gate_open(&site->gate);
	atomic_store(&site->ended, true);
	return NULL;
}

/* Until the closer is at it. */
static void wait_closed(struct site *site)
{
	while (!atomic_load(&site->gate.closed) && !atomic_load(&site->ended))
		pause_ms(1);
}

Test(gate, closes_at_once_with_nothing_in_flight)
{
	static struct site site;

	open_site(&site);
	cr_assert(!dh_gate_is_closed(&site.gate));
	must(dh_gate_close(&site.gate, 0));
	cr_assert(dh_gate_is_closed(&site.gate));
	dh_gate_open(&site.gate);
	must(dh_gate_enter(&site.users[0], 0));
	dh_gate_leave(&site.users[0]);
	must(dh_gate_close(&site.gate, 0));
	dh_gate_open(&site.gate);
}

/* Two in flight at one user, one at another: it wakes after the last. */
static void close_with_io_in_flight(struct site *site)
{
	pthread_t closer;

	open_site(site);
	must(dh_gate_enter(&site->users[0], 0));
	must(dh_gate_enter(&site->users[0], 0));
	must(dh_gate_enter(&site->users[2], 0));
	closer = start(close_it, site);
	wait_closed(site);
	dh_gate_leave(&site->users[0]);
	pause_ms(20);
	dh_gate_leave(&site->users[2]);
	pause_ms(20);
	atomic_store(&site->released, true);
	dh_gate_leave(&site->users[0]);
	pthread_join(closer, NULL);
}

Test(gate, a_closer_waits_for_what_is_in_flight_and_wakes)
{
	static struct site site;

	close_with_io_in_flight(&site);
	cr_assert_eq(site.err, 0);
	cr_assert(!site.early);
}

/* The negative control of the test above. */
Test(gate, without_it_a_closer_waits_for_nothing)
{
	static struct site site;

	dh_fault = DH_FAULT_NO_GATE;
	close_with_io_in_flight(&site);
	cr_assert_eq(site.err, 0);
	cr_assert(site.early);
}

Test(gate, says_who_holds_what_when_time_is_up)
{
	static struct site site;

	open_site(&site);
	must(dh_gate_enter(&site.users[1], 0));
	must_fail(ETIMEDOUT, dh_gate_close(&site.gate, 0));
	must_say("1 of somebody's");
	must_fail(ETIMEDOUT, dh_gate_close(&site.gate, dh_now_ns() + 20000000));
	must_say("1 of somebody's");
	/* It is open then. */
	must(dh_gate_enter(&site.users[1], 0));
	dh_gate_leave(&site.users[1]);
	dh_gate_leave(&site.users[1]);
	must(dh_gate_close(&site.gate, 0));
	dh_gate_open(&site.gate);
}

Test(gate, who_has_something_in_flight_does_not_wait)
{
	static struct site site;
	pthread_t closer;

	open_site(&site);
	must(dh_gate_enter(&site.users[0], 0));
	closer = start(close_it, &site);
	wait_closed(&site);
	must_fail(EAGAIN, dh_gate_enter(&site.users[0], PATIENCE_NS));
	must_say("reap");
	atomic_store(&site.released, true);
	dh_gate_leave(&site.users[0]);
	pthread_join(closer, NULL);
	cr_assert(!site.early);
	must(dh_gate_enter(&site.users[0], 0));
	dh_gate_leave(&site.users[0]);
}

struct entrant {
	struct dh_gate_user *user;
	atomic_bool *opened;
	bool early;
	int err;
};

static void *enter_it(void *arg)
{
	struct entrant *entrant = arg;

	entrant->err = dh_gate_enter(entrant->user, PATIENCE_NS);
	entrant->early = !atomic_load(entrant->opened);
	return NULL;
}

Test(gate, an_idle_user_waits_until_it_opens)
{
	static struct site site;
	atomic_bool opened = false;
	struct entrant entrant = {.user = &site.users[0], .opened = &opened};
	pthread_t thread;

	open_site(&site);
	must(dh_gate_close(&site.gate, 0));
	thread = start(enter_it, &entrant);
	pause_ms(20);
	cr_assert(dh_gate_is_closed(&site.gate));
	atomic_store(&opened, true);
	dh_gate_open(&site.gate);
	pthread_join(thread, NULL);
	cr_assert_eq(entrant.err, 0);
	cr_assert(!entrant.early);
	dh_gate_leave(&site.users[0]);
}

Test(gate, patience_ends)
{
	static struct site site;

	open_site(&site);
	must(dh_gate_close(&site.gate, 0));
	must_fail(EAGAIN, dh_gate_enter(&site.users[0], 0));
	must_fail(EAGAIN, dh_gate_enter(&site.users[0], 20000000));
	must_say("try again");
	cr_assert(dh_gate_is_closed(&site.gate));
	dh_gate_open(&site.gate);
}

Test(gate, one_closer_at_a_time)
{
	static struct site site;
	pthread_t closer;

	open_site(&site);
	must(dh_gate_close(&site.gate, 0));
	must_fail(ETIMEDOUT, dh_gate_close(&site.gate, dh_now_ns() + 20000000));
	must_say("another thread");
	/* The first has it still. */
	cr_assert(dh_gate_is_closed(&site.gate));
	closer = start(close_it, &site);
	pause_ms(20);
	atomic_store(&site.released, true);
	dh_gate_open(&site.gate);
	pthread_join(closer, NULL);
	cr_assert_eq(site.err, 0);
	cr_assert(!site.early);
}

Test(gate, users_come_and_go_while_it_is_closed)
{
	static struct site site;

	open_site(&site);
	must(dh_gate_close(&site.gate, 0));
	dh_gate_quit(&site.users[1]);
	dh_gate_quit(&site.users[2]);
	dh_gate_join(&site.gate, &site.users[1]);
	must_fail(EAGAIN, dh_gate_enter(&site.users[1], 0));
	dh_gate_open(&site.gate);
	must(dh_gate_enter(&site.users[1], 0));
	dh_gate_leave(&site.users[1]);
}

/* --- all at once --- */

#define ROUNDS 2000

struct crowd {
	struct site site;
	atomic_uint inside, done;
	atomic_uint entered, violations;
	bool to_be_violated;
};

struct member {
	struct crowd *crowd;
	struct dh_gate_user *user;
};

static void *come_and_go(void *arg)
{
	struct member *member = arg;
	struct crowd *crowd = member->crowd;

	while (!atomic_load(&crowd->done)) {
		unsigned depth = 0;

		while (depth < 3 && !dh_gate_enter(member->user, PATIENCE_NS)) {
			atomic_fetch_add(&crowd->inside, 1);
			atomic_fetch_add(&crowd->entered, 1);
			depth++;
		}
		for (; depth; depth--) {
			atomic_fetch_sub(&crowd->inside, 1);
			dh_gate_leave(member->user);
		}
	}
	return NULL;
}

/* On a busy machine threads may not meet for a while; what the test is to see ends it. */
static bool goes_on(struct crowd *crowd, unsigned round)
{
	if (crowd->to_be_violated)
		return !atomic_load(&crowd->violations);
	return round < ROUNDS || atomic_load(&crowd->entered) < ROUNDS;
}

static void *close_often(void *arg)
{
	struct crowd *crowd = arg;

	for (unsigned i = 0; goes_on(crowd, i); i++) {
		if (dh_gate_close(&crowd->site.gate, FOREVER)) {
			atomic_fetch_add(&crowd->violations, 1);
			continue;
		}
		for (unsigned j = 0; j < 100; j++)
			if (atomic_load(&crowd->inside) || !dh_gate_is_closed(&crowd->site.gate))
				atomic_fetch_add(&crowd->violations, 1);
		dh_gate_open(&crowd->site.gate);
	}
	atomic_fetch_add(&crowd->done, 1);
	return NULL;
}

static void run_crowd(struct crowd *crowd, bool to_be_violated)
{
	struct member members[USERS];
	pthread_t threads[USERS], closers[2];

	memset(crowd, 0, sizeof(*crowd));
	crowd->to_be_violated = to_be_violated;
	open_site(&crowd->site);
	for (unsigned i = 0; i < USERS; i++) {
		members[i] = (struct member){crowd, &crowd->site.users[i]};
		threads[i] = start(come_and_go, &members[i]);
	}
	for (unsigned i = 0; i < 2; i++)
		closers[i] = start(close_often, crowd);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(closers[i], NULL);
	for (unsigned i = 0; i < USERS; i++)
		pthread_join(threads[i], NULL);
}

Test(gate, nothing_is_in_flight_while_it_is_closed)
{
	static struct crowd crowd;

	run_crowd(&crowd, false);
	cr_assert_eq(crowd.violations, 0, "%u", crowd.violations);
}

/* The negative control of the test above. */
Test(gate, without_it_there_is)
{
	static struct crowd crowd;

	dh_fault = DH_FAULT_NO_GATE;
	run_crowd(&crowd, true);
	cr_assert_gt(crowd.violations, 0);
}
