/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernel defects that have a name: as data, as a page, and as a program that shows them. */
#ifndef DAXVERIFY_DEFECTS_H
#define DAXVERIFY_DEFECTS_H

#include <stddef.h>

struct dv_defect {
	const char *name;
	const char *summary;
	const char *claim; /* what the kernel should do, and does not */
	const char *symptom;
	const char *since;    /* the first kernel that has it, as far as it is known */
	const char *fixed_by; /* NULL: no fix known */
	const char *advice;   /* what a program can do meanwhile */
	const char *reference; /* where it lies in the kernel's sources */
	const char *seen;	/* what the reproducer showed, on which kernels */
	unsigned core;		/* enum dv_symptom bits of which one must be there */
	unsigned explains;	/* enum dv_symptom bits that this defect accounts for */
	const char *arguments;	/* of the reproducer; NULL: DIR */
	const char *log_hint; /* functions that its complaint in the kernel log names, or NULL */
};

/* defects.c, defects_views.c */
extern const struct dv_defect dv_unmapped_busy_page, dv_lost_wakeup, dv_fsync_skips,
	dv_direct_io_lost_wakeup, dv_reflink_spin, dv_uring_erestartsys, dv_unkillable_eviction,
	dv_swap_boot_skips, dv_swapext_skips, dv_write_forgets, dv_futex_after_clone,
	dv_sigbus_after_clone, dv_soft_dirty_lost, dv_marker_loop, dv_misses_huge,
	dv_smaps_misses_huge, dv_shared_read_warns, dv_teardown_frees_pages,
	dv_p2pdma_no_length;
extern const struct dv_defect *const dv_defects[];
extern const unsigned dv_ndefects;
const struct dv_defect *dv_defect_find(const char *name);

/* reproducers.c: the program's text, which is not terminated */
const char *dv_reproducer(const struct dv_defect *d, size_t *len);

/* explain.c: `daxverify explain` and `daxverify reproducer`; the exit code */
int dv_explain(int argc, char **argv);
int dv_print_reproducer(int argc, char **argv);

#endif
