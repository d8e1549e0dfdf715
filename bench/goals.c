/* SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "results.h"

enum kind {
	FASTER,		/* the peer's time over daxheap's, at least */
	SCALES,		/* what all threads get done, over what one does, at least */
	FLOORS,		/* daxheap's time over that of its flushed lines and fences, at most */
};

/*
 * Multiples of the floor stand for 290, 330, 450 and 90 ns on a machine where a flushed line
 * and a fence, of which a pair has two, two, three and a sixteenth, take 121.
 */
static const struct goal {
	const char *workload;
	unsigned threads;
	enum kind kind;
	const char *peer;
	double limit;
} goals[] = {
	{"publish", 1, FASTER, "pmemobj-atomic", 12},
	{"publish", 1, FASTER, "mimalloc", 1},
	{"publish", 1, FLOORS, NULL, 1.2},
	{"publish-random", 1, FLOORS, NULL, 1.36},
	{"publish-content", 1, FLOORS, NULL, 1.24},
	{"action", 1, FLOORS, NULL, 11.9},
	{"threadtest", 1, FASTER, "mimalloc", 1 / 1.2},
	{"larson", 1, FASTER, "mimalloc", 1 / 1.2},
	{"threadtest", 1, FASTER, "jemalloc", 1},
	{"larson", 1, FASTER, "jemalloc", 1},
	{"shbench", 1, FASTER, "jemalloc", 1},
	{"producer", 2, FASTER, "jemalloc", 1},
	{"shbench", 1, FASTER, "mimalloc", 1},
	{"producer", 2, FASTER, "mimalloc", 1},
	{"publish", 2, SCALES, NULL, 1.9},
	{"publish-content", 2, SCALES, NULL, 1.9},
	{"publish-random", 2, SCALES, NULL, 1.9},
	{"action", 2, SCALES, NULL, 1.9},
};
#define GOALS (sizeof(goals) / sizeof(goals[0]))

/* How far @peer gets; NAN: what it takes was not measured. */
static double measured(const struct results *results, const struct goal *goal,
		       const struct peer *peer)
{
	const struct result *own = results_find(results, goal->workload, peer->name,
						goal->threads);
	const struct result *other;

	if (goal->kind == FASTER)
		other = results_find(results, goal->workload, goal->peer, goal->threads);
	else if (goal->kind == SCALES)
		other = results_find(results, goal->workload, peer->name, 1);
	else
		other = results_find(results, goal->workload, hardware_peer.name, goal->threads);
	if (!own || !other)
		return NAN;
	if (goal->kind == FLOORS)
		return own->ns / other->ns;
	return other->ns / own->ns * (goal->kind == SCALES ? goal->threads : 1);
}

static bool met(const struct goal *goal, double value)
{
	return goal->kind == FLOORS ? value <= goal->limit : value >= goal->limit;
}

static const char *describe(const struct goal *goal, char *text, size_t size)
{
	switch (goal->kind) {
	case FASTER:
		snprintf(text, size, "times as fast as %s", goal->peer);
		break;
	case SCALES:
		snprintf(text, size, "times one thread's throughput");
		break;
	case FLOORS:
		snprintf(text, size, "times the floor");
		break;
	}
	return text;
}

void goals_print(const struct results *results)
{
	char text[64];

	puts("\nGoals (in brackets: how far flushes and fences alone get here)");
	for (unsigned i = 0; i < GOALS; i++) {
		const struct goal *goal = &goals[i];
		double value = measured(results, goal, &daxheap_peer);
		double floor = measured(results, goal, &hardware_peer);

		if (isnan(value))
			continue;
		printf("  %-15s %u thread%s %6.2f ", goal->workload, goal->threads,
		       goal->threads == 1 ? ": " : "s:", value);
		if (isnan(floor))
			printf("%9s", "");
		else
			printf("[%6.2f] ", floor);
		printf("%s %5.2f %-35s %s\n", goal->kind == FLOORS ? "at most " : "at least",
		       goal->limit, describe(goal, text, sizeof(text)),
		       met(goal, value) ? "met" : "MISSED");
	}
}

struct json_object *goals_json(const struct results *results)
{
	struct json_object *list = json_object_new_array();
	char text[64];

	for (unsigned i = 0; i < GOALS; i++) {
		const struct goal *goal = &goals[i];
		double value = measured(results, goal, &daxheap_peer);
		double floor = measured(results, goal, &hardware_peer);
		struct json_object *object;

		if (isnan(value))
			continue;
		object = json_object_new_object();
		report_add_string(object, "workload", goal->workload);
		report_add_number(object, "threads", goal->threads);
		report_add_string(object, "unit", describe(goal, text, sizeof(text)));
		report_add_number(object, goal->kind == FLOORS ? "at_most" : "at_least", goal->limit);
		report_add_number(object, "measured", value);
		if (!isnan(floor))
			report_add_number(object, "floor", floor);
		json_object_object_add(object, "met", json_object_new_boolean(met(goal, value)));
		json_object_array_add(list, object);
	}
	return list;
}
