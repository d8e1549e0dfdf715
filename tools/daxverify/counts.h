/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The counts of a page of a file on DAX, read in the kernel, and what they have to be.
 *
 * Kernels count in one of two ways. In the older one an unused page has the count 1, and
 * mappings are not counted at all. In the newer one an unused page has the count 0, each
 * page table entry adds one to it and to the mapcount, and all pages that one entry of
 * 2 MiB maps share the counts of the first. Which way it is here is found out with a page
 * of our own, by what its counts do when it is mapped.
 *
 * Functions return 0 or -errno unless they say otherwise.
 */
#ifndef DAXVERIFY_COUNTS_H
#define DAXVERIFY_COUNTS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "observer_abi.h"

struct dv_ctx;
struct dv_env;
struct dv_observer;

/* pagemap.c: which page of the machine is behind an address. As root. */
/* -ENOENT: nothing is mapped there at this moment. */
int dv_pfn_at(pid_t pid, const void *addr, uint64_t *pfn);
/* The same for a page of a file that the process maps, wherever it maps it. */
int dv_pfn_in(pid_t pid, const char *path, unsigned page, uint64_t *pfn);
/* Is the page of the file mapped by an entry of 2 MiB? True only when another page of the
 * 2 MiB, which nobody has touched, is there as well. */
bool dv_mapped_huge(const void *addr);
bool dv_mapped_huge_in(pid_t pid, const char *path, unsigned page);

#define DV_HUGE_PAGES 512u
#define DV_NO_HUGE    "the file system gave no 2 MiB that lie in one piece"

/* observer.c: BPF programs in the kernel that read counts and count events */
/* On failure `why` says what is missing. */
int dv_observer_open(struct dv_observer **o, char *why, size_t len);
void dv_observer_close(struct dv_observer *o);
int dv_observer_look(const struct dv_observer *o, uint64_t pfn, struct dv_page_look *l);
/* What a process that had the same id did is not this one's. */
void dv_observer_forget(const struct dv_observer *o, pid_t pid);
/* How often a process did it; -ENOENT: no function is known here that stands for it. */
int64_t dv_observer_events(const struct dv_observer *o, pid_t pid, enum dv_event event);

/* scheme.c */
enum dv_scheme {
	DV_SCHEME_UNKNOWN,
	DV_SCHEME_IDLE_1, /* idle: 1; mappings are not counted */
	DV_SCHEME_IDLE_0, /* idle: 0; mappings are counted */
};

/* What a reference of the kind FOLL_PIN adds to the count of a small page. */
#define DV_PIN_BIAS 1024

/* Who has a page, as the test knows it. */
struct dv_uses {
	unsigned base; /* what the driver of the device keeps where FS DAX keeps none */
	unsigned maps; /* page table entries, in all processes */
	unsigned gets; /* references of the kind FOLL_GET */
	unsigned pins; /* references of the kind FOLL_PIN */
};

/* The page's counts alone, of a page that was used once and is not used any more. */
int dv_scheme_find(struct dv_env *env, char *seen, size_t len);
const char *dv_scheme_name(enum dv_scheme s);
/* What the counts of a page of a folio of this order must be. */
struct dv_page_look dv_scheme_expect(enum dv_scheme s, unsigned order, struct dv_uses u);

/* counts.c: oracles */
/* Are the counts what these uses make of them? Waits for a moment until they are. */
void dv_counts_judge(struct dv_ctx *c, const char *name, uint64_t pfn, struct dv_uses u);
bool dv_counts_fit(const struct dv_ctx *c, uint64_t pfn, struct dv_uses u,
		   struct dv_page_look *want, struct dv_page_look *seen);
bool dv_counts_on(const struct dv_ctx *c);
/* How often a process did it since it began; -ENOENT: nobody can tell here. */
int64_t dv_events_of(const struct dv_ctx *c, pid_t pid, enum dv_event event);
/* The same for this process, less what was counted before. */
int64_t dv_events_since(const struct dv_ctx *c, enum dv_event event, int64_t before);

/* counted.c: a file of which one page is watched, mapped by the scenario itself */
struct dv_counted {
	char path[PATH_MAX];
	int fd;
	char *map, *page; /* the mapping, and the page in it */
	size_t len;	  /* of the file and the mapping */
	uint64_t pfn;
	unsigned base;	  /* as in dv_uses */
	bool shared;	  /* all pages of the mapping have one count */
};
/*
 * Make the file, map it, and store to the page. With DV_NEED_HUGE among the scenario's
 * needs the file has 2 MiB, in one entry; with DV_NEED_DEVICE_DAX it is the device. The
 * answer is one of enum dv_verdict.
 */
int dv_counted_begin(struct dv_ctx *c, struct dv_counted *t);
int dv_counted_map(struct dv_counted *t);
void dv_counted_store(struct dv_counted *t);
void dv_counted_judge(struct dv_ctx *c, const struct dv_counted *t, const char *name,
		      unsigned maps, unsigned gets, unsigned pins);

/* pinner.c: a process that holds pages by a reference of the kind FOLL_PIN */
struct dv_pinner {
	pid_t pid;
	int gate;   /* a userfaultfd of its */
	void *into; /* in its memory: behind the gate */
	size_t len;
};
/* Pin `npages` of this process, from the address on. They are pinned when it returns. */
int dv_pinner_start(struct dv_pinner *p, const void *addr, unsigned npages);
/* Let them go by letting the call end, and see that it has read all of them. */
int dv_pinner_end(struct dv_pinner *p);

#endif
