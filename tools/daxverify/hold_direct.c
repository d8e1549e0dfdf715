/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * O_DIRECT with the pages as buffer, to and from a device that does not end it: by a
 * thread in pwritev(2) or preadv(2), which sleeps uninterruptibly, and by io_uring.
 */
#include "daxverify.h"

#include "file.h"

#include <liburing.h>
#include <string.h>
#include <unistd.h>

enum how { BY_CALL, BY_URING };

/* In the holder's process, for as long as the request lasts. */
static struct iovec pieces[DV_HELD_PAGES_MAX];
static unsigned npieces;
static struct io_uring ring;

static void *call(void *arg)
{
	struct dv_grip *g = arg;
	ssize_t n;

	if (g->by->into)
		n = preadv(g->slow.device, pieces, (int)npieces, 0);
	else
		n = pwritev(g->slow.device, pieces, (int)npieces, 0);
	g->err = n < 0 ? -errno : n == (ssize_t)dv_iov_len(pieces, npieces) ? 0 : -EIO;
	g->done = 1;
	return NULL;
}

static int call_ended(struct dv_grip *g)
{
	return g->done ? dv_grip_ended_early(g) : 0;
}

static int completed(struct dv_grip *g)
{
	struct io_uring_cqe *cqe;

	(void)g;
	if (io_uring_peek_cqe(&ring, &cqe))
		return 0;
	return cqe->res < 0 ? cqe->res : -EIO;
}

static int submit(struct dv_grip *g)
{
	struct io_uring_sqe *sqe;
	int ret = io_uring_queue_init(2, &ring, 0);

	if (ret)
		return ret;
	sqe = io_uring_get_sqe(&ring);
	if (g->by->into)
		io_uring_prep_readv(sqe, g->slow.device, pieces, npieces, 0);
	else
		io_uring_prep_writev(sqe, g->slow.device, pieces, npieces, 0);
	ret = io_uring_submit(&ring);
	return ret < 0 ? ret : 0;
}

/* The request is in flight: only then are its pages held. */
static int hold(struct dv_grip *g, const struct iovec *iov, unsigned nr)
{
	int ret;

	memcpy(pieces, iov, nr * sizeof(*iov));
	npieces = nr;
	ret = g->by->arg == BY_CALL ? dv_grip_start(g, call) : submit(g);
	return ret ? ret
		   : dv_slow_wait(g, g->by->arg == BY_CALL ? call_ended : completed);
}

static bool held(const struct dv_grip *g)
{
	return g->held && dv_slow_busy(g);
}

/* What was written stands on the device; what is read goes to the pages. */
static int release(struct dv_grip *g, void *buf, size_t len, size_t *got)
{
	int ret = dv_slow_let(&g->slow);

	*got = 0;
	if (ret || g->by->into || !buf || !g->held)
		return ret;
	if (len > g->held)
		len = g->held;
	ret = dv_read_all(g->slow.memory, buf, len, 0);
	if (!ret)
		*got = len;
	return ret;
}

const struct dv_hold_ops dv_by_direct_write = {
	.name = "direct-write",
	.words = "pwritev to a slow device with O_DIRECT",
	.place = "the request in flight",
	.takes = DV_TAKES_EITHER,
	.shows = true,
	.arg = BY_CALL,
	.open = dv_slow_open,
	.hold = hold,
	.held = held,
	.release = release,
	.close = dv_slow_close,
};

const struct dv_hold_ops dv_by_direct_read = {
	.name = "direct-read",
	.words = "preadv from a slow device with O_DIRECT",
	.place = "the request in flight",
	.takes = DV_TAKES_EITHER,
	.into = true,
	.arg = BY_CALL,
	.open = dv_slow_open,
	.hold = hold,
	.held = held,
	.release = release,
	.close = dv_slow_close,
};

const struct dv_hold_ops dv_by_uring_write = {
	.name = "uring-write",
	.words = "an io_uring write to a slow device with O_DIRECT",
	.place = "the request in flight",
	.takes = DV_TAKES_EITHER,
	.shows = true,
	.arg = BY_URING,
	.open = dv_slow_open,
	.hold = hold,
	.held = held,
	.release = release,
	.close = dv_slow_close,
};

const struct dv_hold_ops dv_by_uring_read = {
	.name = "uring-read",
	.words = "an io_uring read from a slow device with O_DIRECT",
	.place = "the request in flight",
	.takes = DV_TAKES_EITHER,
	.into = true,
	.arg = BY_URING,
	.open = dv_slow_open,
	.hold = hold,
	.held = held,
	.release = release,
	.close = dv_slow_close,
};
