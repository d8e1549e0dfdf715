/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

#include "format.h"
#include "zeros.h"

#define PIECE	(UINT64_C(64) << 10)
#define PIECES	(DH_CHUNK_SIZE / PIECE)

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Chunk by chunk, each in one call: so that it becomes one extent, aligned for a huge page. */
static int write_zeros(int fd, uint64_t offset, uint64_t end)
{
	static char zeros[PIECE];

	while (offset < end) {
		uint64_t left = smaller(end - offset, DH_CHUNK_SIZE - offset % DH_CHUNK_SIZE);
		struct iovec parts[PIECES];
		ssize_t written;
		int count = 0;

		for (; left; left -= parts[count++].iov_len)
			parts[count] = (struct iovec){zeros, smaller(left, PIECE)};
		written = pwritev(fd, parts, count, (off_t)offset);
		if (written < 0 && errno != EINTR)
			return errno;
		if (written > 0)
			offset += (uint64_t)written;
	}
	return 0;
}

int dh_fill_holes(int fd, uint64_t offset, uint64_t size, bool *any)
{
	uint64_t end = offset + size;

	while (offset < end) {
		off_t hole = lseek(fd, (off_t)offset, SEEK_HOLE), data;
		int err;

		/* ENXIO: the file ends before. */
		if (hole < 0 && errno != ENXIO)
			return errno;
		if (hole >= 0)
			offset = (uint64_t)hole;
		if (offset >= end)
			return 0;
		data = lseek(fd, (off_t)offset, SEEK_DATA);
		if (data < 0 && errno != ENXIO)
			return errno;
		if (data < 0 || (uint64_t)data > end)
			data = (off_t)end;
		*any = true;
		err = write_zeros(fd, offset, (uint64_t)data);
		if (err)
			return err;
		offset = (uint64_t)data;
	}
	return 0;
}
