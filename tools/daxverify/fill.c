/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fill a file system so far that the next blocks to be freed are the next to be handed
 * out: ballast first (allocated, not written, so that it is quick), then the victim's
 * data.
 */
#include "daxverify.h"

#include "file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

/* At a time, while there is much; and at most in all: more than any scenario frees. */
#define VICTIM_CHUNK	 64
#define VICTIM_PAGES_MAX 24576

#define SLACK (1 << 20)

/* Take what is there in ever smaller pieces, down to one page. */
static int take_all(int fd, off_t *end)
{
	size_t page = dv_page_size();
	struct statfs sfs;
	off_t piece;

	if (fstatfs(fd, &sfs))
		return -errno;
	piece = (off_t)sfs.f_bfree * (off_t)sfs.f_bsize;
	piece -= piece % (off_t)page;
	while (piece >= (off_t)page) {
		if (fallocate(fd, 0, *end, piece) == 0) {
			*end += piece;
		} else if (errno == ENOSPC || errno == EFBIG) {
			piece = piece / 2 - piece / 2 % (off_t)page;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

/*
 * All but a little is taken: a punch has to note what it does, and in a file system that
 * is full to the last block it may fail for that.
 */
int dv_fill_ballast(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	off_t end = 0;
	int ret;

	if (fd < 0)
		return -errno;
	ret = take_all(fd, &end);
	/* Space in flight comes free with a commit: take that, too. */
	if (!ret && syncfs(fd))
		ret = -errno;
	if (!ret)
		ret = take_all(fd, &end);
	if (!ret && end > SLACK && ftruncate(fd, end - SLACK))
		ret = -errno;
	close(fd);
	return ret;
}

/* In chunks as long as they fit, then page by page. */
static int write_until_full(int fd, const void *buf, unsigned *pages)
{
	size_t page = dv_page_size();
	unsigned chunk = VICTIM_CHUNK;
	int ret;

	while (*pages < VICTIM_PAGES_MAX) {
		ret = dv_write_all(fd, buf, chunk * page, (off_t)(*pages * page));
		if (!ret)
			*pages += chunk;
		else if (ret != -ENOSPC)
			return ret;
		else if (chunk == 1)
			return 0;
		else
			chunk = 1;
	}
	return 0;
}

/* Write the victim's data into every block that can be had; *pages says how many. */
int dv_fill_victim(const char *path, unsigned *pages)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), ret = 0, round;
	char *buf = malloc(VICTIM_CHUNK * dv_page_size());
	unsigned i;

	*pages = 0;
	if (fd < 0 || !buf)
		ret = fd < 0 ? -errno : -ENOMEM;
	for (i = 0; i < VICTIM_CHUNK && buf; i++)
		dv_page_fill(buf + i * dv_page_size(), DV_TAG_VICTIM, 0);
	/* Freed blocks can be had again after the commit that freed them. */
	for (round = 0; round < 2 && !ret; round++) {
		if (syncfs(fd))
			ret = -errno;
		if (!ret)
			ret = write_until_full(fd, buf, pages);
	}
	if (fd >= 0)
		close(fd);
	free(buf);
	return ret;
}
