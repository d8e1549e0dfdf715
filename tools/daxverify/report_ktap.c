/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Flat KTAP, version 1. The line `# start NAME` goes out before a scenario starts, so
 * that whoever reads the console of a machine that died knows which one it was.
 */
#include "daxverify.h"

#include <string.h>

/* What is looked at here, and what not: an oracle that is missing is never silent. */
void dv_ktap_begin(const struct dv_env *env, unsigned nr)
{
	const char *counts = dv_missing(env, DV_NEED_COUNTS);
	const struct dv_facts *f = &env->facts;

	printf("KTAP version 1\n1..%u\n", nr);
	printf("# kernel %s, %s on %s, %sDAX, MAP_SYNC is %s\n", f->kernel, f->fs, f->device,
	       f->dax ? "" : "no ", f->map_sync ? "accepted" : "refused");
	printf("# counts of pages: %s%s\n",
	       counts ? "not looked at: " : "looked at, ",
	       counts ? counts : dv_scheme_name(env->scheme));
	printf("# kernel log: %s\n",
	       f->kernel_log ? "looked at"
			     : "not looked at: /dev/kmsg can't be read, needs root");
	fflush(stdout);
}

/* For whoever has read the first lines only: what has come of it. */
static struct {
	unsigned ok, skipped, broken, failed, known;
	const struct dv_defect *seen[DV_DEFECTS_MAX];
	unsigned nseen;
} sum;

static void add_up(const struct dv_result *r)
{
	unsigned i = 0;

	sum.ok += r->verdict == DV_OK;
	sum.skipped += r->verdict == DV_SKIP;
	sum.broken += r->verdict == DV_BROKEN;
	if (r->verdict != DV_NOT_OK)
		return;
	if (!r->defect) {
		sum.failed++;
		return;
	}
	sum.known++;
	while (i < sum.nseen && sum.seen[i] != r->defect)
		i++;
	if (i == sum.nseen && i < DV_DEFECTS_MAX)
		sum.seen[sum.nseen++] = r->defect;
}

void dv_ktap_end(void)
{
	unsigned i;

	printf("# %u ok, %u not ok by known defects of the kernel, %u not ok, %u broken, "
	       "%u skipped\n",
	       sum.ok, sum.known, sum.failed, sum.broken, sum.skipped);
	for (i = 0; i < sum.nseen; i++)
		printf("# daxverify explain %s: %s\n", sum.seen[i]->name,
		       sum.seen[i]->summary);
	fflush(stdout);
}

void dv_ktap_start(const struct dv_scenario *sc)
{
	printf("# start %s\n", sc->name);
	fflush(stdout);
}

static void print_line(unsigned nr, const struct dv_scenario *sc,
		       const struct dv_result *r)
{
	switch (r->verdict) {
	case DV_OK:
		printf("ok %u %s%s%s\n", nr, sc->name, r->note[0] ? " # " : "", r->note);
		break;
	case DV_SKIP:
		printf("ok %u %s # SKIP %s\n", nr, sc->name, r->reason);
		break;
	case DV_NOT_OK:
		printf("not ok %u %s", nr, sc->name);
		if (r->defect)
			printf(" # %sknown defect: %s", r->hung ? "hang, " : "",
			       r->defect->name);
		else if (r->hung)
			printf(" # hang");
		else if (r->reason[0])
			printf(" # %s", r->reason);
		printf("\n");
		break;
	case DV_BROKEN:
		printf("not ok %u %s # broken: %s\n", nr, sc->name, r->reason);
		break;
	}
}

static void print_detail(const struct dv_result *r, bool verbose)
{
	const struct dv_oracle *o;
	unsigned i;

	for (i = 0; i < r->noracles; i++) {
		o = &r->oracles[i];
		if (o->ok && !verbose)
			continue;
		printf("#   %s: %s\n", o->name, o->ok ? "ok" : "not ok");
		printf("#     expected: %s\n#     seen:     %s\n", o->expected, o->seen);
	}
	for (i = 0; i < r->nlog; i++)
		printf("#   kernel: %s\n", r->log[i]);
	if (verbose && r->wake_ns)
		printf("#   woke %.1f ms after the release\n", (double)r->wake_ns / 1e6);
	if (verbose)
		printf("#   took %lld ms\n", (long long)r->duration_ms);
}

void dv_ktap_result(unsigned nr, const struct dv_scenario *sc, const struct dv_result *r,
		    bool verbose)
{
	add_up(r);
	print_line(nr, sc, r);
	if (verbose || r->verdict == DV_NOT_OK || r->verdict == DV_BROKEN) {
		printf("#   claim: %s\n", sc->claim);
		print_detail(r, verbose);
	}
	fflush(stdout);
}

static void print_family(const struct dv_family *f, bool first)
{
	unsigned k;

	printf("%s#", first ? "" : "\n");
	for (k = 0; f->globs[k]; k++)
		printf(" %s", f->globs[k]);
	printf(": %s\n", f->words);
}

void dv_list_print(const struct dv_scenario *const *scs, unsigned nr)
{
	const struct dv_family *family, *before = NULL;
	size_t width = 0;
	unsigned i;

	for (i = 0; i < nr; i++) {
		if (strlen(scs[i]->name) > width)
			width = strlen(scs[i]->name);
	}
	for (i = 0; i < nr; i++) {
		family = dv_family_of(scs[i]->name);
		if (family && family != before)
			print_family(family, i == 0);
		before = family;
		printf("%-*s  %s\n", (int)width, scs[i]->name, scs[i]->claim);
	}
}
