/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench truncate: what truncate, the modes of fallocate and unlink take, each time of a new
 * file; and umount (truncate_umount.c).
 *
 * With pins, a pipe holds pages of another part of the file, and lets them go after a known time.
 * On DAX the call waits for that.  "whole" is all of the call; "wake" is what it takes from the
 * moment on at which the holder begins to let go, so how fast the waiter goes on.  A call that has
 * returned before has not waited, and is no value.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scratch.h"
#include "team.h"
#include "timer.h"
#include "truncate.h"

enum figure { CALLS, EXTENTS, WAITED };

static int operate(const struct reclaim *reclaim, const struct reclaim_file *file)
{
	off_t at = (off_t)reclaim_at(reclaim), size = (off_t)reclaim->size;
	off_t end = (off_t)reclaim_file_size(reclaim);

	switch (reclaim->call) {
	case RECLAIM_TRUNCATE:
		return ftruncate(file->fd, at);
	case RECLAIM_PUNCH:
		return fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, size);
	case RECLAIM_ZERO:
		return fallocate(file->fd, FALLOC_FL_ZERO_RANGE, at, size);
	case RECLAIM_COLLAPSE:
		return fallocate(file->fd, FALLOC_FL_COLLAPSE_RANGE, at, size);
	case RECLAIM_GROW:
		return ftruncate(file->fd, end + size);
	case RECLAIM_ALLOCATE:
		return fallocate(file->fd, 0, end, size);
	default:
		return unlink(file->path);
	}
}

/* Of the file's part in front, which must be there to be held. */
static void touch_lead(const struct reclaim *reclaim, char *base)
{
	for (size_t at = 0; at < reclaim->pins * RECLAIM_PAGE; at += RECLAIM_PAGE)
		*(volatile char *)(base + at) = 1;
}

/* The call, with pins or without.  False after record_refuse(). */
static bool time_call(const struct reclaim *reclaim, const struct reclaim_file *file,
		      struct record *record, uint64_t *ticks, bool *waited)
{
	struct hold hold;
	uint64_t start, end;
	int err;

	if (reclaim->pins) {
		touch_lead(reclaim, file->mappings[0]);
		err = hold_begin(&hold, file->mappings[0], reclaim->pins);
		if (err) {
			record_refuse(record, "a pipe can't hold %u pages of a file here: %s",
				      reclaim->pins, strerror(err));
			return false;
		}
		hold_count_down(&hold);
	}
	start = timer_begin();
	err = operate(reclaim, file) ? errno : 0;
	end = timer_now();
	if (reclaim->pins)
		hold_end(&hold);
	*waited = reclaim->pins && end > hold.released;
	*ticks = end - (reclaim->wake && *waited ? hold.released : start);
	if (err)
		record_refuse(record, "refused by the kernel: %s", strerror(err));
	return !err;
}

/* False after record_refuse(). */
static bool measure_one(const struct reclaim *reclaim, const char *dir, struct record *record,
			bool keep)
{
	struct reclaim_file file;
	uint64_t ticks = 0;
	struct noise noise;
	bool ok, waited = false;

	ok = reclaim_open(reclaim, dir, &file, record);
	if (ok && reclaim->call == RECLAIM_UMOUNT) {
		ok = reclaim_umount(dir, record, &noise, &ticks);
	} else if (ok) {
		noise_begin(&noise);
		ok = time_call(reclaim, &file, record, &ticks, &waited);
		noise_end(&noise);
	}
	reclaim_close(reclaim, &file);
	if (reclaim->call == RECLAIM_UMOUNT)
		reclaim_remove(dir, getpid());
	if (!ok || !keep)
		return ok;
	noise_add(&record->noise, &noise);
	record->figures[CALLS]++;
	record->figures[EXTENTS] += file.extents;
	record->figures[WAITED] += waited;
	if (waited || !reclaim->wake)
		record->ticks[record->count++] = ticks;
	return true;
}

static void measure(const struct plan *plan, const struct cell *cell, struct record *record)
{
	const struct reclaim *reclaim = cell->what;
	const char *dir = plan->options->dir;
	unsigned ops = reclaim_ops(reclaim, plan->options);

	team_pin_self(0);
	record_empty(record);
	for (unsigned i = 0; i <= ops; i++)
		if (!measure_one(reclaim, dir, record, i > 0))
			return;
	if (reclaim->extents > 1 && record->figures[EXTENTS] < (uint64_t)ops * reclaim->extents)
		record_refuse(record, "the file has not %u extents here, as far as FIEMAP tells",
			      reclaim->extents);
	if (reclaim->wake && record->count * 2 < ops)
		record_refuse(record, "it does not wait for pages that are held here (%u of %u "
			      "calls did)", record->count, ops);
}

static void conclude(const struct plan *plan, const struct cell *cell, struct series *series,
		     const uint64_t *figures, bool not_huge)
{
	const struct reclaim *reclaim = cell->what;
	struct json_object *seen;

	(void)plan, (void)not_huge;
	if (series->refused || !figures[CALLS])
		return;
	seen = json_object_new_object();
	report_add_number(seen, "extents", (double)figures[EXTENTS] / (double)figures[CALLS]);
	if (reclaim->pins) {
		json_object_object_add(seen, "calls", json_object_new_uint64(figures[CALLS]));
		json_object_object_add(seen, "waited", json_object_new_uint64(figures[WAITED]));
	}
	series->verified = seen;
	if (reclaim->pins && figures[WAITED] * 2 < figures[CALLS] && !series->note)
		series->note = strdup("it does not wait for pages that are held");
}

static bool has_umount(const struct plan *plan)
{
	for (unsigned i = 0; i < plan->count; i++) {
		const struct reclaim *reclaim = plan->cells[i].what;

		if (reclaim->call == RECLAIM_UMOUNT)
			return true;
	}
	return false;
}

/* A process that was killed may have left its files, or no file system. */
static void clean(const struct plan *plan, int child)
{
	if (has_umount(plan))
		reclaim_umount_clean(plan->options->dir);
	reclaim_remove(plan->options->dir, child);
}

int bench_truncate(const struct options *options)
{
	struct plan plan = {.verb = "truncate", .options = options, .measure = measure,
			    .conclude = conclude, .clean = clean};
	int status;

	reclaim_list(&plan);
	if (!has_umount(&plan) || options->list)
		return rounds_report(&plan);
	reclaim_umount_begin(options);
	status = rounds_report(&plan);
	reclaim_umount_end();
	return status;
}
