/* SPDX-License-Identifier: BSD-3-Clause */
/* daxbench fault: the files, and how they are mapped. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "fault.h"
#include "scratch.h"

#define EXTENTS 64u	/* asked for at once */
#define SPARE ((size_t)1 << 20)	/* for what the file system needs beside the content */

/* Bytes of the file's first @size that lie in extents, by their kind. */
struct backing {
	size_t unwritten, written;
};

/* Adds what of an extent lies between @at and @size; returns where it ends there. */
static size_t add_extent(struct backing *backing, const struct fiemap_extent *extent, size_t at,
			 size_t size)
{
	size_t from = extent->fe_logical > at ? extent->fe_logical : at;
	size_t end = extent->fe_logical + extent->fe_length;

	end = end < size ? end : size;
	if (end <= from)
		return at;
	if (extent->fe_flags & FIEMAP_EXTENT_UNWRITTEN)
		backing->unwritten += end - from;
	else
		backing->written += end - from;
	return end;
}

/* False where the file system does not tell. */
static bool get_backing(int fd, size_t size, struct backing *backing)
{
	_Alignas(struct fiemap) char room[sizeof(struct fiemap) +
					  EXTENTS * sizeof(struct fiemap_extent)];
	struct fiemap *map = (struct fiemap *)(void *)room;
	size_t at = 0, before;

	*backing = (struct backing){0};
	do {
		before = at;
		*map = (struct fiemap){.fm_start = at, .fm_length = size - at,
				       .fm_extent_count = EXTENTS};
		if (ioctl(fd, FS_IOC_FIEMAP, map))
			return false;
		for (unsigned i = 0; i < map->fm_mapped_extents; i++)
			at = add_extent(backing, &map->fm_extents[i], at, size);
	} while (at > before && at < size);
	return true;
}

/* Whether the file is what the series is called by. */
static bool is_backed(const struct fault *fault, int fd, size_t size, struct record *record)
{
	struct backing is, want = {.unwritten = fault->backing == FAULT_UNWRITTEN ? size : 0,
				   .written = fault->backing == FAULT_WRITTEN ? size : 0};

	if (!get_backing(fd, size, &is))
		return true;
	if (is.unwritten == want.unwritten && is.written == want.written)
		return true;
	record_refuse(record, "the file system gave other extents than asked for: %zu KiB are "
		      "unwritten and %zu KiB written, of %zu (FIEMAP)", is.unwritten >> 10,
		      is.written >> 10, size >> 10);
	return false;
}

static int make_file(const struct fault *fault, const char *dir, size_t size,
		     struct record *record)
{
	uint64_t space = scratch_space(dir);
	int fd;

	/* A hole takes its space in the fault, which could only answer by a signal. */
	if (space < size + SPARE) {
		record_refuse(record, "it takes a file of %zu MiB, and %zu MiB are free in %s",
			      size >> 20, (size_t)space >> 20, dir);
		return -1;
	}
	fd = scratch_open(dir);
	if (fd < 0) {
		record_refuse(record, "no file can be made in %s: %s", dir, strerror(errno));
		return -1;
	}
	/* Space that is taken at once lies together, which huge pages need; and durable, so that
	 * no fault has to wait for what was before. */
	if (ftruncate(fd, (off_t)size) ||
	    (fault->backing != FAULT_HOLE && fallocate(fd, 0, 0, (off_t)size)) ||
	    (fault->backing == FAULT_WRITTEN && scratch_write(fd, 0, size)) || fsync(fd)) {
		record_refuse(record, "a file of %zu MiB can't be made in %s: %s", size >> 20, dir,
			      strerror(errno));
		close(fd);
		return -1;
	}
	if (!is_backed(fault, fd, size, record)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* At an address that is congruent with the offset, as huge entries need. */
static char *map(const struct fault *fault, const struct fault_part *part, size_t align)
{
	int flags = fault->sync ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED;
	char *range = mmap(NULL, part->size + align, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *base;

	if (range == MAP_FAILED)
		return NULL;
	base = (char *)(((uintptr_t)range + align - 1) & ~(align - 1));
	if (mmap(base, part->size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, part->fd,
		 (off_t)part->at) == MAP_FAILED)
		return NULL;
	/* The page cache takes advice.  Where this fails there are no huge pages anyway. */
	if (fault->size != FAULT_PAGE)
		madvise(base, part->size, MADV_HUGEPAGE);
	return base;
}

static bool open_parts(const struct fault *fault, const struct fault_place *place,
		       const struct options *options, struct fault_part *parts,
		       struct record *record)
{
	unsigned files = fault->separate ? fault->threads : 1;
	size_t of_file = parts[0].size * (fault->threads / files);

	for (unsigned i = 0; i < fault->threads; i++) {
		bool own = i < files;

		if (place->devdax)
			parts[i].fd = open(options->dir, O_RDWR | O_CLOEXEC);
		else
			parts[i].fd = own ? make_file(fault, options->dir, of_file, record) :
					    parts[0].fd;
		if (parts[i].fd < 0) {
			if (place->devdax)
				record_refuse(record, "%s: %s", options->dir, strerror(errno));
			return false;
		}
		parts[i].at = fault->separate ? 0 : i * parts[0].size;
	}
	return true;
}

bool fault_prepare(const struct fault *fault, const struct fault_place *place,
		   const struct options *options, struct fault_part *parts,
		   struct record *record)
{
	size_t align = fault->size > FAULT_HUGE ? fault->size : FAULT_HUGE;
	size_t size = (fault_ops(fault, options) + fault_warmup(fault)) *
		      fault_step(fault, place);

	for (unsigned i = 0; i < fault->threads; i++)
		parts[i] = (struct fault_part){.size = (size + align - 1) & ~(align - 1)};
	/* For the whole process: a mapping that is made anew would forget advice against them. */
	if (fault->size == FAULT_PAGE && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)) {
		record_refuse(record, "huge pages can't be switched off: %s", strerror(errno));
		return false;
	}
	if (place->devdax && place->devdax_size < parts[0].size) {
		record_refuse(record, "it takes %zu MiB, and %s has %zu; fewer --ops take less",
			      parts[0].size >> 20, options->dir, place->devdax_size >> 20);
		return false;
	}
	if (!open_parts(fault, place, options, parts, record))
		return false;
	for (unsigned i = 0; i < fault->threads; i++) {
		parts[i].base = map(fault, &parts[i], align);
		if (parts[i].base)
			continue;
		record_refuse(record, fault->sync && errno == EOPNOTSUPP ?
			      "no MAP_SYNC here (%s)" : "it can't be mapped: %s", strerror(errno));
		return false;
	}
	return true;
}
