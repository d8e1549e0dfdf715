/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench flush: the floor below every durable store: flush and fence, stores past the cache, and
 * memcpy(), by size; by libpmem, and by the bare instructions.
 *
 * Operations are too short to be timed one by one: a value is a batch, between two stamps.
 */
#include <errno.h>
#include <fcntl.h>
#include <libpmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#endif

#include "bench.h"
#include "rounds.h"
#include "scratch.h"
#include "team.h"
#include "timer.h"

#define LINE	64u
#define FILE_MIB 16u
#define BATCH_BYTES 16384u	/* of small operations */
#define BATCHES	   128u
#define BATCHES_LARGE 24u	/* of 64 KiB and more */
#define WARMUP	4u

struct method {
	const char *name;
	bool (*is_there)(void);		/* NULL: always */
	void (*store)(char *to, const char *from, size_t size);
};

/* What is measured. */
struct flush {
	const struct method *method;
	size_t size;
};

/* --- the methods --- */

static void copy_only(char *to, const char *from, size_t size)
{
	memcpy(to, from, size);
}

static void copy_and_persist(char *to, const char *from, size_t size)
{
	memcpy(to, from, size);
	pmem_persist(to, size);
}

static void pmem_copy(char *to, const char *from, size_t size)
{
	pmem_memcpy_persist(to, from, size);
}

static void pmem_past_cache(char *to, const char *from, size_t size)
{
	pmem_memcpy(to, from, size, PMEM_F_MEM_NONTEMPORAL);
}

/* One word of each line, so that nearly all is the flush. */
static void dirty_and_persist(char *to, const char *from, size_t size)
{
	for (size_t at = 0; at < size; at += LINE)
		*(volatile char *)(to + at) = *from;
	pmem_persist(to, size);
}

#ifdef __x86_64__
static bool has_clwb(void)
{
	unsigned a, b, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_CLWB);
}

__attribute__((target("clwb"))) static void copy_and_clwb(char *to, const char *from, size_t size)
{
	memcpy(to, from, size);
	for (size_t at = 0; at < size; at += LINE)
		_mm_clwb(to + at);
	_mm_sfence();
}

static void stream(char *to, const char *from, size_t size)
{
	for (size_t at = 0; at < size; at += 16)
		_mm_stream_si128((__m128i *)(void *)(to + at),
				 _mm_load_si128((const __m128i *)(const void *)(from + at)));
	_mm_sfence();
}
#endif

static const struct method methods[] = {
	{"memcpy", NULL, copy_only},
	{"dirty-and-persist", NULL, dirty_and_persist},
	{"memcpy-and-persist", NULL, copy_and_persist},
	{"pmem_memcpy_persist", NULL, pmem_copy},
	{"pmem_memcpy-nontemporal", NULL, pmem_past_cache},
#ifdef __x86_64__
	{"plain-memcpy-clwb", has_clwb, copy_and_clwb},
	{"plain-nontemporal", NULL, stream},
#endif
};

/* --- measuring --- */

static unsigned batch_of(size_t size)
{
	return size >= BATCH_BYTES ? 1 : (unsigned)(BATCH_BYTES / size);
}

/* NULL after record_refuse(). */
static char *map_file(const char *dir, struct record *record)
{
	size_t size = (size_t)FILE_MIB << 20;
	int fd = scratch_open(dir);
	char *base = MAP_FAILED;

	if (fd >= 0 && !fallocate(fd, 0, 0, (off_t)size) && !scratch_write(fd, 0, size))
		base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (base == MAP_FAILED)
		record_refuse(record, "a file of %u MiB can't be had in %s: %s", FILE_MIB, dir,
			      strerror(errno));
	else
		for (size_t at = 0; at < size; at += 4096)
			*(volatile char *)(base + at) = 1;
	if (fd >= 0)
		close(fd);
	return base == MAP_FAILED ? NULL : base;
}

/* Each operation goes to the next place: a line that was just flushed takes longer. */
static void measure(const struct plan *plan, const struct cell *cell, struct record *record)
{
	const struct flush *flush = cell->what;
	size_t size = flush->size, end = (size_t)FILE_MIB << 20, at = 0;
	char *base, *from = aligned_alloc(4096, size < 4096 ? 4096 : size);

	team_pin_self(0);
	base = map_file(plan->options->dir, record);
	if (!base || !from)
		return;
	memset(from, 1, size);
	record_empty(record);
	noise_begin(&record->noise);
	for (unsigned i = 0; i < WARMUP + cell->room; i++) {
		uint64_t start = timer_begin(), ticks;

		for (unsigned k = 0; k < cell->batch; k++) {
			flush->method->store(base + at, from, size);
			at += size;
			at = at + size > end ? 0 : at;
		}
		ticks = timer_now() - start;
		if (i >= WARMUP)
			record->ticks[record->count++] = ticks;
	}
	noise_end(&record->noise);
}

static void add(struct plan *plan, const struct method *method, size_t size)
{
	const struct flush flush = {method, size};
	bool kilo = size >= 1024;
	struct cell *cell = plan_add(plan, &flush, sizeof(flush), "%s/%zu%s", method->name,
				     kilo ? size / 1024 : size, kilo ? "k" : "");

	if (!cell)
		return;
	cell->room = plan->options->ops ? plan->options->ops :
		     size < BATCH_BYTES ? BATCHES : BATCHES_LARGE;
	cell->batch = batch_of(size);
	report_add_string(cell->params, "method", method->name);
	json_object_object_add(cell->params, "size", json_object_new_uint64(size));
}

int bench_flush(const struct options *options)
{
	static const size_t sizes[] = {64, 256, 1024, 4096, 65536, 1048576};
	struct plan plan = {.verb = "flush", .options = options, .measure = measure};

	for (unsigned i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		for (unsigned k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
			if (!methods[i].is_there || methods[i].is_there())
				add(&plan, &methods[i], sizes[k]);
	return rounds_report(&plan);
}
