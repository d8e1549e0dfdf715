/* SPDX-License-Identifier: BSD-3-Clause */
/* daxbench fault: what is measured. */
#include <stdio.h>

#include "fault.h"

struct list {
	struct plan *plan;
	const struct fault_place *place;
};

static const char *const mode_names[] = {"first", "refault", "protect", "populate",
					 "map-populate"};
static const char *const backing_names[] = {"hole", "unwritten", "written", "device"};

static bool is_batch(const struct fault *fault)
{
	return fault->mode == FAULT_POPULATE || fault->mode == FAULT_MAP_POPULATE;
}

static const char *size_name(size_t size)
{
	return size == FAULT_PAGE ? "4k" : size == FAULT_HUGE ? "2m" : "1g";
}

/* The page cache maps the pages of 64 KiB around one that is read and there. */
static size_t reach(const struct fault *fault, const struct fault_place *place)
{
	bool cached = !place->dax && !place->devdax;

	return cached && fault->size == FAULT_PAGE && !fault->write ? 16 * FAULT_PAGE : fault->size;
}

size_t fault_step(const struct fault *fault, const struct fault_place *place)
{
	if (is_batch(fault))
		return fault->size > FAULT_HUGE ? fault->size : FAULT_HUGE;
	return reach(fault, place);
}

unsigned fault_pages(const struct fault *fault, const struct fault_place *place)
{
	return (unsigned)(fault_step(fault, place) / reach(fault, place));
}

unsigned fault_ops(const struct fault *fault, const struct options *options)
{
	if (options->ops)
		return options->ops;
	if (fault->size > FAULT_HUGE)
		return 4;
	if (fault->size == FAULT_HUGE)
		return 24;
	return is_batch(fault) ? 4 : 512;
}

unsigned fault_warmup(const struct fault *fault)
{
	return fault->size > FAULT_HUGE ? 1 : 4;
}

static void fill_params(const struct fault *fault, struct json_object *params)
{
	report_add_string(params, "access", fault->write ? "write" : "read");
	report_add_string(params, "mode", mode_names[fault->mode]);
	report_add_string(params, "backing", backing_names[fault->backing]);
	json_object_object_add(params, "size", json_object_new_uint64(fault->size));
	json_object_object_add(params, "map_sync", json_object_new_boolean(fault->sync));
	json_object_object_add(params, "threads", json_object_new_int((int)fault->threads));
	json_object_object_add(params, "separate_files", json_object_new_boolean(fault->separate));
}

static void add(struct list *list, const struct fault *fault)
{
	char threads[32] = "";
	struct cell *cell;

	if (fault->threads > 1)
		snprintf(threads, sizeof(threads), "/%u-threads-%s", fault->threads,
			 fault->separate ? "separate" : "shared");
	cell = plan_add(list->plan, fault, sizeof(*fault), "%s-%s/%s/%s%s%s",
			fault->write ? "write" : "read", mode_names[fault->mode],
			backing_names[fault->backing], size_name(fault->size),
			fault->sync ? "/sync" : "", threads);
	if (!cell)
		return;
	fill_params(fault, cell->params);
	cell->room = fault_ops(fault, list->plan->options) * fault->threads;
}

/* A store with MAP_SYNC as well, where that is to be had. */
static void add_both(struct list *list, struct fault fault)
{
	fault.sync = false;
	add(list, &fault);
	fault.sync = true;
	if (fault.write && list->place->dax)
		add(list, &fault);
}

static void add_single(struct list *list, bool write, enum fault_mode mode,
		       enum fault_backing backing, size_t size)
{
	add_both(list, (struct fault){.write = write, .mode = mode, .backing = backing,
				      .size = size, .threads = 1});
}

static void add_threads(struct list *list, size_t size)
{
	for (const unsigned *n = list->plan->options->threads; *n; n++) {
		struct fault fault = {.write = true, .mode = FAULT_FIRST,
				      .backing = FAULT_UNWRITTEN, .size = size, .threads = *n};

		if (*n == 1)
			continue;
		add_both(list, fault);
		fault.separate = true;
		add_both(list, fault);
	}
}

static void add_of_size(struct list *list, size_t size)
{
	for (enum fault_backing b = FAULT_HOLE; b <= FAULT_WRITTEN; b++) {
		add_single(list, true, FAULT_FIRST, b, size);
		add_single(list, false, FAULT_FIRST, b, size);
	}
	add_single(list, true, FAULT_REFAULT, FAULT_WRITTEN, size);
	add_single(list, false, FAULT_REFAULT, FAULT_WRITTEN, size);
	add_single(list, true, FAULT_PROTECT, FAULT_HOLE, size);
	add_single(list, true, FAULT_PROTECT, FAULT_WRITTEN, size);
	add_single(list, true, FAULT_POPULATE, FAULT_UNWRITTEN, size);
	add_single(list, true, FAULT_POPULATE, FAULT_WRITTEN, size);
	add_single(list, false, FAULT_MAP_POPULATE, FAULT_WRITTEN, size);
	add_threads(list, size);
}

/* Device DAX maps by its alignment, has neither holes nor MAP_SYNC to lose, and after a load lets
 * stores through. */
static void add_of_device(struct list *list, size_t align)
{
	for (enum fault_mode mode = FAULT_FIRST; mode <= FAULT_REFAULT; mode++) {
		add_single(list, true, mode, FAULT_DEVICE, align);
		add_single(list, false, mode, FAULT_DEVICE, align);
	}
	add_single(list, true, FAULT_POPULATE, FAULT_DEVICE, align);
	add_single(list, false, FAULT_MAP_POPULATE, FAULT_DEVICE, align);
}

void fault_list(struct plan *plan, const struct fault_place *place)
{
	struct list list = {.plan = plan, .place = place};

	if (place->devdax) {
		add_of_device(&list, place->devdax_align);
	} else {
		add_of_size(&list, FAULT_PAGE);
		add_of_size(&list, FAULT_HUGE);
	}
}
