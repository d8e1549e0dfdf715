/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages that are sent without a copy: MSG_ZEROCOPY, and SEND_ZC of io_uring. The loopback
 * device copies what it delivers, so the receiver is full before: the pages wait with the
 * sender.
 */
#include "daxverify.h"

#include <liburing.h>
#include <sys/socket.h>
#include <unistd.h>

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

const struct dv_hold_ops dv_by_msg_zerocopy = {
	.name = "msg-zerocopy",
	.words = "sendmsg with MSG_ZEROCOPY",
	.place = "the sender's queue",
	.takes = DV_TAKES_GETS,
	.shows = true,
	.open = dv_tcp_open,
	.hold = hold_msg,
	.held = dv_tcp_held,
	.release = dv_stream_release,
	.close = dv_stream_close,
};

const struct dv_hold_ops dv_by_send_zc = {
	.name = "send-zc",
	.words = "SEND_ZC of io_uring",
	.place = "the sender's queue",
	.takes = DV_TAKES_GETS,
	.shows = true,
	.open = dv_tcp_open,
	.hold = hold_uring,
	.held = dv_tcp_held,
	.release = dv_stream_release,
	.close = dv_stream_close,
};
