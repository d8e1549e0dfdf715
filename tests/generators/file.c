/* SPDX-License-Identifier: BSD-3-Clause */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "file.h"
#include "pools.h"

char *file;
char file_path[64];
static int file_fd;

void file_make(void)
{
	file_fd = memfd_create("pool", MFD_CLOEXEC);
	if (file_fd < 0 || ftruncate(file_fd, (off_t)POOL_SIZE))
		err(1, "memfd");
	file = mmap(NULL, POOL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file_fd, 0);
	if (file == MAP_FAILED)
		err(1, "mmap");
	snprintf(file_path, sizeof(file_path), "/proc/self/fd/%d", file_fd);
}

void file_set(const char *bytes)
{
	static const char zeros[DH_PAGE_SIZE];

	if (ftruncate(file_fd, 0) || ftruncate(file_fd, (off_t)POOL_SIZE))
		err(1, "ftruncate");
	for (uint64_t at = 0; at < POOL_SIZE; at += DH_PAGE_SIZE)
		if (memcmp(bytes + at, zeros, DH_PAGE_SIZE))
			memcpy(file + at, bytes + at, DH_PAGE_SIZE);
}

void file_read(char *bytes)
{
	if (pread(file_fd, bytes, POOL_SIZE, 0) != (ssize_t)POOL_SIZE)
		err(1, "pread");
}

bool file_is(const char *bytes)
{
	static char now[POOL_SIZE];

	file_read(now);
	return !memcmp(now, bytes, POOL_SIZE);
}
