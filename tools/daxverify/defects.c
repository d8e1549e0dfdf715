/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The defects that are known by name. A failure gets a name when its symptom fits, never
 * because of the kernel's version; a failure that does not fit stays a plain `not ok`.
 */
#include "daxverify.h"

#include "defects.h"

#include <string.h>

const struct dv_defect dv_unmapped_busy_page = {
	.name = "unmapped-busy-page",
	.summary =
		"A page that is pinned but no longer mapped by any process is taken for "
		"idle: its blocks are freed, and given to other files, while a device or a "
		"pipe still reads or writes it.",
	.claim =
		"Truncate, punch and the like, unlink and umount wait until nobody holds "
		"a page of the file, mapped or not.",
	.symptom =
		"Truncate, punch, unlink or umount ends while the page is still held; a "
		"pipe that holds it shows what another file writes into the reused block; "
		"the kernel may log a warning in dax_disassociate_entry.",
	.since = "Linux 4.17, where layouts of DAX files began to be broken.",
	.fixed_by =
		"Linux 6.15: \"fs/dax: return unmapped busy pages from "
		"dax_layout_busy_page_range()\" (truncate, punch) and \"fs/dax: ensure all "
		"pages are idle prior to filesystem unmount\" (unlink, umount)",
	.advice = "Keep a mapping of the file in some process while anything holds its "
		  "pages. It need not be of the same page.",
	.reference = "dax_layout_busy_page_range() in fs/dax.c returns NULL when "
		     "mapping_mapped() is false.",
	.seen = "the program exits with 1 on 6.1 and 6.12, with 0 on 7.3 (ext4, xfs).",
	.core = DV_SYM_PASSED_PIN | DV_SYM_LEAK | DV_SYM_LOG,
	.explains = DV_SYM_PASSED_PIN | DV_SYM_LEAK | DV_SYM_LOG,
	.log_hint = "dax_disassociate_entry",
};

const struct dv_defect dv_lost_wakeup = {
	.name = "lost-wakeup-on-refault",
	.summary =
		"Truncate and punch wait for the page's count to reach zero, but a thread "
		"that touches the page meanwhile maps it again, and a mapping counts: the "
		"release of the pin wakes nobody.",
	.claim = "A truncate or punch that waits for a pinned page goes on when the page "
		 "is let go, whoever touched the file meanwhile.",
	.symptom =
		"The waiter is still asleep seconds after the page was released; SIGSTOP "
		"and SIGCONT make it look again, and it ends at once. Where the page belongs to "
		"two files (reflink), and is mapped through the other one, nobody need touch it.",
	.since = "Linux 6.15, where mappings began to count as references.",
	.fixed_by = NULL,
	.advice =
		"Do not truncate or punch a file while I/O on its pages is under way and "
		"threads go on using it. A waiter that is stuck is freed by SIGSTOP and "
		"SIGCONT.",
	.reference = "wait_page_idle() in fs/dax.c waits for page_ref_count() == 0, and "
		     "free_zone_device_folio() in mm/memremap.c wakes at 0; but "
		     "dax_busy_page() calls a page idle when its references are its "
		     "mappings alone.",
	.seen = "the program exits with 0 on 6.1 and 6.12, with 1 on 7.3 (ext4, xfs).",
	.core = DV_SYM_ASLEEP,
	.explains = DV_SYM_ASLEEP,
};

const struct dv_defect dv_direct_io_lost_wakeup = {
	.name = "lost-wakeup-after-direct-io",
	.summary =
		"Pages of FS DAX that were the buffer of O_DIRECT are put without a look at "
		"who waits for them: the end of the I/O wakes no truncate and no punch.",
	.claim =
		"A truncate or punch that waits for a page which is the buffer of O_DIRECT "
		"goes on when the I/O has ended.",
	.symptom =
		"The waiter is still asleep seconds after the I/O has ended; SIGSTOP and "
		"SIGCONT make it look again, and it ends at once. Other holders wake it.",
	.since =
		"Stable kernels 6.1 since the backport of \"block: Remove special-casing of "
		"compound pages\" (1b151e2435fc).",
	.fixed_by =
		"Linux 6.3, where O_DIRECT pins its pages, and the end of a pin wakes",
	.advice =
		"Do not truncate or punch while O_DIRECT I/O from or to the file's memory "
		"is under way. A waiter that is stuck is freed by SIGSTOP and SIGCONT.",
	.reference =
		"__bio_release_pages() in block/bio.c lets the pages of a request go by "
		"folio_put_refs(), which knows nothing of DAX pages and wakes nobody; "
		"put_page() and unpin_user_page() do.",
	.seen = "the program exits with 1 on 6.1, with 0 on 6.12 and 7.3 (ext4, xfs).",
	.core = DV_SYM_ASLEEP,
	.explains = DV_SYM_ASLEEP,
};

