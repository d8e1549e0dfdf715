/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * process_vm_readv(2) of our own pages: it takes references on them and copies. What it
 * copies to is memory that userfaultfd watches: the first byte is a fault that waits
 * until somebody answers it.
 */
#include "daxverify.h"

#include "file.h"
#include "userfault.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WINDOW_BYTES (DV_HELD_PAGES_MAX * dv_page_size())
#define FAULT_MS     15000

static struct iovec pieces[DV_HELD_PAGES_MAX];
static unsigned npieces;

static int open_window(struct dv_grip *g)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		return dv_grip_lacks(
			g, -errno,
			"no userfaultfd for faults of the kernel: needs root, or "
			"1 in /proc/sys/vm/unprivileged_userfaultfd: %s",
			strerror(errno));
	close(fd);
	fd = dv_fd_can_borrow();
	if (fd)
		return dv_grip_lacks(
			g, fd,
			"nobody else could let it go: pidfd_getfd(2) is refused: "
			"%s",
			strerror(-fd));
	g->window = mmap(NULL, WINDOW_BYTES, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return g->window == MAP_FAILED ? dv_grip_lacks(g, -ENOMEM, "out of memory") : 0;
}

static void close_window(struct dv_grip *g)
{
	if (g->window && g->window != MAP_FAILED)
		munmap(g->window, WINDOW_BYTES);
}

static int watch_window(struct dv_grip *g)
{
	int fd = dv_userfault_open(g->window, WINDOW_BYTES, UFFDIO_REGISTER_MODE_MISSING,
				   0);

	if (fd < 0)
		return fd;
	g->uffd = fd;
	return 0;
}

static void *call(void *arg)
{
	struct dv_grip *g = arg;
	size_t len = dv_iov_len(pieces, npieces);
	struct iovec local = {.iov_base = g->window, .iov_len = len};
	ssize_t n = process_vm_readv(getpid(), &local, 1, pieces, npieces, 0);

	g->err = n < 0 ? -errno : n == (ssize_t)len ? 0 : -EIO;
	g->done = 1;
	return NULL;
}

/* When it faults in the window, it has the pages. */
static int hold(struct dv_grip *g, const struct iovec *iov, unsigned nr)
{
	struct pollfd p = {.events = POLLIN};
	int64_t begin = dv_now_ns();
	int ret = watch_window(g);

	if (ret)
		return ret;
	memcpy(pieces, iov, nr * sizeof(*iov));
	npieces = nr;
	ret = dv_grip_start(g, call);
	p.fd = g->uffd;
	while (!ret && poll(&p, 1, 2) <= 0) {
		if (g->done)
			ret = dv_grip_ended_early(g);
		else if (dv_now_ns() - begin > FAULT_MS * INT64_C(1000000))
			ret = -ETIMEDOUT;
	}
	return ret;
}

static bool held(const struct dv_grip *g)
{
	return g->held && !g->done;
}

/* A zero page for each fault: the call goes on, and overwrites it. */
static int answer(struct dv_grip *g, int uffd)
{
	size_t len = g->held, page = dv_page_size(), at;
	struct uffdio_zeropage zero;
	struct uffdio_range all = {.start = (uintptr_t)g->window, .len = WINDOW_BYTES};

	for (at = 0; at < len; at += page) {
		zero = (struct uffdio_zeropage){
			.range = {.start = (uintptr_t)g->window + at, .len = page}};
		if (ioctl(uffd, UFFDIO_ZEROPAGE, &zero) && errno != EEXIST)
			return -errno;
	}
	return ioctl(uffd, UFFDIO_WAKE, &all) ? -errno : 0;
}

/* The descriptor belongs to the holder's memory, so it is borrowed from there. */
static int release(struct dv_grip *g, void *buf, size_t len, size_t *got)
{
	int uffd, ret;

	*got = 0;
	if (!g->held)
		return 0;
	uffd = dv_fd_borrow(g->pid, g->uffd);
	if (uffd < 0) /* the pages went with the holder */
		return uffd == -ESRCH || uffd == -EBADF ? 0 : uffd;
	ret = answer(g, uffd);
	close(uffd);
	if (!ret)
		ret = dv_grip_wait_done(g);
	if (ret || !buf)
		return ret;
	*got = len < g->held ? len : g->held;
	memcpy(buf, g->window, *got);
	return 0;
}

const struct dv_hold_ops dv_by_process_vm = {
	.name = "process-vm",
	.words = "process_vm_readv that waits in a userfaultfd",
	.place = "the call",
	.takes = DV_TAKES_PIN,
	.shows = true,
	.open = open_window,
	.hold = hold,
	.held = held,
	.release = release,
	.close = close_window,
};
