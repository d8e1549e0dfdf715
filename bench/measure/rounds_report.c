/* SPDX-License-Identifier: BSD-3-Clause */
/* From a plan to what the user sees of it: one folder, or two that take turns. */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "compare.h"
#include "rounds.h"
#include "scratch.h"

#define EXIT_INTERRUPTED 130

static void check(const struct plan *plan, const char *dir)
{
	if (plan->options->require_dax && !scratch_is_dax(dir))
		die("files in %s are not accessed by DAX; 'daxheap doctor %s' tells why", dir, dir);
}

/* Tables go to standard output, unless JSON does. */
static void report(const struct plan *plan, const char *json, const struct result *result)
{
	struct options own = *plan->options;

	own.json = json;
	if (prints_table(plan->options)) {
		result_print(result);
		if (plan->remark)
			plan->remark(plan, result);
	}
	report_write_compact(&own, result_to_json(result));
}

static void report_both(const struct plan *plan, const struct result *results)
{
	const struct options *options = plan->options;

	report(plan, options->json, &results[0]);
	if (prints_table(options))
		putchar('\n');
	report(plan, options->beside_json, &results[1]);
	if (!prints_table(options))
		return;
	printf("\nA is %s, B is %s:\n", options->dir, options->beside);
	compare_results(options, "A", &results[0], "B", &results[1]);
}

static bool has_figures(const struct result *result)
{
	for (unsigned i = 0; i < result->count; i++)
		if (!result->series[i].refused)
			return true;
	return false;
}

int rounds_report(struct plan *plan)
{
	const struct options *options = plan->options;
	const char *const dirs[] = {options->dir, options->beside};
	unsigned count = options->beside ? 2 : 1;
	struct result results[2];
	bool any = true, ended;

	if (!plan->count)
		die("--only %s leaves nothing of '%s' to measure; --list without it has the names",
		    options->only, plan->verb);
	if (options->list) {
		for (unsigned i = 0; i < plan->count; i++)
			puts(plan->cells[i].name);
		plan_free(plan);
		return EXIT_SUCCESS;
	}
	for (unsigned i = 0; i < count; i++)
		check(plan, dirs[i]);
	rounds_run(plan, dirs, count, results);
	if (count == 2)
		report_both(plan, results);
	else
		report(plan, options->json, &results[0]);
	ended = !results[0].interrupted;
	for (unsigned i = 0; i < count; i++) {
		any &= has_figures(&results[i]);
		result_free(&results[i]);
	}
	plan_free(plan);
	if (!ended)
		return EXIT_INTERRUPTED;
	return any ? EXIT_SUCCESS : EXIT_FAILURE;
}
