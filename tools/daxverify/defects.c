/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The defects that are known by name. A failure gets a name when its symptom fits, never
 * because of the kernel's version; a failure that does not fit stays a plain `not ok`.
 */
#include "daxverify.h"

const struct dv_defect dv_unmapped_busy_page = {
	.name = "unmapped-busy-page",
	.summary =
		"A page that is pinned but no longer mapped by any process is taken for "
		"idle: its blocks are freed, and given to other files, while a device or a "
		"pipe still reads or writes it.",
	.symptom =
		"Truncate, punch, unlink or umount ends while the page is still held; a "
		"pipe that holds it shows what another file writes into the reused block; "
		"the kernel may log a warning in dax_disassociate_entry.",
	.fixed_by =
		"Linux 6.15: \"fs/dax: return unmapped busy pages from "
		"dax_layout_busy_page_range()\" (truncate, punch) and \"fs/dax: ensure all "
		"pages are idle prior to filesystem unmount\" (unlink, umount)",
	.core = DV_SYM_PASSED_PIN | DV_SYM_LEAK,
	.explains = DV_SYM_PASSED_PIN | DV_SYM_LEAK | DV_SYM_LOG,
	.log_hint = "dax_disassociate_entry",
};

const struct dv_defect dv_lost_wakeup = {
	.name = "lost-wakeup-on-refault",
	.summary =
		"Truncate and punch wait for the page's count to reach zero, but a thread "
		"that touches the page meanwhile maps it again, and a mapping counts: the "
		"release of the pin wakes nobody.",
	.symptom =
		"The waiter is still asleep seconds after the page was released; SIGSTOP "
		"and SIGCONT make it look again, and it ends at once.",
	.fixed_by = NULL,
	.core = DV_SYM_ASLEEP,
	.explains = DV_SYM_ASLEEP,
};

const struct dv_defect dv_fsync_skips = {
	.name = "fsync-skips-after-break",
	.summary =
		"A punch, truncate or the like drops the dirty marks of the whole file, so "
		"that a later fsync or msync does not flush stores made before it through a "
		"mapping, to pages that the call had nothing to do with.",
	.symptom =
		"Fewer dax_writeback_one events than pages stored to; without the punch, "
		"each page has one.",
	.fixed_by = NULL,
	.core = DV_SYM_UNFLUSHED,
	.explains = DV_SYM_UNFLUSHED,
};

const struct dv_defect *const dv_defects[] = {
	&dv_unmapped_busy_page,
	&dv_lost_wakeup,
	&dv_fsync_skips,
};
const unsigned dv_ndefects = DV_COUNT(dv_defects);
