/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages in a pipe: by vmsplice(2), and a second reference to them by tee(2). */
#include "daxverify.h"

#include <fcntl.h>
#include <unistd.h>

/* All or nothing, and never asleep: a pipe that is too small is an error. */
static int splice_in(int pipe, const struct iovec *iov, unsigned nr)
{
	unsigned i;
	ssize_t n;

	for (i = 0; i < nr; i++) {
		n = vmsplice(pipe, &iov[i], 1, SPLICE_F_NONBLOCK);
		if (n != (ssize_t)iov[i].iov_len)
			return n < 0 ? -errno : -EIO;
	}
	return 0;
}

static int hold_vmsplice(struct dv_grip *g, const struct iovec *iov, unsigned nr)
{
	return splice_in(g->in, iov, nr);
}

static bool held_vmsplice(const struct dv_grip *g)
{
	return dv_pipe_fill(g->out) >= (int)g->held && g->held;
}

static int release_vmsplice(struct dv_grip *g, void *buf, size_t len, size_t *got)
{
	return dv_drain(g->out, buf, len, got);
}

/* The first pipe is emptied at once: what holds the pages is the second one's reference.
 */
static int hold_tee(struct dv_grip *g, const struct iovec *iov, unsigned nr)
{
	size_t len = dv_iov_len(iov, nr);
	int ret = splice_in(g->in, iov, nr);
	ssize_t n;

	if (ret)
		return ret;
	n = tee(g->out, g->second_in, len, SPLICE_F_NONBLOCK);
	if (n != (ssize_t)len)
		return n < 0 ? -errno : -EIO;
	return dv_drain(g->out, NULL, 0, NULL);
}

static bool held_tee(const struct dv_grip *g)
{
	return dv_pipe_fill(g->second_out) >= (int)g->held && g->held;
}

static int release_tee(struct dv_grip *g, void *buf, size_t len, size_t *got)
{
	return dv_drain(g->second_out, buf, len, got);
}

const struct dv_hold_ops dv_by_vmsplice = {
	.name = "vmsplice",
	.words = "vmsplice into a pipe",
	.place = "the pipe",
	.shows = true,
	.hold = hold_vmsplice,
	.held = held_vmsplice,
	.release = release_vmsplice,
};

const struct dv_hold_ops dv_by_tee = {
	.name = "tee",
	.words = "tee into a second pipe",
	.place = "the second pipe",
	.shows = true,
	.hold = hold_tee,
	.held = held_tee,
	.release = release_tee,
};
