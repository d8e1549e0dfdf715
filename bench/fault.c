/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench fault: what one page fault takes, and that it is one, of the size that it claims.
 *
 * Each operation touches one byte of memory that is not mapped yet, or not for stores.  Afterwards
 * the kernel is asked: how many faults each thread took in its loop, and for each range of 2 MiB
 * whether one entry of the page table maps it.  A value of a huge fault whose range is not huge is
 * thrown away; a touch that did not fault spoils the series.  Of device DAX, all of what one fault
 * mapped is touched in the end, and must not fault: to ask for an entry of 1 GiB would split it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <daxheap.h>

#include "doctor.h"
#include "explain.h"
#include "fault.h"
#include "scratch.h"
#include "team.h"
#include "timer.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

enum figure { TOUCHES, FAULTS, RANGES, HUGE_RANGES, DROPPED, REST, REST_FAULTS };

/* Of a round. */
struct work {
	const struct fault *fault;
	size_t step;
	unsigned pages;			/* faults that an operation takes */
	unsigned ops, warmup;
	struct fault_part parts[MAX_THREADS];
	uint64_t *ticks;		/* ops of each thread */
	uint64_t faults[MAX_THREADS];	/* that each thread took in its loop */
	int failed;			/* an errno */
	struct record *record;
};

/* A store to a device: what somebody has there stays. */
static inline void store_as_is(char *at)
{
#ifdef __x86_64__
	__asm__ volatile("lock addb $0, %0" : "+m"(*at));
#else
	__atomic_fetch_add(at, 0, __ATOMIC_RELAXED);
#endif
}

static inline void touch(const struct fault *fault, char *at, bool write)
{
	if (!write)
		(void)*(volatile char *)at;
	else if (fault->backing == FAULT_DEVICE)
		store_as_is(at);
	else
		*(volatile char *)at = 1;
}

