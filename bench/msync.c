/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An msync() that counts.  A function of the program preempts that of the C library for all
 * shared libraries too, so no call by libdaxheap, libpmem or libpmemobj escapes it.
 */
#include <dlfcn.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "bench.h"

static atomic_uint calls;

int msync(void *addr, size_t size, int flags)
{
	int (*real)(void *, size_t, int);

	*(void **)&real = dlsym(RTLD_NEXT, "msync");
	atomic_fetch_add(&calls, 1);
	return real(addr, size, flags);
}

unsigned msync_calls(void)
{
	return atomic_load(&calls);
}
