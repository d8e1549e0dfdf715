/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "format.h"
#include "mapping.h"
#include "place.h"

static int take_lock(int fd, const char *path, int how)
{
	int err;

	do {
		err = flock(fd, how | LOCK_NB) ? errno : 0;
	} while (err == EINTR);
	if (err == EWOULDBLOCK)
		return dh_fail(EBUSY, "%s: the pool is open elsewhere: close it there first "
			       "(fuser %s tells by whom)", path, path);
	if (err)
		return dh_fail(err, "%s: can't lock the pool: %s", path, strerror(err));
	return 0;
}

/* 0 or an errno. */
static int take_space(int fd, uint64_t offset, uint64_t size)
{
	int err;

	do {
		err = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size) ? errno : 0;
	} while (err == EINTR);
	return err;
}

static int no_file_space(int err, uint64_t size)
{
	if (err == ENOSPC)
		return dh_fail(ENOSPC, "the file system has no space for %llu KiB more of the "
			       "pool: make room there, or free blocks",
			       (unsigned long long)(size >> 10));
	if (err == EOPNOTSUPP)
		return dh_fail(EOPNOTSUPP, "this file system can't allocate space ahead "
			       "(fallocate): use ext4, xfs or tmpfs");
	return dh_fail(err, "can't allocate %llu bytes of the pool: %s",
		       (unsigned long long)size, strerror(err));
}

/* Ahead of use, so that the file lies in few extents; little of what is in use. */
static uint64_t step(uint64_t used)
{
	uint64_t ahead = used / 256;

	if (ahead > UINT64_C(64) << 20)
		ahead = UINT64_C(64) << 20;
	return ahead / DH_CHUNK_SIZE * DH_CHUNK_SIZE;
}

int dh_mapping_allocate(const struct dh_mapping *mapping, uint64_t offset, uint64_t size)
{
	int err = mapping->is_device ? 0 : take_space(mapping->fd, offset, size);

	return err ? no_file_space(err, size) : 0;
}

int dh_mapping_allocate_ahead(struct dh_mapping *mapping, uint64_t offset, uint64_t size)
{
	uint64_t ahead = step(offset);
	int err;

	if (mapping->is_device ||
	    (offset >= mapping->allocated_start && offset + size <= mapping->allocated_end))
		return 0;
	if (ahead > mapping->size - offset - size)
		ahead = mapping->size - offset - size;
	err = take_space(mapping->fd, offset, size + ahead);
	if (err == ENOSPC && ahead) {
		ahead = 0;
		err = take_space(mapping->fd, offset, size);
	}
	if (err)
		return no_file_space(err, size);
	if (offset != mapping->allocated_end)
		mapping->allocated_start = offset;
	mapping->allocated_end = offset + size + ahead;
	return 0;
}

int dh_mapping_create(struct dh_mapping *mapping, const char *path, uint64_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	int err;

	if (fd < 0 && errno == EEXIST)
		return dh_fail(EEXIST, "%s: there is a file of this name: choose another, or "
			       "remove it first", path);
	if (fd < 0)
		return dh_fail_errno("%s: can't create the pool", path);
	err = take_lock(fd, path, LOCK_EX);
	if (!err && ftruncate(fd, (off_t)size))
		err = dh_fail_errno("%s: can't make a file of %llu MiB", path,
				    (unsigned long long)(size >> 20));
	if (err) {
		unlink(path);
		close(fd);
		return err;
	}
	*mapping = (struct dh_mapping){.fd = fd, .size = size};
	return 0;
}

