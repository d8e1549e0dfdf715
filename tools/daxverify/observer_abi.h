/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */
/* What observer.bpf.c, which runs in the kernel, and observer.c tell each other. */
#ifndef DAXVERIFY_OBSERVER_ABI_H
#define DAXVERIFY_OBSERVER_ABI_H

/* What the kernel is counted doing, by process. */
enum dv_event {
	DV_EV_LOOK,  /* looks for a page of a file that something holds */
	DV_EV_BUSY,  /* has found one: what follows is a wait */
	DV_EV_BREAK, /* breaks a layout: looks, waits, looks again */
	DV_EV_FINAL, /* the same for a file that is going away */
	DV_EV_FREE,  /* frees a page: its count has come down to nothing */
	DV_EV_PUT,   /* drops a reference in the way that wakes who waits for the page */
	DV_EVENTS,
};

struct dv_event_key {
	unsigned int tgid, event;
};

/* One page: the first member goes in, the others come back. */
struct dv_page_look {
	unsigned long long pfn;
	unsigned long long head_pfn; /* of the folio; that of a small page is the page */
	int error; /* 0; -ENXIO: the kernel hides where its pages are; -EFAULT: no such
		      page */
	int ref, map, pin;
	unsigned int order;
};

#endif
