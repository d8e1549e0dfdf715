/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Truncate and punch wait for a page whoever holds it, not for pipes alone: each holder
 * that the kernel accepts on FS DAX, with the page mapped and unmapped.
 */
#include "daxverify.h"

#include "action.h"

/*
 * A device that writes to a page which was freed under it (unmapped-busy-page) writes to
 * whoever has the block by then: only where nobody else has files.
 */
#define OTHERS_AT_RISK DV_NEED_SCRATCH

/* clang-format off */
#define ROWS(how, ops, said, need, risk, known)					\
	{.name = "holders-" how "-truncate",						\
	 .claim = "ftruncate to 0 waits for a page that is held by " said,		\
	 .needs = DV_NEED_DAX | (need), .holder = said, .state = DV_ST_MAPPED,		\
	 .action = &dv_truncate_zero, .expect = DV_EXPECT_WAIT, .defect = (known),	\
	 .run = dv_run_pin, .by = &(ops)},						\
	{.name = "holders-" how "-punch",					\
	 .claim = "a punch elsewhere in the file waits for a page that is held by " said, \
	 .needs = DV_NEED_DAX | DV_NEED_PUNCH | (need), .holder = said,			\
	 .state = DV_ST_MAPPED, .action = &dv_punch_elsewhere,				\
	 .expect = DV_EXPECT_WAIT, .defect = (known), .run = dv_run_pin, .by = &(ops)},	\
	{.name = "holders-" how "-unmapped",						\
	 .claim = "a punch over it waits for an unmapped page that is held by " said,	\
	 .needs = DV_NEED_DAX | DV_NEED_PUNCH | (need) | (risk), .holder = said,	\
	 .state = DV_ST_UNMAPPED, .action = &dv_punch, .expect = DV_EXPECT_WAIT,	\
	 .defect = &dv_unmapped_busy_page, .run = dv_run_pin, .by = &(ops)}

static const struct dv_scenario scenarios[] = {
	ROWS("tee", dv_by_tee, "tee, in a second pipe", 0, 0, NULL),
	ROWS("splice-unix", dv_by_splice_unix, "splice, in a unix socket", 0, 0, NULL),
	ROWS("splice-tcp", dv_by_splice_tcp, "splice, in a TCP socket", 0, 0, NULL),
	ROWS("direct-write", dv_by_direct_write, "an O_DIRECT write from it", 0, 0,
	     &dv_direct_io_lost_wakeup),
	ROWS("direct-read", dv_by_direct_read, "an O_DIRECT read into it", 0, OTHERS_AT_RISK,
	     &dv_direct_io_lost_wakeup),
	ROWS("uring-write", dv_by_uring_write, "io_uring's O_DIRECT write from it",
	     DV_NEED_URING, 0, &dv_direct_io_lost_wakeup),
	ROWS("uring-read", dv_by_uring_read, "io_uring's O_DIRECT read into it",
	     DV_NEED_URING, OTHERS_AT_RISK, &dv_direct_io_lost_wakeup),
	ROWS("process-vm", dv_by_process_vm, "process_vm_readv, asleep in a userfaultfd", 0, 0,
	     NULL),
	ROWS("msg-zerocopy", dv_by_msg_zerocopy, "MSG_ZEROCOPY, not yet sent", 0, 0, NULL),
	ROWS("send-zc", dv_by_send_zc, "io_uring's SEND_ZC, not yet sent", DV_NEED_URING, 0,
	     NULL),
};
/* clang-format on */

const struct dv_group dv_group_holders = {scenarios, DV_COUNT(scenarios)};
