/* SPDX-License-Identifier: BSD-3-Clause */
/* daxbench pin: an RDMA device takes pages as a memory region; the first device that there is. */
#include <errno.h>
#include <string.h>
#ifdef HAVE_IBVERBS
#include <glob.h>
#include <infiniband/verbs.h>
#endif

#include "pin.h"

#ifdef HAVE_IBVERBS
static struct ibv_pd *pd;
static struct ibv_mr *mr;

/* libibverbs is asked only if there is a device: without its configuration it complains aloud. */
static bool is_any(void)
{
	glob_t found = {0};
	bool any = !glob("/sys/class/infiniband_verbs/uverbs*", 0, NULL, &found);

	globfree(&found);
	return any;
}

static int begin(const struct pin_work *work, struct record *record)
{
	struct ibv_device **devices = is_any() ? ibv_get_device_list(NULL) : NULL;
	struct ibv_context *context = NULL;

	(void)work;
	if (!devices || !devices[0]) {
		record_refuse(record, "no RDMA device; one without hardware: modprobe rdma_rxe, rdma "
			      "link add rxe0 type rxe netdev lo (and the package ibverbs-providers)");
		return ENODEV;
	}
	context = ibv_open_device(devices[0]);
	pd = context ? ibv_alloc_pd(context) : NULL;
	if (pd)
		return 0;
	record_refuse(record, "the RDMA device %s can't be used: %s",
		      ibv_get_device_name(devices[0]), strerror(errno));
	return errno ? errno : EIO;
}

static int take(const struct pin_work *work)
{
	mr = ibv_reg_mr(pd, work->base, work->size, IBV_ACCESS_LOCAL_WRITE);
	return mr ? 0 : errno;
}

static int let_go(const struct pin_work *work)
{
	(void)work;
	return ibv_dereg_mr(mr);
}
#else
static int begin(const struct pin_work *work, struct record *record)
{
	(void)work;
	record_refuse(record, "daxbench was built without libibverbs (libibverbs-dev)");
	return ENOSYS;
}

static int take(const struct pin_work *work)
{
	(void)work;
	return ENOSYS;
}

static int let_go(const struct pin_work *work)
{
	return take(work);
}
#endif

const struct pin_holder pin_by_rdma = {
	.name = "rdma", .begin = begin, .take = take, .let_go = let_go, .check = pin_check_locked};
