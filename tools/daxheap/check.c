/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "daxheap.h"
#include "daxheap_cli.h"

struct findings {
	struct json_object *list;	/* NULL: they are printed at once */
	unsigned counts[4];		/* by severity */
};

static const char *severity_name(enum daxheap_severity severity)
{
	switch (severity) {
	case DAXHEAP_DAMAGE:
		return "damage";
	case DAXHEAP_REPAIRED:
		return "repaired";
	case DAXHEAP_UNKNOWN:
		return "unknown";
	}
	return "?";
}

static void found(void *arg, const struct daxheap_finding *finding)
{
	struct findings *findings = arg;
	struct json_object *object;

	findings->counts[finding->severity]++;
	if (!findings->list) {
		printf("%-8s  %#llx + %llu: %s\n", severity_name(finding->severity),
		       (unsigned long long)finding->offset, (unsigned long long)finding->size,
		       finding->what);
		return;
	}
	object = json_object_new_object();
	cli_add_string(object, "severity", severity_name(finding->severity));
	cli_add_number(object, "offset", finding->offset);
	cli_add_number(object, "size", finding->size);
	cli_add_string(object, "what", finding->what);
	json_object_array_add(findings->list, object);
}

static void print_json(const char *pool, int result, const struct findings *findings)
{
	struct json_object *top = json_object_new_object();

	cli_add_string(top, "pool", pool);
	json_object_object_add(top, "clean", json_object_new_boolean(!result));
	cli_add_number(top, "damage", findings->counts[DAXHEAP_DAMAGE]);
	cli_add_number(top, "repaired", findings->counts[DAXHEAP_REPAIRED]);
	cli_add_number(top, "unknown", findings->counts[DAXHEAP_UNKNOWN]);
	json_object_object_add(top, "findings", findings->list);
	if (result < 0)
		cli_add_string(top, "error", daxheap_errormsg());
	cli_print_json(top);
}

static void print_text(const char *pool, int result, const struct findings *findings)
{
	const unsigned *counts = findings->counts;

	if (result < 0)
		return;
	if (!result && !counts[DAXHEAP_REPAIRED])
		printf("%s: clean\n", pool);
	else
		printf("%s: %u damaged, %u repaired, %u that can't be known\n", pool,
		       counts[DAXHEAP_DAMAGE], counts[DAXHEAP_REPAIRED],
		       counts[DAXHEAP_UNKNOWN]);
}

int cli_check(const struct cli_args *args)
{
	struct findings findings = {.list = args->json ? json_object_new_array() : NULL};
	int result = daxheap_check(args->pool, args->repair ? DAXHEAP_CHECK_REPAIR : 0, found,
				   &findings);

	if (args->json)
		print_json(args->pool, result, &findings);
	else
		print_text(args->pool, result, &findings);
	if (result < 0)
		return cli_fail(result);
	return result ? EX_DATAERR : EXIT_SUCCESS;
}
