/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench pin: whether pages were held at all.  A call that succeeds may have copied, or have
 * found nothing to do; then its time is that of something else.
 *
 * The kernel counts what it pins and lets go (nr_foll_pin_* in /proc/vmstat), of the whole machine:
 * others can only add to it.  A CPU keeps up to 125 of each NUMA node to itself, so many are taken,
 * and half of them must be seen.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "pin.h"

#define CHECK_PINS 1024u

/* The number behind @key; false: there is none. */
static bool read_number(const char *path, const char *key, uint64_t *value)
{
	FILE *file = fopen(path, "re");
	size_t length = strlen(key);
	bool found = false;
	char line[256];

	while (file && !found && fgets(line, sizeof(line), file))
		found = !strncmp(line, key, length) &&
			sscanf(line + length, " %" SCNu64, value) == 1;
	if (file)
		fclose(file);
	return found;
}

/* 0 or an errno. */
static int take_and_let_go(const struct pin_work *work)
{
	const struct pin_holder *by = work->pin->by;
	int err = by->ready ? by->ready(work) : 0;

	if (!err)
		err = by->take(work);
	if (!err && by->let_go)
		err = by->let_go(work);
	return err;
}

/* What the kernel has pinned and let go so far. */
struct pinned {
	uint64_t acquired, released;
};

static bool read_pinned(struct pinned *pinned)
{
	return read_number("/proc/vmstat", "nr_foll_pin_acquired", &pinned->acquired) &&
	       read_number("/proc/vmstat", "nr_foll_pin_released", &pinned->released);
}

/* How many pages were held, and let go again if that was to be.  0 or an errno. */
static int count(const struct pin_work *work, uint64_t *at_least, uint64_t *seen)
{
	unsigned times = (CHECK_PINS + work->pin->pages - 1) / work->pin->pages;
	struct pinned before, after;
	int err = 0;

	if (!read_pinned(&before))
		return ENOSYS;
	for (unsigned i = 0; i < times && !err; i++)
		err = take_and_let_go(work);
	if (!err && !read_pinned(&after))
		err = ENOSYS;
	if (err)
		return err;
	*at_least = (uint64_t)times * work->pin->pages / 2;
	*seen = after.acquired - before.acquired;
	if (!work->pin->by->late && after.released - before.released < *seen)
		*seen = after.released - before.released;
	return 0;
}

int pin_check_judge(struct record *record, uint64_t at_least, uint64_t seen)
{
	record->figures[PIN_AT_LEAST] += at_least;
	record->figures[PIN_SEEN] += seen;
	if (seen >= at_least)
		return 0;
	record_refuse(record, "%" PRIu64 " of at least %" PRIu64 " pages were held: this is not the time "
		      "of holding them", seen, at_least);
	return EIO;
}

int pin_check_counted(const struct pin_work *work, struct record *record)
{
	uint64_t at_least, seen;
	int err = count(work, &at_least, &seen);

	return err ? err : pin_check_judge(record, at_least, seen);
}

int pin_check_maybe_counted(const struct pin_work *work, struct record *record)
{
	uint64_t at_least, seen;
	int err = count(work, &at_least, &seen);

	if (err)
		return err;
	if (seen >= at_least)
		return pin_check_judge(record, at_least, seen);
	snprintf(record->note, sizeof(record->note), "this kernel does not count what it holds for "
		 "direct I/O: that pages were held is not verified");
	return 0;
}

int pin_check_locked(const struct pin_work *work, struct record *record)
{
	uint64_t before, held, after, wanted = work->size / 1024;
	int err;

	if (!read_number("/proc/self/status", "VmPin:", &before))
		return ENOSYS;
	err = work->pin->by->take(work);
	if (err)
		return err;
	read_number("/proc/self/status", "VmPin:", &held);
	err = work->pin->by->let_go(work);
	if (err)
		return err;
	read_number("/proc/self/status", "VmPin:", &after);
	/* Newer kernels do not count what io_uring holds for a user that may lock all memory. */
	if (held == before)
		return pin_check_counted(work, record);
	if (held >= before + wanted && after == before)
		return pin_check_judge(record, wanted, held - before);
	record_refuse(record, "of %" PRIu64 " KiB, %" PRIu64 " were held (VmPin), and %" PRIu64
		      " after they were let go: this is not the time of holding them", wanted,
		      held - before, after - before);
	return EIO;
}
