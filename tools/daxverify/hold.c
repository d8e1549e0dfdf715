/* SPDX-License-Identifier: BSD-3-Clause */
/* What all ways to hold a page share: the grip's life, and a thread that is in a call. */
#include "daxverify.h"

#include "file.h"

#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define CALL_LIMIT_MS 5000

int dv_grip_lacks(struct dv_grip *g, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(g->why, sizeof(g->why), fmt, ap);
	va_end(ap);
	return err;
}

/* The pipes are the scenario's, which keeps them. */
int dv_grip_open(struct dv_grip *g, const struct dv_hold_ops *by, const int pipe[2],
		 const int tee[2])
{
	memset(g, 0, sizeof(*g));
	g->by = by;
	g->file = g->uffd = g->slow.device = g->slow.memory = g->slow.loop = -1;
	g->out = pipe[0];
	g->in = pipe[1];
	g->second_out = tee[0];
	g->second_in = tee[1];
	return by->open ? by->open(g) : 0;
}

size_t dv_iov_len(const struct iovec *iov, unsigned nr)
{
	size_t len = 0;
	unsigned i;

	for (i = 0; i < nr; i++)
		len += iov[i].iov_len;
	return len;
}

int dv_grip_hold(struct dv_grip *g, const struct iovec *iov, unsigned nr)
{
	int ret;

	if (nr > DV_HELD_PAGES_MAX)
		return -E2BIG;
	g->pid = getpid();
	g->done = 0;
	ret = g->by->hold(g, iov, nr);
	if (!ret)
		g->held = dv_iov_len(iov, nr);
	return ret;
}

bool dv_hold_limited(int err)
{
	struct rlimit limit;

	return (err == -ENOMEM || err == -ENOBUFS) && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
	       limit.rlim_cur < DV_HELD_PAGES_MAX * dv_page_size();
}

int dv_grip_release(struct dv_grip *g, void *buf, size_t len, size_t *got)
{
	size_t n = 0;
	int ret;

	if (g->by->own && g->pid != getpid())
		return 0;
	ret = g->by->release(g, buf, len, &n);
	if (!ret)
		g->held = 0;
	if (got)
		*got = n;
	return ret;
}

void dv_grip_close(struct dv_grip *g)
{
	if (g->by && g->by->close)
		g->by->close(g);
}

int dv_grip_start(struct dv_grip *g, void *(*call)(void *))
{
	pthread_t thread;
	int err = pthread_create(&thread, NULL, call, g);

	if (!err)
		pthread_detach(thread);
	return -err;
}

int dv_grip_wait_done(struct dv_grip *g)
{
	int64_t begin = dv_now_ns();

	while (!g->done) {
		if (dv_now_ns() - begin > CALL_LIMIT_MS * INT64_C(1000000))
			return -ETIMEDOUT;
		dv_sleep_ms(2);
	}
	return g->err;
}

int dv_grip_ended_early(const struct dv_grip *g)
{
	return g->err ? g->err : -EIO;
}