int dh_mapping_open(struct dh_mapping *mapping, const char *path, unsigned flags)
{
	int read_only = flags & DAXHEAP_READ_ONLY;
	int fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	struct dh_devdax device = {0};
	struct stat st;
	int err = 0;

	if (fd < 0)
		return dh_fail_errno("%s: can't open the pool%s", path,
				     read_only ? "" : " for writing");
	if (fstat(fd, &st))
		err = dh_fail_errno("%s", path);
	else if (!S_ISREG(st.st_mode) &&
		 (!S_ISCHR(st.st_mode) || dh_devdax_find(st.st_rdev, &device)))
		err = dh_fail(EMEDIUMTYPE, "%s: a pool is a regular file or a device of device "
			      "DAX, and this is none", path);
	if (!err)
		err = take_lock(fd, path, read_only ? LOCK_SH : LOCK_EX);
	if (err) {
		close(fd);
		return err;
	}
	*mapping = (struct dh_mapping){
		.fd = fd,
		.size = S_ISCHR(st.st_mode) ? device.size : (uint64_t)st.st_size,
		.is_device = S_ISCHR(st.st_mode),
		.device = device,
	};
	return 0;
}

void dh_mapping_discard(struct dh_mapping *mapping, const char *path)
{
	if (!mapping->is_device)
		unlink(path);
	dh_mapping_close(mapping);
}

/* An address range that starts where the file's chunks are congruent with huge pages. */
static void *reserve_range(uint64_t size, uint64_t align)
{
	char *range = mmap(NULL, size + align, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *start;

	if (range == MAP_FAILED)
		return NULL;
	start = (char *)(((uintptr_t)range + align - 1) & ~(align - 1));
	if (start > range)
		munmap(range, (size_t)(start - range));
	munmap(start + size, (size_t)(range + align - start));
	return start;
}

static int no_map_sync(const char *path)
{
	struct daxheap_place place = {0};

	daxheap_get_place(path, &place);
	if (place.dax)
		return dh_fail(EOPNOTSUPP, "%s: the device below (%s) can't do MAP_SYNC: use "
			       "an fsdax namespace of a real or emulated NVDIMM, or don't "
			       "demand MAP_SYNC", path, place.block_device);
	return dh_fail(EOPNOTSUPP, "%s: no MAP_SYNC on this file (%s without DAX): put the "
		       "pool on ext4 or xfs mounted with -o dax=always on a /dev/pmem device, "
		       "or don't demand MAP_SYNC", path,
		       place.fs_type[0] ? place.fs_type : "a file system");
}

/* As libpmem(7) says of PMEM_IS_PMEM_FORCE: for measurements, where no pmem is. */
static bool is_forced(void)
{
	const char *force = getenv("PMEM_IS_PMEM_FORCE");

	return force && !strcmp(force, "1");
}

/* Shared in any case; see dh_mapping_detach(). */
static void *map_device(struct dh_mapping *mapping, void *range, unsigned flags)
{
	bool read_only = flags & DAXHEAP_READ_ONLY;

	mapping->durability = read_only ? DAXHEAP_NOTHING_WRITTEN : DAXHEAP_MAP_SYNC;
	if (read_only) {
		mapping->detached = calloc(mapping->size / mapping->device.align + 1, 1);
		if (!mapping->detached)
			return MAP_FAILED;
	}
	return mmap(range, mapping->size, read_only ? PROT_READ : PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED, mapping->fd, 0);
}

int dh_mapping_map(struct dh_mapping *mapping, const char *path, unsigned flags)
{
	const uint64_t align = mapping->is_device ? mapping->device.align : DH_CHUNK_SIZE;
	const int prot = PROT_READ | PROT_WRITE;
	void *range = mapping->size % align ? NULL : reserve_range(mapping->size, align);
	void *base;

	if (mapping->size % align)
		return dh_fail(EINVAL, "%s: the pool's %llu MiB are no multiple of the device's "
			       "alignment: make the namespace with the alignment that it had", path,
			       (unsigned long long)(mapping->size >> 20));
	if (!range)
		return dh_fail_errno("%s: no address space for %llu MiB", path,
				     (unsigned long long)(mapping->size >> 20));
	if (mapping->is_device) {
		base = map_device(mapping, range, flags);
	} else if (flags & DAXHEAP_READ_ONLY) {
		mapping->durability = DAXHEAP_NOTHING_WRITTEN;
		base = mmap(range, mapping->size, prot, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
			    mapping->fd, 0);
	} else {
		mapping->durability = DAXHEAP_MAP_SYNC;
		base = mmap(range, mapping->size, prot,
			    MAP_SHARED_VALIDATE | MAP_SYNC | MAP_FIXED, mapping->fd, 0);
		if (base == MAP_FAILED && errno == EOPNOTSUPP) {
			if (flags & DAXHEAP_REQUIRE_MAP_SYNC) {
				munmap(range, mapping->size);
				return no_map_sync(path);
			}
			mapping->durability = dh_place_is_dax(mapping->fd) ?
						      DAXHEAP_DAX_MSYNC :
						      DAXHEAP_PAGE_CACHE;
			base = mmap(range, mapping->size, prot, MAP_SHARED | MAP_FIXED,
				    mapping->fd, 0);
			if (mapping->durability == DAXHEAP_PAGE_CACHE &&
			    base != MAP_FAILED && is_forced())
				mapping->durability = DAXHEAP_FORCED;
		}
	}
	if (base == MAP_FAILED) {
		int err = dh_fail_errno("%s: can't map the pool", path);

		munmap(range, mapping->size);
		return err;
	}
	/* A child may not use the heap; it needs no copy of the page tables either. */
	madvise(base, mapping->size, MADV_DONTFORK);
	mapping->base = base;
	return 0;
}

int dh_mapping_sync_name(const struct dh_mapping *mapping, const char *path)
{
	char copy[PATH_MAX];
	int dir, err = 0;

	if (mapping->is_device)
		return 0;
	if (fsync(mapping->fd))
		return dh_fail_errno("%s: can't make the pool durable", path);
	snprintf(copy, sizeof(copy), "%s", path);
	dir = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || fsync(dir))
		err = dh_fail_errno("%s: can't make the pool's name durable", path);
	if (dir >= 0)
		close(dir);
	return err;
}

