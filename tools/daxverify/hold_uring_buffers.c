/* SPDX-License-Identifier: BSD-3-Clause */
/* Buffers registered with an io_uring: held for as long as the ring has them. */
#include "daxverify.h"

#include "file.h"

#include <liburing.h>
#include <sys/mman.h>
#include <unistd.h>

static struct io_uring ring;
static struct iovec pieces[DV_HELD_PAGES_MAX];
static unsigned npieces;

static int hold(struct dv_grip *g, const struct iovec *iov, unsigned nr)
{
	unsigned i;
	int ret = io_uring_queue_init(2, &ring, 0);

	if (ret)
		return ret;
	ret = io_uring_register_buffers(&ring, iov, nr);
	if (ret) {
		io_uring_queue_exit(&ring);
		return ret;
	}
	for (i = 0; i < nr; i++)
		pieces[i] = iov[i];
	npieces = nr;
	(void)g;
	return 0;
}

static bool held(const struct dv_grip *g)
{
	return g->held;
}

/* Writes a buffer, as the ring has it, to a file. */
static int write_fixed(int fd, unsigned index, off_t at)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	struct io_uring_cqe *cqe;
	int ret;

	io_uring_prep_write_fixed(sqe, fd, pieces[index].iov_base,
				  (unsigned)pieces[index].iov_len, (uint64_t)at,
				  (int)index);
	ret = io_uring_submit_and_wait(&ring, 1);
	if (ret < 0)
		return ret;
	ret = io_uring_peek_cqe(&ring, &cqe);
	if (ret)
		return ret;
	ret = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return ret < 0 ? ret : ret == (int)pieces[index].iov_len ? 0 : -EIO;
}

static int show(void *buf, size_t len, size_t *got)
{
	int fd = memfd_create("daxverify", MFD_CLOEXEC), ret = 0;
	off_t at = 0;
	unsigned i;

	if (fd < 0)
		return -errno;
	for (i = 0; i < npieces && !ret; i++) {
		ret = write_fixed(fd, i, at);
		at += (off_t)pieces[i].iov_len;
	}
	if (len > (size_t)at)
		len = (size_t)at;
	if (!ret)
		ret = dv_read_all(fd, buf, len, 0);
	if (!ret)
		*got = len;
	close(fd);
	return ret;
}

static int release(struct dv_grip *g, void *buf, size_t len, size_t *got)
{
	int ret = 0, err;

	*got = 0;
	if (!g->held)
		return 0;
	if (buf)
		ret = show(buf, len, got);
	err = io_uring_unregister_buffers(&ring);
	io_uring_queue_exit(&ring);
	return ret ? ret : err;
}

const struct dv_hold_ops dv_by_uring_buffers = {
	.name = "uring-buffers",
	.words = "io_uring's registered buffers",
	.place = "the ring",
	.takes = DV_TAKES_PIN,
	.own = true,
	.shows = true,
	.hold = hold,
	.held = held,
	.release = release,
};
