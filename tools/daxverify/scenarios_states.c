/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pinned pages whose mapping, block or process is not what it was or not what it seems,
 * and ranges that cover a pinned page in part.
 */
#include "daxverify.h"

#include "action.h"

#define PIPE	  "a page of the file vmspliced into a pipe"
#define NEEDS	  (DV_NEED_DAX)
#define BY_PUNCH  (DV_NEED_DAX | DV_NEED_PUNCH)
#define BY_ZEROES (DV_NEED_DAX | DV_NEED_ZERO_RANGE)

static const struct dv_action truncate_into = {"ftruncate into page 5", DV_ACT_TRUNCATE,
					       5, 0, .skip = 1000};
static const struct dv_action punch_begins = {"punch from within page 5 to page 7",
					      DV_ACT_PUNCH, 5, 3, .skip = 1000};
static const struct dv_action punch_ends = {"punch from page 3 to within page 5",
					    DV_ACT_PUNCH, 3, 3, .less = 1000};
static const struct dv_action punch_inside = {"punch within page 5", DV_ACT_PUNCH, 5, 1,
					      .skip = 1000,	     .less = 1000};
static const struct dv_action zero_inside = {
	"zero-range within page 5", DV_ACT_ZERO_RANGE, 5, 1, .skip = 1000, .less = 1000};
static const struct dv_action zero_begins = {"zero-range from within page 5 to page 7",
					     DV_ACT_ZERO_RANGE, 5, 3, .skip = 1000};

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{"mremapped-pin-truncate",
	 "truncate waits for a pinned page whose mapping was moved to another address",
	 NEEDS, PIPE, DV_ST_MREMAPPED, &dv_truncate_zero, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"mremapped-pin-punch",
	 "a punch waits for a pinned page whose mapping was moved to another address",
	 BY_PUNCH, PIPE, DV_ST_MREMAPPED, &dv_punch, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"forked-pin-truncate",
	 "truncate waits for a page whose pinner is gone, with the mapping left to its child",
	 NEEDS, PIPE, DV_ST_FORKED, &dv_truncate_zero, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"forked-pin-punch",
	 "a punch waits for a page whose pinner is gone, with the mapping left to its child",
	 BY_PUNCH, PIPE, DV_ST_FORKED, &dv_punch, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"exited-pin-truncate",
	 "truncate waits for a page whose pinner has exited, as long as the pipe has it",
	 NEEDS, PIPE, DV_ST_EXITED, &dv_truncate_zero, DV_EXPECT_WAIT, &dv_unmapped_busy_page,
	 dv_run_pin, 0},
	{"exited-pin-punch",
	 "a punch waits for a page whose pinner has exited, as long as the pipe has it",
	 BY_PUNCH, PIPE, DV_ST_EXITED, &dv_punch, DV_EXPECT_WAIT, &dv_unmapped_busy_page,
	 dv_run_pin, 0},
	{"many-mapped-pin-truncate",
	 "truncate waits for a page that one of four processes which map it has pinned",
	 NEEDS, PIPE, DV_ST_MANY, &dv_truncate_zero, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"many-mapped-pin-punch",
	 "a punch waits for a page that one of four processes which map it has pinned",
	 BY_PUNCH, PIPE, DV_ST_MANY, &dv_punch, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"unwritten-loaded-pin-truncate",
	 "a page that is allocated and was never written reads as the zero page, and its pin "
	 "holds up nothing",
	 NEEDS, "an unwritten page of the file vmspliced into a pipe", DV_ST_UNWRITTEN_LOADED,
	 &dv_truncate_zero, DV_EXPECT_PASS, NULL, dv_run_pin, 0},
	{"unwritten-stored-pin-truncate",
	 "truncate waits for a pinned page that a store through the mapping has first written",
	 NEEDS, PIPE, DV_ST_UNWRITTEN_STORED, &dv_truncate_zero, DV_EXPECT_WAIT, NULL, dv_run_pin,
	 0},
	{"unwritten-stored-pin-punch",
	 "a punch waits for a pinned page that a store through the mapping has first written",
	 BY_PUNCH, PIPE, DV_ST_UNWRITTEN_STORED, &dv_punch, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"copied-pin-truncate",
	 "a private mapping's own copy is no page of the file: truncate does not wait for its pin",
	 NEEDS, "a copied page of a private mapping vmspliced into a pipe", DV_ST_COPIED,
	 &dv_truncate_shrink, DV_EXPECT_PASS, NULL, dv_run_pin, 0},
	{"copied-pin-punch",
	 "a private mapping's own copy is no page of the file: a punch does not wait for its pin",
	 BY_PUNCH, "a copied page of a private mapping vmspliced into a pipe", DV_ST_COPIED,
	 &dv_punch, DV_EXPECT_PASS, NULL, dv_run_pin, 0},
	{"partly-truncate",
	 "a truncate to a size within the pinned page waits, and then cuts the page there",
	 NEEDS, PIPE, DV_ST_MAPPED, &truncate_into, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"partly-punch-begins",
	 "a punch that begins within the pinned page waits, and then zeroes the rest of the page",
	 BY_PUNCH, PIPE, DV_ST_MAPPED, &punch_begins, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"partly-punch-ends",
	 "a punch that ends within the pinned page waits, and then zeroes the page up to there",
	 BY_PUNCH, PIPE, DV_ST_MAPPED, &punch_ends, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"partly-zero-range",
	 "a zero-range that begins within the pinned page waits, and then zeroes the rest of the "
	 "page",
	 BY_ZEROES, PIPE, DV_ST_MAPPED, &zero_begins, DV_EXPECT_WAIT, NULL, dv_run_pin, 0},
	{"partly-punch-within",
	 "a punch within the pinned page frees nothing: waiting or not, it zeroes just its bytes",
	 BY_PUNCH, PIPE, DV_ST_MAPPED, &punch_inside, DV_EXPECT_ANY, NULL, dv_run_pin, 0},
	{"partly-zero-range-within",
	 "a zero-range within the pinned page frees nothing: waiting or not, it zeroes just its "
	 "bytes",
	 BY_ZEROES, PIPE, DV_ST_MAPPED, &zero_inside, DV_EXPECT_ANY, NULL, dv_run_pin, 0},
	/* clang-format on */
};

const struct dv_group dv_group_states = {scenarios, DV_COUNT(scenarios)};
