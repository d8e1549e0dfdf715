/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <daxheap.h>

#include "bench.h"
#include "scratch.h"

int scratch_open(const char *dir)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char *path;

	if (fd >= 0 || errno != EOPNOTSUPP)
		return fd;
	path = temporary_path(dir, "scratch");
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0)
		unlink(path);
	free(path);
	return fd;
}

bool scratch_is_dax(const char *path)
{
	struct daxheap_place place;
	struct statx stx;
	bool dax;
	int fd;

	if (!daxheap_get_place(path, &place) && place.dax)
		return true;
	fd = scratch_open(path);
	if (fd < 0)
		return false;
	dax = !statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx) &&
	      (stx.stx_attributes & STATX_ATTR_DAX);
	close(fd);
	return dax;
}

uint64_t scratch_space(const char *dir)
{
	struct statvfs stv;

	if (statvfs(dir, &stv))
		return 0;
	/* A file system without a size has no limit. */
	return stv.f_blocks ? (uint64_t)stv.f_bavail * stv.f_frsize : UINT64_MAX;
}

static size_t devdax_attribute(const char *path, const char *attribute)
{
	const char *name = strrchr(path, '/');
	unsigned long bytes = 0;
	char sysfs[128];
	FILE *file;

	snprintf(sysfs, sizeof(sysfs), "/sys/bus/dax/devices/%.64s/%s", name ? name + 1 : path,
		 attribute);
	file = fopen(sysfs, "re");
	if (file && fscanf(file, "%lu", &bytes) != 1)
		bytes = 0;
	if (file)
		fclose(file);
	return bytes;
}

size_t scratch_devdax_align(const char *path)
{
	return devdax_attribute(path, "align");
}

size_t scratch_devdax_size(const char *path)
{
	return devdax_attribute(path, "size");
}

int scratch_write(int fd, size_t at, size_t size)
{
	static char zeros[1 << 20];

	for (size_t done = 0; done < size;) {
		size_t now = size - done < sizeof(zeros) ? size - done : sizeof(zeros);
		ssize_t written = pwrite(fd, zeros, now, (off_t)(at + done));

		if (written < 0)
			return errno;
		done += (size_t)written;
	}
	return 0;
}
