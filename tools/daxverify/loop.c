/* SPDX-License-Identifier: BSD-3-Clause */
/* A loop device of our own: a block device whose bytes are those of a file. */
#include "daxverify.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Another process may take the free one first. */
#define TRIES 8

static int take_free(int control, int file, char path[32])
{
	struct loop_config config = {.fd = (unsigned)file,
				     .info.lo_flags = LO_FLAGS_AUTOCLEAR};
	int n = ioctl(control, LOOP_CTL_GET_FREE), fd, err;

	if (n < 0)
		return -errno;
	snprintf(path, 32, "/dev/loop%d", n);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ioctl(fd, LOOP_CONFIGURE, &config) == 0)
		return fd;
	err = errno;
	close(fd);
	return -err;
}

/* A descriptor of it, or -errno; the device is gone when nothing has it open any more. */
int dv_loop_open(int file, char path[32], dev_t *number)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), tries = TRIES, fd;
	struct stat st;

	if (control < 0)
		return -errno;
	do {
		fd = take_free(control, file, path);
	} while (fd == -EBUSY && --tries);
	close(control);
	if (fd >= 0 && fstat(fd, &st) == 0)
		*number = st.st_rdev;
	return fd;
}
