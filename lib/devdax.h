/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device DAX: /dev/daxX.Y, persistent memory without a file system.  It can be mapped, shared
 * and in whole pieces of its alignment, and nothing else: no read(2), write(2), fsync(2) or
 * private mapping.  A shared mapping is synchronous: a store is durable after flush and fence.
 */
#ifndef DH_DEVDAX_H
#define DH_DEVDAX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DH_DEVDAX_BAD_MAX 32u

struct dh_devdax {
	uint64_t size;		/* bytes */
	uint64_t align;		/* of mappings, in bytes: the device's, and a chunk at least */
	char name[32];		/* "dax0.0" */
	/*
	 * Pages that the kernel knows to be bad when the device is opened: a load there is a
	 * SIGBUS.  Of more of them than have room the last range goes to the end of the last.
	 */
	unsigned bad_count;
	struct dh_bad_range {
		uint64_t start, end;
	} bad[DH_DEVDAX_BAD_MAX];
};

/* Whether @path is a character device, which may be one. */
bool dh_devdax_may_be(const char *path);

/* -ENODEV, without a message: the device of that number is none. */
int dh_devdax_find(dev_t number, struct dh_devdax *device);

/* Its bad pages, as far as the kernel knows them and tells: where they lie takes root. */
void dh_devdax_find_bad(struct dh_devdax *device);
/* The bytes @start to @end are bad, as far as the device has them; in ascending order. */
void dh_devdax_add_bad(struct dh_devdax *device, uint64_t start, uint64_t end);

/* As pread(2) and pwrite(2), by a mapping for a while; what was written is durable.  EIO: some of
 * the bytes are bad. */
ssize_t dh_devdax_read(int fd, const struct dh_devdax *device, void *to, size_t size,
		       uint64_t offset);
ssize_t dh_devdax_write(int fd, const struct dh_devdax *device, const void *from, size_t size,
			uint64_t offset);

/* -EIO, with a message: @what is bad. */
int dh_devdax_is_bad(const char *path, const char *what);

/* Judges *@size for a pool on the device; 0 becomes all that the device has. */
int dh_devdax_pool_size(const struct dh_devdax *device, const char *path, uint64_t *size);

/*
 * Makes zero, durably, what a pool of @size bytes takes for zero in a new file: its first @front
 * bytes, and the head of each chunk.  Without @overwrite nothing is changed, and what is not zero
 * is -EEXIST.
 */
int dh_devdax_clear(int fd, const struct dh_devdax *device, const char *path, bool overwrite,
		    uint64_t front, uint64_t size);

/* Puts a copy in memory in the place of the piece of the device, as large as its alignment, that is
 * mapped at @at; what is bad reads as zero there.  0 or -errno. */
int dh_devdax_detach(const struct dh_devdax *device, uint64_t offset, char *at);

#endif
