/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench pin: an AF_XDP socket takes pages as its umem.  It has one in its life, so each is new.
 * They are let go by a worker of the kernel, some time after the socket was closed: no call can be
 * timed that does it.
 */
#include <errno.h>
#include <linux/if_xdp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pin.h"

static int fd;

static int ready(const struct pin_work *work)
{
	(void)work;
	fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	return fd < 0 ? errno : 0;
}

static int begin(const struct pin_work *work, struct record *record)
{
	int err = ready(work);

	if (err)
		record_refuse(record, "no AF_XDP here, which takes root and CONFIG_XDP_SOCKETS: %s",
			      strerror(err));
	else
		close(fd);
	return err;
}

static int take(const struct pin_work *work)
{
	struct xdp_umem_reg umem = {.addr = (uintptr_t)work->base, .len = work->size,
				    .chunk_size = PIN_PAGE};

	return setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &umem, sizeof(umem)) ? errno : 0;
}

static int let_go(const struct pin_work *work)
{
	(void)work;
	return close(fd) ? errno : 0;
}

const struct pin_holder pin_by_xdp = {
	.name = "xdp", .begin = begin, .ready = ready, .take = take, .let_go = let_go,
	.late = true, .check = pin_check_counted};
