/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <string.h>

#include "cases.h"
#include "damage.h"
#include "file.h"
#include "wrap.h"

struct content contents[POOLS];
static unsigned cases, failed;
static char damaged[POOL_SIZE], mended[POOL_SIZE];	/* before check and after repair */

/* --- what check finds --- */

struct outcome {
	struct daxheap_finding findings[64];
	char first[512];
	unsigned count, counts[4];
	int result;
};

static void found(void *arg, const struct daxheap_finding *finding)
{
	struct outcome *outcome = arg;

	if (!outcome->count)
		snprintf(outcome->first, sizeof(outcome->first), "%s", finding->what);
	if (outcome->count < 64)
		outcome->findings[outcome->count++] = *finding;
	outcome->counts[finding->severity]++;
}

static void check(unsigned flags, struct outcome *outcome)
{
	memset(outcome, 0, sizeof(*outcome));
	outcome->result = daxheap_check(file_path, flags, found, outcome);
}

static bool found_at(const struct outcome *outcome, enum daxheap_severity severity,
		     uint64_t offset)
{
	for (unsigned i = 0; i < outcome->count; i++)
		if (outcome->findings[i].severity == severity &&
		    offset >= outcome->findings[i].offset &&
		    offset < outcome->findings[i].offset + outcome->findings[i].size)
			return true;
	return false;
}

/* --- judging --- */

static void result(const char *field, const char *problem, const struct outcome *outcome)
{
	cases++;
	if (!problem) {
		printf("ok %u - %s\n", cases, field);
		return;
	}
	failed++;
	printf("not ok %u - %s: %s\n", cases, field, problem);
	for (unsigned i = 0; i < outcome->count; i++)
		printf("#   severity %d, %#llx + %llu\n", (int)outcome->findings[i].severity,
		       (unsigned long long)outcome->findings[i].offset,
		       (unsigned long long)outcome->findings[i].size);
	printf("#   %d: %s\n", outcome->result, outcome->first);
}

/* A repair that a crash cut, anywhere: the next one must do as well. */
static const char *cut_repair(const struct content *content)
{
	struct outcome again;
	unsigned count = write_count, step = count / 16 + 1;

	for (unsigned cut = 0; cut < count; cut += step) {
		const char *what;

		file_set(damaged);
		apply_writes(cut);
		write_count = count;	/* and behind these what it writes now */
		check(DAXHEAP_CHECK_REPAIR, &again);
		if (again.counts[DAXHEAP_DAMAGE])
			return "a repair that was cut short can't be done again";
		what = content_lost(content);
		if (what)
			return what;
	}
	return NULL;
}

static const char *judge(const struct content *content, enum verdict verdict, uint64_t offset,
			 struct outcome *outcome)
{
	struct outcome repaired, after;
	const char *what;

	check(0, outcome);
	if (!file_is(damaged))
		return "check changed the file";
	if (verdict == REFUSED)
		return outcome->result < 0 ? NULL : "not refused";
	if (verdict == CLEAN) {
		if (outcome->result)
			return "harmless, and reported";
		return content_lost(content);
	}
	if (outcome->result <= 0)
		return "not found";
	if (!found_at(outcome, DAXHEAP_DAMAGE, offset))
		return "not found where it is";
	write_count = 0;
	check(DAXHEAP_CHECK_REPAIR, &repaired);
	if (verdict == STAYS) {
		if (repaired.result != outcome->result || repaired.counts[DAXHEAP_REPAIRED])
			return "repaired, against expectation";
		return file_is(damaged) ? NULL : "repair changed the file";
	}
	if (!found_at(&repaired, DAXHEAP_REPAIRED, offset))
		return "not repaired";
	if (repaired.counts[DAXHEAP_DAMAGE])
		return "repaired in part";
	if ((verdict == KEPT) != (repaired.counts[DAXHEAP_UNKNOWN] > 0))
		return "wrong about what can't be known";
	check(DAXHEAP_CHECK_REPAIR, &after);
	if (after.result || after.count)
		return "not clean after repair";
	file_read(mended);
	what = cut_repair(content);
	if (what)
		return what;
	file_set(mended);
	what = content_lost(content);
	if (!what)
		what = content_use_up();
	check(0, &after);
	return what ? what : after.result ? "not clean after use" : NULL;
}

/* --- cases --- */

void start(enum pool kind)
{
	file_set(pools[kind]);
}

void expect(const char *field, enum pool kind, enum verdict verdict, uint64_t offset)
{
	struct outcome outcome;

	file_read(damaged);
	result(field, judge(&contents[kind], verdict, offset, &outcome), &outcome);
}

void expect_flip(const char *field, enum pool kind, enum verdict verdict, uint64_t offset)
{
	start(kind);
	flip(offset);
	expect(field, kind, verdict, offset);
}

void expect_found(const char *field, uint64_t offset)
{
	struct outcome outcome;

	check(0, &outcome);
	result(field, found_at(&outcome, DAXHEAP_DAMAGE, offset) ? NULL : "not found", &outcome);
}

void expect_noticed(const char *name, const char *problem)
{
	struct outcome outcome;
	const char *what;

	file_read(damaged);
	what = judge(&contents[POOL_CLOSED], CLEAN, 0, &outcome);
	result(name, what && !strcmp(what, problem) ? NULL : "not noticed", &outcome);
}

int cases_end(void)
{
	printf("1..%u\n", cases);
	return failed > 0;
}
