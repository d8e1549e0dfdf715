/* SPDX-License-Identifier: BSD-3-Clause */
/* The programs in reproducers/, as they are, inside this one. */
#include "defects.h"

#include <string.h>

#define EMBED(symbol, file)                                                              \
	__asm__(".pushsection .rodata\n" #symbol ": .incbin \"" REPRODUCERS "/" file     \
		".c\"\n" #symbol "_end: .byte 0\n"                                       \
		".popsection\n");                                                        \
	extern const char symbol[], symbol##_end[]

EMBED(dv_repro_unmapped_busy_page, "unmapped-busy-page");
EMBED(dv_repro_lost_wakeup, "lost-wakeup-on-refault");
EMBED(dv_repro_direct_io, "lost-wakeup-after-direct-io");
EMBED(dv_repro_fsync_skips, "fsync-skips-after-break");
EMBED(dv_repro_reflink_spin, "reflink-spin");
EMBED(dv_repro_uring_erestartsys, "uring-erestartsys");
EMBED(dv_repro_futex, "futex-after-clone");
EMBED(dv_repro_sigbus, "sigbus-after-clone");
EMBED(dv_repro_unkillable_eviction, "unkillable-eviction");
EMBED(dv_repro_swap_boot, "swap-boot-skips-break");
EMBED(dv_repro_swapext, "swapext-skips-break");
EMBED(dv_repro_write_forgets, "write-forgets-shared-pin");
EMBED(dv_repro_soft_dirty, "soft-dirty-lost");
EMBED(dv_repro_marker, "write-protect-marker-loop");
EMBED(dv_repro_shared_read, "shared-read-warns");
EMBED(dv_repro_smaps, "smaps-misses-huge");
EMBED(dv_repro_misses_huge, "write-protect-misses-huge");
EMBED(dv_repro_teardown, "teardown-frees-pages");
EMBED(dv_repro_p2pdma, "p2pdma-no-length");

static const struct {
	const struct dv_defect *defect;
	const char *text, *end;
} reproducers[] = {
	{&dv_unmapped_busy_page, dv_repro_unmapped_busy_page,
	 dv_repro_unmapped_busy_page_end},
	{&dv_lost_wakeup, dv_repro_lost_wakeup, dv_repro_lost_wakeup_end},
	{&dv_direct_io_lost_wakeup, dv_repro_direct_io, dv_repro_direct_io_end},
	{&dv_fsync_skips, dv_repro_fsync_skips, dv_repro_fsync_skips_end},
	{&dv_reflink_spin, dv_repro_reflink_spin, dv_repro_reflink_spin_end},
	{&dv_uring_erestartsys, dv_repro_uring_erestartsys,
	 dv_repro_uring_erestartsys_end},
	{&dv_futex_after_clone, dv_repro_futex, dv_repro_futex_end},
	{&dv_sigbus_after_clone, dv_repro_sigbus, dv_repro_sigbus_end},
	{&dv_unkillable_eviction, dv_repro_unkillable_eviction,
	 dv_repro_unkillable_eviction_end},
	{&dv_swap_boot_skips, dv_repro_swap_boot, dv_repro_swap_boot_end},
	{&dv_swapext_skips, dv_repro_swapext, dv_repro_swapext_end},
	{&dv_write_forgets, dv_repro_write_forgets, dv_repro_write_forgets_end},
	{&dv_soft_dirty_lost, dv_repro_soft_dirty, dv_repro_soft_dirty_end},
	{&dv_marker_loop, dv_repro_marker, dv_repro_marker_end},
	{&dv_shared_read_warns, dv_repro_shared_read, dv_repro_shared_read_end},
	{&dv_smaps_misses_huge, dv_repro_smaps, dv_repro_smaps_end},
	{&dv_misses_huge, dv_repro_misses_huge, dv_repro_misses_huge_end},
	{&dv_teardown_frees_pages, dv_repro_teardown, dv_repro_teardown_end},
	{&dv_p2pdma_no_length, dv_repro_p2pdma, dv_repro_p2pdma_end},
};

/* NULL where there is none: tests/verify/unit.sh asks for each, so that this stays
 * unused. */
const char *dv_reproducer(const struct dv_defect *d, size_t *len)
{
	unsigned i;

	for (i = 0; i < sizeof(reproducers) / sizeof(reproducers[0]); i++) {
		if (reproducers[i].defect == d) {
			*len = (size_t)(reproducers[i].end - reproducers[i].text);
			return reproducers[i].text;
		}
	}
	return NULL;
}
