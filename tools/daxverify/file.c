/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files whose every word says whose it is: tag, page and position. What comes out of a
 * pipe can so be told to be the original, another file's data, zeroes, or something else.
 */
#include "daxverify.h"

#include "file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

size_t dv_page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

int dv_path(const struct dv_ctx *c, char path[PATH_MAX], const char *name)
{
	int n = snprintf(path, PATH_MAX, "%s/%s", c->folder, name);

	return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static uint64_t word(enum dv_tag tag, unsigned index, unsigned i)
{
	uint64_t x = ((uint64_t)tag << 56) ^ ((uint64_t)index << 24) ^ i;

	x *= UINT64_C(0x9e3779b97f4a7c15);
	return (x ^ (x >> 29)) | 1; /* never zero */
}

void dv_page_fill(void *page, enum dv_tag tag, unsigned index)
{
	unsigned i, n = (unsigned)(dv_page_size() / sizeof(uint64_t));
	uint64_t w;

	for (i = 0; i < n; i++) {
		w = word(tag, index, i);
		memcpy((char *)page + i * sizeof(w), &w, sizeof(w));
	}
}

/* The word that is stored after the pin: see dv_file_prove(). */
void dv_page_prove(void *page, unsigned index)
{
	uint64_t w = word(DV_TAG_PROOF, index, 0);

	memcpy(page, &w, sizeof(w));
}

/* All words of the page from the given one on are the tag's. */
static bool is_all(const void *page, enum dv_tag tag, unsigned index, unsigned from)
{
	unsigned i, n = (unsigned)(dv_page_size() / sizeof(uint64_t));
	uint64_t w;

	for (i = from; i < n; i++) {
		memcpy(&w, (const char *)page + i * sizeof(w), sizeof(w));
		if (w != word(tag, index, i))
			return false;
	}
	return true;
}

static bool is_zero(const void *page)
{
	const char *p = page;

	return p[0] == 0 && memcmp(p, p + 1, dv_page_size() - 1) == 0;
}

enum dv_page_is dv_page_look(const void *page, unsigned index)
{
	uint64_t first;

	memcpy(&first, page, sizeof(first));
	if (is_all(page, DV_TAG_ORIGINAL, index, 1)) {
		if (first == word(DV_TAG_PROOF, index, 0))
			return DV_PAGE_PROVEN;
		if (first == word(DV_TAG_ORIGINAL, index, 0))
			return DV_PAGE_ORIGINAL;
		return DV_PAGE_OTHER;
	}
	if (is_all(page, DV_TAG_VICTIM, 0, 0))
		return DV_PAGE_VICTIM;
	if (is_all(page, DV_TAG_DEVICE, 0, 0))
		return DV_PAGE_DEVICE;
	return is_zero(page) ? DV_PAGE_ZERO : DV_PAGE_OTHER;
}

int dv_write_all(int fd, const void *buf, size_t len, off_t at)
{
	ssize_t n;

	while (len) {
		n = pwrite(fd, buf, len, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		buf = (const char *)buf + n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int dv_read_all(int fd, void *buf, size_t len, off_t at)
{
	ssize_t n;

	while (len) {
		n = pread(fd, buf, len, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENODATA;
		buf = (char *)buf + n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int dv_read_text(int dirfd, const char *path, char *buf, size_t len)
{
	int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n;
	int err;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, len - 1);
	err = errno;
	close(fd);
	if (n < 0)
		return -err;
	buf[n] = 0;
	buf[strcspn(buf, "\n")] = 0;
	return 0;
}

static int write_page(int fd, unsigned nr, unsigned index)
{
	size_t page = dv_page_size();
	void *buf = malloc(page);
	int ret = buf ? 0 : -ENOMEM;

	if (!ret) {
		dv_page_fill(buf, DV_TAG_ORIGINAL, index);
		ret = dv_write_all(fd, buf, page, (off_t)(nr * page));
	}
	free(buf);
	return ret;
}

/*
 * A file whose pages are all allocated, and those of the span (NULL: all) written by
 * write(2) and synced: nothing is dirty, and the span's extents are written ones. They
 * are asked for in one piece, so that they may lie in one. Page N says that it is page
 * index + N.
 */
static int make(const char *path, unsigned npages, const struct dv_span *span,
		unsigned index)
{
	const struct dv_span all = {0, npages, 1};
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), ret = 0;
	unsigned i, nr;

	if (fd < 0)
		return -errno;
	if (fallocate(fd, 0, 0, (off_t)(npages * dv_page_size())) && span)
		ret = -errno;
	if (!span)
		span = &all;
	for (i = 0; i < span->count && !ret; i++) {
		nr = span->first + i * span->stride;
		ret = write_page(fd, nr, index + nr);
	}
	if (!ret && fsync(fd))
		ret = -errno;
	close(fd);
	return ret;
}

int dv_file_make_at(const char *path, unsigned npages, const struct dv_span *span)
{
	return make(path, npages, span, 0);
}

/* write(2) of all pages of a file that is there. */
int dv_file_write(const char *path, unsigned npages)
{
	int fd = open(path, O_RDWR | O_CLOEXEC), ret = 0;
	unsigned i;

	if (fd < 0)
		return -errno;
	for (i = 0; i < npages && !ret; i++)
		ret = write_page(fd, i, i);
	close(fd);
	return ret;
}

int dv_file_make(const char *path, unsigned npages)
{
	return make(path, npages, NULL, 0);
}

int dv_file_make_as(const char *path, unsigned npages, unsigned index)
{
	return make(path, npages, NULL, index);
}

int dv_file_sparse(const char *path, unsigned npages)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)(npages * dv_page_size())))
		ret = -errno;
	close(fd);
	return ret;
}

/*
 * Store the proof: one word of each page, after the pages were pinned. The pipe shows it
 * only when it holds the file's own page; a copy made earlier does not have it.
 */
int dv_file_prove(const char *path, const struct dv_span *span)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;
	unsigned i, page;
	uint64_t w;

	if (fd < 0)
		return -errno;
	for (i = 0; i < span->count && !ret; i++) {
		page = span->first + i * span->stride;
		w = word(DV_TAG_PROOF, page, 0);
		ret = dv_write_all(fd, &w, sizeof(w), (off_t)(page * dv_page_size()));
	}
	close(fd);
	return ret;
}

/* Sabotage: damage the page behind the scenario's back. */
int dv_file_spoil(const char *path, unsigned page)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret;
	uint64_t junk = 0;

	if (fd < 0)
		return -errno;
	ret = dv_write_all(fd, &junk, sizeof(junk), (off_t)(page * dv_page_size() + 512));
	close(fd);
	return ret;
}

/* MAP_SHARED, and with MAP_SYNC when asked. MAP_FAILED and errno on failure. */
int dv_file_clone(const char *from, const char *to)
{
	int src = open(from, O_RDONLY | O_CLOEXEC), ret = 0;
	int dst = open(to, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (src < 0 || dst < 0 || ioctl(dst, FICLONE, src) || fsync(dst))
		ret = -errno;
	if (src >= 0)
		close(src);
	if (dst >= 0)
		close(dst);
	return ret;
}

void *dv_map_dax(int fd, size_t len, bool sync)
{
	int flags = sync ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED;

	return mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);
}

void *dv_page_copy(const void *page)
{
	void *p = mmap(NULL, dv_page_size(), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : memcpy(p, page, dv_page_size());
}
