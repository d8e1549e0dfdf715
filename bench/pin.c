/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench pin: what it takes to hold pages and to let them go, by who holds them, where they lie,
 * and how large the entries of the page table are that map them.
 *
 * A value is one call, of all pages.  Before any is taken it is checked that the call holds them.
 */
#include <errno.h>
#include <string.h>

#include <daxheap.h>

#include "explain.h"
#include "pin.h"
#include "scratch.h"
#include "team.h"
#include "timer.h"

#define WARMUP	  4u
#define ENOUGH	  8u		/* values of a round, if they take longer than this: */
#define ENOUGH_NS 250000000u

/* 0 or an errno. */
static int measure_one(const struct pin_work *work, uint64_t *ticks)
{
	const struct pin_holder *by = work->pin->by;
	uint64_t start;
	int err = by->ready ? by->ready(work) : 0;

	if (err)
		return err;
	start = timer_begin();
	err = by->take(work);
	*ticks = timer_now() - start;
	if (err || !by->let_go)
		return err;
	start = timer_begin();
	err = by->let_go(work);
	if (work->pin->part == PIN_RELEASE)
		*ticks = timer_now() - start;
	return err;
}

/* 0 or an errno. */
static int measure_all(const struct pin_work *work, struct record *record)
{
	uint64_t start = timer_now(), ticks;
	int err = 0;

	for (unsigned i = 0; i < WARMUP + record->room && !err; i++) {
		err = measure_one(work, &ticks);
		if (i >= WARMUP && !err)
			record->ticks[record->count++] = ticks;
		if (record->count >= ENOUGH && timer_ns(timer_now() - start) > ENOUGH_NS)
			break;
	}
	return err;
}

static const char *explain(const struct pin *pin, const char *dir, int err)
{
	bool refused = err == EOPNOTSUPP || err == EFAULT;

	if (refused && pin->memory == PIN_OF_FILE)
		return scratch_is_dax(dir) ?
			       " (file systems with DAX allow no long-term pins)" :
			       " (of files that are written back, Linux allows no long-term pins)";
	if (refused && pin->memory == PIN_OF_DEVICE)
		return " (before Linux 6.12 io_uring takes no device DAX)";
	if (err == ENOMEM || err == ENOBUFS)
		return " (maybe too little memory may be locked: ulimit -l)";
	return "";
}

static void measure(const struct plan *plan, const struct cell *cell, struct record *record)
{
	struct pin_work work = {.pin = cell->what};
	const struct pin_holder *by = work.pin->by;
	int err;

	team_pin_self(0);
	if (!pin_memory_make(&work, plan->options->dir, record))
		return;
	err = by->begin ? by->begin(&work, record) : 0;
	if (!err)
		err = by->check(&work, record);
	record_empty(record);
	noise_begin(&record->noise);
	if (!err)
		err = measure_all(&work, record);
	noise_end(&record->noise);
	if (err && !record->refused[0])
		record_refuse(record, "refused by the kernel: %s%s", strerror(err),
			      explain(work.pin, plan->options->dir, err));
}

static void conclude(const struct plan *plan, const struct cell *cell, struct series *series,
		     const uint64_t *figures, bool not_huge)
{
	const struct pin *pin = cell->what;
	struct json_object *seen;

	if (not_huge && pin->memory == PIN_OF_FILE)
		explain_small(plan, series);
	if (series->refused || !figures[PIN_AT_LEAST])
		return;
	seen = json_object_new_object();
	json_object_object_add(seen, "held_at_least", json_object_new_uint64(figures[PIN_AT_LEAST]));
	json_object_object_add(seen, "held", json_object_new_uint64(figures[PIN_SEEN]));
	series->verified = seen;
}

/* Of device DAX; 0: it is a folder. */
static size_t find_align(const char *dir)
{
	struct daxheap_place place;
	size_t align;

	if (daxheap_get_place(dir, &place))
		die("%s", daxheap_errormsg());
	if (strcmp(place.fs_type, "devdax"))
		return 0;
	align = scratch_devdax_align(dir);
	if (!align)
		die("%s: the kernel does not tell its alignment (/sys/bus/dax/devices)", dir);
	return align;
}

int bench_pin(const struct options *options)
{
	struct plan plan = {.verb = "pin", .options = options, .measure = measure,
			    .conclude = conclude};

	pin_list(&plan, find_align(options->dir));
	return rounds_report(&plan);
}
