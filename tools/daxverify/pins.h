/* SPDX-License-Identifier: BSD-3-Clause */
/* The pin matrix: who takes which memory as a buffer, and with what it is refused. */
#ifndef DAXVERIFY_PINS_H
#define DAXVERIFY_PINS_H

#include "memory.h"

/* One scenario of the group pins-*. */
struct dv_cell {
	enum dv_memory_kind memory;
	/* What the claim allows: to be accepted, and the errnos of a refusal. */
	bool accept;
	int refuse[2];
};

/* A truncate of the file ends at once: nothing holds a page of it. Truncates it. */
enum dv_verdict dv_pins_judge_free(struct dv_ctx *c, const char *path, const char *name);
const char *dv_pins_answer(int ret);

/* report_pins.c: the matrix as a table, from what the scenarios answered */
struct dv_pins_table;
struct dv_pins_table *dv_pins_table_new(void);
void dv_pins_table_add(struct dv_pins_table *t, const struct dv_scenario *sc,
		       const struct dv_result *r);
void dv_pins_table_print(struct dv_pins_table *t);

#endif
