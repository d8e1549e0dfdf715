/* SPDX-License-Identifier: BSD-3-Clause */
/* What a process can see of its own mappings. See view.h. */
#include "daxverify.h"

#include "file.h"
#include "view.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PRESENT	   (UINT64_C(1) << 63)
#define FILE_PAGE  (UINT64_C(1) << 61)
#define EXCLUSIVE  (UINT64_C(1) << 56)
#define SOFT_DIRTY (UINT64_C(1) << 55)
#define PFN_MASK   ((UINT64_C(1) << 55) - 1)

/* The interface that the headers of this system are too old for, by its layout. */
struct region {
	uint64_t start, end, categories;
};

struct scan {
	uint64_t size, flags, start, end, walk_end, regions, nr_regions, max_pages,
		inverted, mask, any, wanted;
};

#define SCAN	     _IOWR('f', 16, struct scan)
#define SCAN_PROTECT 1
#define REGIONS	     64

_Static_assert(sizeof(struct scan) == 96, "as the kernel has it");

/* Calls line() for each line of the mapping's entry in /proc/self/smaps. */
static int for_smaps(const void *map, void (*line)(const char *text, void *data),
		     void *data)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	bool inside = false, found = false;
	char text[PATH_MAX + 128];
	size_t from, to;

	if (!f)
		return -errno;
	while (fgets(text, sizeof(text), f)) {
		if (sscanf(text, "%zx-%zx ", &from, &to) == 2) {
			inside = (uintptr_t)map >= from && (uintptr_t)map < to;
			found |= inside;
		} else if (inside) {
			line(text, data);
		}
	}
	fclose(f);
	return found ? 0 : -ENOENT;
}

static void take_smaps(const char *text, void *data)
{
	struct dv_view *v = data;
	const struct {
		const char *name;
		unsigned *sums[2];
	} fields[] = {
		{"Rss:", {&v->rss}},
		{"Pss:", {&v->pss}},
		{"Shared_Clean:", {&v->shared}},
		{"Shared_Dirty:", {&v->shared, &v->dirty}},
		{"Private_Clean:", {&v->private}},
		{"Private_Dirty:", {&v->private, &v->dirty}},
		{"Anonymous:", {&v->anonymous}},
	};
	unsigned i, kib;
	char name[32];

	if (sscanf(text, "%31s %u kB", name, &kib) != 2)
		return;
	for (i = 0; i < DV_COUNT(fields); i++) {
		if (strcmp(name, fields[i].name) != 0)
			continue;
		*fields[i].sums[0] += kib;
		if (fields[i].sums[1])
			*fields[i].sums[1] += kib;
	}
}

struct flag {
	const char *name;
	bool there;
};

static void take_flags(const char *text, void *data)
{
	struct flag *flag = data;
	char word[8];

	if (strncmp(text, "VmFlags:", 8) != 0)
		return;
	snprintf(word, sizeof(word), " %s ",
		 flag->name); /* the kernel ends each with a space */
	flag->there = strstr(text, word) != NULL;
}

bool dv_view_has_flag(const void *map, const char *flag)
{
	struct flag f = {.name = flag};

	return for_smaps(map, take_flags, &f) == 0 && f.there;
}

static int take_pagemap(const void *map, size_t len, const void *page, struct dv_view *v)
{
	size_t nr = len / dv_page_size(), i, which;
	uint64_t *entries = calloc(nr, sizeof(*entries));
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), ret;

	ret = !entries || fd < 0 ? -errno
				 : dv_read_all(fd, entries, nr * sizeof(*entries),
					       (off_t)((uintptr_t)map / dv_page_size() *
						       sizeof(*entries)));
	which = (size_t)((const char *)page - (const char *)map) / dv_page_size();
	for (i = 0; i < nr && !ret; i++)
		v->present += (entries[i] & PRESENT) != 0;
	if (!ret) {
		v->there = entries[which] & PRESENT;
		v->file = entries[which] & FILE_PAGE;
		v->exclusive = entries[which] & EXCLUSIVE;
		v->soft_dirty = entries[which] & SOFT_DIRTY;
		v->pfn = v->there ? entries[which] & PFN_MASK : 0;
	}
	if (fd >= 0)
		close(fd);
	free(entries);
	return ret;
}

