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
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "fault.h"
#include "format.h"
#include "mapping.h"
#include "place.h"
#include "zeros.h"

#ifdef DH_TEST_HOOKS
void (*dh_file_listener)(enum dh_file_change change, uint64_t offset, uint64_t size);
void (*dh_mapping_wait)(void);
#endif

/* A process that was killed with a ring attached has the lock until the kernel has undone that,
 * some ms if no device is at it. */
static int take_lock(int fd, const char *path, int how)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	unsigned tries = 100;
	int err;

	do {
		err = flock(fd, how | LOCK_NB) ? errno : 0;
		if (err == EWOULDBLOCK && --tries)
			nanosleep(&pause, NULL);
	} while (err == EINTR || (err == EWOULDBLOCK && tries));
	if (err == EWOULDBLOCK)
		return dh_fail(EBUSY, "%s: the pool is open elsewhere: close it there first "
			       "(fuser %s tells by whom; nobody: a device is at it for a process "
			       "that was killed)", path, path);
	if (err)
		return dh_fail(err, "%s: can't lock the pool: %s", path, strerror(err));
	return 0;
}

/* Makes the file longer where the range lies behind its end.  0 or an errno. */
static int take_space(struct dh_mapping *mapping, uint64_t offset, uint64_t size)
{
	int err;

#ifdef DH_TEST_HOOKS
	if (dh_mapping_wait)
		dh_mapping_wait();
#endif
	if (mapping->is_dax)
		return dh_fill_holes(mapping->fd, offset, size, &mapping->filled);
	do {
		err = fallocate(mapping->fd, 0, (off_t)offset, (off_t)size) ? errno : 0;
	} while (err == EINTR);
	return err;
}

static int no_file_space(int err, uint64_t size)
{
	if (err == ENOSPC)
		return dh_fail(ENOSPC, "the file system has no space for %llu KiB more of the "
			       "pool: make room there, or free blocks",
			       (unsigned long long)(size >> 10));
	if (err == EFBIG)
		return dh_fail(ENOSPC, "the pool's file may not grow by %llu KiB more: raise the "
			       "limit of its size (ulimit -f, or the file system's), or free "
			       "blocks", (unsigned long long)(size >> 10));
	if (err == EOPNOTSUPP)
		return dh_fail(EOPNOTSUPP, "this file system can't allocate space ahead "
			       "(fallocate): use ext4, xfs or tmpfs");
	return dh_fail(err, "can't allocate %llu bytes of the pool: %s",
		       (unsigned long long)size, strerror(err));
}

uint64_t dh_mapping_ahead(const struct dh_mapping *mapping, uint64_t used)
{
	/* On DAX each step is a commit of the file system's journal, as dear as a good part of a
	 * chunk's zeros; see daxbench prepare. */
	const uint64_t least = mapping->is_dax ? UINT64_C(14) << 20 : 0;
	const uint64_t most = UINT64_C(64) << 20;
	uint64_t ahead = used / 256;

	ahead = ahead < least ? least : ahead > most ? most : ahead;
	return ahead / DH_CHUNK_SIZE * DH_CHUNK_SIZE;
}

int dh_mapping_allocate(struct dh_mapping *mapping, uint64_t offset, uint64_t size)
{
	int err = mapping->is_device ? 0 : take_space(mapping, offset, size);

	return err ? no_file_space(err, size) : 0;
}

/* The file's bytes @from to @to take their place in the address range. */
static int map_part(const struct dh_mapping *mapping, uint64_t from, uint64_t to)
{
	int flags = MAP_SHARED;
	void *part;

	if (mapping->durability == DAXHEAP_NOTHING_WRITTEN)
		flags = MAP_PRIVATE | MAP_NORESERVE;
	else if (mapping->durability == DAXHEAP_MAP_SYNC)
		flags = MAP_SHARED_VALIDATE | MAP_SYNC;
	part = mmap(mapping->base + from, to - from, PROT_READ | PROT_WRITE, flags | MAP_FIXED,
		    mapping->fd, (off_t)from);
	if (part == MAP_FAILED)
		return -errno;
	/* A child may not use the heap; it needs no copy of the page tables either. */
	madvise(part, to - from, MADV_DONTFORK);
	return 0;
}

/*
 * On DAX, fsync() would flush and write-protect all that was stored to in the whole file, so that
 * it faults again; msync() commits the file's length and extents as well, and leaves alone what is
 * not in its range.
 */
int dh_mapping_sync(const struct dh_mapping *mapping, uint64_t from, uint64_t to)
{
	if (mapping->is_dax ? msync(mapping->base + from, to - from, MS_SYNC) :
			      fsync(mapping->fd))
		return dh_fail(EIO, "can't make durable what length and holes the pool's file "
			       "has: %s", strerror(errno));
	dh_mapping_changed(DH_FILE_SYNCED, 0, 0);
	return 0;
}

