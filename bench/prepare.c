/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench prepare: which way to grow a file makes the first store to each page cheapest, under
 * MAP_SYNC.
 *
 * A file grows by GROWTH bytes, in steps, behind a part that is in use and stays mapped.  Each
 * step is made durable: by msync() of what is new, which commits the file's metadata and leaves
 * the rest of the file alone.  Then a byte is stored into each page in use: a fault there was
 * caused by the growth.  Then into each page of 4 KiB of what is new, twice: what the second pass
 * takes is no cost of faults.  A fault that maps 2 MiB is one for 512 pages.
 *
 * At last it is seen whether a step waits while somebody holds a page in use, as the file system
 * does before it takes pages out of mappings.  That wait has no end of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <libpmem.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench.h"

#define MIB		((size_t)1 << 20)
#define PAGE		((size_t)4096)
#define HUGE_PAGE	(2 * MIB)
#define IN_USE		(8 * MIB)
#define GROWTH		(32 * MIB)
#define PIN_WAIT_US	200000	/* then growing counts as waiting for the pin */

/* From <linux/falloc.h> of Linux 6.17. */
#ifndef FALLOC_FL_WRITE_ZEROES
#define FALLOC_FL_WRITE_ZEROES	0x80
#endif

struct file {
	int fd;
	char *base;	/* IN_USE + GROWTH, also where the file has not grown to yet */
};

struct preparation {
	const char *name, *what;
	/* Grows the file from @from by @size; 0 or an errno. */
	int (*grow)(const struct file *file, size_t from, size_t size);
	bool fsyncs;	/* the control: a step is made durable by fsync() */
};

/* What a preparation cost; times in microseconds, all for 2 MiB of growth. */
struct cost {
	double grow_us, sync_us;
	double touch_us, faults;
	double faults_in_use;
};
#define FIGURES (sizeof(struct cost) / sizeof(double))

/* --- the preparations --- */

static int allocate_mode(const struct file *file, int mode, size_t from, size_t size)
{
	return fallocate(file->fd, mode, (off_t)from, (off_t)size) ? errno : 0;
}

static int leave_sparse(const struct file *file, size_t from, size_t size)
{
	return ftruncate(file->fd, (off_t)(from + size)) ? errno : 0;
}

static int allocate(const struct file *file, size_t from, size_t size)
{
	return allocate_mode(file, 0, from, size);
}

static int zero_range(const struct file *file, size_t from, size_t size)
{
	return allocate_mode(file, FALLOC_FL_ZERO_RANGE, from, size);
}

static int write_zeroes(const struct file *file, size_t from, size_t size)
{
	return allocate_mode(file, FALLOC_FL_WRITE_ZEROES, from, size);
}

static int write_zeros(const struct file *file, size_t from, size_t size)
{
	static char zeros[HUGE_PAGE];

	for (size_t at = from; at < from + size; at += sizeof(zeros)) {
		ssize_t written = pwrite(file->fd, zeros, sizeof(zeros), (off_t)at);

		if (written != (ssize_t)sizeof(zeros))
			return written < 0 ? errno : EIO;
	}
	return 0;
}

static int allocate_and_write(const struct file *file, size_t from, size_t size)
{
	int err = allocate(file, from, size);

	return err ? err : write_zeros(file, from, size);
}

static int allocate_and_set(const struct file *file, size_t from, size_t size)
{
	int err = allocate(file, from, size);

	if (!err)
		pmem_memset(file->base + from, 0, size, PMEM_F_MEM_NONTEMPORAL);
	return err;
}

static int allocate_and_populate(const struct file *file, size_t from, size_t size)
{
	int err = allocate(file, from, size);

	if (!err && madvise(file->base + from, size, MADV_POPULATE_WRITE))
		err = errno;
	return err;
}

/* In another mapping, the faults of which need not be durable one by one. */
static int populate_elsewhere(const struct file *file, size_t from, size_t size)
{
	void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, (off_t)from);
	int err = 0;

	if (pages == MAP_FAILED)
		return errno;
	if (madvise(pages, size, MADV_POPULATE_WRITE))
		err = errno;
	munmap(pages, size);
	return err;
}

static int allocate_and_populate_elsewhere(const struct file *file, size_t from, size_t size)
{
	int err = allocate(file, from, size);

	return err ? err : populate_elsewhere(file, from, size);
}