static int operate(const struct work *work, const struct fault_part *part, char *at)
{
	const struct fault *fault = work->fault;
	int flags = fault->sync ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED;

	switch (fault->mode) {
	case FAULT_POPULATE:
		return madvise(at, work->step,
			       fault->write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
	case FAULT_MAP_POPULATE:
		return mmap(at, work->step, PROT_READ | PROT_WRITE,
			    flags | MAP_FIXED | MAP_POPULATE, part->fd,
			    (off_t)(part->at + (size_t)(at - part->base))) == at ? 0 : -1;
	default:
		touch(fault, at, fault->write);
		return 0;
	}
}

static uint64_t faults_of_thread(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return (uint64_t)(usage.ru_minflt + usage.ru_majflt);
}

static void work_of_thread(void *arg, unsigned thread)
{
	struct work *work = arg;
	const struct fault_part *part = &work->parts[thread];
	uint64_t *ticks = work->ticks + (size_t)thread * work->ops;
	char *at = part->base + work->warmup * work->step;
	uint64_t faults = faults_of_thread();

	for (unsigned i = 0; i < work->ops; i++, at += work->step) {
		uint64_t start = timer_begin();
		int err = operate(work, part, at);

		ticks[i] = timer_now() - start;
		if (err)
			work->failed = errno;
	}
	work->faults[thread] = faults_of_thread() - faults;
}

/* In each thread: the first operations, which are not kept. */
static void warm_up(void *arg, unsigned thread)
{
	struct work *work = arg;
	const struct fault_part *part = &work->parts[thread];

	for (unsigned i = 0; i < work->warmup; i++)
		if (operate(work, part, part->base + i * work->step))
			work->failed = errno;
}

/* On the CPU that the first thread's operations are timed on. */
static void measure_harness(void *arg, unsigned thread)
{
	struct work *work = arg;

	if (thread == 0)
		record_empty(work->record);
}

/* What must have happened to the pages before. */
static void make_history(void *arg, unsigned thread)
{
	struct work *work = arg;
	const struct fault_part *part = &work->parts[thread];

	if (work->fault->mode != FAULT_REFAULT && work->fault->mode != FAULT_PROTECT)
		return;
	for (size_t at = 0; at < part->size; at += work->fault->size)
		touch(work->fault, part->base + at,
		      work->fault->write && work->fault->mode == FAULT_REFAULT);
	if (work->fault->mode == FAULT_REFAULT && madvise(part->base, part->size, MADV_DONTNEED))
		work->failed = errno;
}

/* --- what came of it --- */

static char *place_of(const struct work *work, unsigned nth)
{
	return work->parts[nth / work->ops].base + (work->warmup + nth % work->ops) * work->step;
}

/* How many of the 2 MiB that an operation maps must be huge: whether all are. */
static bool is_huge_here(int pagemap, const char *at, size_t step, bool *by_scan,
			 struct record *record)
{
	bool all = true;

	for (size_t i = 0; i < step; i += FAULT_HUGE) {
		bool huge = doctor_is_huge(pagemap, at + i, by_scan) > 0;

		record->figures[RANGES]++;
		record->figures[HUGE_RANGES] += huge;
		all &= huge;
	}
	return all;
}

/* Keeps the values of those operations alone that a huge entry came of; false after
 * record_refuse().  Of 1 GiB, on device DAX alone, the page table is not asked: such a device has
 * no smaller entries. */
static bool keep_huge(const struct work *work, struct record *record)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	unsigned kept = 0, all = work->ops * work->fault->threads;
	bool by_scan = true;

	if (pagemap < 0) {
		record_refuse(record, "/proc/self/pagemap: %s: the size of faults can't be seen",
			      strerror(errno));
		return false;
	}
	for (unsigned i = 0; i < all; i++)
		if (is_huge_here(pagemap, place_of(work, i), work->step, &by_scan, record))
			work->ticks[kept++] = work->ticks[i];
	close(pagemap);
	record->count = kept;
	record->figures[DROPPED] += all - kept;
	if (kept < all)
		snprintf(record->note, sizeof(record->note),
			 "some of its ranges were not mapped huge: they are left out");
	record->not_huge = kept * 2 < all;
	if (record->not_huge)
		record_refuse(record, "%u of %u faults mapped 2 MiB", kept, all);
	return !record->not_huge;
}

/* Of the loops alone: what the harness faults in elsewhere is not counted in. */
static uint64_t count_faults(const struct work *work)
{
	uint64_t faults = 0;

	for (unsigned i = 0; i < work->fault->threads; i++)
		faults += work->faults[i];
	return faults;
}

/* Touches the two ends of each of 512 parts, which would be entries of the next smaller size.
 * False after record_refuse(). */
static bool check_rest(const struct work *work, struct record *record)
{
	unsigned all = work->ops * work->fault->threads;
	size_t part = work->fault->size / FAULT_PARTS;
	uint64_t more = count_faults(work);
	struct noise noise;

	noise_begin(&noise);
	for (unsigned i = 0; i < all; i++) {
		char *at = place_of(work, i), *end = at + work->fault->size;

		for (; at < end; at += part) {
			touch(work->fault, at, false);
			touch(work->fault, at + part - 1, false);
		}
	}
	noise_end(&noise);
	record->figures[REST] += 2u * FAULT_PARTS * all;
	record->figures[REST_FAULTS] += noise.faults;
	more += noise.faults;
	/* If a single one was small, its other parts faulted; far fewer were others' faults. */
	if (more < all * work->pages + FAULT_PARTS - 1)
		return true;
	record_refuse(record, "it took %" PRIu64 " faults to touch all of %u pages: they were not of "
		      "%zu MiB", more, all * work->pages, work->fault->size >> 20);
	return false;
}

