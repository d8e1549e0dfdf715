/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench agree: one thing measured in several ways.  agree.c has the list of what is measured and
 * how, agree_fault.c and agree_copy.c do it, agree_fio.c lets fio(1) do it, agree_report.c says
 * whether it came out alike.
 */
#ifndef AGREE_H
#define AGREE_H

#include <stdbool.h>

#include "bench.h"
#include "result.h"
#include "rounds.h"

#define AGREE_BLOCK 4096u	/* bytes that a copy copies */

enum agree_work {
	AGREE_FAULT_WRITE, AGREE_FAULT_READ,
	AGREE_COPY_WRITE, AGREE_COPY_READ, AGREE_COPY_PMEM,
};

enum agree_by {
	AGREE_DAXBENCH,
	AGREE_LOOP,		/* one time for many operations, nothing between them */
	AGREE_FIO,
	/* daxbench, with one thing not as fio has it, to show what that makes: */
	AGREE_BACK_TO_BACK,	/* nothing between two copies */
	AGREE_UNWRITTEN,	/* the file's space is allocated, and was never written to */
	AGREE_STRING_COPY,	/* by one instruction, as a compiler may make of memcpy() */
};

extern const char *const agree_by_names[];

/* What is measured. */
struct agree {
	enum agree_work work;
	enum agree_by by;
	bool huge;		/* faults of 2 MiB */
	unsigned ops, batch;	/* of a round; of a value */
};

/* What a verb counts besides time. */
enum agree_figure { AGREE_OPS, AGREE_FAULTS, AGREE_RANGES, AGREE_HUGE_RANGES };

/* Faults, by us and by a loop without stamps. */
void agree_measure_faults(const struct agree *agree, const struct options *options,
			  struct record *record);

/* How far it is from one copy to the next: each has to fault. */
size_t agree_step(const struct agree *agree, const char *dir);
/* The file of all copies, written, and out of the caches: false after record_refuse(). */
bool agree_make_file(const struct agree *agree, const char *dir, const char *path,
		     struct record *record);
/* Copies, by us. */
void agree_measure_copies(const struct agree *agree, const char *dir, const char *path,
			  struct record *record);
/* And by fio, whose result goes to the file @output. */
void agree_measure_by_fio(const struct agree *agree, const char *dir, const char *path,
			  const char *output, struct record *record);

/* Prints, for each thing, whether what the others found agrees with what daxbench found. */
void agree_report(const struct plan *plan, const struct result *result);

#endif
