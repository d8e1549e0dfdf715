/* SPDX-License-Identifier: BSD-3-Clause */
/* What `daxbench alloc` measured, its table and its goals. */
#ifndef RESULTS_H
#define RESULTS_H

#include <json-c/json.h>

#include "workload.h"

struct result {
	const struct workload *workload;
	const struct peer *peer;
	unsigned threads;
	double ns;		/* of a pair, the median of the rounds */
	double fences, lines;	/* of a pair; negative: not counted */
};

struct results {
	unsigned msyncs;	/* calls of msync() in the rounds; any is one too many */
	unsigned count;
	struct result *rows;
};

void results_add(struct results *results, struct result result);

/* NULL: not measured. */
const struct result *results_find(const struct results *results, const char *workload,
				  const char *peer, unsigned threads);

void results_print(const struct results *results);
struct json_object *results_json(const struct results *results);

/* goals.c: the goals, as ratios of what was measured in this run. */
void goals_print(const struct results *results);
struct json_object *goals_json(const struct results *results);

#endif
