/* SPDX-License-Identifier: BSD-3-Clause */
/* Pins on pages that one page table entry of 2 MiB maps: all must be as with small ones.
 */
#include "daxverify.h"

#include "action.h"

#define NEEDS	 (DV_NEED_DAX | DV_NEED_HUGE)
#define PIPE	 "a page of the 2 MiB vmspliced into a pipe"
#define UNMAPPED PIPE ", then unmapped"

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{"huge-pin-truncate-zero",
	 "ftruncate to 0 waits while a page of a mapped entry of 2 MiB is pinned",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_truncate_zero, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"huge-pin-truncate-shrink",
	 "a truncate into the middle of an entry of 2 MiB waits for a pinned page behind it",
	 NEEDS, PIPE, DV_ST_MAPPED, &dv_truncate_shrink, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"huge-pin-punch",
	 "punching a hole into an entry of 2 MiB waits for a pinned page there",
	 NEEDS | DV_NEED_PUNCH, PIPE, DV_ST_MAPPED, &dv_punch, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"huge-pin-punch-elsewhere",
	 "punching a hole into an entry of 2 MiB waits for a pinned page elsewhere in it",
	 NEEDS | DV_NEED_PUNCH, PIPE, DV_ST_MAPPED, &dv_punch_elsewhere, DV_EXPECT_WAIT, NULL,
	 dv_run_pin, 0},
	{"huge-pin-readonly",
	 "a page of 2 MiB that are only read can be pinned, and truncate waits for it",
	 NEEDS, PIPE, DV_ST_READONLY, &dv_truncate_zero, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"huge-dontneed-pin-truncate",
	 "ftruncate waits for a pinned page whose entry of 2 MiB MADV_DONTNEED took away",
	 NEEDS, PIPE, DV_ST_DONTNEED, &dv_truncate_zero, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"huge-unmapped-pin-truncate",
	 "ftruncate waits for a pinned page of 2 MiB that no process maps any more",
	 NEEDS, UNMAPPED, DV_ST_UNMAPPED, &dv_truncate_zero, DV_EXPECT_WAIT,
	 &dv_unmapped_busy_page, dv_run_pin, 0},
	{"huge-unmapped-pin-punch",
	 "a punch waits for a pinned page of 2 MiB that no process maps any more",
	 NEEDS | DV_NEED_PUNCH, UNMAPPED, DV_ST_UNMAPPED, &dv_punch, DV_EXPECT_WAIT,
	 &dv_unmapped_busy_page, dv_run_pin, 0},
	/* clang-format on */
};

const struct dv_group dv_group_huge = {scenarios, DV_COUNT(scenarios)};
