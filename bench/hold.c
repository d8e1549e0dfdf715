/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages that a pipe holds for a known time. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "team.h"
#include "timer.h"
#include "truncate.h"

static void *release(void *arg)
{
	const struct timespec time = {.tv_nsec = RECLAIM_HOLD_MS * 1000000l};
	struct hold *hold = arg;

	/* Another CPU than that which will wait, where there is one. */
	team_pin_self(1);
	while (!atomic_load(&hold->go))
		sched_yield();
	nanosleep(&time, NULL);
	hold->released = timer_now();
	close(hold->pipe[1]);
	close(hold->pipe[0]);
	return NULL;
}

int hold_begin(struct hold *hold, char *pages, unsigned count)
{
	struct iovec range = {pages, count * RECLAIM_PAGE};
	int err = 0;

	*hold = (struct hold){.released = 0};
	if (pipe2(hold->pipe, O_CLOEXEC))
		return errno;
	/* Without room for all of them vmsplice() would wait. */
	if (fcntl(hold->pipe[0], F_SETPIPE_SZ, (int)range.iov_len) < 0 ||
	    vmsplice(hold->pipe[1], &range, 1, SPLICE_F_NONBLOCK) != (ssize_t)range.iov_len)
		err = errno ? errno : EAGAIN;
	if (!err)
		err = pthread_create(&hold->thread, NULL, release, hold);
	if (err) {
		close(hold->pipe[0]);
		close(hold->pipe[1]);
	}
	return err;
}

void hold_count_down(struct hold *hold)
{
	atomic_store(&hold->go, true);
}

void hold_end(struct hold *hold)
{
	pthread_join(hold->thread, NULL);
}
