/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "report.h"

struct totals *totals;
struct violation *violated;
enum telling telling;
void (*on_violation)(char *text, size_t size);

static atomic_uint_fast64_t *seen;
static uint64_t seen_mask;

void *shared_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		broken("no memory to share");
	return memory;
}

void violation(const char *format, ...)
{
	va_list args;
	size_t used;

	va_start(args, format);
	vsnprintf(violated->text, sizeof(violated->text), format, args);
	va_end(args);
	used = strlen(violated->text);
	if (on_violation)
		on_violation(violated->text + used, sizeof(violated->text) - used);
	fflush(stdout);
	_exit(CASE_VIOLATION);
}

void broken(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "explore: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	_exit(CASE_BROKEN);
}

void seen_init(uint64_t images)
{
	uint64_t places = 1 << 16;

	while (places < 2 * images)
		places *= 2;
	seen = shared_memory(places * sizeof(*seen));
	seen_mask = places - 1;
}

void seen_add(uint64_t hash)
{
	uint64_t at = hash & seen_mask;

	if (!seen || atomic_load(&totals->distinct) > seen_mask / 8 * 7)
		return;
	hash += !hash;
	for (;;) {
		uint64_t there = atomic_load_explicit(&seen[at], memory_order_relaxed);

		if (there == hash)
			return;
		if (!there && atomic_compare_exchange_strong(&seen[at], &there, hash)) {
			atomic_fetch_add(&totals->distinct, 1);
			return;
		}
		if (there == hash)
			return;
		if (there)
			at = (at + 1) & seen_mask;
	}
}
