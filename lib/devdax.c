/* SPDX-License-Identifier: BSD-3-Clause */
#include <daxctl/libdaxctl.h>
#include <errno.h>
#include <libpmem.h>
#include <limits.h>
#include <ndctl/libndctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "devdax.h"
#include "error.h"
#include "format.h"

bool dh_devdax_may_be(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISCHR(st.st_mode);
}

static bool has_number(struct daxctl_dev *dev, dev_t number)
{
	return daxctl_dev_get_major(dev) == (int)major(number) &&
	       daxctl_dev_get_minor(dev) == (int)minor(number);
}

static void describe(struct daxctl_dev *dev, struct dh_devdax *device)
{
	device->size = daxctl_dev_get_size(dev);
	device->align = daxctl_dev_get_align(dev);
	if (device->align < DH_CHUNK_SIZE)
		device->align = DH_CHUNK_SIZE;
	snprintf(device->name, sizeof(device->name), "%s", daxctl_dev_get_devname(dev));
}

int dh_devdax_find(dev_t number, struct dh_devdax *device)
{
	struct daxctl_ctx *ctx;
	struct daxctl_region *region;
	struct daxctl_dev *dev;
	int err = daxctl_new(&ctx);

	if (err)
		return err;
	err = -ENODEV;
	daxctl_region_foreach(ctx, region)
		daxctl_dev_foreach(region, dev)
			if (err && has_number(dev, number)) {
				describe(dev, device);
				err = 0;
			}
	daxctl_unref(ctx);
	return err;
}

/* --- bad pages --- */

#define SECTOR UINT64_C(512)

void dh_devdax_add_bad(struct dh_devdax *device, uint64_t start, uint64_t end)
{
	struct dh_bad_range *last = device->bad_count ? &device->bad[device->bad_count - 1] : NULL;

	start = start / DH_PAGE_SIZE * DH_PAGE_SIZE;
	end = (end + DH_PAGE_SIZE - 1) / DH_PAGE_SIZE * DH_PAGE_SIZE;
	if (end > device->size)
		end = device->size;
	if (start >= end)
		return;
	if (last && (start <= last->end || device->bad_count == DH_DEVDAX_BAD_MAX))
		last->end = end > last->end ? end : last->end;
	else
		device->bad[device->bad_count++] = (struct dh_bad_range){start, end};
}

/* The region's list is of sectors from its start on; a namespace in devdax mode has none. */
static void add_bad_of(struct dh_devdax *device, struct ndctl_region *region,
		       struct daxctl_dev *dev)
{
	uint64_t first = daxctl_dev_get_resource(dev);
	uint64_t region_first = ndctl_region_get_resource(region);
	struct badblock *bad;

	if (region_first == ULLONG_MAX || first < region_first || !first)
		return;
	first -= region_first;
	ndctl_region_badblock_foreach(region, bad) {
		uint64_t start = bad->offset * SECTOR, end = start + bad->len * SECTOR;

		if (end > first)
			dh_devdax_add_bad(device, start > first ? start - first : 0, end - first);
	}
}

static void look_for_bad(struct dh_devdax *device, struct ndctl_region *region,
			 struct ndctl_namespace *ndns)
{
	struct ndctl_dax *dax = ndctl_namespace_get_dax(ndns);
	struct daxctl_region *dax_region = dax ? ndctl_dax_get_daxctl_region(dax) : NULL;
	struct daxctl_dev *dev;

	if (dax_region)
		daxctl_dev_foreach(dax_region, dev)
			if (!strcmp(daxctl_dev_get_devname(dev), device->name))
				add_bad_of(device, region, dev);
}

void dh_devdax_find_bad(struct dh_devdax *device)
{
	struct ndctl_namespace *ndns;
	struct ndctl_region *region;
	struct ndctl_bus *bus;
	struct ndctl_ctx *ctx;

	if (ndctl_new(&ctx))
		return;
	ndctl_bus_foreach(ctx, bus)
		ndctl_region_foreach(bus, region)
			ndctl_namespace_foreach(region, ndns)
				look_for_bad(device, region, ndns);
	ndctl_unref(ctx);
}

static bool is_bad(const struct dh_devdax *device, uint64_t offset, uint64_t size)
{
	for (unsigned i = 0; i < device->bad_count; i++)
		if (device->bad[i].start < offset + size && offset < device->bad[i].end)
			return true;
	return false;
}

int dh_devdax_is_bad(const char *path, const char *what)
{
	return dh_fail(EIO, "%s: the device has bad blocks %s: have them cleared ('daxheap doctor "
		       "%s' tells how), or use another", path, what, path);
}

/* --- a window: the piece of the device that has an offset --- */

static char *open_window(int fd, const struct dh_devdax *device, uint64_t offset, int prot)
{
	uint64_t start = offset / device->align * device->align;
	void *window = mmap(NULL, device->align, prot, MAP_SHARED, fd, (off_t)start);

	return window == MAP_FAILED ? NULL : window;
}

/* Bytes from @offset that are in one window, and no more than @size. */
static uint64_t in_window(const struct dh_devdax *device, uint64_t offset, uint64_t size)
{
	uint64_t left = device->align - offset % device->align;

	if (offset >= device->size)
		return 0;
	if (left > device->size - offset)
		left = device->size - offset;
	return size < left ? size : left;
}

