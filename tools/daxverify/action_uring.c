/* SPDX-License-Identifier: BSD-3-Clause */
/* The same calls by io_uring: an io-wq worker waits, and a signal makes us cancel it. */
#include "daxverify.h"

#include "action.h"
#include "file.h"

#include <fcntl.h>
#include <liburing.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* liburing 2.3 does not know it; the kernel does since 6.9. */
#define OP_FTRUNCATE 55
#define REQUEST	     1
#define CANCEL	     2

static int prepare(const struct dv_target *t, struct io_uring_sqe *sqe)
{
	size_t page = dv_page_size(), at = t->action->first * page;
	size_t len = t->action->count * page;
	/* The kernel reads it when the request is submitted. */
	static char from[PATH_MAX + 8];
	static char byte[64];
	void *p;

	switch (t->action->kind) {
	case DV_ACT_URING_TRUNCATE:
		io_uring_prep_rw(OP_FTRUNCATE, sqe, t->fd, NULL, 0, at);
		break;
	case DV_ACT_URING_MADV_REMOVE:
		p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, (off_t)at);
		if (p == MAP_FAILED)
			return -errno;
		io_uring_prep_madvise(sqe, p, (off_t)len, MADV_REMOVE);
		break;
	case DV_ACT_URING_OPEN_TRUNC:
		io_uring_prep_openat(sqe, AT_FDCWD, t->path, O_RDWR | O_TRUNC | O_CLOEXEC,
				     0);
		break;
	case DV_ACT_URING_RENAME_OVER:
		snprintf(from, sizeof(from), "%s.new", t->path);
		io_uring_prep_renameat(sqe, AT_FDCWD, from, AT_FDCWD, t->path, 0);
		break;
	case DV_ACT_URING_CLOSE:
		io_uring_prep_close(sqe, t->fd);
		break;
	case DV_ACT_URING_UNLINK:
		io_uring_prep_unlinkat(sqe, AT_FDCWD, t->path, 0);
		break;
	case DV_ACT_URING_READ:
		io_uring_prep_read(sqe, t->fd, byte, sizeof(byte), at);
		break;
	case DV_ACT_URING_ALLOCATE:
		io_uring_prep_fallocate(sqe, t->fd, 0, (off_t)at, (off_t)len);
		break;
	default:
		io_uring_prep_fallocate(sqe, t->fd,
					FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					(off_t)at, (off_t)len);
	}
	sqe->user_data = REQUEST;
	return 0;
}

static int cancel(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	int ret;

	if (!sqe)
		return -EBUSY;
	io_uring_prep_cancel64(sqe, REQUEST, 0);
	sqe->user_data = CANCEL;
	ret = io_uring_submit(ring);
	return ret < 0 ? ret : 0;
}

/* The request's result, with the raw errno: -512 must not be hidden by what libc knows.
 */
static int run(struct dv_target *t, struct io_uring *ring)
{
	bool cancelled = false;
	struct io_uring_cqe *cqe;
	int ret;

	for (;;) {
		ret = io_uring_wait_cqe(ring, &cqe);
		if (ret == -EINTR && t->signals && *t->signals && !cancelled) {
			cancelled = true;
			ret = cancel(ring);
			if (ret)
				return ret;
			continue;
		}
		if (ret == -EINTR)
			continue;
		if (ret)
			return ret;
		ret = cqe->res;
		if (cqe->user_data == REQUEST)
			return ret;
		io_uring_cqe_seen(ring, cqe);
	}
}

long dv_uring_do(struct dv_target *t)
{
	struct io_uring ring;
	int ret = io_uring_queue_init(4, &ring, 0);

	if (!ret) {
		ret = prepare(t, io_uring_get_sqe(&ring));
		if (!ret)
			ret = io_uring_submit(&ring);
		if (ret >= 0)
			ret = ret == 1 ? run(t, &ring) : -EIO;
		io_uring_queue_exit(&ring);
	}
	errno = ret < 0 ? -ret : 0;
	return ret < 0 ? -1 : 0;
}
