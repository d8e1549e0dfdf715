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

struct dh_devdax {
	uint64_t size;		/* bytes */
	uint64_t align;		/* of mappings, in bytes: the device's, and a chunk at least */
	char name[32];		/* "dax0.0" */
};

/* Whether @path is a character device, which may be one. */
bool dh_devdax_may_be(const char *path);

/* -ENODEV, without a message: the device of that number is none. */
int dh_devdax_find(dev_t number, struct dh_devdax *device);

/* As pread(2) and pwrite(2), by a mapping for a while; what was written is durable. */
ssize_t dh_devdax_read(int fd, const struct dh_devdax *device, void *to, size_t size,
		       uint64_t offset);
ssize_t dh_devdax_write(int fd, const struct dh_devdax *device, const void *from, size_t size,
			uint64_t offset);

/* Judges *@size for a pool on the device; 0 becomes all that the device has. */
int dh_devdax_pool_size(const struct dh_devdax *device, const char *path, uint64_t *size);

/*
 * Makes zero, durably, what a pool of @size bytes takes for zero in a new file: its first @front
 * bytes, and the head of each chunk.  Without @overwrite nothing is changed, and what is not zero
 * is -EEXIST.
 */
int dh_devdax_clear(int fd, const struct dh_devdax *device, const char *path, bool overwrite,
		    uint64_t front, uint64_t size);

/* Puts a copy in memory in the place of @size mapped bytes at @at, both multiples of the
 * alignment.  0 or -errno. */
int dh_devdax_detach(char *at, uint64_t size);

#endif
