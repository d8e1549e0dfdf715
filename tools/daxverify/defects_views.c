/* SPDX-License-Identifier: BSD-3-Clause */
/* Of the defects that are known by name, those in what is seen of mappings. See
 * defects.c. */
#include "daxverify.h"

#include "defects.h"

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
