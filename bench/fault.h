/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench fault: what one page fault takes.  fault_cells.c has the list of what is measured,
 * fault_file.c makes the files and mappings, fault.c touches them and sees what came of it.
 */
#ifndef FAULT_H
#define FAULT_H

#include <stdbool.h>
#include <stddef.h>

#include "bench.h"
#include "rounds.h"

#define FAULT_PAGE   ((size_t)4096)
#define FAULT_HUGE   ((size_t)2 << 20)
#define FAULT_PARTS  512u		/* entries of one size that another one, of the next, maps */

enum fault_mode {
	FAULT_FIRST,			/* the first touch */
	FAULT_REFAULT,			/* touched again after MADV_DONTNEED */
	FAULT_PROTECT,			/* stored to after it was read */
	FAULT_POPULATE,			/* MADV_POPULATE_WRITE (_READ), 2 MiB at once */
	FAULT_MAP_POPULATE,		/* mmap(MAP_POPULATE), 2 MiB at once: it reads */
};

enum fault_backing { FAULT_HOLE, FAULT_UNWRITTEN, FAULT_WRITTEN, FAULT_DEVICE };

/* What is measured. */
struct fault {
	bool write;
	enum fault_mode mode;
	enum fault_backing backing;
	size_t size;			/* bytes that one entry of the page table maps */
	bool sync;			/* MAP_SYNC */
	unsigned threads;
	bool separate;			/* each thread on a file of its own */
};

/* What is known of the place before anything is measured. */
struct fault_place {
	bool devdax, dax;
	size_t devdax_align, devdax_size; /* bytes */
};

/* One operation's share of the file: the distance between two. */
size_t fault_step(const struct fault *fault, const struct fault_place *place);
/* How many faults one takes. */
unsigned fault_pages(const struct fault *fault, const struct fault_place *place);
/* Operations of a round, in each thread; and those in front that are not kept. */
unsigned fault_ops(const struct fault *fault, const struct options *options);
unsigned fault_warmup(const struct fault *fault);

/* Adds all of them, as far as --only leaves them. */
void fault_list(struct plan *plan, const struct fault_place *place);

/* A part of a file that one thread works on, mapped. */
struct fault_part {
	int fd;
	size_t at, size;		/* of the file, bytes */
	char *base;
};

/* For all threads, backed and mapped as @fault says; false after record_refuse(). */
bool fault_prepare(const struct fault *fault, const struct fault_place *place,
		   const struct options *options, struct fault_part *parts,
		   struct record *record);

#endif
