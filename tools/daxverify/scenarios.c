/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All scenarios, in the order in which they run: cheap ones first. What exchanges and
 * shares blocks comes late: where it is a kernel's defect that a page keeps its old
 * owner, whoever gets the block next is warned about.
 */
#include "daxverify.h"

unsigned dv_scenarios_all(const struct dv_scenario *out[DV_SCENARIOS_MAX])
{
	static const struct dv_group *const groups[] = {
		&dv_group_map_sync,	 &dv_group_uring,	  &dv_group_fsync,
		&dv_group_counts,	 &dv_group_counts_held,	  &dv_group_views,
		&dv_group_views_process, &dv_group_views_written, &dv_group_pin,
		&dv_group_states,	 &dv_group_huge,	  &dv_group_beside,
		&dv_group_cancel,	 &dv_group_quiet,	  &dv_group_signal,
		&dv_group_refault,	 &dv_group_own,		  &dv_group_evict,
		&dv_group_leak,		 &dv_group_poison,	  &dv_group_pins,
		&dv_group_several,	 &dv_group_holders,	  &dv_group_p2pdma,
		&dv_group_umount,	 &dv_group_teardown_dax,  &dv_group_shared,
		&dv_group_clone,	 &dv_group_teardown,
	};
	unsigned g, i, n = 0;

	for (g = 0; g < DV_COUNT(groups); g++) {
		for (i = 0; i < groups[g]->nr && n < DV_SCENARIOS_MAX; i++)
			out[n++] = &groups[g]->scenarios[i];
	}
	return n;
}