/* How many regions were found, or -errno. */
static int scan(const void *map, size_t len, unsigned any, uint64_t flags,
		struct region regions[REGIONS])
{
	struct scan s = {.size = sizeof(s),
			 .flags = flags,
			 .start = (uintptr_t)map,
			 .end = (uintptr_t)map + len,
			 .regions = (uintptr_t)regions,
			 .nr_regions = REGIONS,
			 .any = any,
			 .wanted = any};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = ioctl(fd, SCAN, &s);
	ret = ret < 0 ? -errno : ret;
	close(fd);
	return ret;
}

int dv_view_scan(const void *map, size_t len, unsigned categories, bool protect,
		 uint64_t *pages)
{
	struct region regions[REGIONS];
	int nr = scan(map, len, categories, protect ? SCAN_PROTECT : 0, regions);
	uint64_t found = 0, at;
	int i;

	for (i = 0; i < nr; i++) {
		for (at = regions[i].start; at < regions[i].end; at += dv_page_size()) {
			unsigned page =
				(unsigned)((at - (uintptr_t)map) / dv_page_size());

			if (page < 64)
				found |= UINT64_C(1) << page;
		}
	}
	if (nr < 0)
		return nr;
	*pages = found;
	return 0;
}

static int take_scan(const void *map, size_t len, const void *page, struct dv_view *v)
{
	const unsigned categories =
		DV_SCAN_FILE | DV_SCAN_PRESENT | DV_SCAN_ZERO | DV_SCAN_HUGE;
	struct region regions[REGIONS];
	int nr = scan(map, len, categories, 0, regions), i;

	if (nr == -ENOTTY)
		return 0;
	v->scans = nr >= 0;
	for (i = 0; i < nr; i++) {
		if (regions[i].categories & DV_SCAN_PRESENT)
			v->scanned += (unsigned)((regions[i].end - regions[i].start) /
						 dv_page_size());
		if ((uintptr_t)page >= regions[i].start &&
		    (uintptr_t)page < regions[i].end)
			v->categories = (unsigned)regions[i].categories;
	}
	return nr < 0 ? nr : 0;
}

static int take_mincore(const void *map, size_t len, struct dv_view *v)
{
	size_t nr = len / dv_page_size(), i;
	unsigned char *in = malloc(nr);
	int ret = !in || mincore((void *)map, len, in) ? -errno : 0;

	for (i = 0; i < nr && !ret; i++)
		v->in_core += in[i] & 1;
	free(in);
	return ret;
}

/* A line: "address policy file=... mapped=1 N0=1 kernelpagesize_kB=4" */
static void take_numa(const void *map, struct dv_view *v)
{
	FILE *f = fopen("/proc/self/numa_maps", "re");
	char text[PATH_MAX + 128], *word, *save;
	unsigned node, pages;

	v->numa = -1;
	while (f && v->numa < 0 && fgets(text, sizeof(text), f)) {
		if (strtoul(text, NULL, 16) != (uintptr_t)map)
			continue;
		v->numa = 0;
		for (word = strtok_r(text, " \n", &save); word;
		     word = strtok_r(NULL, " \n", &save)) {
			if (sscanf(word, "N%u=%u", &node, &pages) == 2)
				v->numa += (int)pages;
		}
	}
	if (f)
		fclose(f);
}

int dv_view_take(const void *map, size_t len, const void *page, struct dv_view *v)
{
	int ret;

	memset(v, 0, sizeof(*v));
	ret = for_smaps(map, take_smaps, v);
	if (!ret)
		ret = take_pagemap(map, len, page, v);
	if (!ret)
		ret = take_scan(map, len, page, v);
	if (!ret)
		ret = take_mincore(map, len, v);
	take_numa(map, v);
	return ret;
}

long dv_view_status(const char *field)
{
	FILE *f = fopen("/proc/self/status", "re");
	long kib = -ENOENT, found;
	char text[256], name[64];

	while (f && kib < 0 && fgets(text, sizeof(text), f)) {
		if (sscanf(text, "%63[^:]: %ld kB", name, &found) == 2 &&
		    strcmp(name, field) == 0)
			kib = found;
	}
	if (f)
		fclose(f);
	return kib;
}
