/* SPDX-License-Identifier: BSD-3-Clause */
/* What lies under a file: file system, block device, namespace, persistence domain. */
#include <daxctl/libdaxctl.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <mntent.h>
#include <ndctl/libndctl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "daxheap.h"
#include "devdax.h"
#include "error.h"
#include "place.h"

bool dh_place_is_dax(int fd)
{
	struct statx stx;

	return !statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx) &&
	       (stx.stx_attributes & STATX_ATTR_DAX);
}

static void read_mount(struct daxheap_place *place, dev_t dev)
{
	FILE *mounts = setmntent("/proc/self/mounts", "r");
	struct mntent entry;
	char buffer[8192];

	if (!mounts)
		return;
	while (getmntent_r(mounts, &entry, buffer, sizeof(buffer))) {
		struct stat st;

		/* The last one wins: a later mount hides an earlier one. */
		if (stat(entry.mnt_dir, &st) || st.st_dev != dev)
			continue;
		snprintf(place->fs_type, sizeof(place->fs_type), "%s", entry.mnt_type);
		snprintf(place->mount_options, sizeof(place->mount_options), "%s",
			 entry.mnt_opts);
	}
	endmntent(mounts);
}

static void read_block_device(struct daxheap_place *place, dev_t dev)
{
	char link[64], target[PATH_MAX];
	ssize_t length;

	snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(dev), minor(dev));
	length = readlink(link, target, sizeof(target) - 1);
	if (length <= 0)
		return;
	target[length] = '\0';
	snprintf(place->block_device, sizeof(place->block_device), "%.63s",
		 basename(target));
}

static bool read_dax_device(struct daxheap_place *place, dev_t number)
{
	struct dh_devdax device;

	if (dh_devdax_find(number, &device))
		return false;
	snprintf(place->fs_type, sizeof(place->fs_type), "devdax");
	snprintf(place->block_device, sizeof(place->block_device), "%s", device.name);
	place->dax = 1;
	return true;
}

static const char *domain_name(enum ndctl_persistence_domain domain)
{
	switch (domain) {
	case PERSISTENCE_CPU_CACHE:
		return "cpu_cache";
	case PERSISTENCE_MEM_CTRL:
		return "memory_controller";
	default:
		return "unknown";
	}
}

static const char *namespace_block_device(struct ndctl_namespace *ndns)
{
	struct ndctl_pfn *pfn = ndctl_namespace_get_pfn(ndns);
	struct ndctl_btt *btt = ndctl_namespace_get_btt(ndns);

	if (pfn)
		return ndctl_pfn_get_block_device(pfn);
	if (btt)
		return ndctl_btt_get_block_device(btt);
	return ndctl_namespace_get_block_device(ndns);
}

/* Whether device DAX of that name is the namespace's. */
static bool has_dax_device(struct ndctl_namespace *ndns, const char *name)
{
	struct ndctl_dax *dax = ndctl_namespace_get_dax(ndns);
	struct daxctl_region *region = dax ? ndctl_dax_get_daxctl_region(dax) : NULL;
	struct daxctl_dev *dev;

	if (region)
		daxctl_dev_foreach(region, dev)
			if (!strcmp(daxctl_dev_get_devname(dev), name))
				return true;
	return false;
}

/* "pmem0p1" lies in the namespace of "pmem0". */
static bool is_on_device(const char *block_device, const char *namespace_device)
{
	size_t length = namespace_device ? strlen(namespace_device) : 0;

	return length && !strncmp(block_device, namespace_device, length) &&
	       (block_device[length] == '\0' || block_device[length] == 'p' ||
		block_device[length] == 's');
}

static void read_namespace(struct daxheap_place *place)
{
	struct ndctl_ctx *ctx;
	struct ndctl_bus *bus;
	struct ndctl_region *region;
	struct ndctl_namespace *ndns;

	if (!place->block_device[0] || ndctl_new(&ctx))
		return;
	ndctl_bus_foreach(ctx, bus)
		ndctl_region_foreach(bus, region)
			ndctl_namespace_foreach(region, ndns) {
				if (!is_on_device(place->block_device,
						  namespace_block_device(ndns)) &&
				    !has_dax_device(ndns, place->block_device))
					continue;
				snprintf(place->namespace_name,
					 sizeof(place->namespace_name), "%s",
					 ndctl_namespace_get_devname(ndns));
				snprintf(place->persistence_domain,
					 sizeof(place->persistence_domain), "%s",
					 domain_name(ndctl_region_get_persistence_domain(
						 region)));
			}
	ndctl_unref(ctx);
}

DAXHEAP_API int daxheap_get_place(const char *path, struct daxheap_place *place)
{
	struct daxheap_place found = {0};
	struct stat st;
	int fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return dh_fail_errno("%s", path);
	if (!fstat(fd, &st)) {
		if (!S_ISCHR(st.st_mode) || !read_dax_device(&found, st.st_rdev)) {
			found.dax = dh_place_is_dax(fd);
			read_mount(&found, st.st_dev);
			read_block_device(&found, st.st_dev);
		}
		read_namespace(&found);
	}
	close(fd);
	*place = found;
	return 0;
}
