/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A memory region of an RDMA device: the kernel's own interface, since libibverbs is made
 * to load its drivers, and this program is static. The device is rxe's, whose driver
 * wants nothing beside.
 */
#include "daxverify.h"

#include <fcntl.h>
#include <rdma/ib_user_verbs.h>
#include <string.h>
#include <unistd.h>

#define ACCESS_LOCAL_WRITE 1

static int device = -1;

/* Without the module the first descriptor is refused already. */
static int open_rxe(struct dv_grip *g)
{
	int ret = dv_rxe_add();

	if (ret == -EEXIST)
		return dv_grip_lacks(g, ret,
				     "no RDMA device: the loopback device has one already, "
				     "maybe of another daxverify (rdma link)");
	if (ret)
		return dv_grip_lacks(g, ret,
				     "no RDMA device: needs root and the module rdma_rxe "
				     "(modprobe rdma_rxe): %s",
				     strerror(-ret));
	return 0;
}

static void close_rxe(struct dv_grip *g)
{
	(void)g;
	dv_rxe_remove();
}

static int command(unsigned nr, void *cmd, size_t len, size_t answer)
{
	struct ib_uverbs_cmd_hdr *head = cmd;

	head->command = nr;
	head->in_words = (unsigned short)(len / 4);
	head->out_words = (unsigned short)(answer / 4);
	return write(device, cmd, len) == (ssize_t)len ? 0 : -errno;
}

static int get_context(void)
{
	struct ib_uverbs_get_context_resp context;
	struct {
		struct ib_uverbs_cmd_hdr head;
		struct ib_uverbs_get_context body;
	} cmd = {.body.response = (uintptr_t)&context};
	int ret = command(IB_USER_VERBS_CMD_GET_CONTEXT, &cmd, sizeof(cmd),
			  sizeof(context));

	if (!ret)
		close((int)context.async_fd);
	return ret;
}

static int alloc_pd(uint32_t *handle)
{
	struct ib_uverbs_alloc_pd_resp pd;
	struct {
		struct ib_uverbs_cmd_hdr head;
		struct ib_uverbs_alloc_pd body;
	} cmd = {.body.response = (uintptr_t)&pd};
	int ret = command(IB_USER_VERBS_CMD_ALLOC_PD, &cmd, sizeof(cmd), sizeof(pd));

	*handle = ret ? 0 : pd.pd_handle;
	return ret;
}

static int reg_mr(uint32_t pd, const struct iovec *iov)
{
	struct ib_uverbs_reg_mr_resp mr;
	struct {
		struct ib_uverbs_cmd_hdr head;
		struct ib_uverbs_reg_mr body;
	} cmd = {.body = {.response = (uintptr_t)&mr,
			  .start = (uintptr_t)iov->iov_base,
			  .length = iov->iov_len,
			  .hca_va = (uintptr_t)iov->iov_base,
			  .pd_handle = pd,
			  .access_flags = ACCESS_LOCAL_WRITE}};

	return command(IB_USER_VERBS_CMD_REG_MR, &cmd, sizeof(cmd), sizeof(mr));
}

/* One region, which is one piece. What went wrong before it is no answer about memory. */
static int hold(struct dv_grip *g, const struct iovec *iov, unsigned nr)
{
	char path[64];
	uint32_t pd;
	int ret;

	if (nr != 1)
		return -EINVAL;
	ret = dv_rxe_find(path);
	if (!ret && (device = open(path, O_RDWR | O_CLOEXEC)) < 0)
		ret = -errno;
	if (!ret)
		ret = get_context();
	if (!ret)
		ret = alloc_pd(&pd);
	if (ret)
		return dv_grip_lacks(g, ret, "the RDMA device does not work: %s",
				     strerror(-ret));
	ret = reg_mr(pd, iov);
	if (ret)
		close(device);
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
	return g->held && close(device) ? -errno : 0;
}

const struct dv_hold_ops dv_by_rdma = {
	.name = "rdma",
	.words = "an RDMA memory region",
	.place = "the region",
	.takes = DV_TAKES_PIN,
	.own = true,
	.counted = true,
	.open = open_rxe,
	.hold = hold,
	.held = held,
	.release = release,
	.close = close_rxe,
};
