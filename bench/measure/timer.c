/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "histogram.h"
#include "timer.h"

#define CALIBRATION_NS UINT64_C(50000000)
#define STAMPS	       20000u

struct timer timer = {.ns_per_tick = 1};

/* Whether the kernel keeps time by the counter. */
static bool kernel_trusts_tsc(void)
{
	char name[32] = "";
	FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
	bool read = file && fgets(name, sizeof(name), file);

	if (file)
		fclose(file);
	return read && !strncmp(name, "tsc", 3);
}

/* One pair of both clocks: of a few, the one that took least time. */
static void read_pair(uint64_t *ticks, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < 16; i++) {
		uint64_t before = timer_now(), clock = timer_clock(), after = timer_now();

		if (after - before >= best)
			continue;
		best = after - before;
		*ticks = before + best / 2;
		*ns = clock;
	}
}

static void calibrate(void)
{
	uint64_t ticks, ns, ticks_end, ns_end;

	read_pair(&ticks, &ns);
	while (timer_clock() - ns < CALIBRATION_NS)
		;
	read_pair(&ticks_end, &ns_end);
	timer.ns_per_tick = (double)(ns_end - ns) / (double)(ticks_end - ticks);
}

/* Counters may go in steps of many ticks: then costs are multiples of that. */
static uint64_t least_step(const struct histogram *costs)
{
	uint64_t before = 0, least = UINT64_MAX;

	for (unsigned bin = 1; bin < HISTOGRAM_BINS; bin++) {
		uint64_t low = histogram_low(bin);

		if (!costs->bins[bin])
			continue;
		least = low - before < least ? low - before : least;
		before = low;
	}
	return least == UINT64_MAX ? 0 : least;
}

/* Between two stamps.  In ticks: of a counter at 3 GHz a ns is too coarse. */
static void measure_cost(double *median_ns, double *p99_ns)
{
	static struct histogram costs;
	double scale = timer.tsc ? timer.ns_per_tick : 1;

	costs = (struct histogram){0};
	for (unsigned i = 0; i < STAMPS; i++) {
		uint64_t start = timer_now();

		histogram_add(&costs, timer_now() - start, 1);
	}
	*median_ns = scale * (double)histogram_percentile(&costs, 50);
	*p99_ns = scale * (double)histogram_percentile(&costs, 99);
	timer.step_ns = scale * (double)least_step(&costs);
}

void timer_start(void)
{
	double unused;

	timer = (struct timer){.ns_per_tick = 1};
	measure_cost(&timer.clock_cost_ns, &unused);
#ifdef __x86_64__
	timer.tsc = kernel_trusts_tsc();
	timer.why = timer.tsc ? "the kernel keeps time by the time-stamp counter" :
				"the kernel does not keep time by the time-stamp counter";
#else
	timer.why = "this CPU's counter is not read directly";
#endif
	if (timer.tsc)
		calibrate();
	measure_cost(&timer.cost_ns, &timer.cost_p99_ns);
}