/* Behind the file's end: reads as zero.  0 or -errno. */
static int map_nothing(const struct dh_mapping *mapping, uint64_t from, uint64_t to)
{
	return mmap(mapping->base + from, to - from, PROT_READ,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) ==
			       MAP_FAILED ? -errno : 0;
}

/* The file is longer now: that is durable before anything in it can be referred to. */
static int take_length(struct dh_mapping *mapping, uint64_t length)
{
	uint64_t before = atomic_load(&mapping->length);
	int err;

	if (length <= before)
		return 0;
	dh_mapping_changed(DH_FILE_GREW, length, 0);
	err = map_part(mapping, before, length);
	if (err)
		return dh_fail(-err, "can't map the end of the pool's file: %s", strerror(-err));
	err = dh_faulty(DH_FAULT_GROWTH_NOT_SYNCED) ? 0 : dh_mapping_sync(mapping, before, length);
	if (err)
		map_nothing(mapping, before, length);
	else
		atomic_store(&mapping->length, length);
	return err;
}

/*
 * By MAP_SYNC what is stored to has its space durably, and the fence of the other modes commits all
 * of the file's.  But a block need not be stored to: then its space would be a hole again after a
 * power cut, and a later store would need some, which a full file system has not.
 */
static int sync_filled(struct dh_mapping *mapping, uint64_t offset)
{
	int err;

	if (!mapping->filled)
		return 0;
	/* One page, since all of the file's extents are committed with it. */
	err = dh_mapping_sync(mapping, offset, offset + DH_PAGE_SIZE);
	if (!err)
		mapping->filled = false;
	return err;
}

int dh_mapping_allocate_ahead(struct dh_mapping *mapping, uint64_t offset, uint64_t size,
			      uint64_t *ahead)
{
	const uint64_t before = atomic_load(&mapping->length);
	int err;

	if (mapping->is_device)
		return 0;
	err = take_space(mapping, offset, size + *ahead);
	if ((err == ENOSPC || err == EFBIG) && *ahead) {
		*ahead = 0;
		err = take_space(mapping, offset, size);
	}
	if (err)
		return no_file_space(err, size);
	if (offset + size + *ahead <= before)
		return sync_filled(mapping, offset);
	err = take_length(mapping, offset + size + *ahead);
	if (!err)
		mapping->filled = false;
	return err;
}

