/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench pin: O_DIRECT write from the pages and read into them.  They are held while the I/O
 * lasts, so it goes to a device where it lasts no time and moves no data: null_blk.  On any other,
 * pins would drown in the time of the device.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pin.h"

#define DEVICE "/dev/nullb0"

static int fd;

static bool says_yes(const char *path)
{
	FILE *file = fopen(path, "re");
	int c = file ? fgetc(file) : EOF;

	if (file)
		fclose(file);
	return c == 'Y' || c == '1';
}

/* Nobody's data: null_blk can be told to keep what it is given, and then it may be somebody's. */
static int begin(const struct pin_work *work, struct record *record)
{
	(void)work;
	if (says_yes("/sys/module/null_blk/parameters/memory_backed") ||
	    says_yes("/sys/kernel/config/nullb/nullb0/memory_backed")) {
		record_refuse(record, DEVICE " keeps what is written to it (memory_backed): it may be "
			      "in use");
		return EBUSY;
	}
	fd = open(DEVICE, O_RDWR | O_DIRECT | O_EXCL | O_CLOEXEC);
	if (fd >= 0)
		return 0;
	record_refuse(record, "no device whose I/O takes no time: as root, modprobe null_blk "
		      "queue_mode=0 (" DEVICE ": %s)", strerror(errno));
	return errno;
}

static int result(const struct pin_work *work, ssize_t moved)
{
	return moved == (ssize_t)work->size ? 0 : moved < 0 ? errno : EIO;
}

static int take_to_write(const struct pin_work *work)
{
	return result(work, pwrite(fd, work->base, work->size, 0));
}

static int take_to_read(const struct pin_work *work)
{
	return result(work, pread(fd, work->base, work->size, 0));
}

const struct pin_holder pin_by_direct_write = {
	.name = "direct-write", .begin = begin, .take = take_to_write,
	.check = pin_check_maybe_counted};
const struct pin_holder pin_by_direct_read = {
	.name = "direct-read", .begin = begin, .take = take_to_read,
	.check = pin_check_maybe_counted};
