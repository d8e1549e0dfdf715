/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the pages of a file lie on the device, and which of them another file has got. */
#include "daxverify.h"

#include "file.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* At most DV_EXTENTS_MAX extents; what lies beyond is not seen. */
int dv_extents_get(const char *path, struct dv_extents *x)
{
	size_t len =
		sizeof(struct fiemap) + DV_EXTENTS_MAX * sizeof(struct fiemap_extent);
	struct fiemap *map = calloc(1, len);
	int fd = open(path, O_RDONLY | O_CLOEXEC), ret = 0;
	unsigned i;

	if (fd < 0 || !map) {
		ret = fd < 0 ? -errno : -ENOMEM;
		goto out;
	}
	map->fm_length = FIEMAP_MAX_OFFSET;
	map->fm_flags = FIEMAP_FLAG_SYNC;
	map->fm_extent_count = DV_EXTENTS_MAX;
	if (ioctl(fd, FS_IOC_FIEMAP, map)) {
		ret = -errno;
		goto out;
	}
	x->nr = map->fm_mapped_extents;
	for (i = 0; i < x->nr; i++) {
		x->from[i] = map->fm_extents[i].fe_logical;
		x->at[i] = map->fm_extents[i].fe_physical;
		x->len[i] = map->fm_extents[i].fe_length;
	}
out:
	if (fd >= 0)
		close(fd);
	free(map);
	return ret;
}

/* Where a page of the file lies on the device (bytes), or 0 for a hole. */
uint64_t dv_extents_where(const struct dv_extents *x, unsigned page)
{
	uint64_t off = (uint64_t)page * dv_page_size();
	unsigned i;

	for (i = 0; i < x->nr; i++) {
		if (off >= x->from[i] && off - x->from[i] < x->len[i])
			return x->at[i] + (off - x->from[i]);
	}
	return 0;
}

/* Does this place on the device belong to the file? */
bool dv_extents_have(const struct dv_extents *x, uint64_t where)
{
	unsigned i;

	for (i = 0; i < x->nr; i++) {
		if (where >= x->at[i] && where - x->at[i] < x->len[i])
			return true;
	}
	return false;
}
