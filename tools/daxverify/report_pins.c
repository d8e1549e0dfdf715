/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pin matrix as a table for people: a row for each way to hold a page, a column for
 * each kind of memory. What is not as claimed is marked, and explained below.
 */
#include "daxverify.h"

#include "pins.h"

#include <stdlib.h>
#include <string.h>

#define ROWS_MAX  32
#define NOTES_MAX 64

struct cell {
	char answer[32];
	bool wrong;
};

struct row {
	const struct dv_hold_ops *by;
	struct cell cells[DV_MEM_KINDS];
};

struct dv_pins_table {
	struct row rows[ROWS_MAX];
	unsigned nrows;
	char notes[NOTES_MAX][400];
	unsigned nnotes;
};

struct dv_pins_table *dv_pins_table_new(void)
{
	return calloc(1, sizeof(struct dv_pins_table));
}

static struct row *row_of(struct dv_pins_table *t, const struct dv_hold_ops *by)
{
	unsigned i;

	for (i = 0; i < t->nrows; i++) {
		if (t->rows[i].by == by)
			return &t->rows[i];
	}
	if (t->nrows == ROWS_MAX)
		return NULL;
	t->rows[t->nrows].by = by;
	return &t->rows[t->nrows++];
}

/* The same reason, for several cells, is said once. */
static void note(struct dv_pins_table *t, const char *who, const char *what)
{
	char text[sizeof(t->notes[0])];
	unsigned i;

	snprintf(text, sizeof(text), "%s: %s", who, what);
	for (i = 0; i < t->nnotes; i++) {
		if (strcmp(t->notes[i], text) == 0)
			return;
	}
	if (t->nnotes < NOTES_MAX)
		memcpy(t->notes[t->nnotes++], text, sizeof(text));
}

static void note_failure(struct dv_pins_table *t, const struct dv_scenario *sc,
			 const struct dv_result *r)
{
	char text[sizeof(r->oracles[0].name) + sizeof(r->oracles[0].seen) + 8];
	unsigned i;

	for (i = 0; i < r->noracles; i++) {
		if (r->oracles[i].ok)
			continue;
		snprintf(text, sizeof(text), "%s: %s", r->oracles[i].name,
			 r->oracles[i].seen);
		note(t, sc->name, text);
	}
}

void dv_pins_table_add(struct dv_pins_table *t, const struct dv_scenario *sc,
		       const struct dv_result *r)
{
	struct row *row = sc->cell ? row_of(t, sc->by) : NULL;
	struct cell *cell;

	if (!row)
		return;
	cell = &row->cells[sc->cell->memory];
	cell->wrong = r->verdict == DV_NOT_OK || r->verdict == DV_BROKEN;
	if (r->verdict == DV_SKIP)
		snprintf(cell->answer, sizeof(cell->answer), "-");
	else if (r->verdict == DV_BROKEN)
		snprintf(cell->answer, sizeof(cell->answer), "broken");
	else
		snprintf(cell->answer, sizeof(cell->answer), "%s",
			 strcmp(r->answer, "accepted") == 0 ? "yes" : r->answer);
	if (r->verdict == DV_SKIP)
		note(t, "-", r->reason);
	else if (r->verdict == DV_BROKEN)
		note(t, sc->name, r->reason);
	else
		note_failure(t, sc, r);
}

void dv_pins_table_print(struct dv_pins_table *t)
{
	unsigned i, k;

	printf("%-18s", "");
	for (k = 0; k < DV_MEM_KINDS; k++)
		printf(" %-12s", dv_memory_names[k]);
	printf("\n");
	for (i = 0; i < t->nrows; i++) {
		printf("%-18s", t->rows[i].by->name);
		for (k = 0; k < DV_MEM_KINDS; k++)
			printf(" %-11s%c", t->rows[i].cells[k].answer,
			       t->rows[i].cells[k].wrong ? '!' : ' ');
		printf("\n");
	}
	printf("\nyes: accepted; an errno: refused with it; !: not as claimed; -: not tried\n");
	for (i = 0; i < t->nnotes; i++)
		printf("  %s\n", t->notes[i]);
}
