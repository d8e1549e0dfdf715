/* SPDX-License-Identifier: BSD-3-Clause */
/* daxbench truncate: what is measured.  One thing is varied at a time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "truncate.h"

#define CELLS_MAX 256u
#define KIB	  ((size_t)1 << 10)
#define MIB	  ((size_t)1 << 20)

static const char *const call_names[] = {"truncate", "punch", "zero", "collapse", "grow",
					 "allocate", "unlink"};
static const char *const state_names[] = {"unmapped", "clean", "dirty"};

struct list {
	const struct options *options;
	struct cell *cells;
	unsigned count;
};

unsigned reclaim_ops(const struct reclaim *reclaim, const struct options *options)
{
	if (options->ops)
		return options->ops;
	if (reclaim->size > 8 * MIB)
		return 2;
	return reclaim->size > 64 * KIB || reclaim->processes ? 6 : 24;
}

static void append(char *name, size_t room, const char *what, unsigned count)
{
	size_t used = strlen(name);

	snprintf(name + used, room - used, "/%s-%u", what, count);
}

static void name_cell(const struct reclaim *reclaim, char *name, size_t room)
{
	bool mega = reclaim->size >= MIB;

	snprintf(name, room, "%s/%zu%s/%s", call_names[reclaim->call],
		 reclaim->size / (mega ? MIB : KIB), mega ? "m" : "k", state_names[reclaim->state]);
	if (reclaim->extents > 1)
		append(name, room, "extents", reclaim->extents);
	if (reclaim->mappings > 1)
		append(name, room, "mappings", reclaim->mappings);
	if (reclaim->processes)
		append(name, room, "processes", reclaim->processes);
	if (reclaim->pins)
		append(name, room, reclaim->wake ? "wake-pins" : "whole-pins", reclaim->pins);
}

static struct json_object *params_of(const struct reclaim *reclaim)
{
	struct json_object *params = json_object_new_object();

	report_add_string(params, "call", call_names[reclaim->call]);
	report_add_string(params, "state", state_names[reclaim->state]);
	report_add_string(params, "part", reclaim->wake ? "wake" : "whole");
	json_object_object_add(params, "size", json_object_new_uint64(reclaim->size));
	json_object_object_add(params, "extents", json_object_new_uint64(reclaim->extents));
	json_object_object_add(params, "mappings", json_object_new_uint64(reclaim->mappings));
	json_object_object_add(params, "processes", json_object_new_uint64(reclaim->processes));
	json_object_object_add(params, "pins", json_object_new_uint64(reclaim->pins));
	if (reclaim->pins)
		json_object_object_add(params, "hold_ms", json_object_new_int(RECLAIM_HOLD_MS));
	return params;
}

static void add(struct list *list, struct reclaim reclaim)
{
	struct cell *cell = &list->cells[list->count];
	struct reclaim *copy;
	char name[sizeof(cell->name)];

	if (!reclaim.extents)
		reclaim.extents = 1;
	if (!reclaim.mappings)
		reclaim.mappings = 1;
	name_cell(&reclaim, name, sizeof(name));
	if (!matches(list->options->only, name) || list->count == CELLS_MAX)
		return;
	copy = malloc(sizeof(*copy));
	if (!copy)
		die("out of memory");
	*copy = reclaim;
	*cell = (struct cell){.params = params_of(&reclaim), .what = copy,
			      .room = reclaim_ops(&reclaim, list->options)};
	memcpy(cell->name, name, sizeof(name));
	list->count++;
}

static void add_sizes(struct list *list)
{
	static const size_t sizes[] = {4 * KIB, 256 * KIB, 2 * MIB, 32 * MIB};

	for (enum reclaim_call call = RECLAIM_TRUNCATE; call <= RECLAIM_UNLINK; call++)
		for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			add(list, (struct reclaim){.call = call, .size = sizes[i],
						   .state = RECLAIM_DIRTY});
}

/* What the others vary, by those that take space and do it alike. */
static void add_of_call(struct list *list, enum reclaim_call call)
{
	static const unsigned extents[] = {16, 256}, mappers[] = {4, 16}, pins[] = {1, 16, 256};
	struct reclaim base = {.call = call, .size = 2 * MIB, .state = RECLAIM_UNMAPPED}, one;

	add(list, base);
	base.state = RECLAIM_CLEAN;
	add(list, base);
	base.state = RECLAIM_DIRTY;
	for (unsigned i = 0; i < 2; i++) {
		one = base;
		one.extents = extents[i];
		one.size = extents[i] * 2 * RECLAIM_PAGE;
		add(list, one);
		one = base;
		one.mappings = mappers[i];
		add(list, one);
		one = base;
		one.processes = mappers[i];
		add(list, one);
	}
	for (unsigned i = 0; i < sizeof(pins) / sizeof(pins[0]); i++) {
		one = base;
		one.pins = pins[i];
		add(list, one);
		one.wake = true;
		add(list, one);
	}
}

unsigned reclaim_list(const struct options *options, struct cell **cells)
{
	struct list list = {.options = options,
			    .cells = calloc(CELLS_MAX + 1, sizeof(struct cell))};

	if (!list.cells)
		die("out of memory");
	add_sizes(&list);
	add_of_call(&list, RECLAIM_TRUNCATE);
	add_of_call(&list, RECLAIM_PUNCH);
	*cells = list.cells;
	return list.count;
}