const struct dv_defect dv_fsync_skips = {
	.name = "fsync-skips-after-break",
	.summary =
		"A punch, truncate or the like drops the dirty marks of the whole file, so "
		"that a later fsync or msync does not flush stores made before it through a "
		"mapping, to pages that the call had nothing to do with.",
	.claim = "fsync and msync flush what was stored before through a mapping.",
	.symptom =
		"Fewer dax_writeback_one events than pages stored to; without the punch, "
		"each page has one.",
	.since = "Linux 6.15.",
	.fixed_by = NULL,
	.advice = "Flush with the processor's own instructions under MAP_SYNC, or fsync "
		  "before such a call.",
	.reference =
		"dax_break_layout() in fs/dax.c calls dax_delete_mapping_range() for the "
		"whole range that it was given, and the file systems give 0 to LLONG_MAX; "
		"dax_writeback_mapping_range() finds no PAGECACHE_TAG_TOWRITE then. Came "
		"with \"fs/dax: always remove DAX page-cache entries when breaking "
		"layouts\".",
	.seen = "the program exits with 0 on 6.1 and 6.12, with 1 on 7.3 (ext4, xfs).",
	.core = DV_SYM_UNFLUSHED,
	.explains = DV_SYM_UNFLUSHED,
};

const struct dv_defect dv_reflink_spin = {
	.name = "reflink-spin",
	.summary =
		"A reflink, a dedupe or an exchange of two DAX files of which the one with the "
		"higher inode number has a pinned page keeps a CPU busy until the page is let go, "
		"and no signal ends it.",
	.claim =
		"A reflink, dedupe or exchange that has to wait for a pinned page sleeps, and a "
		"signal ends the wait.",
	.symptom = "The task is in state R, uses a CPU, and survives SIGKILL until the "
		   "page is let go. With the page in the lower-numbered file it sleeps.",
	.since = "Linux 6.0, where xfs began to allow reflinks on DAX.",
	.fixed_by = NULL,
	.advice = "Do not reflink files while I/O on their pages is under way.",
	.reference =
		"xfs_mmaplock_two_inodes_and_break_dax_layout() in fs/xfs/xfs_inode.c: "
		"`goto again` without a wait for the second inode.",
	.seen = "the program exits with 1 on 6.1, 6.12 and 7.3: 100 % of a CPU. "
		"XFS_IOC_EXCHANGE_RANGE does the same on 7.3.",
	.core = DV_SYM_SPINS,
	.explains = DV_SYM_SPINS | DV_SYM_UNKILLABLE,
};

const struct dv_defect dv_uring_erestartsys = {
	.name = "uring-erestartsys",
	.summary =
		"An io_uring fallocate, ftruncate or MADV_REMOVE that waits for a pinned page and "
		"is cancelled completes with -512, ERESTARTSYS, which is no errno of user space.",
	.claim = "A request that was cancelled completes with ECANCELED or EINTR.",
	.symptom = "The completion's res is -512.",
	.since =
		"Linux 5.6 (fallocate, MADV_REMOVE) and 6.9 (ftruncate), where io_uring got them.",
	.fixed_by = "Linux 7.3, where io_issue_sqe() passes all results through "
		    "io_fixup_restart_res(); stable 6.1.192 and 6.12.117 do so as well",
	.advice = "Take -512 in a completion for EINTR.",
	.reference =
		"io_fallocate() in io_uring/sync.c, io_ftruncate() in io_uring/truncate.c and "
		"io_madvise() in io_uring/advise.c hand on what the wait returned, as system calls "
		"do; but nobody translates it on a completion's way.",
	.seen = "the program exits with 1 on 6.16.12, 6.17.13, 6.18.15 and 7.2.13, with 0 on "
		"6.1.192, 6.12.117 and 7.3.4.",
	.core = DV_SYM_ERRNO_512,
	.explains = DV_SYM_ERRNO_512,
};

