/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxheap doctor: whether one entry of the page table maps 2 MiB.  PAGEMAP_SCAN says so.  Kernels
 * before 6.7 don't have it: there /proc/self/pagemap says whether all pages of the range came with
 * the one that was faulted in.
 *
 * To ask for an entry of 1 GiB would make the kernel split it: there the faults are counted.
 */
#include <linux/fs.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "doctor.h"

/* Linux 6.7; not in the headers of older systems. */
#ifndef PAGEMAP_SCAN
#define PAGE_IS_PRESENT (1 << 3)
#define PAGE_IS_HUGE	(1 << 6)

struct page_region {
	__u64 start, end, categories;
};

struct pm_scan_arg {
	__u64 size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted,
		category_mask, category_anyof_mask, return_mask;
};

#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#endif

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

/* 1, 0, or -1 where this kernel has no PAGEMAP_SCAN. */
static int is_huge_by_scan(int pagemap, const void *at)
{
	struct page_region found[2];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)at,
		.end = (uintptr_t)at + DOCTOR_HUGE,
		.vec = (uintptr_t)found,
		.vec_len = 2,
		.category_mask = PAGE_IS_PRESENT | PAGE_IS_HUGE,
		.return_mask = PAGE_IS_PRESENT | PAGE_IS_HUGE,
	};
	int count = ioctl(pagemap, PAGEMAP_SCAN, &arg);

	if (count < 0)
		return -1;
	return count == 1 && found[0].start == arg.start && found[0].end == arg.end;
}

/* One page was faulted in: if all are there, one entry maps them.  (Faulting around one page
 * takes 64 KiB.) */
static int is_huge_by_pagemap(int pagemap, const void *at)
{
	uint64_t entries[512];
	size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
	size_t count = DOCTOR_HUGE / page_size, bytes = count * sizeof(entries[0]);
	off_t where = (off_t)((uintptr_t)at / page_size * sizeof(entries[0]));

	if (bytes > sizeof(entries) || pread(pagemap, entries, bytes, where) != (ssize_t)bytes)
		return -1;
	for (size_t i = 0; i < count; i++)
		if (!(entries[i] >> 63))
			return 0;
	return 1;
}

int doctor_is_huge(int pagemap, const void *at, bool *by_scan)
{
	int answer = *by_scan ? is_huge_by_scan(pagemap, at) : -1;

	if (answer >= 0)
		return answer;
	*by_scan = false;
	return is_huge_by_pagemap(pagemap, at);
}

static long count_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

bool doctor_is_one_entry(char *at, size_t size)
{
	size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
	long before = count_faults();

	/* Not by a load: see doctor_huge.c. */
	return !madvise(at + size - page_size, page_size, MADV_POPULATE_READ) &&
	       count_faults() == before;
}
