/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench fio: the same thing measured by daxbench and by fio(1), in one run, their rounds taking
 * turns: whether the figures agree where both measure the same.
 *
 * That is copying 4 KiB after 4 KiB, from the begin to the end of a new file's mapping, into which
 * nothing was faulted before: by memcpy(), as fio's mmap engine does, and past the cache by
 * libpmem, as its libpmem engine does.  fio's own bins are taken over.
 *
 * One thing is not alike: between two operations fio does its bookkeeping, so that the next one
 * finds colder caches, and emptier buffers of the CPU.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <libpmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "rounds.h"
#include "scratch.h"
#include "team.h"
#include "timer.h"

#define BLOCK 4096u
#define OPS   2048u

enum work { WRITE, READ, PMEM_WRITE };

/* What is measured. */
struct pair {
	enum work work;
	bool by_fio;
};

static const char *const work_names[] = {"write/mmap", "read/mmap", "write/libpmem"};

/* --- by daxbench --- */

/* NULL after record_refuse(). */
static char *map_new_file(const struct pair *pair, const char *dir, size_t size,
			  struct record *record)
{
	int fd = scratch_open(dir), err = 0;
	char *base = MAP_FAILED;

	if (fd < 0 || fallocate(fd, 0, 0, (off_t)size))
		err = errno;
	if (!err && pair->work == READ)
		err = scratch_write(fd, 0, size);
	if (!err)
		base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		record_refuse(record, "a file can't be had in %s: %s", dir,
			      strerror(err ? err : errno));
	if (fd >= 0)
		close(fd);
	return base == MAP_FAILED ? NULL : base;
}

static void copy(const struct pair *pair, char *mapped, char *buffer)
{
	if (pair->work == READ)
		memcpy(buffer, mapped, BLOCK);
	else if (pair->work == WRITE)
		memcpy(mapped, buffer, BLOCK);
	else
		pmem_memcpy(mapped, buffer, BLOCK, PMEM_F_MEM_NONTEMPORAL | PMEM_F_MEM_NODRAIN);
}

static void measure_here(const struct pair *pair, const char *dir, unsigned ops,
			 struct record *record)
{
	static char buffer[BLOCK] __attribute__((aligned(BLOCK))) = {1};
	char *mapped = map_new_file(pair, dir, (size_t)ops * BLOCK, record);

	if (!mapped)
		return;
	record_empty(record);
	noise_begin(&record->noise);
	for (unsigned i = 0; i < ops; i++) {
		uint64_t start = timer_begin();

		copy(pair, mapped + (size_t)i * BLOCK, buffer);
		/* The compiler must not see that nobody reads what was read. */
		__asm__ volatile("" : : "r"(buffer) : "memory");
		record->ticks[record->count++] = timer_now() - start;
	}
	noise_end(&record->noise);
}

/* --- by fio --- */