ssize_t dh_devdax_read(int fd, const struct dh_devdax *device, void *to, size_t size,
		       uint64_t offset)
{
	char *window;

	size = in_window(device, offset, size);
	if (!size)
		return 0;
	if (is_bad(device, offset, size)) {
		errno = EIO;
		return -1;
	}
	window = open_window(fd, device, offset, PROT_READ);
	if (!window)
		return -1;
	memcpy(to, window + offset % device->align, size);
	munmap(window, device->align);
	return (ssize_t)size;
}

ssize_t dh_devdax_write(int fd, const struct dh_devdax *device, const void *from, size_t size,
			uint64_t offset)
{
	char *window;

	size = in_window(device, offset, size);
	if (!size) {
		errno = ENOSPC;
		return -1;
	}
	/* The kernel would have to clear it, which it does for namespaces that are not in use. */
	if (is_bad(device, offset, size)) {
		errno = EIO;
		return -1;
	}
	window = open_window(fd, device, offset, PROT_READ | PROT_WRITE);
	if (!window)
		return -1;
	pmem_memcpy_persist(window + offset % device->align, from, size);
	munmap(window, device->align);
	return (ssize_t)size;
}

/* --- a new pool --- */

int dh_devdax_pool_size(const struct dh_devdax *device, const char *path, uint64_t *size)
{
	uint64_t whole = device->size / device->align * device->align;

	if (!*size)
		*size = whole < DH_SIZE_MAX ? whole : DH_SIZE_MAX;
	if (*size > whole)
		return dh_fail(ENOSPC, "%s: the device has %llu MiB, and not %llu: make a smaller "
			       "pool, or one of size 0, which takes all", path,
			       (unsigned long long)(whole >> 20),
			       (unsigned long long)(*size >> 20));
	if (*size % device->align)
		return dh_fail(EINVAL, "%s: a pool on this device has a multiple of %llu MiB, its "
			       "alignment", path, (unsigned long long)(device->align >> 20));
	return 0;
}

static bool is_zero(const char *bytes, uint64_t size)
{
	/* The first one is, and each as the one before it. */
	return !bytes[0] && !memcmp(bytes, bytes + 1, size - 1);
}

/*
 * What a new pool needs zero: all in front, and the head of each chunk, where the spans of an
 * older pool would be taken for its own.  0 or an errno: EIO where it is bad, and without
 * @overwrite EEXIST where it is not zero.
 */
static int clear(int fd, const struct dh_devdax *device, uint64_t front, uint64_t size,
		 bool overwrite)
{
	int err = 0;

	for (uint64_t at = 0; at < size && !err; at += device->align) {
		char *window = open_window(fd, device, at, PROT_READ | PROT_WRITE);

		if (!window)
			return errno;
		for (uint64_t in = 0; in < device->align && at + in < size && err != EIO;
		     in += DH_CHUNK_SIZE) {
			uint64_t head = at + in < front ? DH_CHUNK_SIZE : DH_CHUNK_HEADER_SIZE;

			if (is_bad(device, at + in, head))
				err = EIO;
			else if (is_zero(window + in, head))
				continue;
			else if (overwrite)
				pmem_memset_persist(window + in, 0, head);
			else
				err = EEXIST;
		}
		munmap(window, device->align);
	}
	return err;
}

static int not_empty(int fd, const struct dh_devdax *device, const char *path)
{
	char magic[sizeof(DH_MAGIC) - 1] = {0};

	dh_devdax_read(fd, device, magic, sizeof(magic), 0);
	if (!memcmp(magic, DH_MAGIC, sizeof(magic)))
		return dh_fail(EEXIST, "%s: there is a pool on this device: open it, or have it "
			       "overwritten (daxheap create --overwrite)", path);
	return dh_fail(EEXIST, "%s: the device is not empty: there is more than zeros where a pool "
		       "has its tables; if nobody needs it, have it overwritten (daxheap create "
		       "--overwrite)", path);
}

int dh_devdax_clear(int fd, const struct dh_devdax *device, const char *path, bool overwrite,
		    uint64_t front, uint64_t size)
{
	static const char zeros[DH_PAGE_SIZE];
	int err = 0;

	/* Without its superblocks an older pool is none: the rest may be cut. */
	if (overwrite && (dh_devdax_write(fd, device, zeros, sizeof(zeros), 0) < 0 ||
			  dh_devdax_write(fd, device, zeros, sizeof(zeros), DH_COPY_OFFSET) < 0))
		err = errno;
	if (!err)
		err = clear(fd, device, front, size, overwrite);
	if (err == EEXIST)
		return not_empty(fd, device, path);
	if (err == EIO)
		return dh_devdax_is_bad(path, "where a pool has its tables");
	return err ? dh_fail(err, "%s: can't map the device for writing: %s", path,
			     strerror(err)) : 0;
}

/* --- a private mapping --- */

int dh_devdax_detach(const struct dh_devdax *device, uint64_t offset, char *at)
{
	const uint64_t size = device->align;
	char *copy = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int err;

	if (copy == MAP_FAILED)
		return -errno;
	if (!is_bad(device, offset, size))
		memcpy(copy, at, size);
	else
		for (uint64_t in = 0; in < size; in += DH_PAGE_SIZE)
			if (!is_bad(device, offset + in, DH_PAGE_SIZE))
				memcpy(copy + in, at + in, DH_PAGE_SIZE);
	if (mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, at) != MAP_FAILED)
		return 0;
	err = -errno;
	munmap(copy, size);
	return err;
}
