/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A preload that takes away what makes data durable, for the negative control of the
 * power-cut test.  LOSSY is a list of:
 *
 *	sparse		fallocate() and pwritev(), by which a pool grows, only make the file longer:
 *			blocks come with the first store
 *	no-map-sync	MAP_SYNC mappings are plain shared ones, and nobody is told
 *	no-fsync	fsync() and msync() do nothing
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
int fallocate(int fd, int mode, off_t offset, off_t length);
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset);
int fsync(int fd);
int msync(void *addr, size_t length, int flags);

static bool takes(const char *what)
{
	const char *list = getenv("LOSSY");

	return list && strstr(list, what);
}

/* What the C library calls by this name. */
static void *real(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	if (!found)
		abort();
	return found;
}

void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	void *(*next)(void *, size_t, int, int, int, off_t) = real("mmap");

	if ((flags & MAP_SYNC) && takes("no-map-sync"))
		flags = MAP_SHARED | (flags & MAP_FIXED);
	return next(addr, length, prot, flags, fd, offset);
}

static int only_extend(int fd, off_t end)
{
	struct stat st;

	if (fstat(fd, &st))
		return -1;
	return st.st_size < end ? ftruncate(fd, end) : 0;
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
	int (*next)(int, int, off_t, off_t) = real("fallocate");

	if (!mode && takes("sparse"))
		return only_extend(fd, offset + length);
	return next(fd, mode, offset, length);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
	ssize_t (*next)(int, const struct iovec *, int, off_t) = real("pwritev");
	ssize_t size = 0;

	if (!takes("sparse"))
		return next(fd, parts, count, offset);
	for (int i = 0; i < count; i++)
		size += (ssize_t)parts[i].iov_len;
	return only_extend(fd, offset + size) ? -1 : size;
}

int fsync(int fd)
{
	int (*next)(int) = real("fsync");

	return takes("no-fsync") ? 0 : next(fd);
}

int msync(void *addr, size_t length, int flags)
{
	int (*next)(void *, size_t, int) = real("msync");

	return takes("no-fsync") ? 0 : next(addr, length, flags);
}
