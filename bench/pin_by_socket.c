/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench pin: a TCP socket takes pages by MSG_ZEROCOPY.  Over the loopback device what is
 * delivered is copied, and let go; so the receiver is full before, and the pages stay with the
 * sender until its connection is reset.  Each take is of a new connection.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "pin.h"

/* TCP cuts what it sends by half of the greatest window: 16 pages go into one piece.  The receiver
 * takes less than the filling. */
#define RECEIVE_BYTES (128 << 10)
#define FILL_BYTES    (512u << 10)
#define SEND_BYTES    (4 << 20)
#define CHECK_PAGES   16u
#define RECEIVE_MS    5000

static int listener = -1, sender = -1, receiver = -1;
static struct sockaddr_in address = {.sin_family = AF_INET};

static int listen_on_loopback(void)
{
	socklen_t length = sizeof(address);
	int bytes = RECEIVE_BYTES;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) ||
	    bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &length))
		return errno;
	return 0;
}

/* Room for all pages, and a reset in place of a farewell. */
static int set_up_sender(void)
{
	const struct linger reset = {.l_onoff = 1};
	int bytes = SEND_BYTES, one = 1;

	/* The first is for root; what the second gives may do as well. */
	if (setsockopt(sender, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)))
		setsockopt(sender, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	if (setsockopt(sender, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) ||
	    setsockopt(sender, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)))
		return errno;
	return 0;
}

static int ready(const struct pin_work *work)
{
	static char zeros[FILL_BYTES];
	int err;

	(void)work;
	if (receiver >= 0)
		close(receiver);
	receiver = -1;
	sender = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	err = sender < 0 ? errno : set_up_sender();
	if (err)
		return err;
	if (connect(sender, (struct sockaddr *)&address, sizeof(address)))
		return errno;
	receiver = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (receiver < 0 || send(sender, zeros, sizeof(zeros), MSG_DONTWAIT) != sizeof(zeros))
		return errno ? errno : ENOBUFS;
	return 0;
}

static int begin(const struct pin_work *work, struct record *record)
{
	int err = listen_on_loopback();

	if (!err)
		err = ready(work);
	if (err)
		record_refuse(record, "no TCP with MSG_ZEROCOPY over the loopback device: is it up? "
			      "(%s)", strerror(err));
	else
		close(sender);
	return err;
}

static int take(const struct pin_work *work)
{
	struct iovec range = {work->base, work->size};
	struct msghdr message = {.msg_iov = &range, .msg_iovlen = 1};
	ssize_t sent = sendmsg(sender, &message, MSG_ZEROCOPY | MSG_DONTWAIT | MSG_NOSIGNAL);

	return sent == (ssize_t)work->size ? 0 : sent < 0 ? errno : ENOBUFS;
}

static int let_go(const struct pin_work *work)
{
	(void)work;
	return close(sender) ? errno : 0;
}

/* 0 or an errno. */
static int receive_all(struct iovec *parts, unsigned count)
{
	struct pollfd ready_to = {.fd = receiver, .events = POLLIN};

	for (unsigned i = 0; i < count;) {
		ssize_t got = 0;

		if (poll(&ready_to, 1, RECEIVE_MS) <= 0)
			return ETIMEDOUT;
		got = read(receiver, parts[i].iov_base, parts[i].iov_len);
		if (got <= 0)
			return got ? errno : EPIPE;
		parts[i].iov_base = (char *)parts[i].iov_base + got;
		parts[i].iov_len -= (size_t)got;
		i += !parts[i].iov_len;
	}
	return 0;
}

/* What is stored after the take must come out; through the little that the receiver takes at once,
 * so it is of few pages. */
static int check(const struct pin_work *work, struct record *record)
{
	static char skipped[FILL_BYTES], out[CHECK_PAGES * PIN_PAGE];
	struct iovec parts[] = {{skipped, sizeof(skipped)}, {out, sizeof(out)}};
	struct pin_work few = *work;
	uint64_t seen = 0;
	int err = ready(work);

	few.size = work->size < sizeof(out) ? work->size : sizeof(out);
	parts[1].iov_len = few.size;
	memset(work->base, 1, few.size);
	if (!err)
		err = take(&few);
	memset(work->base, 2, few.size);
	if (!err)
		err = receive_all(parts, 2);
	if (err)
		return err;
	for (size_t at = 0; at < few.size; at += PIN_PAGE)
		seen += out[at] == 2;
	err = let_go(work);
	return err ? err : pin_check_judge(record, few.size / PIN_PAGE, seen);
}

const struct pin_holder pin_by_zerocopy = {
	.name = "zerocopy", .begin = begin, .ready = ready, .take = take, .let_go = let_go,
	.check = check};
