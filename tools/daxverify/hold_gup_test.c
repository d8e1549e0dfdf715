/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's own test of get_user_pages() and pin_user_pages(), where it is built in
 * (CONFIG_GUP_TEST). Its requests take the pages and put them again, all in one call; one
 * keeps them.
 *
 * No header of user space has its interface, which stands in mm/gup_test.h of the kernel.
 * The requests that keep nothing do not tell why they got less than they wanted.
 */
#include "daxverify.h"

#include "file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct gup_test {
	uint64_t get_delta_usec, put_delta_usec, addr, size;
	uint32_t nr_pages_per_call, gup_flags, test_flags, which_pages[8];
};

struct pin_longterm_test {
	uint64_t addr, size;
	uint32_t flags;
};

#define GUP_FAST	   _IOWR('g', 1, struct gup_test)
#define PIN_FAST	   _IOWR('g', 2, struct gup_test)
#define PIN_LONGTERM	   _IOWR('g', 3, struct gup_test)
#define GUP_GET		   _IOWR('g', 4, struct gup_test)
#define PIN_GET		   _IOWR('g', 5, struct gup_test)
#define PIN_LONGTERM_START _IOW('g', 7, struct pin_longterm_test)
#define PIN_LONGTERM_STOP  _IO('g', 8)
#define PIN_LONGTERM_READ  _IOW('g', 9, uint64_t)
#define PIN_FLAG_WRITE	   1
#define PIN_FLAG_FAST	   2
#define FOLL_WRITE	   1

enum mode {
	MODE_GUP_FAST,
	MODE_PIN_FAST,
	MODE_PIN_LONGTERM,
	MODE_GUP_GET,
	MODE_PIN_GET,
	MODE_KEEP,
	MODE_KEEP_FAST
};

static int test = -1;

static int open_test(void)
{
	int mnt = dv_mount_detached("debugfs"), fd;

	if (mnt < 0)
		return mnt;
	fd = openat(mnt, "gup_test", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	close(mnt);
	return fd;
}

static int open_gup(struct dv_grip *g)
{
	int fd = open_test();

	if (fd < 0)
		return dv_grip_lacks(g, fd,
				     "no gup_test: needs root and a kernel with "
				     "CONFIG_GUP_TEST (no distribution has it): %s",
				     strerror(-fd));
	close(fd);
	return 0;
}

static int once(const struct iovec *iov, unsigned long request)
{
	struct gup_test t = {.addr = (uintptr_t)iov->iov_base,
			     .size = iov->iov_len,
			     .nr_pages_per_call =
				     (uint32_t)(iov->iov_len / dv_page_size()),
			     .gup_flags = FOLL_WRITE};

	if (ioctl(test, request, &t))
		return -errno;
	return t.size == iov->iov_len ? 0 : -EFAULT;
}

static int keep(const struct iovec *iov, bool fast)
{
	struct pin_longterm_test t = {.addr = (uintptr_t)iov->iov_base,
				      .size = iov->iov_len,
				      .flags = PIN_FLAG_WRITE |
					       (fast ? PIN_FLAG_FAST : 0)};

	return ioctl(test, PIN_LONGTERM_START, &t) ? -errno : 0;
}

static int hold(struct dv_grip *g, const struct iovec *iov, unsigned nr)
{
	static const unsigned long requests[] = {[MODE_GUP_FAST] = GUP_FAST,
						 [MODE_PIN_FAST] = PIN_FAST,
						 [MODE_PIN_LONGTERM] = PIN_LONGTERM,
						 [MODE_GUP_GET] = GUP_GET,
						 [MODE_PIN_GET] = PIN_GET};
	int ret;

	if (nr != 1)
		return -EINVAL;
	test = open_test();
	if (test < 0)
		return test;
	ret = g->by->once ? once(iov, requests[g->by->arg])
			  : keep(iov, g->by->arg == MODE_KEEP_FAST);
	if (ret)
		close(test);
	return ret;
}

static bool held(const struct dv_grip *g)
{
	return g->held && !g->by->once;
}

/* It copies all that it holds. */
static int release(struct dv_grip *g, void *buf, size_t len, size_t *got)
{
	uint64_t to = (uintptr_t)buf;
	int ret = 0;

	*got = 0;
	if (!g->held)
		return 0;
	if (!g->by->once) {
		if (buf && len >= g->held && ioctl(test, PIN_LONGTERM_READ, &to) == 0)
			*got = g->held;
		ret = ioctl(test, PIN_LONGTERM_STOP) ? -errno : 0;
	}
	close(test);
	return ret;
}

/* clang-format off */
#define TAKES(mode)									\
	((mode) == MODE_GUP_FAST || (mode) == MODE_GUP_GET ? DV_TAKES_GET : DV_TAKES_PIN)
#define GUP_TEST(mode)									\
	.place = "the test", .takes = TAKES(mode), .own = true,				\
	.shows = (mode) >= MODE_KEEP, .once = (mode) < MODE_KEEP, .arg = (mode),	\
	.open = open_gup, .hold = hold, .held = held, .release = release

const struct dv_hold_ops dv_by_gup_fast = {
	.name = "gup-fast", .words = "get_user_pages_fast", GUP_TEST(MODE_GUP_FAST)};
const struct dv_hold_ops dv_by_gup_get = {
	.name = "gup-get", .words = "get_user_pages", GUP_TEST(MODE_GUP_GET)};
const struct dv_hold_ops dv_by_pin_fast = {
	.name = "pin-fast", .words = "pin_user_pages_fast", GUP_TEST(MODE_PIN_FAST)};
const struct dv_hold_ops dv_by_pin_get = {
	.name = "pin-get", .words = "pin_user_pages", GUP_TEST(MODE_PIN_GET)};
const struct dv_hold_ops dv_by_pin_longterm = {
	.name = "pin-longterm", .words = "pin_user_pages for long", GUP_TEST(MODE_PIN_LONGTERM)};
const struct dv_hold_ops dv_by_pin_longterm_held = {
	.name = "pin-longterm-held", .words = "pin_user_pages for long, kept",
	GUP_TEST(MODE_KEEP)};
const struct dv_hold_ops dv_by_pin_longterm_held_fast = {
	.name = "pin-longterm-fast", .words = "pin_user_pages_fast for long, kept",
	GUP_TEST(MODE_KEEP_FAST)};
/* clang-format on */
