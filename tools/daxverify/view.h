/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a process can see of a mapping of its own: /proc/self/smaps, pagemap (as words and
 * by PAGEMAP_SCAN), numa_maps, and mincore(2).
 *
 * Functions return 0 or -errno unless they say otherwise.
 */
#ifndef DAXVERIFY_VIEW_H
#define DAXVERIFY_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Categories of PAGEMAP_SCAN. */
enum {
	DV_SCAN_WRITTEN = 1 << 1,
	DV_SCAN_FILE = 1 << 2,
	DV_SCAN_PRESENT = 1 << 3,
	DV_SCAN_ZERO = 1 << 5,
	DV_SCAN_HUGE = 1 << 6,
	DV_SCAN_SOFT_DIRTY = 1 << 7,
};

struct dv_view {
	/* of the mapping: smaps, in KiB */
	unsigned rss, pss, shared, private, dirty, anonymous;
	/* of the mapping, in pages; numa: less than 0, there is no such file */
	unsigned present, in_core;
	int numa;
	/* of one page of it: pagemap */
	bool there, file, exclusive, soft_dirty;
	uint64_t pfn; /* 0: not there, or hidden from who is not root */
	/* the same by PAGEMAP_SCAN, and how many pages of the mapping it calls present */
	bool scans; /* the kernel has it (Linux 6.7) */
	unsigned categories, scanned;
};

/* `page` is an address in the mapping, which must be one of a whole file. */
int dv_view_take(const void *map, size_t len, const void *page, struct dv_view *v);

/* A line of /proc/self/status in KiB, as "VmPin"; -ENOENT when there is none. */
long dv_view_status(const char *field);
/* Whether the mapping's VmFlags have this one, of two letters. */
bool dv_view_has_flag(const void *map, const char *flag);

/*
 * PAGEMAP_SCAN of the mapping: sets bit N of *pages for each page N (below 64) in one of
 * these categories; protect: and write-protects them. -ENOTTY: the kernel has none.
 */
int dv_view_scan(const void *map, size_t len, unsigned categories, bool protect,
		 uint64_t *pages);

/* view_expect.c: what there must be to see of a page, and of the mapping that has no
 * other */
enum dv_shown { DV_SHOWS_NOTHING, DV_SHOWS_PAGES, DV_SHOWS_COPY, DV_SHOWS_ZERO };
struct dv_view_want {
	enum dv_shown shown;
	bool dirty;
	unsigned sharers; /* other processes that have the same entry */
};
struct dv_ctx;
/* pfn: of the file's page, or 0 where it is not known. An oracle for each that tells of
 * it. */
void dv_view_judge(struct dv_ctx *c, const char *step, const struct dv_view_want *w,
		   const struct dv_view *seen, uint64_t pfn);

#endif
