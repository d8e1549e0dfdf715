/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What must be seen of a mapping. What is in the page table is seen the same way by all
 * that look at it; what is added up (Rss) and called a page of a file depends on the way
 * in which the kernel counts (see counts.h).
 */
#include "daxverify.h"

#include "file.h"
#include "view.h"

#include <string.h>

static bool is_huge(const struct dv_ctx *c)
{
	return c->sc->needs & DV_NEED_HUGE;
}

static bool counted(const struct dv_ctx *c)
{
	bool wrong = dv_sabotaged(c, DV_SAB_WRONG_SCHEME);

	return (c->env->scheme == DV_SCHEME_IDLE_0) != wrong;
}

/* Entries of 2 MiB are no entries of copied pages. */
static unsigned pages_of(const struct dv_ctx *c, const struct dv_view_want *w)
{
	if (w->shown == DV_SHOWS_NOTHING)
		return 0;
	return is_huge(c) && w->shown != DV_SHOWS_COPY ? DV_HUGE_PAGES : 1;
}

/*
 * Its pfn is the file's page, where that is known, or whatever the page has that is none
 * of the file's. Only that what was stored to is dirty is asked for: where mappings are
 * counted, a page that was once unmapped dirty is called dirty from then on, fsync or
 * not. And Linux 6.1 adds up one small page for each entry of 2 MiB.
 */
static struct dv_view expected(const struct dv_ctx *c, const struct dv_view_want *w,
			       const struct dv_view *seen, uint64_t pfn)
{
	unsigned pages = pages_of(c, w), kib = pages * (unsigned)dv_page_size() / 1024;
	bool file = w->shown == DV_SHOWS_PAGES,
	     add = w->shown == DV_SHOWS_COPY || (file && counted(c));
	struct dv_view v = {.present = pages, .in_core = pages, .scanned = pages};

	if (add) {
		v.rss = kib;
		v.pss = kib / (w->sharers + 1);
		v.shared = w->sharers ? kib : 0;
		v.private = kib - v.shared;
		v.dirty = w->dirty ? kib : seen->dirty;
		v.anonymous = w->shown == DV_SHOWS_COPY ? kib : 0;
	} else if (file && pages > 1 && seen->rss == dv_page_size() / 1024) {
		v.rss = v.pss = v.private = seen->rss;
		v.dirty = seen->dirty;
	}
	v.numa = w->shown == DV_SHOWS_COPY ? (int)pages : 0;
	v.there = pages;
	v.file = counted(c) ? file : pages > 1;
	if (w->shown == DV_SHOWS_ZERO && pages > 1)
		v.file = seen->file; /* kernels differ, whichever way they count */
	v.exclusive = add && !w->sharers;
	if (file)
		v.pfn = pfn ? pfn : seen->pfn;
	else if (w->shown != DV_SHOWS_NOTHING && seen->pfn != pfn)
		v.pfn = seen->pfn;
	v.scans = seen->scans;
	if (v.there)
		v.categories = DV_SCAN_PRESENT | (file && counted(c) ? DV_SCAN_FILE : 0) |
			       (w->shown == DV_SHOWS_ZERO ? DV_SCAN_ZERO : 0) |
			       (pages > 1 ? DV_SCAN_HUGE : 0);
	return v;
}

static void say_smaps(const struct dv_view *v, uint64_t pfn, char *text, size_t len)
{
	(void)pfn;
	snprintf(text, len,
		 "Rss %u, Pss %u, shared %u, private %u, dirty %u, anonymous %u KiB",
		 v->rss, v->pss, v->shared, v->private, v->dirty, v->anonymous);
}

static void say_pagemap(const struct dv_view *v, uint64_t pfn, char *text, size_t len)
{
	snprintf(text, len, "%u present; this one: %s%s%s", v->present,
		 !v->there	 ? "not there"
		 : v->pfn == pfn ? "the file's page"
		 : v->pfn	 ? "another page"
				 : "hidden",
		 v->file ? ", of a file" : "", v->exclusive ? ", mapped once" : "");
}

static void say_scan(const struct dv_view *v, uint64_t pfn, char *text, size_t len)
{
	(void)pfn;
	snprintf(text, len, "%u present; this one:%s%s%s%s", v->scanned,
		 v->categories & DV_SCAN_PRESENT ? " PRESENT" : "",
		 v->categories & DV_SCAN_FILE ? " FILE" : "",
		 v->categories & DV_SCAN_HUGE ? " HUGE" : "",
		 v->categories & DV_SCAN_ZERO ? " PFNZERO" : "");
}

static void say_mincore(const struct dv_view *v, uint64_t pfn, char *text, size_t len)
{
	(void)pfn;
	snprintf(text, len, "%u pages", v->in_core);
}

static void say_numa(const struct dv_view *v, uint64_t pfn, char *text, size_t len)
{
	(void)pfn;
	snprintf(text, len, "%d pages", v->numa);
}

/* Entries of 2 MiB that are there, and look like no pages to who adds up. */
static unsigned symptom_of(const struct dv_view *want, const struct dv_view *seen)
{
	bool unseen = want->rss && want->present > 1 && seen->present == want->present &&
		      !seen->rss && !(seen->categories & DV_SCAN_FILE);

	return unseen ? DV_SYM_UNSEEN : DV_SYM_NONE;
}

static const struct {
	const char *name;
	void (*say)(const struct dv_view *v, uint64_t pfn, char *text, size_t len);
} sources[] = {
	{"smaps", say_smaps},	  {"pagemap", say_pagemap}, {"PAGEMAP_SCAN", say_scan},
	{"mincore", say_mincore}, {"numa_maps", say_numa},
};

void dv_view_judge(struct dv_ctx *c, const char *step, const struct dv_view_want *w,
		   const struct dv_view *seen, uint64_t pfn)
{
	struct dv_view v = expected(c, w, seen, pfn);
	uint64_t known = pfn ? pfn : w->shown == DV_SHOWS_PAGES ? v.pfn : 0;
	char name[32], wanted[160], found[160];
	unsigned i, symptom;

	for (i = 0; i < DV_COUNT(sources); i++) {
		if ((sources[i].say == say_numa && seen->numa < 0) ||
		    (sources[i].say == say_scan && !seen->scans))
			continue;
		snprintf(name, sizeof(name), "%s: %s", step, sources[i].name);
		sources[i].say(&v, known, wanted, sizeof(wanted));
		sources[i].say(seen, known, found, sizeof(found));
		symptom = sources[i].say == say_smaps || sources[i].say == say_scan
				  ? symptom_of(&v, seen)
				  : DV_SYM_NONE;
		dv_oracle(c, strcmp(wanted, found) == 0, symptom, name, wanted, "%s",
			  found);
	}
	if (!seen->scans)
		snprintf(c->res->note, sizeof(c->res->note),
			 "without PAGEMAP_SCAN, which this kernel does not have");
}
