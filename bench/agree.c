/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench agree: the same measured by others, in the same rounds: whether the figures agree where
 * both measure the same.
 *
 * A page fault, against a loop that touches page after page and takes the time of many (as the
 * page_fault tests of will-it-scale do): what the stamps around each operation make of it.  Copying
 * 4 KiB from or to a page that is not mapped yet, against fio's engines mmap and libpmem.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agree.h"
#include "explain.h"
#include "team.h"

#define FAULTS	    1024u
#define FAULTS_HUGE 24u
#define COPIES	    1024u
#define BATCH	    64u

const char *const agree_by_names[] = {"daxbench", "loop", "fio", "back-to-back",
					"unwritten", "string-copy"};

static const char *const work_names[] = {"fault-write", "fault-read", "write/mmap", "read/mmap",
					 "write/libpmem"};
static const char *const file_names[] = {"agree", "agree.json"};

static bool is_fault(const struct agree *agree)
{
	return agree->work == AGREE_FAULT_WRITE || agree->work == AGREE_FAULT_READ;
}

static void measure_copies(const struct agree *agree, const char *dir, struct record *record)
{
	char *path = temporary_path(dir, file_names[0]);
	char *output = temporary_path(dir, file_names[1]);

	if (!agree_make_file(agree, dir, path, record))
		;
	else if (agree->by == AGREE_FIO)
		agree_measure_by_fio(agree, dir, path, output, record);
	else
		agree_measure_copies(agree, dir, path, record);
	unlink(path);
	unlink(output);
	free(path);
	free(output);
}

/* Interference is what comes beside them. */
static void take_off_expected_faults(const struct agree *agree, struct noise *noise)
{
	noise->faults -= noise->faults < agree->ops ? noise->faults : agree->ops;
}

static void measure(const struct plan *plan, const struct cell *cell, struct record *record)
{
	const struct agree *agree = cell->what;

	/* fio inherits it. */
	team_pin_self(0);
	if (is_fault(agree))
		agree_measure_faults(agree, plan->options, record);
	else
		measure_copies(agree, plan->options->dir, record);
	take_off_expected_faults(agree, &record->noise);
	record->figures[AGREE_OPS] = agree->ops;
	if (record->refused[0] || agree->huge ||
	    record->figures[AGREE_FAULTS] >= record->figures[AGREE_OPS])
		return;
	record_refuse(record, "%u faults in %u operations: not each of them faults here",
		      (unsigned)record->figures[AGREE_FAULTS], agree->ops);
}

static void conclude(const struct plan *plan, const struct cell *cell, struct series *series,
		     const uint64_t *figures, bool not_huge)
{
	const struct agree *agree = cell->what;

	if (not_huge)
		explain_small(plan, series);
	if (series->refused)
		return;
	series->verified = json_object_new_object();
	json_object_object_add(series->verified, "operations",
			       json_object_new_uint64(figures[AGREE_OPS]));
	json_object_object_add(series->verified, "faults",
			       json_object_new_uint64(figures[AGREE_FAULTS]));
	if (!agree->huge)
		return;
	json_object_object_add(series->verified, "ranges",
			       json_object_new_uint64(figures[AGREE_RANGES]));
	json_object_object_add(series->verified, "huge_ranges",
			       json_object_new_uint64(figures[AGREE_HUGE_RANGES]));
}

/* Should the child have died. */
static void clean(const struct plan *plan, int child)
{
	char *path;

	for (unsigned i = 0; i < sizeof(file_names) / sizeof(file_names[0]); i++) {
		if (asprintf(&path, "%s/daxbench.%d.%s", plan->options->dir, child,
			     file_names[i]) < 0)
			die("out of memory");
		unlink(path);
		free(path);
	}
}

static void add(struct plan *plan, struct agree agree)
{
	const char *work = work_names[agree.work], *by = agree_by_names[agree.by];
	const char *size = !is_fault(&agree) ? "" : agree.huge ? "/2m" : "/4k";
	struct cell *cell;

	if (plan->options->ops)
		agree.ops = plan->options->ops;
	agree.batch = 1;
	if (is_fault(&agree)) {
		/* Enough values for a median. */
		agree.batch = agree.ops >= 8 * BATCH ? BATCH : agree.ops >= 16 ? agree.ops / 8 : 1;
		agree.ops -= agree.ops % agree.batch;
	}
	cell = plan_add(plan, &agree, sizeof(agree), "%s%s/%s", work, size, by);
	if (!cell)
		return;
	cell->room = agree.ops / agree.batch;
	cell->batch = agree.batch;
	report_add_string(cell->params, "work", work);
	report_add_string(cell->params, "by", by);
	json_object_object_add(cell->params, "size", json_object_new_int(agree.huge ? 2 << 20 :
									  4096));
}

static void add_faults(struct plan *plan, bool huge)
{
	for (unsigned work = AGREE_FAULT_WRITE; work <= AGREE_FAULT_READ; work++)
		for (unsigned by = AGREE_DAXBENCH; by <= AGREE_LOOP; by++)
			add(plan, (struct agree){.work = work, .by = by, .huge = huge,
						 .ops = huge ? FAULTS_HUGE : FAULTS});
}

/* In @ways, a set of bits, beside daxbench's own. */
static void add_copies(struct plan *plan, enum agree_work work, unsigned ways)
{
	for (unsigned by = AGREE_DAXBENCH; by <= AGREE_STRING_COPY; by++)
		if (by == AGREE_DAXBENCH || (ways & 1u << by))
			add(plan, (struct agree){.work = work, .by = by, .ops = COPIES});
}

static void list(struct plan *plan)
{
	const unsigned both = 1u << AGREE_FIO | 1u << AGREE_BACK_TO_BACK;
	const unsigned unwritten = 1u << AGREE_UNWRITTEN;
	unsigned string = 0;

#ifdef __x86_64__
	string = 1u << AGREE_STRING_COPY;
#endif
	add_faults(plan, false);
	add_faults(plan, true);
	add_copies(plan, AGREE_COPY_WRITE, both | unwritten | string);
	add_copies(plan, AGREE_COPY_READ, both | string);
	add_copies(plan, AGREE_COPY_PMEM, both | unwritten);
}

int bench_agree(const struct options *options)
{
	struct plan plan = {.verb = "agree", .options = options, .measure = measure,
			    .conclude = conclude, .clean = clean, .remark = agree_report};
	struct stat stat_buf;

	if (stat(options->dir, &stat_buf) || !S_ISDIR(stat_buf.st_mode))
		die("%s is no folder: daxbench agree makes files", options->dir);
	list(&plan);
	return rounds_report(&plan);
}
