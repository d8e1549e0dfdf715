/* SPDX-License-Identifier: BSD-3-Clause */
/* From what the oracles saw to one of the four verdicts, and to a defect's name. */
#include "daxverify.h"

#include <string.h>

/* The kernel log is an oracle like the others; it has its say when all else is over. */
static void judge_log(const struct dv_scenario *sc, struct dv_result *r)
{
	const char *hint = sc->defect ? sc->defect->log_hint : NULL;
	unsigned symptom = DV_SYM_LOG, i;
	struct dv_oracle *o;

	if (r->noracles == DV_ORACLES_MAX)
		r->noracles--; /* the log is worth more than the last of so many */
	o = &r->oracles[r->noracles++];
	for (i = 0; i < r->nlog; i++) {
		if (!hint || !strstr(r->log[i], hint))
			symptom = DV_SYM_NONE;
	}
	snprintf(o->name, sizeof(o->name), "kernel log");
	snprintf(o->expected, sizeof(o->expected), "no new WARNING or BUG");
	snprintf(o->seen, sizeof(o->seen), "%s", r->nlog ? r->log[0] : "nothing new");
	o->ok = r->nlog == 0;
	o->symptom = o->ok ? DV_SYM_NONE : symptom;
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
	return seen & d->core;
}

void dv_judge(const struct dv_scenario *sc, struct dv_result *r, enum dv_verdict ended)
{
	unsigned i;

	r->verdict = ended;
	r->defect = NULL;
	if (ended == DV_BROKEN && !r->reason[0])
		snprintf(r->reason, sizeof(r->reason), "set-up failed");
	if (ended != DV_OK)
		return;
	judge_log(sc, r);
	for (i = 0; i < r->noracles; i++) {
		if (!r->oracles[i].ok)
			r->verdict = DV_NOT_OK;
	}
	if (r->verdict == DV_NOT_OK && sc->defect && fits(sc->defect, r))
		r->defect = sc->defect;
}