const struct dv_defect dv_unkillable_eviction = {
	.name = "unkillable-eviction",
	.summary =
		"Who drops the last reference to a file waits for its pinned pages, in "
		"state D, and nothing ends that wait. A process that pins a page of its own "
		"file in its own pipe and then closes the unlinked file waits for itself, "
		"for ever; without any privilege.",
	.claim = "A process that waits in close, unlink or exit for a pinned page can be "
		 "killed, and what it holds itself does not keep it.",
	.symptom = "The task is in state D in dax_break_layout_final, and survives "
		   "SIGKILL.",
	.since = "Linux 6.15. (Before, nothing waited there: see unmapped-busy-page.)",
	.fixed_by = NULL,
	.advice = "Do not unlink a DAX file whose pages something may still hold. While "
		  "the pipe's descriptors exist, another process can empty it through "
		  "/proc/PID/fd.",
	.reference =
		"dax_break_layout_final() in fs/dax.c waits TASK_UNINTERRUPTIBLE; it "
		"is called for ext4 and xfs when an inode is evicted.",
	.seen = "the program exits with 0 on 6.1 and 6.12, with 1 on 7.3 (ext4, xfs). Where the "
		"process exits in place of closing, it is there until the machine is restarted, "
		"and removing the folder of the file hangs as well.",
	.core = DV_SYM_UNKILLABLE,
	.explains = DV_SYM_UNKILLABLE,
};

const struct dv_defect dv_swap_boot_skips = {
	.name = "swap-boot-skips-break",
	.summary =
		"EXT4_IOC_SWAP_BOOT gives the blocks of a DAX file to the boot loader's "
		"inode without waiting for who holds them.",
	.claim =
		"A call that takes blocks away from a file waits until nobody holds them.",
	.symptom = "The ioctl ends while the page is held; the kernel warns in "
		   "dax_disassociate_entry (before 6.15) or in "
		   "truncate_folio_batch_exceptionals.",
	.since = "Linux 4.17, where layouts of DAX files began to be broken.",
	.fixed_by = NULL,
	.advice = "Use EXT4_IOC_SWAP_BOOT on files that nobody has mapped or holds.",
	.reference = "swap_inode_boot_loader() in fs/ext4/ioctl.c calls "
		     "truncate_inode_pages() without ext4_break_layouts().",
	.seen = "the program exits with 1 on 6.1, 6.12 and 7.3, with warnings in the log. The "
		"old mapping goes on showing the block, which is another inode's by then.",
	.core = DV_SYM_PASSED_PIN,
	.explains = DV_SYM_PASSED_PIN | DV_SYM_LOG,
	.log_hint = "dax_disassociate_entry truncate_folio_batch_exceptionals",
};

const struct dv_defect dv_swapext_skips = {
	.name = "swapext-skips-break",
	.summary =
		"XFS_IOC_SWAPEXT, with which xfs_fsr defragments, exchanges the blocks of "
		"two DAX files without waiting for who holds them.",
	.claim =
		"A call that takes blocks away from a file waits until nobody holds them.",
	.symptom = "The ioctl ends while the page is held; the kernel warns in "
		   "dax_disassociate_entry (before 6.15) or in "
		   "truncate_folio_batch_exceptionals.",
	.since = "Linux 4.17, where layouts of DAX files began to be broken.",
	.fixed_by = NULL,
	.advice =
		"Do not run xfs_fsr on DAX files while I/O on their pages is under way.",
	.reference = "xfs_swap_extents() in fs/xfs/xfs_bmap_util.c flushes with "
		     "truncate_pagecache_range() and never calls xfs_break_layouts().",
	.seen = "the program exits with 1 on 6.1, 6.12 and 7.3, with warnings in the log.",
	.core = DV_SYM_PASSED_PIN,
	.explains = DV_SYM_PASSED_PIN | DV_SYM_LOG,
	.log_hint = "dax_disassociate_entry truncate_folio_batch_exceptionals",
};

