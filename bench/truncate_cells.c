/* SPDX-License-Identifier: BSD-3-Clause */
/* daxbench truncate: what is measured.  One thing is varied at a time. */
#include <stdio.h>

#include "truncate.h"

#define KIB	  ((size_t)1 << 10)
#define MIB	  ((size_t)1 << 20)

static const char *const call_names[] = {"truncate", "punch", "zero", "collapse", "grow",
					 "allocate", "unlink", "umount"};
static const char *const state_names[] = {"unmapped", "clean", "dirty"};

unsigned reclaim_ops(const struct reclaim *reclaim, const struct options *options)
{
	if (options->ops)
		return options->ops;
	/* What takes long to prepare is done less often; 24 are enough for 99 % of 21 rounds. */
	if (reclaim->size * reclaim->files > 8 * MIB)
		return 3;
	if (reclaim->call == RECLAIM_UMOUNT)
		return 4;
	if (reclaim->processes)
		return 6;
	return reclaim->size > 64 * KIB ? 24 : 48;
}

static void fill_params(const struct reclaim *reclaim, struct json_object *params)
{
	report_add_string(params, "call", call_names[reclaim->call]);
	report_add_string(params, "state", state_names[reclaim->state]);
	json_object_object_add(params, "size", json_object_new_uint64(reclaim->size * reclaim->files));
	json_object_object_add(params, "extents", json_object_new_uint64(reclaim->extents));
	json_object_object_add(params, "mappings", json_object_new_uint64(reclaim->mappings));
	json_object_object_add(params, "processes", json_object_new_uint64(reclaim->processes));
	json_object_object_add(params, "pins", json_object_new_uint64(reclaim->pins));
	if (reclaim->call == RECLAIM_UMOUNT)
		json_object_object_add(params, "files", json_object_new_uint64(reclaim->files));
	if (!reclaim->pins)
		return;
	report_add_string(params, "part", reclaim->wake ? "wake" : "whole");
	json_object_object_add(params, "hold_ms", json_object_new_int(RECLAIM_HOLD_MS));
}

/* At the end of a name: what is varied, if it is. */
static void name_variation(const struct reclaim *reclaim, char *name, size_t room)
{
	name[0] = '\0';
	if (reclaim->extents > 1)
		snprintf(name, room, "/extents-%u", reclaim->extents);
	else if (reclaim->mappings > 1)
		snprintf(name, room, "/mappings-%u", reclaim->mappings);
	else if (reclaim->processes)
		snprintf(name, room, "/processes-%u", reclaim->processes);
	else if (reclaim->pins)
		snprintf(name, room, "/%s-pins-%u", reclaim->wake ? "wake" : "whole", reclaim->pins);
	else if (reclaim->files > 1)
		snprintf(name, room, "/files-%u", reclaim->files);
}

static void add(struct plan *plan, struct reclaim reclaim)
{
	char variation[32];
	struct cell *cell;
	size_t size;
	bool mega;

	if (!reclaim.extents)
		reclaim.extents = 1;
	if (!reclaim.mappings)
		reclaim.mappings = 1;
	if (!reclaim.files)
		reclaim.files = 1;
	size = reclaim.size * reclaim.files;
	mega = size >= MIB;
	name_variation(&reclaim, variation, sizeof(variation));
	cell = plan_add(plan, &reclaim, sizeof(reclaim), "%s/%zu%s/%s%s", call_names[reclaim.call],
			size / (mega ? MIB : KIB), mega ? "m" : "k",
			state_names[reclaim.state], variation);
	if (!cell)
		return;
	fill_params(&reclaim, cell->params);
	cell->room = reclaim_ops(&reclaim, plan->options);
}

static void add_sizes(struct plan *plan)
{
	static const size_t sizes[] = {4 * KIB, 256 * KIB, 2 * MIB, 32 * MIB};

	enum reclaim_call last = plan->options->umount ? RECLAIM_UMOUNT : RECLAIM_UNLINK;

	for (enum reclaim_call call = RECLAIM_TRUNCATE; call <= last; call++)
		for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			add(plan, (struct reclaim){.call = call, .size = sizes[i],
						   .state = RECLAIM_DIRTY});
}

/* What the others vary, by those that take space and do it alike. */
static void add_of_call(struct plan *plan, enum reclaim_call call)
{
	static const unsigned extents[] = {16, 256}, mappers[] = {4, 16}, pins[] = {1, 16, 256};
	struct reclaim base = {.call = call, .size = 2 * MIB, .state = RECLAIM_UNMAPPED}, one;

	add(plan, base);
	base.state = RECLAIM_CLEAN;
	add(plan, base);
	base.state = RECLAIM_DIRTY;
	for (unsigned i = 0; i < 2; i++) {
		one = base;
		one.extents = extents[i];
		one.size = extents[i] * 2 * RECLAIM_PAGE;
		add(plan, one);
		one = base;
		one.mappings = mappers[i];
		add(plan, one);
		one = base;
		one.processes = mappers[i];
		add(plan, one);
	}
	for (unsigned i = 0; i < sizeof(pins) / sizeof(pins[0]); i++) {
		one = base;
		one.pins = pins[i];
		add(plan, one);
		one.wake = true;
		add(plan, one);
	}
}

/* Of many files, as many bytes as of one. */
static void add_of_umount(struct plan *plan)
{
	struct reclaim base = {.call = RECLAIM_UMOUNT, .size = 2 * MIB};

	base.state = RECLAIM_UNMAPPED;
	add(plan, base);
	base.state = RECLAIM_CLEAN;
	add(plan, base);
	base.state = RECLAIM_DIRTY;
	base.files = 16;
	add(plan, base);
	base.size = 16 * KIB;
	base.files = 128;
	add(plan, base);
}

void reclaim_list(struct plan *plan)
{
	add_sizes(plan);
	add_of_call(plan, RECLAIM_TRUNCATE);
	add_of_call(plan, RECLAIM_PUNCH);
	if (plan->options->umount)
		add_of_umount(plan);
}
