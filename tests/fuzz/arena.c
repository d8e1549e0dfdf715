/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The address range of an open pool, between guards: what touches a byte outside the pool
 * dies.  The library's mmap() and munmap() come here (ld --wrap): it reserves a range without
 * access for each open, and this is always the same one.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "image.h"

#define GUARD_SIZE (UINT64_C(1) << 30)

static char *arena;
static bool taken;

void *__real_mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *addr, size_t size);
void *__wrap_mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *addr, size_t size);

static void close_range_of(void *at, size_t size)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED : 0);
	char *range = __real_mmap(at, size, PROT_NONE, flags, -1, 0);

	if (range == MAP_FAILED)
		abort();
	if (!at)
		arena = range + GUARD_SIZE;
}

void *__wrap_mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset)
{
	if (addr || prot != PROT_NONE || size > ARENA_SIZE)
		return __real_mmap(addr, size, prot, flags, fd, offset);
	/* One pool at a time; a mapping that was not given back shows here. */
	if (taken)
		abort();
	taken = true;
	if (!arena)
		close_range_of(NULL, ARENA_SIZE + 2 * GUARD_SIZE);
	return arena;
}

int __wrap_munmap(void *addr, size_t size)
{
	char *at = addr;

	if (!arena || at < arena || at >= arena + ARENA_SIZE)
		return __real_munmap(addr, size);
	close_range_of(addr, size);
	return 0;
}

void arena_release(void)
{
	taken = false;
}
