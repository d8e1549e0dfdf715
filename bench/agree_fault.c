/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench agree: page faults on the same file, prepared as for daxbench fault.  A value is that of
 * a batch of touches in a row: with stamps around each of them, added up; or with one pair around
 * all.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agree.h"
#include "doctor.h"
#include "fault.h"
#include "scratch.h"
#include "timer.h"

static inline void touch(char *at, bool write)
{
	if (write)
		*(volatile char *)at = 1;
	else
		(void)*(volatile char *)at;
}

/* As daxbench fault does it. */
static uint64_t touch_each(char *at, size_t step, unsigned count, bool write)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < count; i++, at += step) {
		uint64_t start = timer_begin();

		touch(at, write);
		sum += timer_now() - start;
	}
	return sum;
}

static uint64_t touch_all(char *at, size_t step, unsigned count, bool write)
{
	uint64_t start = timer_begin();

	for (unsigned i = 0; i < count; i++, at += step)
		touch(at, write);
	return timer_now() - start;
}

static void check_huge(const struct agree *agree, char *at, struct record *record)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	unsigned huge = 0;
	bool by_scan = true;

	if (pagemap < 0) {
		record_refuse(record, "/proc/self/pagemap: %s: the size of faults can't be seen",
			      strerror(errno));
		return;
	}
	for (unsigned i = 0; i < agree->ops; i++)
		huge += doctor_is_huge(pagemap, at + i * FAULT_HUGE, &by_scan) > 0;
	close(pagemap);
	record->figures[AGREE_RANGES] = agree->ops;
	record->figures[AGREE_HUGE_RANGES] = huge;
	/* A batch with one of them in it is of another kind. */
	record->not_huge = huge < agree->ops;
	if (record->not_huge)
		record_refuse(record, "%u of %u faults mapped 2 MiB", huge, agree->ops);
}

/* What the stamps are in a value. */
static void measure_stamps(const struct agree *agree, struct record *record)
{
	record_empty(record);
	for (unsigned i = 0; i < record->empty_count && agree->by == AGREE_DAXBENCH; i++)
		record->empty[i] *= agree->batch;
}

void agree_measure_faults(const struct agree *agree, const struct options *options,
			  struct record *record)
{
	const struct fault_place place = {.dax = scratch_is_dax(options->dir)};
	const struct fault fault = {.write = agree->work == AGREE_FAULT_WRITE,
				    .mode = FAULT_FIRST, .backing = FAULT_WRITTEN, .threads = 1,
				    .size = agree->huge ? FAULT_HUGE : FAULT_PAGE};
	size_t step = fault_step(&fault, &place);
	struct options own = *options;
	struct fault_part part;
	char *base;

	own.ops = agree->ops;
	if (!fault_prepare(&fault, &place, &own, &part, record))
		return;
	touch_all(part.base, step, fault_warmup(&fault), fault.write);
	base = part.base + fault_warmup(&fault) * step;
	measure_stamps(agree, record);
	noise_begin(&record->noise);
	for (unsigned i = 0; i < agree->ops; i += agree->batch) {
		char *at = base + i * step;

		record->ticks[record->count++] = agree->by == AGREE_LOOP ?
			touch_all(at, step, agree->batch, fault.write) :
			touch_each(at, step, agree->batch, fault.write);
	}
	noise_end(&record->noise);
	record->figures[AGREE_FAULTS] = record->noise.faults;
	if (agree->huge)
		check_huge(agree, base, record);
}