int dh_mapping_detach(struct dh_mapping *mapping, const void *at, uint64_t size)
{
	const uint64_t align = mapping->device.align;
	uint64_t offset = (uint64_t)((const char *)at - mapping->base);

	if (!mapping->detached)
		return 0;
	for (uint64_t i = offset / align; i * align < offset + size; i++) {
		int err = mapping->detached[i] ?
				  0 : dh_devdax_detach(mapping->base + i * align, align);

		if (err)
			return dh_fail(-err, "can't copy %llu MiB of the device to memory: %s",
				       (unsigned long long)(align >> 20), strerror(-err));
		mapping->detached[i] = 1;
	}
	return 0;
}

ssize_t dh_mapping_pread(const struct dh_mapping *mapping, void *to, size_t size,
			 uint64_t offset)
{
	if (mapping->is_device)
		return dh_devdax_read(mapping->fd, &mapping->device, to, size, offset);
	return pread(mapping->fd, to, size, (off_t)offset);
}

ssize_t dh_mapping_pwrite(const struct dh_mapping *mapping, const void *from, size_t size,
			  uint64_t offset)
{
	if (mapping->is_device)
		return dh_devdax_write(mapping->fd, &mapping->device, from, size, offset);
	return pwrite(mapping->fd, from, size, (off_t)offset);
}

int dh_mapping_fsync(const struct dh_mapping *mapping)
{
	/* What was written to a device is durable already. */
	return mapping->is_device ? 0 : fsync(mapping->fd);
}

void dh_mapping_close(struct dh_mapping *mapping)
{
	free(mapping->detached);
	if (mapping->base)
		munmap(mapping->base, mapping->size);
	/* Explicitly: a forked child that inherited the descriptor would keep the lock. */
	flock(mapping->fd, LOCK_UN);
	close(mapping->fd);
}