const struct dv_defect dv_write_forgets = {
	.name = "write-forgets-shared-pin",
	.summary =
		"write(2) to a clean page of a reflinked DAX file moves the file to another "
		"block and forgets that the old one is held. When the other file gives that "
		"block up, it is freed under the pin.",
	.claim = "A block is not freed while something holds its page, whichever file it "
		 "was pinned through.",
	.symptom = "The write, and then a truncate of the other file, end while the page "
		   "is held; FIEMAP shows that the block is nobody's.",
	.since = "Linux 6.0, where xfs began to allow reflinks on DAX.",
	.fixed_by = NULL,
	.advice = "Do not write to reflinked DAX files while I/O on their pages is under "
		  "way.",
	.reference = "dax_iomap_iter() in fs/dax.c calls invalidate_inode_pages2_range() "
		     "for a write that goes to a new block, and that drops an entry "
		     "whatever its page's count is.",
	.seen = "the program exits with 1 on 6.1, 6.12 and 7.3; nothing is logged.",
	.core = DV_SYM_PASSED_PIN,
	.explains = DV_SYM_PASSED_PIN | DV_SYM_LEAK | DV_SYM_LOG,
	.log_hint = "dax_disassociate_entry truncate_folio_batch_exceptionals",
};

const struct dv_defect dv_futex_after_clone = {
	.name = "futex-after-clone",
	.summary =
		"A futex in a DAX file that was cloned (reflinked) is taken for one in private "
		"memory, so that a wake from another process reaches nobody; also after a store "
		"has given the file a block of its own again.",
	.claim = "A futex in shared memory wakes who waits for it in another process.",
	.symptom =
		"FUTEX_WAKE returns 0 while a process waits; locks that processes share in "
		"such a file (pthread mutexes, semaphores) hang.",
	.since = "Linux 6.0, where xfs began to allow reflinks on DAX.",
	.fixed_by = "Linux 6.15: \"fs/dax: remove PAGE_MAPPING_DAX_SHARED mapping flag\"",
	.advice =
		"Do not keep futexes, mutexes or semaphores of several processes in a DAX file "
		"that is reflinked, deduplicated or copied by copy_file_range.",
	.reference =
		"dax_page_share_get() in fs/dax.c marks a shared page by page->mapping = 1, which "
		"PageAnon() takes for anonymous memory; get_futex_key() in kernel/futex/core.c "
		"makes the key of one process of it.",
	.seen = "the program exits with 1 on 6.1.192 and 6.12.117, with 0 on 6.16.12 and 7.3.4.",
	.core = DV_SYM_WAKE_LOST,
	.explains = DV_SYM_WAKE_LOST,
};

const struct dv_defect dv_sigbus_after_clone = {
	.name = "sigbus-after-clone",
	.summary =
		"A page of a DAX file that was mapped by a small entry keeps its place in the file "
		"when that entry is gone. When its block is cloned (reflinked) later, and mapped "
		"by an entry of 2 MiB, the kernel takes the place for a number of sharers, and the "
		"load ends with SIGBUS.",
	.claim = "What is in a file can be read through a mapping.",
	.symptom = "SIGBUS on a load; the kernel warns in dax_insert_entry and "
		   "vmf_insert_folio_pmd.",
	.since = "Linux 6.15.",
	.fixed_by =
		"Linux 7.1, where dax_folio_reset_order() clears the field for small pages as "
		"well",
	.advice =
		"Do not reflink DAX files on these kernels, or map them with MADV_NOHUGEPAGE.",
	.reference =
		"dax_folio_put() in fs/dax.c leaves folio->index as it was, which is one word with "
		"folio->share: dax_folio_is_shared() is true for a page that nobody shares, and "
		"dax_insert_entry() does not make the folio of 2 MiB.",
	.seen = "the program exits with 1 on 6.16.12, 6.17.13 and 6.18.15, with 0 on 6.1.192, "
		"6.12.117, 7.2.13 and 7.3.4.",
	.core = DV_SYM_SIGBUS,
	.explains = DV_SYM_SIGBUS | DV_SYM_LOG,
	.log_hint =
		"dax_insert_entry vmf_insert_folio_pmd dax_associate_entry dax_folio_put",
};

