/* SPDX-License-Identifier: BSD-3-Clause */
/* Of the defects that are known by name, those in what is seen of mappings. See
 * defects.c. */
#include "daxverify.h"

#include "defects.h"

const struct dv_defect dv_soft_dirty_lost = {
	.name = "soft-dirty-lost",
	.summary =
		"A store to a page of DAX that is mapped, and whose soft-dirty bit was cleared, "
		"does not set the bit again: a snapshot in steps leaves the page out.",
	.claim = "After a store the page's soft-dirty bit is set, until it is cleared.",
	.symptom =
		"Bit 55 in /proc/PID/pagemap is 0 after the store; PAGEMAP_SCAN does not find the "
		"page by PAGE_IS_SOFT_DIRTY. Entries of 2 MiB are right.",
	.since = "Linux 6.15.",
	.fixed_by = NULL,
	.advice =
		"Do not rely on soft-dirty bits for shared mappings of DAX: take the pages of "
		"such mappings as dirty.",
	.reference =
		"insert_page_into_pte_locked() in mm/memory.c makes an entry that is there "
		"writable without pte_mkdirty(), which sets the soft-dirty bit; insert_pfn(), "
		"which "
		"was used before, has it. Came with \"mm/memory: enhance "
		"insert_page_into_pte_locked() to create writable mappings\".",
	.seen = "the program exits with 0 on 6.1 and 6.12, with 1 on 6.16 and 7.3 (ext4, xfs).",
	.core = DV_SYM_UNTOLD,
	.explains = DV_SYM_UNTOLD,
};

const struct dv_defect dv_marker_loop = {
	.name = "write-protect-marker-loop",
	.summary =
		"Where a mapping of a DAX file is write-protected by userfaultfd "
		"(UFFD_FEATURE_WP_ASYNC), the first touch of a page that was not mapped by then, "
		"or was unmapped since, never comes back: it faults again and again.",
	.claim =
		"Write protection by userfaultfd holds up nobody: a page that is not there is "
		"faulted in.",
	.symptom =
		"The task is in state R and uses a CPU in one load; a signal ends it. "
		"UFFDIO_WRITEPROTECT takes entries of 2 MiB away first, so that all their pages "
		"are such; PAGEMAP_SCAN with PM_SCAN_WP_MATCHING leaves them.",
	.since =
		"Linux 6.7, where such write protection began to be given to any mapping.",
	.fixed_by = NULL,
	.advice =
		"Do not write-protect mappings of DAX by userfaultfd; or touch all pages "
		"before, and do not truncate or punch the file meanwhile.",
	.reference =
		"The entry of such a page is a marker, not none. insert_pfn() (before 6.15) and "
		"insert_page_into_pte_locked() in mm/memory.c take it for a mapping that "
		"somebody else has made meanwhile, and the fault is tried again.",
	.seen = "the program exits with 2 on 6.1, which has no such write protection, and with 1 "
		"on 6.12, 6.16 and 7.3 (ext4, xfs).",
	.core = DV_SYM_FAULTS,
	.explains = DV_SYM_FAULTS,
};

const struct dv_defect dv_misses_huge = {
	.name = "write-protect-misses-huge",
	.summary =
		"A store to a mapping of DAX by an entry of 2 MiB that is write-protected by "
		"userfaultfd (UFFD_FEATURE_WP_ASYNC) goes through, and the entry is still called "
		"protected: who asks what was written to is told of nothing.",
	.claim = "PAGEMAP_SCAN finds what was stored to by PAGE_IS_WRITTEN.",
	.symptom =
		"PAGEMAP_SCAN with PAGE_IS_WRITTEN finds no page after the store. Small pages "
		"are right.",
	.since =
		"Linux 6.7, where such write protection began to be given to any mapping.",
	.fixed_by = NULL,
	.advice =
		"Map with MADV_NOHUGEPAGE what is to be watched, and touch all of it before.",
	.reference =
		"wp_huge_pmd() in mm/memory.c hands the fault to the file system's huge_fault() "
		"without clearing the entry's userfaultfd bit, as do_wp_page() does for small "
		"ones; insert_pmd() in mm/huge_memory.c makes it writable as it is.",
	.seen = "the program exits with 2 on 6.1, which has no such write protection, and with 1 "
		"on 6.12, 6.16 and 7.3 (ext4, xfs).",
	.core = DV_SYM_UNTOLD,
	.explains = DV_SYM_UNTOLD,
};

const struct dv_defect dv_smaps_misses_huge = {
	.name = "smaps-misses-huge",
	.summary =
		"A mapping of DAX by an entry of 2 MiB is added to the process's RssFile, and "
		"/proc/PID/smaps shows nothing of it: the sums do not agree.",
	.claim = "What is added to RssFile is shown by smaps.",
	.symptom =
		"smaps has Rss 0 for the mapping, and PAGEMAP_SCAN no PAGE_IS_FILE. Small "
		"pages are right.",
	.since = "Linux 6.15, where mappings of DAX began to be counted.",
	.fixed_by = "Linux 6.17, where such entries are ordinary ones.",
	.advice = "Take RssFile from /proc/PID/status.",
	.reference =
		"insert_pmd() in mm/huge_memory.c marks the entry as one without a page, and "
		"vm_normal_page_pmd() in mm/memory.c says so to who walks the table.",
	.seen = "the program exits with 0 on 6.1, 6.12 and 7.3, with 1 on 6.16 (ext4, xfs).",
	.core = DV_SYM_UNSEEN,
	.explains = DV_SYM_UNSEEN,
};

const struct dv_defect dv_shared_read_warns = {
	.name = "shared-read-warns",
	.summary =
		"Two DAX files share a block, and both are mapped and read. That the page is "
		"shared is noted for stores only, so the kernel takes it for the second file's, "
		"and warns. When the memory goes bad, the first file's users are not told.",
	.claim = "Files that share blocks can be mapped and read by anybody.",
	.symptom = "A warning in dax_insert_entry.",
	.since = "Linux 6.0, where xfs began to allow reflinks on DAX.",
	.fixed_by =
		"Linux 6.2: \"fsdax,xfs: set the shared flag when file extent is shared\"",
	.advice = "Do not reflink DAX files that are mapped.",
	.reference =
		"dax_associate_entry() in fs/dax.c: WARN_ON_ONCE(page->mapping); "
		"xfs_read_iomap_begin() in fs/xfs/xfs_iomap.c does not ask for shared extents.",
	.seen = "the program exits with 1 on 6.1 (xfs), with 0 on 6.12, 6.16 and 7.3.",
	.core = DV_SYM_LOG,
	.explains = DV_SYM_LOG,
	.log_hint = "dax_insert_entry dax_associate_entry",
};
