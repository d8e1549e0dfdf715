/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A TCP connection to ourselves whose receiver takes little: what is sent after it is
 * full stays with the sender until the receiver reads.
 */
#include "daxverify.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* The receiver has room for about 8 KiB of them, the sender for far more. */
#define RECEIVE_BYTES 4096
#define SEND_BYTES    (1 << 20)
#define FILL_BYTES    (64 << 10)
#define STALLED_MS    5000

static int listen_on_loopback(struct sockaddr_in *sin)
{
	socklen_t len = sizeof(*sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), bytes = RECEIVE_BYTES,
	    err;

	if (fd < 0)
		return -errno;
	*sin = (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) ||
	    bind(fd, (struct sockaddr *)sin, sizeof(*sin)) || listen(fd, 1) ||
	    getsockname(fd, (struct sockaddr *)sin, &len)) {
		err = errno;
		close(fd);
		return -err;
	}
	return fd;
}

static int connect_pair(int *in, int *out)
{
	int bytes = SEND_BYTES, fd, r = -1, w, err = 0;
	struct sockaddr_in sin;

	fd = listen_on_loopback(&sin);
	if (fd < 0)
		return fd;
	w = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (w < 0 || connect(w, (struct sockaddr *)&sin, sizeof(sin)))
		err = errno;
	if (!err && (r = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) < 0)
		err = errno;
	close(fd);
	if (err) {
		if (w >= 0)
			close(w);
		return -err;
	}
	/* The first of them is for root; the fallback may be enough as well. */
	if (setsockopt(w, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)))
		setsockopt(w, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	*in = w;
	*out = r;
	return 0;
}

int dv_tcp_open(struct dv_grip *g)
{
	int ret = connect_pair(&g->in, &g->out);

	return ret ? dv_grip_lacks(g, ret, "no TCP over the loopback device: is it up? (%s)",
				   strerror(-ret))
		   : 0;
}

int dv_tcp_fill(int in, size_t *filled)
{
	static char zeroes[FILL_BYTES];
	ssize_t n = send(in, zeroes, sizeof(zeroes), MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return -errno;
	*filled = (size_t)n;
	return n == sizeof(zeroes) ? 0 : -ENOBUFS;
}

/* What has not left the sender are the pages at least: they are the last of it. */
bool dv_tcp_held(const struct dv_grip *g)
{
	int n = 0;

	return g->held && ioctl(g->in, SIOCOUTQ, &n) == 0 && n >= (int)g->held;
}

/*
 * Reads `skip` bytes and drops them, then up to `want` of which the first `len` are kept.
 * `out` does not block. Ends early when nothing comes any more: the sender is gone.
 */
static int drain(int out, size_t skip, size_t want, void *buf, size_t len, size_t *got)
{
	struct pollfd p = {.fd = out, .events = POLLIN};
	size_t have = 0, room;
	char spill[4096];
	ssize_t n;

	while (have < skip + want && poll(&p, 1, STALLED_MS) > 0) {
		room = skip + want - have;
		if (have < skip) {
			room = skip - have;
			n = read(out, spill, room < sizeof(spill) ? room : sizeof(spill));
		} else if (buf && have - skip < len) {
			room = room < len - (have - skip) ? room : len - (have - skip);
			n = read(out, (char *)buf + (have - skip), room);
		} else {
			n = read(out, spill, room < sizeof(spill) ? room : sizeof(spill));
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n == 0)
			break;
		have += n > 0 ? (size_t)n : 0;
	}
	*got = have < skip ? 0 : have - skip < len ? have - skip : len;
	return 0;
}

int dv_stream_release(struct dv_grip *g, void *buf, size_t len, size_t *got)
{
	*got = 0;
	return g->held ? drain(g->out, g->before, g->held, buf, len, got) : 0;
}

void dv_stream_close(struct dv_grip *g)
{
	close(g->in);
	close(g->out);
}
