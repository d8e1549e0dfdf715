/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The holder: a process that maps a file, holds pages of it in one of the ways of hold.h,
 * and does to its mapping what the scenario says, step by step.
 */
#include "daxverify.h"

#include "file.h"
#include "rig.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define STEP_LIMIT_MS 15000

struct step {
	enum dv_hop op;
	struct dv_span span;
};

/* In the holder's process. */
struct mapping {
	const struct dv_hold *hold;
	int fd;
	char *addr;
	size_t len;
};

static int do_map(struct mapping *m)
{
	const struct dv_hold *h = m->hold;
	bool readonly = h->state == DV_ST_READONLY || h->state == DV_ST_PRIVATE;

	m->len = h->npages * dv_page_size();
	m->fd = open(h->path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (m->fd < 0)
		return -errno;
	if (h->state == DV_ST_PRIVATE)
		m->addr = mmap(NULL, m->len, PROT_READ, MAP_PRIVATE, m->fd, 0);
	else if (h->state == DV_ST_COPIED)
		m->addr =
			mmap(NULL, m->len, PROT_READ | PROT_WRITE, MAP_PRIVATE, m->fd, 0);
	else if (readonly)
		m->addr = mmap(NULL, m->len, PROT_READ, MAP_SHARED, m->fd, 0);
	else
		m->addr = dv_map_dax(m->fd, m->len, h->sync);
	return m->addr == MAP_FAILED ? -errno : 0;
}

static char *nth_page(const struct mapping *m, const struct step *s, unsigned i)
{
	return m->addr + (s->span.first + (size_t)i * s->span.stride) * dv_page_size();
}

static int do_touch(struct mapping *m, const struct step *s, bool store)
{
	volatile char *p;
	unsigned i;

	for (i = 0; i < s->span.count; i++) {
		p = nth_page(m, s, i) + 512;
		if (store)
			*p = *p;
		else
			(void)*p;
	}
	return 0;
}

static int do_pin(struct mapping *m, const struct step *s)
{
	struct iovec iov[DV_HELD_PAGES_MAX];
	unsigned i;

	if (s->span.count > DV_HELD_PAGES_MAX)
		return -E2BIG;
	for (i = 0; i < s->span.count; i++) {
		iov[i] = (struct iovec){nth_page(m, s, i), dv_page_size()};
		if (m->hold->copy_only && !(iov[i].iov_base = dv_page_copy(iov[i].iov_base)))
			return -ENOMEM;
	}
	m->hold->grip->file = m->fd;
	return dv_grip_hold(m->hold->grip, iov, s->span.count);
}

/* The kernel chooses the new address; that it is another one is asked for by a
 * reservation. */
static int do_mremap(struct mapping *m)
{
	void *to = mmap(NULL, m->len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *p = to == MAP_FAILED ? to
				   : mremap(m->addr, m->len, m->len,
					    MREMAP_MAYMOVE | MREMAP_FIXED, to);

	if (p == MAP_FAILED)
		return -errno;
	m->addr = p;
	return 0;
}

/* The parent is gone by then, and with it who has pinned. */
static int do_fork(struct mapping *m, const struct step *s)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid)
		_exit(0);
	return do_touch(m, s, false);
}

static int do_step(struct mapping *m, const struct step *s)
{
	switch (s->op) {
	case DV_HOP_MAP:
		return do_map(m);
	case DV_HOP_LOAD:
		return do_touch(m, s, false);
	case DV_HOP_STORE:
		return do_touch(m, s, true);
	case DV_HOP_PIN:
		return do_pin(m, s);
	case DV_HOP_DONTNEED:
		return madvise(nth_page(m, s, 0), s->span.count * dv_page_size(),
			       MADV_DONTNEED)
			       ? -errno
			       : 0;
	case DV_HOP_UNMAP:
		return munmap(m->addr, m->len) ? -errno : 0;
	case DV_HOP_CLOSE:
		return close(m->fd) ? -errno : 0;
	case DV_HOP_MREMAP:
		return do_mremap(m);
	case DV_HOP_FORK:
		return do_fork(m, s);
	case DV_HOP_EXIT:
	case DV_HOP_QUIT:
		break;
	}
	_exit(0);
}

static void holder_main(const struct dv_hold *hold, int sock)
{
	struct mapping m = {.hold = hold, .fd = -1};
	struct step s;
	int err;

	while (read(sock, &s, sizeof(s)) == (ssize_t)sizeof(s)) {
		err = do_step(&m, &s);
		if (write(sock, &err, sizeof(err)) != (ssize_t)sizeof(err))
			break;
	}
	_exit(0);
}

int dv_holder_start(struct dv_holder *h, const struct dv_hold *hold)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -errno;
	h->pid = dv_child_fork();
	if (h->pid == 0) {
		close(sv[0]);
		holder_main(hold, sv[1]);
	}
	close(sv[1]);
	h->sock = sv[0];
	return h->pid < 0 ? -errno : 0;
}

/* One step of the holder: its own 0 or -errno, or -ETIMEDOUT when it hangs in it. */
int dv_holder_do(struct dv_holder *h, enum dv_hop op, const struct dv_span *span)
{
	struct step s = {.op = op, .span = *span};
	struct pollfd p = {.fd = h->sock, .events = POLLIN};
	int err;

	if (write(h->sock, &s, sizeof(s)) != (ssize_t)sizeof(s))
		return -errno;
	if (poll(&p, 1, STEP_LIMIT_MS) <= 0)
		return -ETIMEDOUT;
	if (read(h->sock, &err, sizeof(err)) != (ssize_t)sizeof(err))
		return -EPIPE; /* it died: a SIGBUS, say */
	return err;
}

int dv_holder_leave(struct dv_holder *h, enum dv_hop op, const struct dv_span *span)
{
	int ret = dv_holder_do(h, op, span);

	if (op == DV_HOP_EXIT)
		ret = ret == -EPIPE ? 0 : -EIO; /* it does not answer */
	return ret ? ret : dv_child_wait(h->pid, STEP_LIMIT_MS, NULL);
}