int dh_mapping_create(struct dh_mapping *mapping, const char *path, uint64_t length)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	int err;

	if (fd < 0 && errno == EEXIST)
		return dh_fail(EEXIST, "%s: there is a file of this name: choose another, or "
			       "remove it first", path);
	if (fd < 0)
		return dh_fail_errno("%s: can't create the pool", path);
	err = take_lock(fd, path, LOCK_EX);
	if (!err && ftruncate(fd, (off_t)length))
		err = dh_fail_errno("%s: can't make a file of %llu MiB", path,
				    (unsigned long long)(length >> 20));
	if (err) {
		unlink(path);
		close(fd);
		return err;
	}
	*mapping = (struct dh_mapping){
		.fd = fd,
		.length = length,
		.is_dax = dh_place_is_dax(fd),
	};
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
	if (S_ISCHR(st.st_mode))
		dh_devdax_find_bad(&device);
	*mapping = (struct dh_mapping){
		.fd = fd,
		.length = S_ISCHR(st.st_mode) ? device.size : (uint64_t)st.st_size,
		.is_dax = S_ISREG(st.st_mode) && dh_place_is_dax(fd),
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
static int map_device(struct dh_mapping *mapping, unsigned flags)
{
	bool read_only = flags & DAXHEAP_READ_ONLY;

	mapping->durability = read_only ? DAXHEAP_NOTHING_WRITTEN : DAXHEAP_MAP_SYNC;
	if (read_only) {
		mapping->detached = calloc(mapping->size / mapping->device.align + 1, 1);
		if (!mapping->detached)
			return -ENOMEM;
	}
	if (mmap(mapping->base, mapping->size, read_only ? PROT_READ : PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, mapping->fd, 0) == MAP_FAILED)
		return -errno;
	madvise(mapping->base, mapping->size, MADV_DONTFORK);
	return 0;
}

/* The first mapping of the file, which decides on the durability; 0 or -errno. */
static int map_file(struct dh_mapping *mapping, unsigned flags)
{
	const uint64_t length = atomic_load(&mapping->length);
	int err;

	mapping->durability = flags & DAXHEAP_READ_ONLY ? DAXHEAP_NOTHING_WRITTEN :
							  DAXHEAP_MAP_SYNC;
	err = map_part(mapping, 0, length);
	if (err != -EOPNOTSUPP || flags & (DAXHEAP_READ_ONLY | DAXHEAP_REQUIRE_MAP_SYNC))
		return err;
	mapping->durability = mapping->is_dax ? DAXHEAP_DAX_MSYNC : DAXHEAP_PAGE_CACHE;
	err = map_part(mapping, 0, length);
	if (!err && mapping->durability == DAXHEAP_PAGE_CACHE && is_forced())
		mapping->durability = DAXHEAP_FORCED;
	return err;
}

int dh_mapping_map(struct dh_mapping *mapping, const char *path, unsigned flags)
{
	const uint64_t align = mapping->is_device ? mapping->device.align : DH_CHUNK_SIZE;
	uint64_t length = atomic_load(&mapping->length) / DH_CHUNK_SIZE * DH_CHUNK_SIZE;
	int err;

	if (mapping->is_device && mapping->size > length)
		return dh_fail(EINVAL, "%s: the device has %llu MiB, and the pool on it %llu: make the "
			       "namespace as large as it was", path,
			       (unsigned long long)(length >> 20),
			       (unsigned long long)(mapping->size >> 20));
	if (mapping->size % align)
		return dh_fail(EINVAL, "%s: the pool's %llu MiB are no multiple of the device's "
			       "alignment: make the namespace with the alignment that it had", path,
			       (unsigned long long)(mapping->size >> 20));
	if (length > mapping->size)
		length = mapping->size;
	atomic_store(&mapping->length, length);
	mapping->base = reserve_range(mapping->size, align);
	if (!mapping->base)
		return dh_fail_errno("%s: no address space for %llu MiB", path,
				     (unsigned long long)(mapping->size >> 20));
	err = mapping->is_device ? map_device(mapping, flags) : map_file(mapping, flags);
	if (!err && mprotect(mapping->base + length, mapping->size - length, PROT_READ))
		err = -errno;
	if (!err)
		return 0;
	munmap(mapping->base, mapping->size);
	mapping->base = NULL;
	if (err == -EOPNOTSUPP)
		return no_map_sync(path);
	return dh_fail(-err, "%s: can't map the pool: %s", path, strerror(-err));
}

int dh_mapping_hide(struct dh_mapping *mapping, uint64_t length)
{
	uint64_t before = atomic_load(&mapping->length);
	int err;

	if (length == before)
		return 0;
	atomic_store(&mapping->length, length);
	err = map_nothing(mapping, length, before);
	if (!err)
		return 0;
	atomic_store(&mapping->length, before);
	return dh_fail(-err, "can't unmap what the pool's file is cut by: %s", strerror(-err));
}

int dh_mapping_show(struct dh_mapping *mapping)
{
	uint64_t length;
	struct stat st;

	if (fstat(mapping->fd, &st))
		return dh_fail_errno("can't tell the size of the pool's file");
	length = (uint64_t)st.st_size / DH_CHUNK_SIZE * DH_CHUNK_SIZE;
	/* It may be longer than it was known to be: then that is not durable yet. */
	return take_length(mapping, length < mapping->size ? length : mapping->size);
}

bool dh_mapping_is_longer(const struct dh_mapping *mapping)
{
	struct stat st;

	return !fstat(mapping->fd, &st) && (uint64_t)st.st_size > atomic_load(&mapping->length);
}

uint64_t dh_mapping_space(const struct dh_mapping *mapping)
{
	struct stat st;

	return fstat(mapping->fd, &st) ? 0 : (uint64_t)st.st_blocks * 512;
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
				  0 : dh_devdax_detach(&mapping->device, i * align,
						       mapping->base + i * align);

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
#ifdef DH_TEST_HOOKS
	if (dh_mapping_wait)
		dh_mapping_wait();
#endif
	return pread(mapping->fd, to, size, (off_t)offset);
}

ssize_t dh_mapping_peek(const struct dh_mapping *mapping, void *to, size_t size,
			uint64_t offset)
{
	const struct iovec part = {.iov_base = to, .iov_len = size};
	ssize_t done;

	if (!mapping->is_dax && !mapping->is_device)
		return dh_mapping_pread(mapping, to, size, offset);
	if (mapping->is_dax) {
		done = preadv2(mapping->fd, &part, 1, (off_t)offset, RWF_NOWAIT);
		if (done >= 0 || errno == EIO)
			return done;
	}
	memcpy(to, mapping->base + offset, size);
	return (ssize_t)size;
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
	/* Explicitly: a forked child that inherited the descriptor would keep the lock.  But a
	 * call that is still under way keeps it, as long as it changes the file. */
	if (!mapping->busy)
		flock(mapping->fd, LOCK_UN);
	close(mapping->fd);
}
