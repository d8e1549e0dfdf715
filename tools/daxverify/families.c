/* SPDX-License-Identifier: BSD-3-Clause */
/* The index of the scenarios: what their names begin with, and what that is about. */
#include "daxverify.h"

#include <fnmatch.h>

/* The first one that fits. They stand in daxverify(1) as well. */
static const struct dv_family families[] = {
	{{"map-sync-*"}, "what MAP_SYNC is accepted on"},
	{{"uring-register-*", "uring-write-*"}, "io_uring with buffers on DAX"},
	{{"fsync-*", "msync-*"}, "what a flush flushes of stores made through a mapping"},
	{{"counts-*"}, "the counts of a page, step by step"},
	{{"mapped-pin-*"}, "calls that have to wait for a page that is held and mapped"},
	{{"dontneed-pin-*", "elsewhere-*", "hole-*", "other-file-*", "copied-*", "exited-*",
	  "forked-*", "many-*", "mremapped-*", "partly-*", "unwritten-*"},
	 "the same in other states of the mapping and of the page"},
	{{"queue-*"}, "two calls that wait for one page"},
	{{"beside-*"}, "whom a call that waits for a page holds up, and whom not"},
	{{"huge-*"}, "the same with 2 MiB in one page table entry"},
	{{"uring-*"}, "the same calls by io_uring, and cancelled"},
	{{"write-*", "drop-caches-*", "freeze-*", "remount-*"},
	 "calls that have no business with a page that is held"},
	{{"signal-*"}, "what a signal does to a wait"},
	{{"refault-*"}, "a page that is touched again while a call waits for it"},
	{{"view-*"}, "what the kernel tells of a mapping: RSS, smaps, pagemap, mincore"},
	{{"clone-*", "reflink-*", "dedupe-*", "copy-range-*", "exchange-range-*", "swapext-*",
	  "swap-boot-*", "shared-*"},
	 "calls on two files, and shared extents"},
	{{"own-*"}, "a process that holds a page of the file that it gives up"},
	{{"unmapped-*"}, "pages that are held, and mapped by nobody any more"},
	{{"leak-*"}, "what a held page shows when its block was freed and used again"},
	{{"poison-*"}, "memory errors"},
	{{"teardown-*"}, "a namespace or driver that goes away while pages are held"},
	{{"p2pdma-*"}, "memory of PCI devices (P2PDMA)"},
	{{"pins-*"}, "who may pin what: each way to hold a page on each kind of memory"},
	{{"several-*"}, "registrations of which one page is refused"},
	{{"holders-*"}, "truncate and punch wait for each kind of holder"},
};

const struct dv_family *dv_family_of(const char *name)
{
	unsigned i, k;

	for (i = 0; i < DV_COUNT(families); i++) {
		for (k = 0; families[i].globs[k]; k++) {
			if (fnmatch(families[i].globs[k], name, 0) == 0)
				return &families[i];
		}
	}
	return NULL;
}