static const struct preparation preparations[] = {
	{"sparse", "ftruncate alone", leave_sparse, false},
	{"fallocate", "fallocate", allocate, false},
	{"zero-range", "fallocate(ZERO_RANGE)", zero_range, false},
	{"write-zeroes", "fallocate(WRITE_ZEROES), Linux 6.17", write_zeroes, false},
	{"pwrite", "zeros by pwrite", write_zeros, false},
	{"pwrite+fsync", "the same, but made durable by fsync", write_zeros, true},
	{"fallocate+pwrite", "fallocate, then zeros by pwrite", allocate_and_write, false},
	{"fallocate+memset", "fallocate, then zeros by stores into the mapping", allocate_and_set,
	 false},
	{"fallocate+populate", "fallocate, then MADV_POPULATE_WRITE", allocate_and_populate, false},
	{"fallocate+other", "fallocate, then MADV_POPULATE_WRITE in a mapping without MAP_SYNC",
	 allocate_and_populate_elsewhere, false},
};

/* --- one of them --- */

/* Where a huge page can lie. */
static char *map(int fd, size_t size)
{
	char *range = mmap(NULL, size + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *base;

	if (range == MAP_FAILED)
		die("no address space: %s", strerror(errno));
	base = (char *)(((uintptr_t)range + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
	munmap(range, (size_t)(base - range));
	munmap(base + size, (size_t)(range + HUGE_PAGE - base));
	if (mmap(base, size, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE | MAP_SYNC | MAP_FIXED, fd,
		 0) == MAP_FAILED)
		die("no MAP_SYNC there: %s; --dir must be on ext4 or xfs mounted with -o dax=always",
		    strerror(errno));
	return base;
}

static void touch(char *from, size_t size)
{
	for (size_t at = 0; at < size; at += PAGE)
		*(volatile char *)(from + at) = 1;
}

static double faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)usage.ru_minflt;
}

static double us_since(uint64_t start_ns)
{
	return (double)(now_ns() - start_ns) / 1e3;
}

static struct file create_file(const char *dir)
{
	char *path = temporary_path(dir, "prepare");
	struct file file = {.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};

	if (file.fd < 0)
		die("%s: %s", path, strerror(errno));
	unlink(path);
	free(path);
	file.base = map(file.fd, IN_USE + GROWTH);
	if (write_zeros(&file, 0, IN_USE) || fsync(file.fd))
		die("%s: no space for %zu MiB", dir, (IN_USE + GROWTH) / MIB);
	touch(file.base, IN_USE);
	return file;
}

static void close_file(struct file *file)
{
	munmap(file->base, IN_USE + GROWTH);
	close(file->fd);
}

static void make_durable(const struct preparation *preparation, const struct file *file,
			 size_t from, size_t size)
{
	if (preparation->fsyncs ? fsync(file->fd) : msync(file->base + from, size, MS_SYNC))
		die("the file can't be made durable: %s", strerror(errno));
}

/* 0 or an errno. */
static int measure(const struct preparation *preparation, const char *dir, size_t step,
		   struct cost *cost)
{
	struct file file = create_file(dir);
	uint64_t start_ns;
	double first_us;
	int err = 0;

	*cost = (struct cost){0};
	for (size_t at = IN_USE; at < IN_USE + GROWTH && !err; at += step) {
		start_ns = now_ns();
		err = preparation->grow(&file, at, step);
		cost->grow_us += us_since(start_ns);
		start_ns = now_ns();
		if (!err)
			make_durable(preparation, &file, at, step);
		cost->sync_us += us_since(start_ns);
	}
	if (!err) {
		cost->faults_in_use = -faults();
		touch(file.base, IN_USE);
		cost->faults_in_use += faults();
		cost->faults = -faults();
		start_ns = now_ns();
		touch(file.base + IN_USE, GROWTH);
		first_us = us_since(start_ns);
		cost->faults += faults();
		start_ns = now_ns();
		touch(file.base + IN_USE, GROWTH);
		cost->touch_us = first_us - us_since(start_ns);
		for (unsigned i = 0; i < FIGURES; i++)
			((double *)cost)[i] /= GROWTH / HUGE_PAGE;
		cost->faults_in_use *= (double)GROWTH / IN_USE;
	}
	close_file(&file);
	return err;
}

static int measure_rounds(const struct preparation *preparation, const struct options *options,
			  size_t step, struct cost *median_out)
{
	struct cost *costs = calloc(options->rounds, sizeof(*costs));
	double *column = calloc(options->rounds, sizeof(*column));
	int err = 0;

	if (!costs || !column)
		die("out of memory");
	for (unsigned i = 0; i < options->rounds && !err; i++)
		err = measure(preparation, options->dir, step, &costs[i]);
	for (unsigned figure = 0; figure < FIGURES && !err; figure++) {
		for (unsigned i = 0; i < options->rounds; i++)
			column[i] = ((double *)&costs[i])[figure];
		((double *)median_out)[figure] = median(column, options->rounds);
	}
	free(costs);
	free(column);
	return err;
}

static void on_alarm(int number)
{
	(void)number;
}

/* Whether growing by a step waits for a page in use that a pipe holds, until a signal comes. */
static bool waits_for_pins(const struct preparation *preparation, const char *dir, size_t step)
{
	const struct sigaction action = {.sa_handler = on_alarm};	/* no SA_RESTART */
	const struct itimerval limit = {.it_value = {.tv_usec = PIN_WAIT_US}}, none = {0};
	struct file file = create_file(dir);
	struct iovec page = {file.base, PAGE};
	int pipe_fds[2], err;

	if (pipe2(pipe_fds, O_CLOEXEC) || vmsplice(pipe_fds[1], &page, 1, 0) != PAGE)
		die("no page can be put into a pipe: %s", strerror(errno));
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &limit, NULL);
	err = preparation->grow(&file, IN_USE, step);
	setitimer(ITIMER_REAL, &none, NULL);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close_file(&file);
	return err == EINTR;
}

