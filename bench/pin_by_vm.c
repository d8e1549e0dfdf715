/* SPDX-License-Identifier: BSD-3-Clause */
/* daxbench pin: process_vm_readv() and process_vm_writev() take pages, of this process, copy from
 * or to them, and let go. */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "pin.h"

static char copy[PIN_PAGES_MAX * PIN_PAGE] __attribute__((aligned(PIN_PAGE)));

static int begin(const struct pin_work *work, struct record *record)
{
	(void)record;
	memset(copy, 1, work->size);
	return 0;
}

static int result(const struct pin_work *work, ssize_t copied)
{
	return copied == (ssize_t)work->size ? 0 : copied < 0 ? errno : EFAULT;
}

static int take_to_read(const struct pin_work *work)
{
	struct iovec to = {copy, work->size}, from = {work->base, work->size};

	return result(work, process_vm_readv(getpid(), &to, 1, &from, 1, 0));
}

static int take_to_write(const struct pin_work *work)
{
	struct iovec from = {copy, work->size}, to = {work->base, work->size};

	return result(work, process_vm_writev(getpid(), &from, 1, &to, 1, 0));
}

const struct pin_holder pin_by_vm_read = {
	.name = "process-vm-read", .begin = begin, .take = take_to_read,
	.check = pin_check_counted};
const struct pin_holder pin_by_vm_write = {
	.name = "process-vm-write", .begin = begin, .take = take_to_write,
	.check = pin_check_counted};
