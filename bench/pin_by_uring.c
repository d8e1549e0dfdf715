/* SPDX-License-Identifier: BSD-3-Clause */
/* daxbench pin: io_uring takes pages as a registered buffer. */
#include <liburing.h>
#include <string.h>

#include "pin.h"

static struct io_uring ring;

static int begin(const struct pin_work *work, struct record *record)
{
	int err = -io_uring_queue_init(2, &ring, 0);

	(void)work;
	if (err)
		record_refuse(record, "no io_uring here: %s", strerror(err));
	return err;
}

static int take(const struct pin_work *work)
{
	struct iovec range = {work->base, work->size};

	return -io_uring_register_buffers(&ring, &range, 1);
}

static int let_go(const struct pin_work *work)
{
	(void)work;
	return -io_uring_unregister_buffers(&ring);
}

const struct pin_holder pin_by_uring = {
	.name = "io_uring", .begin = begin, .take = take, .let_go = let_go,
	.check = pin_check_locked};
