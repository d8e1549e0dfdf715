/* SPDX-License-Identifier: BSD-3-Clause */
/* From what the oracles saw to one of the four verdicts, and to a defect's name. */
#include "daxverify.h"

#include <string.h>

/* The kernel log is an oracle like the others; it has its say when all else is over. */
static void judge_log(struct dv_result *r)
{
	struct dv_oracle *o;

	o = &r->oracles[r->noracles++];
	snprintf(o->name, sizeof(o->name), "kernel log");
	snprintf(o->expected, sizeof(o->expected), "no new WARNING or BUG");
	snprintf(o->seen, sizeof(o->seen), "%s", r->nlog ? r->log[0] : "nothing new");
	o->ok = r->nlog == 0;
	o->symptom = o->ok ? DV_SYM_NONE : DV_SYM_LOG;
}

/* Does the line name one of the functions that a defect's hint lists, with spaces? */
static bool names_one(const char *line, const char *hint)
{
	char word[64];
	int n;

	while (hint && sscanf(hint, "%63s%n", word, &n) == 1) {
		if (strstr(line, word))
			return true;
		hint += n;
	}
	return false;
}

static bool explains_log(const struct dv_defect *d, const struct dv_result *r)
{
	unsigned i;

	for (i = 0; i < r->nlog; i++) {
		if (!names_one(r->log[i], d->log_hint))
			return false;
	}
	return true;
}

/* Every failure must be one that the defect explains, and one of them its very mark. */
static bool fits(const struct dv_defect *d, const struct dv_result *r)
{
	unsigned seen = 0, i;

	for (i = 0; i < r->noracles; i++) {
		if (r->oracles[i].ok)
			continue;
		if (!r->oracles[i].symptom || r->oracles[i].symptom & ~d->explains)
			return false;
		seen |= r->oracles[i].symptom;
	}
	return seen & d->core && explains_log(d, r);
}

/*
 * The defect that the scenario is after, or its other one; or, of a kernel that does not
 * have that one because it does not wait at all, the one that is about not waiting.
 */
static const struct dv_defect *recognise(const struct dv_scenario *sc,
					 const struct dv_result *r)
{
	if (!sc->defect)
		return NULL;
	if (fits(sc->defect, r))
		return sc->defect;
	if (sc->or_defect && fits(sc->or_defect, r))
		return sc->or_defect;
	return fits(&dv_unmapped_busy_page, r) ? &dv_unmapped_busy_page : NULL;
}

void dv_judge(const struct dv_scenario *sc, struct dv_result *r, enum dv_verdict ended,
	      bool log_read)
{
	unsigned i;

	r->verdict = ended;
	r->defect = NULL;
	if (ended == DV_BROKEN && !r->reason[0])
		snprintf(r->reason, sizeof(r->reason), "set-up failed");
	if (ended == DV_OK && !r->noracles) {
		r->verdict = DV_BROKEN;
		snprintf(r->reason, sizeof(r->reason),
			 "it ended without having looked at anything");
	}
	if (r->verdict != DV_OK)
		return;
	if (log_read)
		judge_log(r);
	for (i = 0; i < r->noracles; i++) {
		if (!r->oracles[i].ok)
			r->verdict = DV_NOT_OK;
	}
	if (r->verdict == DV_NOT_OK)
		r->defect = recognise(sc, r);
}
