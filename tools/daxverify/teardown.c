/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices and their drivers, in /sys. */
#include "daxverify.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define READY_MS 10000

/* The last part of a path. */
static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The folder of what is behind a device node, in /sys/devices. */
static int folder_of(const char *node, char folder[PATH_MAX])
{
	char link[64];
	struct stat st;

	if (stat(node, &st))
		return -errno;
	if (!S_ISBLK(st.st_mode) && !S_ISCHR(st.st_mode))
		return -ENODEV;
	snprintf(link, sizeof(link), "/sys/dev/%s/%u:%u",
		 S_ISBLK(st.st_mode) ? "block" : "char", major(st.st_rdev),
		 minor(st.st_rdev));
	return realpath(link, folder) ? 0 : -errno;
}

/* From there upwards: partitions and queues have no driver, the device that they are of
 * has. */
int dv_driver_find(const char *node, const char *name, struct dv_driver *d)
{
	char folder[PATH_MAX], link[PATH_MAX + 8], driver[PATH_MAX];
	int ret = folder_of(node, folder);

	memset(d, 0, sizeof(*d));
	for (; !ret && strcmp(folder, "/sys/devices") != 0; *strrchr(folder, '/') = 0) {
		snprintf(link, sizeof(link), "%s/driver", folder);
		if (!realpath(link, driver) || strcmp(name_of(driver), name) != 0)
			continue;
		if (strlen(name_of(folder)) >= sizeof(d->device) ||
		    strlen(driver) >= sizeof(d->driver) ||
		    strlen(node) >= sizeof(d->node))
			return -ENAMETOOLONG;
		strcpy(d->driver, driver);
		strcpy(d->node, node);
		strcpy(d->device, name_of(folder));
		return 0;
	}
	return ret ? ret : -ENODEV;
}

static int tell(const struct dv_driver *d, const char *what)
{
	char path[sizeof(d->driver) + 16];
	size_t len = strlen(d->device);
	int fd, ret = 0;

	snprintf(path, sizeof(path), "%s/%s", d->driver, what);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, d->device, len) != (ssize_t)len)
		ret = -errno;
	close(fd);
	return ret;
}

int dv_driver_unbind(const struct dv_driver *d)
{
	return tell(d, "unbind");
}

bool dv_driver_bound(const struct dv_driver *d)
{
	char path[sizeof(d->driver) + sizeof(d->device) + 8];

	snprintf(path, sizeof(path), "%s/%s", d->driver, d->device);
	return access(path, F_OK) == 0;
}

int dv_driver_restore(const struct dv_driver *d)
{
	int64_t begin = dv_now_ns();
	int ret;

	if (!d->device[0])
		return 0;
	ret = dv_driver_bound(d) ? 0 : tell(d, "bind");
	while (!ret && access(d->node, F_OK)) {
		if (dv_now_ns() - begin > READY_MS * INT64_C(1000000))
			return -ETIMEDOUT;
		dv_sleep_ms(4);
	}
	return ret;
}