static void judge(const struct work *work, struct record *record)
{
	const struct fault *fault = work->fault;
	uint64_t faults = count_faults(work), touches = (uint64_t)work->ops * fault->threads;

	record->count = (unsigned)touches;
	touches *= work->pages;
	record->figures[TOUCHES] += touches;
	record->figures[FAULTS] += faults;
	/* What is left are faults of the harness's own, and others'. */
	record->noise.faults -= faults;
	if (work->failed)
		record_refuse(record, "refused by the kernel: %s", strerror(work->failed));
	else if (fault->backing == FAULT_DEVICE && fault->size > FAULT_PAGE &&
		 !check_rest(work, record))
		return;
	/* Of 2 MiB, what the page table looks like comes first: it says why. */
	else if (fault->size == FAULT_HUGE && !keep_huge(work, record))
		return;
	else if (faults < touches)
		record_refuse(record, "%" PRIu64 " faults for %" PRIu64 " %s: not each of them "
			      "takes a fault here", faults, touches,
			      fault->mode == FAULT_PROTECT ? "stores after a read" : "touches");
	else if (faults > touches && !record->note[0])
		snprintf(record->note, sizeof(record->note),
			 "some touches took more than one fault");
}

static struct fault_place look_at(const char *dir)
{
	struct daxheap_place seen;
	struct fault_place found = {0};

	if (daxheap_get_place(dir, &seen))
		die("%s", daxheap_errormsg());
	found.devdax = !strcmp(seen.fs_type, "devdax");
	found.dax = !found.devdax && scratch_is_dax(dir);
	if (found.devdax) {
		found.devdax_align = scratch_devdax_align(dir);
		found.devdax_size = scratch_devdax_size(dir);
	}
	return found;
}

static void measure(const struct plan *plan, const struct cell *cell, struct record *record)
{
	const struct fault_place place = look_at(plan->options->dir);
	const struct fault *fault = cell->what;
	static struct work work;
	struct team *team;

	work = (struct work){.fault = fault, .step = fault_step(fault, &place),
			     .pages = fault_pages(fault, &place),
			     .ops = fault_ops(fault, plan->options), .warmup = fault_warmup(fault),
			     .ticks = record->ticks, .record = record};
	if (fault->threads > team_cpus()) {
		record_refuse(record, "there are %u CPUs only", team_cpus());
		return;
	}
	if (!fault_prepare(fault, &place, plan->options, work.parts, record))
		return;
	team = team_new(fault->threads);
	team_do(team, make_history, &work);
	team_do(team, warm_up, &work);
	team_do(team, measure_harness, &work);
	noise_begin(&record->noise);
	team_do(team, work_of_thread, &work);
	noise_end(&record->noise);
	judge(&work, record);
	team_delete(team);
}

/* --- the whole --- */

static void conclude(const struct plan *plan, const struct cell *cell, struct series *series,
		     const uint64_t *figures, bool not_huge)
{
	const struct fault *fault = cell->what;
	struct json_object *seen;

	if (not_huge)
		explain_small(plan, series);
	if (series->refused)
		return;
	seen = json_object_new_object();
	json_object_object_add(seen, "faults_expected", json_object_new_uint64(figures[TOUCHES]));
	json_object_object_add(seen, "faults", json_object_new_uint64(figures[FAULTS]));
	if (fault->size == FAULT_HUGE) {
		json_object_object_add(seen, "ranges", json_object_new_uint64(figures[RANGES]));
		json_object_object_add(seen, "huge_ranges",
				       json_object_new_uint64(figures[HUGE_RANGES]));
		json_object_object_add(seen, "values_left_out",
				       json_object_new_uint64(figures[DROPPED]));
	}
	if (figures[REST]) {
		json_object_object_add(seen, "rest_touched", json_object_new_uint64(figures[REST]));
		json_object_object_add(seen, "rest_faults",
				       json_object_new_uint64(figures[REST_FAULTS]));
	}
	series->verified = seen;
}

int bench_fault(const struct options *options)
{
	struct plan plan = {.verb = "fault", .options = options, .measure = measure,
			    .conclude = conclude};
	const struct fault_place place = look_at(options->dir);

	fault_list(&plan, &place);
	return rounds_report(&plan);
}
