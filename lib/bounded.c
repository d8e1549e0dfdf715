/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bounded.h"
#include "error.h"
#include "gate.h"

/*
 * ftruncate() is declared to throw nothing: with exceptions the compiler would leave no way from
 * there to end(), when the thread is cancelled in it.  Without, the C library calls end() itself.
 */
#ifdef __EXCEPTIONS
#error "to be compiled without exceptions"
#endif

#define NS_PER_S	UINT64_C(1000000000)
#define CANCEL_NS	NS_PER_S	/* a cancelled call is given so long to end */

#ifdef DH_TEST_HOOKS
void (*dh_bounded_wait)(void);
#endif

struct dh_bounded {
	struct dh_cut cut;
	atomic_int err;			/* of the call; EINPROGRESS: it was cut short */
	sem_t over;
	atomic_uint users;		/* the thread, and who waits for it */
};

static void put(struct dh_bounded *call)
{
	if (atomic_fetch_sub(&call->users, 1) > 1)
		return;
	sem_destroy(&call->over);
	free(call);
}

/* Also when the thread is cancelled. */
static void end(void *arg)
{
	struct dh_bounded *call = arg;

	close(call->cut.fd);
	sem_post(&call->over);
	put(call);
}

/* 0 or an errno. */
static int punch(int fd, uint64_t offset, uint64_t size)
{
	int err;

	do {
		err = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
				(off_t)size) ? errno : 0;
	} while (err == EINTR);
	return err;
}

static int cut_tail(int fd, uint64_t length)
{
	int err;

	do {
		err = ftruncate(fd, (off_t)length) ? errno : 0;
	} while (err == EINTR);
	return err;
}

static int punch_units(const struct dh_cut *cut)
{
	int err = 0;

	for (uint64_t left = cut->units; left && !err;) {
		unsigned first = (unsigned)__builtin_ctzll(left);
		unsigned count = (unsigned)__builtin_ctzll(~(left >> first));

		err = punch(cut->fd, cut->offset + first * DH_UNIT_SIZE, count * DH_UNIT_SIZE);
		left &= ~(((UINT64_C(1) << count) - 1) << first);
	}
	return err;
}

static int take_away(const struct dh_cut *cut)
{
	if (cut->units)
		return punch_units(cut);
	return cut->is_tail ? cut_tail(cut->fd, cut->offset) :
			      punch(cut->fd, cut->offset, cut->size);
}

static void *run(void *arg)
{
	struct dh_bounded *call = arg;
	int was, err;

	pthread_cleanup_push(end, call);
	/* The system call is not a cancellation point everywhere, and the thread has nothing
	 * that an end at any instruction could leave half done. */
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &was);
#ifdef DH_TEST_HOOKS
	if (dh_bounded_wait)
		dh_bounded_wait();
#endif
	err = take_away(&call->cut);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
	atomic_store(&call->err, err);
	pthread_cleanup_pop(1);
	return NULL;
}

/* With all signals blocked: the application's are for its own threads. */
static int start(struct dh_bounded *call, pthread_t *thread)
{
	pthread_attr_t attr;
	sigset_t all;
	int err = pthread_attr_init(&attr);

	if (err)
		return err;
	sigfillset(&all);
	err = pthread_attr_setsigmask_np(&attr, &all);
	if (!err)
		err = pthread_create(thread, &attr, run, call);
	pthread_attr_destroy(&attr);
	return err;
}

/* Whether the call was over before @deadline. */
static bool wait_until(struct dh_bounded *call, uint64_t deadline)
{
	const struct timespec until = {
		.tv_sec = (time_t)(deadline / NS_PER_S),
		.tv_nsec = (long)(deadline % NS_PER_S),
	};
	int err;

	do {
		err = sem_clockwait(&call->over, CLOCK_MONOTONIC, &until);
	} while (err && errno == EINTR);
	return !err;
}

/* With a descriptor of its own, since the heap may be closed before the call is over. */
static int new_call(const struct dh_cut *cut, struct dh_bounded **call_out)
{
	struct dh_bounded *call = malloc(sizeof(*call));

	if (!call)
		return dh_fail(ENOMEM, "no memory to trim the pool");
	*call = (struct dh_bounded){.cut = *cut, .err = EINPROGRESS, .users = 2};
	call->cut.fd = fcntl(cut->fd, F_DUPFD_CLOEXEC, 0);
	if (call->cut.fd < 0) {
		int err = dh_fail_errno("no file descriptor to trim the pool");

		free(call);
		return err;
	}
	sem_init(&call->over, 0, 0);
	*call_out = call;
	return 0;
}

static int cut_failed(const struct dh_cut *cut, int err)
{
	if (err == EINPROGRESS)
		return dh_fail(ETIMEDOUT, "the kernel did not give the space back in time: it is "
			       "slow, or some process has pages of the pool pinned (I/O, a pipe); "
			       "give the trim more, or try again when these are let go of");
	return dh_fail(err, "can't %s the pool's file: %s",
		       cut->is_tail ? "truncate" : "punch a hole into", strerror(err));
}

int dh_bounded_cut(const struct dh_cut *cut, uint64_t deadline, struct dh_bounded **left)
{
	struct dh_bounded *call = NULL;
	pthread_t thread;
	int err = new_call(cut, &call);

	*left = NULL;
	if (err)
		return err;
	err = start(call, &thread);
	if (err) {
		end(call);
		put(call);
		return dh_fail(err, "no thread to trim the pool: %s", strerror(err));
	}
	if (!wait_until(call, deadline)) {
		pthread_cancel(thread);
		if (!wait_until(call, dh_now_ns() + CANCEL_NS)) {
			pthread_detach(thread);
			*left = call;
			return cut_failed(cut, EINPROGRESS);
		}
	}
	pthread_join(thread, NULL);
	err = atomic_load(&call->err);
	put(call);
	return err ? cut_failed(cut, err) : 0;
}

bool dh_bounded_over(struct dh_bounded *left)
{
	if (!left)
		return true;
	if (sem_trywait(&left->over))
		return false;
	put(left);
	return true;
}

void dh_bounded_forget(struct dh_bounded *left)
{
	if (left)
		put(left);
}