/* --- all of them --- */

struct row {
	const struct preparation *preparation;
	size_t step;
	int err;	/* then it was refused, and the rest means nothing */
	struct cost cost;
	bool waits;
};

static void print_row(const struct row *row)
{
	const struct cost *cost = &row->cost;

	printf("%-19s", row->preparation->name);
	if (row->err) {
		printf("  refused: %s\n", strerror(row->err));
		return;
	}
	printf("%9.1f%9.1f%9.1f%9.1f%9.1f%9.1f  %s\n", cost->grow_us, cost->sync_us,
	       cost->touch_us, cost->grow_us + cost->sync_us + cost->touch_us, cost->faults,
	       cost->faults_in_use, row->waits ? "waits" : "goes on");
}

static void add_row(struct json_object *list, const struct row *row)
{
	struct json_object *object = json_object_new_object();

	report_add_string(object, "preparation", row->preparation->name);
	report_add_number(object, "step_mib", (double)(row->step / MIB));
	json_object_array_add(list, object);
	if (row->err) {
		report_add_string(object, "refused", strerror(row->err));
		return;
	}
	report_add_number(object, "grow_us", row->cost.grow_us);
	report_add_number(object, "sync_us", row->cost.sync_us);
	report_add_number(object, "first_touch_us", row->cost.touch_us);
	report_add_number(object, "faults", row->cost.faults);
	report_add_number(object, "faults_in_use", row->cost.faults_in_use);
	json_object_object_add(object, "waits_for_pins", json_object_new_boolean(row->waits));
}

static void measure_step(const struct options *options, size_t step, struct json_object *list)
{
	bool table = prints_table(options);

	if (table)
		printf("\nsteps of %2zu MiB         grow     sync    touch      all   faults   in use"
		       "  a pin\n", step / MIB);
	for (unsigned i = 0; i < sizeof(preparations) / sizeof(preparations[0]); i++) {
		struct row row = {.preparation = &preparations[i], .step = step};

		if (!listed(options->only, row.preparation->name))
			continue;
		row.err = measure_rounds(row.preparation, options, step, &row.cost);
		row.waits = !row.err && waits_for_pins(row.preparation, options->dir, step);
		add_row(list, &row);
		if (table)
			print_row(&row);
	}
}

static void print_legend(void)
{
	puts("\ngrow: taking space; sync: making that durable; touch: the first store to each page\n"
	     "faults: in what is new; in use: in what was mapped before, caused by the growth\n"
	     "a pin: whether a step waits for whoever holds a page of the file\n");
	for (unsigned i = 0; i < sizeof(preparations) / sizeof(preparations[0]); i++)
		printf("%-19s %s\n", preparations[i].name, preparations[i].what);
}

int bench_prepare(const struct options *options)
{
	struct json_object *report = report_new(options, "prepare");
	struct json_object *list = json_object_new_array();

	if (prints_table(options))
		puts("A file grows, and a byte is stored into each new page under MAP_SYNC:\n"
		     "microseconds and faults for 2 MiB, medians");
	measure_step(options, HUGE_PAGE, list);
	measure_step(options, GROWTH, list);
	if (prints_table(options))
		print_legend();
	json_object_object_add(report, "prepare", list);
	report_write(options, report);
	return EXIT_SUCCESS;
}
