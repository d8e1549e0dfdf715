/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages that are sent without a copy: MSG_ZEROCOPY, and SEND_ZC of io_uring. The loopback
 * device copies what it delivers, so the receiver is full before: the pages wait with the
 * sender.
 */
#include "daxverify.h"

#include <liburing.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_tcp(struct dv_grip *g)
{
	int ret = dv_tcp_pair(&g->in, &g->out);

	return ret ? dv_grip_lacks(g, ret, "no TCP over the loopback device: is it up?")
		   : 0;
}

static void close_tcp(struct dv_grip *g)
{
	close(g->in);
	close(g->out);
}

static int hold_msg(struct dv_grip *g, const struct iovec *iov, unsigned nr)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = nr};
	int one = 1, ret = dv_tcp_fill(g->in, &g->before);
	ssize_t n;

	if (ret)
		return ret;
	if (setsockopt(g->in, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)))
		return -errno;
	n = sendmsg(g->in, &msg, MSG_ZEROCOPY | MSG_DONTWAIT | MSG_NOSIGNAL);
	return n == (ssize_t)dv_iov_len(iov, nr) ? 0 : n < 0 ? -errno : -EIO;
}

/* The first completion says what was sent; that the pages are free comes in a second. */
static int send_one(struct io_uring *ring, int fd, const struct iovec *iov)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int ret;

	io_uring_prep_send_zc(sqe, fd, iov->iov_base, iov->iov_len,
			      MSG_DONTWAIT | MSG_NOSIGNAL, 0);
	ret = io_uring_submit_and_wait(ring, 1);
	if (ret < 0)
		return ret;
	ret = io_uring_peek_cqe(ring, &cqe);
	if (ret)
		return ret;
	ret = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return ret == (int)iov->iov_len ? 0 : ret < 0 ? ret : -EIO;
}

static int hold_uring(struct dv_grip *g, const struct iovec *iov, unsigned nr)
{
	static struct io_uring ring;
	int ret = dv_tcp_fill(g->in, &g->before);
	unsigned i;

	if (!ret)
		ret = io_uring_queue_init(4, &ring, 0);
	for (i = 0; i < nr && !ret; i++)
		ret = send_one(&ring, g->in, &iov[i]);
	return ret;
}

static bool held(const struct dv_grip *g)
{
	return g->held && dv_tcp_unsent(g->in) >= g->held;
}

static int release(struct dv_grip *g, void *buf, size_t len, size_t *got)
{
	*got = 0;
	return g->held ? dv_stream_drain(g->out, g->before, g->held, buf, len, got) : 0;
}

const struct dv_hold_ops dv_by_msg_zerocopy = {
	.name = "msg-zerocopy",
	.words = "sendmsg with MSG_ZEROCOPY",
	.place = "the sender's queue",
	.takes = DV_TAKES_GETS,
	.shows = true,
	.open = open_tcp,
	.hold = hold_msg,
	.held = held,
	.release = release,
	.close = close_tcp,
};

const struct dv_hold_ops dv_by_send_zc = {
	.name = "send-zc",
	.words = "SEND_ZC of io_uring",
	.place = "the sender's queue",
	.takes = DV_TAKES_GETS,
	.shows = true,
	.open = open_tcp,
	.hold = hold_uring,
	.held = held,
	.release = release,
	.close = close_tcp,
};
