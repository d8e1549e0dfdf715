/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages that went from a pipe on into a socket, by splice(2): they wait in its queue. */
#include "daxverify.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_unix(struct dv_grip *g)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv))
		return dv_grip_lacks(g, -errno, "cannot make a pair of sockets: %s",
				     strerror(errno));
	g->out = sv[0];
	g->in = sv[1];
	return 0;
}

/* By way of a pipe of our own, page by page: it need not hold more than one. */
static int hold(struct dv_grip *g, const struct iovec *iov, unsigned nr)
{
	unsigned i;
	ssize_t n;
	int p[2], ret = 0;

	if (g->by == &dv_by_splice_tcp) {
		ret = dv_tcp_fill(g->in, &g->before);
		if (ret)
			return ret;
	}
	if (pipe2(p, O_CLOEXEC))
		return -errno;
	for (i = 0; i < nr && !ret; i++) {
		n = vmsplice(p[1], &iov[i], 1, SPLICE_F_NONBLOCK);
		if (n == (ssize_t)iov[i].iov_len)
			n = splice(p[0], NULL, g->in, NULL, iov[i].iov_len,
				   SPLICE_F_NONBLOCK);
		if (n != (ssize_t)iov[i].iov_len)
			ret = n < 0 ? -errno : -EIO;
	}
	close(p[0]);
	close(p[1]);
	return ret;
}

static bool held_unix(const struct dv_grip *g)
{
	int n = 0;

	return g->held && ioctl(g->out, FIONREAD, &n) == 0 && n >= (int)g->held;
}

const struct dv_hold_ops dv_by_splice_unix = {
	.name = "splice-unix",
	.words = "splice into a unix socket",
	.place = "the socket",
	.shows = true,
	.open = open_unix,
	.hold = hold,
	.held = held_unix,
	.release = dv_stream_release,
	.close = dv_stream_close,
};

const struct dv_hold_ops dv_by_splice_tcp = {
	.name = "splice-tcp",
	.words = "splice into a TCP socket",
	.place = "the socket",
	.takes = DV_TAKES_GETS,
	.shows = true,
	.open = dv_tcp_open,
	.hold = hold,
	.held = dv_tcp_held,
	.release = dv_stream_release,
	.close = dv_stream_close,
};
