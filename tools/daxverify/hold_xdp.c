/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory of an AF_XDP socket (its umem). */
#include "daxverify.h"

#include "file.h"

#include <linux/if_xdp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int sock = -1;

static int open_xdp(struct dv_grip *g)
{
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return dv_grip_lacks(g, -errno,
				     "no AF_XDP: needs root and CONFIG_XDP_SOCKETS: %s",
				     strerror(errno));
	close(fd);
	return 0;
}

static int hold(struct dv_grip *g, const struct iovec *iov, unsigned nr)
{
	struct xdp_umem_reg reg = {.addr = (uintptr_t)iov->iov_base,
				   .len = iov->iov_len,
				   .chunk_size = (uint32_t)dv_page_size()};
	int ret = 0;

	(void)g;
	if (nr != 1)
		return -EINVAL;
	sock = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -errno;
	if (setsockopt(sock, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg))) {
		ret = -errno;
		close(sock);
	}
	return ret;
}

static bool held(const struct dv_grip *g)
{
	return g->held;
}

static int release(struct dv_grip *g, void *buf, size_t len, size_t *got)
{
	(void)buf;
	(void)len;
	*got = 0;
	return g->held && close(sock) ? -errno : 0;
}

const struct dv_hold_ops dv_by_xdp = {
	.name = "xdp",
	.words = "the umem of an AF_XDP socket",
	.place = "the umem",
	.takes = DV_TAKES_PIN,
	.own = true,
	.open = open_xdp,
	.hold = hold,
	.held = held,
	.release = release,
};
