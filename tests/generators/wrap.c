/* SPDX-License-Identifier: BSD-3-Clause */
#include <err.h>
#include <errno.h>
#include <string.h>
#include <sys/types.h>

#include "file.h"
#include "format.h"
#include "wrap.h"

/* --- what is written --- */

struct write {
	uint64_t offset;
	size_t size;
	unsigned char bytes[DH_PAGE_SIZE];
};

#define WRITES_MAX 600u

static struct write writes[WRITES_MAX];
unsigned write_count;

ssize_t __real_pwrite(int fd, const void *from, size_t size, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *from, size_t size, off_t offset);

ssize_t __wrap_pwrite(int fd, const void *from, size_t size, off_t offset)
{
	struct write *write = &writes[write_count];

	if (write_count == WRITES_MAX || size > sizeof(write->bytes))
		errx(1, "more is written than this test can remember");
	write_count++;
	write->offset = (uint64_t)offset;
	write->size = size;
	memcpy(write->bytes, from, size);
	return __real_pwrite(fd, from, size, offset);
}

void apply_writes(unsigned count)
{
	size_t half = writes[count].size / 16 * 8;

	for (unsigned i = 0; i < count; i++)
		memcpy(file + writes[i].offset, writes[i].bytes, writes[i].size);
	memcpy(file + writes[count].offset, writes[count].bytes, half);
}

/* --- what can't be read --- */

uint64_t poisoned;

ssize_t __real_pread(int fd, void *to, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *to, size_t size, off_t offset);

ssize_t __wrap_pread(int fd, void *to, size_t size, off_t offset)
{
	uint64_t at = (uint64_t)offset;

	/* As DAX does it: what lies in front of the page is had. */
	if (poisoned && at < poisoned && at + size > poisoned)
		size = poisoned - at;
	if (poisoned && at >= poisoned && at < poisoned + DH_PAGE_SIZE) {
		errno = EIO;
		return -1;
	}
	return __real_pread(fd, to, size, offset);
}