const struct dv_defect dv_teardown_frees_pages = {
	.name = "teardown-frees-pages",
	.summary =
		"A driver of persistent memory that is unbound takes the struct pages of its "
		"device away at once, while processes map them and pipes or devices hold "
		"them.",
	.claim = "A driver does not go before the last page of its device is let go, and "
		 "mappings of them are taken away: a store is a SIGBUS.",
	.symptom =
		"Unbinding ends while a page is held, and what held it can't read it any more; "
		"or a store to a mapped file, a read of the pipe or the end of the process is an "
		"oops.",
	.since =
		"Linux 5.18 for pages that are held: \"mm: remove the extra ZONE_DEVICE struct "
		"page refcount\" (27674ef6c73f); before it, memunmap_pages() gave up one "
		"reference of each page and waited for the others. For mappings it is not known; "
		"6.1 is the oldest kernel that was tried.",
	.fixed_by = NULL,
	.advice =
		"Unmount, and end all that maps or holds memory of the device, before a "
		"namespace is disabled, a driver unbound or an NVDIMM removed. ndctl refuses "
		"to disable what is mounted; the kernel does not.",
	.reference =
		"memunmap_pages() in mm/memremap.c waits for the references of the "
		"dev_pagemap, and neither a mapping nor a pin of a page of FS DAX or "
		"device DAX takes one.",
	.seen = "the program exits with 1 on 6.1, 6.12, 6.16 and 7.3 (ext4, and xfs with "
		"rmapbt=0). A page of a file that nobody maps or has open is waited for from 6.16 "
		"on, where the file system that lost its device evicts the file.",
	.arguments = "DIR take-down",
	.core = DV_SYM_PASSED_PIN,
	.explains = DV_SYM_PASSED_PIN | DV_SYM_LEAK | DV_SYM_LOG,
	.log_hint =
		"do_wp_page __zap_vma_range zap_pte_range dax_disassociate_entry "
		"dax_folio_put truncate_folio_batch_exceptionals gup_folio_next "
		"unpin_user_pages copy_page_from_iter_atomic copy_folio_from_iter_atomic "
		"copy_page_to_iter free_zone_device_folio free_zone_device_page "
		"unmap_page_range",
};

const struct dv_defect dv_p2pdma_no_length = {
	.name = "p2pdma-no-length",
	.summary =
		"O_DIRECT between an NVMe drive and memory of its own controller (P2PDMA) fails: "
		"the pieces that the driver gets for it have an address and no length.",
	.claim = "A drive reads into and writes from memory of a peer that it can reach.",
	.symptom = "EIO, and a warning in nvme_prep_rq.",
	.since = "not known; 6.16 is the oldest kernel with P2PDMA that was tried.",
	.fixed_by =
		"Linux 6.18: \"dma-direct: Fix missing sg_dma_len assignment in P2PDMA bus "
		"mappings\" (d0d08f4bd7f6)",
	.advice = "Copy through ordinary memory.",
	.reference =
		"dma_direct_map_sg() in kernel/dma/direct.c does not set sg_dma_len() where "
		"a peer is reached by its bus address.",
	.seen = "the program exits with 1 on 6.16, with 0 on 7.3.",
	.arguments = "/dev/nvme0n1",
	.core = DV_SYM_EIO,
	.explains = DV_SYM_EIO | DV_SYM_LOG,
	.log_hint = "nvme_prep_rq",
};

const struct dv_defect *const dv_defects[] = {
	&dv_unmapped_busy_page,	 &dv_lost_wakeup,	&dv_direct_io_lost_wakeup,
	&dv_fsync_skips,	 &dv_reflink_spin,	&dv_uring_erestartsys,
	&dv_unkillable_eviction, &dv_swap_boot_skips,	&dv_swapext_skips,
	&dv_write_forgets,	 &dv_futex_after_clone, &dv_sigbus_after_clone,
	&dv_soft_dirty_lost,	 &dv_marker_loop,	&dv_misses_huge,
	&dv_smaps_misses_huge,	 &dv_shared_read_warns, &dv_teardown_frees_pages,
	&dv_p2pdma_no_length,
};
const unsigned dv_ndefects = DV_COUNT(dv_defects);

const struct dv_defect *dv_defect_find(const char *name)
{
	unsigned i;

	for (i = 0; i < dv_ndefects; i++) {
		if (strcmp(dv_defects[i]->name, name) == 0)
			return dv_defects[i];
	}
	return NULL;
}
