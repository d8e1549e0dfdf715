/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxheap doctor: which ranges of a file are mapped by one huge entry of the page table.
 *
 * Each range is mapped at an address that is congruent with its offset, as the heap does it,
 * one page of it is faulted in, and then the page table is asked (doctor_entry.c).  Where a
 * range did not become huge, FIEMAP tells where it lies on the device.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "doctor.h"

/* Enough to see what a file is like; more would only take time.  What is not DAX must be read
 * from its disk. */
#define RANGES_MAX	512u
#define RANGES_MAX_DISK 16u

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

struct look {
	const struct doctor *doctor;
	struct doctor_huge *huge;
	int fd, pagemap;
	char *window;		/* where each range is mapped in turn */
	uint64_t step;		/* bytes of a range */
	bool write;
	bool by_scan;		/* PAGEMAP_SCAN told, or is to be tried */
};

/* --- where a range lies --- */

/* FIEMAP_FLAG_SYNC would write. */
static int get_extents(const struct look *look, uint64_t at, struct fiemap *map)
{
	map->fm_start = at;
	map->fm_length = look->step;
	map->fm_flags = 0;
	map->fm_mapped_extents = 0;
	return ioctl(look->fd, FS_IOC_FIEMAP, map);
}

/* What the range could get at best: HOLE, UNWRITTEN, SPLIT, MISALIGNED, DEVICE, or SMALL where
 * nothing speaks against huge pages, or nothing is known. */
static enum doctor_range get_place(const struct look *look, uint64_t at)
{
	char buffer[sizeof(struct fiemap) + 8 * sizeof(struct fiemap_extent)] = {0};
	struct fiemap *map = (struct fiemap *)buffer;
	const struct fiemap_extent *first = map->fm_extents;
	uint64_t next = at, physical = 0;
	bool split = false, unwritten = false;

	map->fm_extent_count = 8;
	if (get_extents(look, at, map))
		return DOCTOR_RANGE_SMALL;
	for (unsigned i = 0; i < map->fm_mapped_extents; i++) {
		const struct fiemap_extent *extent = &first[i];
		/* Where the file's byte 0 would lie if all of it were like this extent. */
		uint64_t origin = extent->fe_physical - extent->fe_logical;

		if (extent->fe_flags & (FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_ENCODED))
			return DOCTOR_RANGE_SMALL;
		if (extent->fe_logical > next)
			return DOCTOR_RANGE_HOLE;
		if (i == 0)
			physical = origin;
		split |= origin != physical;
		unwritten |= extent->fe_flags & FIEMAP_EXTENT_UNWRITTEN;
		next = extent->fe_logical + extent->fe_length;
	}
	if (split || (next < at + look->step && map->fm_mapped_extents == 8))
		return DOCTOR_RANGE_SPLIT;
	if (next < at + look->step)
		return DOCTOR_RANGE_HOLE;
	/* Offsets of ranges are multiples of their size: so must the origin be. */
	if (physical % DOCTOR_HUGE)
		return DOCTOR_RANGE_MISALIGNED;
	if (look->doctor->block.start % DOCTOR_HUGE)
		return DOCTOR_RANGE_DEVICE;
	return unwritten ? DOCTOR_RANGE_UNWRITTEN : DOCTOR_RANGE_SMALL;
}

/* --- what it gets --- */

static enum doctor_range look_at_range(struct look *look, uint64_t at)
{
	int prot = look->write ? PROT_READ | PROT_WRITE : PROT_READ;
	enum doctor_range place = get_place(look, at);

	/* Reading what has no content shows nothing of it. */
	if (!look->write && (place == DOCTOR_RANGE_HOLE || place == DOCTOR_RANGE_UNWRITTEN))
		return place;
	if (mmap(look->window, look->step, prot, MAP_SHARED | MAP_FIXED, look->fd, (off_t)at) ==
	    MAP_FAILED)
		return DOCTOR_RANGE_FAILED;
	/* Not by a load: a page that is poisoned, or cut off meanwhile, would be a signal. */
	if (madvise(look->window, look->doctor->page_size,
		    look->write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ))
		return DOCTOR_RANGE_FAILED;
	if (look->step > DOCTOR_HUGE ? doctor_is_one_entry(look->window, look->step) :
				       doctor_is_huge(look->pagemap, look->window, &look->by_scan) > 0)
		return DOCTOR_RANGE_HUGE;
	return place == DOCTOR_RANGE_UNWRITTEN ? DOCTOR_RANGE_SMALL : place;
}

/* An address range that is aligned to its size, so that ranges of the file are congruent. */
static char *reserve_window(uint64_t size)
{
	char *range = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			   -1, 0);

	return range == MAP_FAILED ? NULL :
				     (char *)(((uintptr_t)range + size - 1) & ~(size - 1));
}

/* Whether a program that just calls mmap() gets an address that can be mapped huge. */
static bool chooses_congruent(int fd, uint64_t size)
{
	void *at = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		return false;
	munmap(at, size);
	return (uintptr_t)at % DOCTOR_HUGE == 0;
}

void doctor_try_huge(struct doctor *doctor, struct doctor_huge *huge, int fd, uint64_t size,
		     bool write)
{
	struct look look = {.doctor = doctor, .huge = huge, .fd = fd, .write = write,
			    .by_scan = true, .step = DOCTOR_HUGE};
	bool dax = doctor->fs.dax || doctor->kind == DOCTOR_DEVDAX;
	uint64_t most = dax || write ? RANGES_MAX : RANGES_MAX_DISK;

	if (doctor->kind == DOCTOR_DEVDAX && doctor->pmem.align > DOCTOR_HUGE)
		look.step = doctor->pmem.align;
	*huge = (struct doctor_huge){.step = look.step, .ranges = size / look.step};
	huge->thp_disabled = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) > 0;
	huge->congruent = chooses_congruent(fd, look.step);
	look.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	look.window = reserve_window(look.step);
	if (look.pagemap < 0 || !look.window) {
		doctor_unseen(doctor, "huge pages: /proc/self/pagemap: %s", strerror(errno));
		return;
	}
	huge->tried = true;
	huge->looked_at = huge->ranges < most ? huge->ranges : most;
	for (uint64_t i = 0; i < huge->looked_at; i++) {
		/* Spread over the file. */
		uint64_t at = (uint64_t)((__uint128_t)i * huge->ranges / huge->looked_at) *
			      look.step;
		enum doctor_range got = look_at_range(&look, at);

		if (!huge->counts[got]++)
			huge->first_at[got] = at;
	}
	huge->how = look.step > DOCTOR_HUGE ? "by counting faults" :
		    look.by_scan ? "PAGEMAP_SCAN" : "/proc/self/pagemap";
	close(look.pagemap);
}
