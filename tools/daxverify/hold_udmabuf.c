/* SPDX-License-Identifier: BSD-3-Clause */
/* A DMA buffer made of the pages of a file (udmabuf): of a sealed memfd, and nothing
 * else. */
#include "daxverify.h"

#include <fcntl.h>
#include <linux/udmabuf.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int buffer = -1;

static int open_udmabuf(struct dv_grip *g)
{
	return access("/dev/udmabuf", R_OK | W_OK)
		       ? dv_grip_lacks(
				 g, -errno,
				 "no /dev/udmabuf: needs root and CONFIG_UDMABUF: %s",
				 strerror(errno))
		       : 0;
}

/* It is told the file, from its start on; what a hugetlb file gives is a whole huge page.
 */
static int hold(struct dv_grip *g, const struct iovec *iov, unsigned nr)
{
	struct udmabuf_create make = {.memfd = (unsigned)g->file,
				      .flags = UDMABUF_FLAGS_CLOEXEC,
				      .size = iov->iov_len};
	int fd;

	if (nr != 1)
		return -EINVAL;
	/* Only a memfd can be sealed; of the others the refusal is what is to be seen. */
	fcntl(g->file, F_ADD_SEALS, F_SEAL_SHRINK);
	fd = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	buffer = ioctl(fd, UDMABUF_CREATE, &make);
	if (buffer < 0)
		buffer = -errno;
	close(fd);
	return buffer < 0 ? buffer : 0;
}

static bool held(const struct dv_grip *g)
{
	return g->held;
}

static int release(struct dv_grip *g, void *buf, size_t len, size_t *got)
{
	char *p;
	int ret = 0;

	*got = 0;
	if (!g->held)
		return 0;
	if (buf) {
		p = mmap(NULL, len, PROT_READ, MAP_SHARED, buffer, 0);
		if (p == MAP_FAILED) {
			ret = -errno;
		} else {
			memcpy(buf, p, len);
			*got = len;
			munmap(p, len);
		}
	}
	close(buffer);
	return ret;
}

const struct dv_hold_ops dv_by_udmabuf = {
	.name = "udmabuf",
	.words = "udmabuf",
	.place = "the buffer",
	.takes = DV_TAKES_EITHER,
	.own = true,
	.shows = true,
	.open = open_udmabuf,
	.hold = hold,
	.held = held,
	.release = release,
};