/* 0 or an errno; fio's word is lost, but for its status. */
static int run_fio(const struct pair *pair, const char *file, const char *output, unsigned ops)
{
	char filename[512], out[512], size[32];
	const char *const arguments[] = {
		"fio", "--name=daxbench", filename, out, size, "--bs=4k", "--thread",
		"--output-format=json+", "--fallocate=native",
		pair->work == READ ? "--rw=read" : "--rw=write",
		pair->work == PMEM_WRITE ? "--ioengine=libpmem" : "--ioengine=mmap",
		pair->work == PMEM_WRITE ? "--direct=1" : "--direct=0", "--iodepth=1", NULL};
	int status, quiet;
	pid_t child;

	snprintf(filename, sizeof(filename), "--filename=%s", file);
	snprintf(out, sizeof(out), "--output=%s", output);
	snprintf(size, sizeof(size), "--size=%u", ops * BLOCK);
	child = fork();
	if (child < 0)
		return errno;
	if (!child) {
		quiet = open("/dev/null", O_RDWR);
		dup2(quiet, STDOUT_FILENO);
		dup2(quiet, STDERR_FILENO);
		execvp("fio", (char *const *)arguments);
		_exit(errno == ENOENT ? 127 : 126);
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return ENOENT;
	return status ? EIO : 0;
}

static struct json_object *descend(struct json_object *object, const char *const *path)
{
	for (; object && *path; path++) {
		struct json_object *next = NULL;

		if (json_object_is_type(object, json_type_array))
			next = json_object_array_get_idx(object, 0);
		else if (json_object_is_type(object, json_type_object))
			json_object_object_get_ex(object, *path, &next);
		object = next;
	}
	return object;
}

/* Of a result in fio's words, as values in ticks.  False if it is none. */
static bool take_bins(const struct pair *pair, const char *output, struct record *record)
{
	const char *const path[] = {"jobs", "the first", pair->work == READ ? "read" : "write",
				    "clat_ns", "bins", NULL};
	struct json_object *top = json_object_from_file(output), *bins = descend(top, path);
	double ticks_per_ns = timer.tsc ? 1 / timer.ns_per_tick : 1;

	if (bins && json_object_is_type(bins, json_type_object)) {
		json_object_object_foreach(bins, ns, count)
			for (int64_t i = json_object_get_int64(count);
			     i > 0 && record->count < record->room; i--)
				record->ticks[record->count++] =
					(uint64_t)((double)strtoull(ns, NULL, 10) * ticks_per_ns);
	}
	json_object_put(top);
	return record->count > 0;
}

static void measure_by_fio(const struct pair *pair, const char *dir, unsigned ops,
			   struct record *record)
{
	char *file = temporary_path(dir, "fio"), *output = temporary_path(dir, "fio.json");
	int err = run_fio(pair, file, output, ops);

	if (err == ENOENT)
		record_refuse(record, "there is no fio on this machine (apt-get install fio)");
	else if (err)
		record_refuse(record, "fio could not do it: is its engine %s there (fio "
			      "--enghelp), and %s writable?",
			      pair->work == PMEM_WRITE ? "libpmem" : "mmap", dir);
	else if (!take_bins(pair, output, record))
		record_refuse(record, "fio's result has no bins; it needs fio 3 or newer");
	unlink(file);
	unlink(output);
	free(file);
	free(output);
}

/* --- both --- */

static void measure(const struct plan *plan, const struct cell *cell, struct record *record)
{
	const struct pair *pair = cell->what;

	/* fio inherits it. */
	team_pin_self(0);
	if (pair->by_fio)
		measure_by_fio(pair, plan->options->dir, cell->room, record);
	else
		measure_here(pair, plan->options->dir, cell->room, record);
}

static void clean(const struct plan *plan, int child)
{
	static const char *const names[] = {"fio", "fio.json"};
	char *path;

	for (unsigned i = 0; i < 2; i++) {
		if (asprintf(&path, "%s/daxbench.%d.%s", plan->options->dir, child, names[i]) < 0)
			die("out of memory");
		unlink(path);
		free(path);
	}
}

static void add(struct plan *plan, const struct pair *pair)
{
	const char *by = pair->by_fio ? "fio" : "daxbench";
	struct cell *cell = plan_add(plan, pair, sizeof(*pair), "%s/%s", work_names[pair->work],
				     by);

	if (!cell)
		return;
	cell->room = plan->options->ops ? plan->options->ops : OPS;
	report_add_string(cell->params, "work", work_names[pair->work]);
	report_add_string(cell->params, "by", by);
}

int bench_fio(const struct options *options)
{
	struct plan plan = {.verb = "fio", .options = options, .measure = measure, .clean = clean};

	for (unsigned work = WRITE; work <= PMEM_WRITE; work++)
		for (unsigned by_fio = 0; by_fio < 2; by_fio++) {
			struct pair pair = {.work = work, .by_fio = by_fio};

			add(&plan, &pair);
		}
	return rounds_report(&plan);
}
