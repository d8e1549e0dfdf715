/* SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>
#include <stdio.h>
#include <string.h>
#ifdef __x86_64__
#include <cpuid.h>
#endif

#include "timer.h"

#define RDTSCP_BIT     (1u << 27)
#define CALIBRATION_NS UINT64_C(50000000)
#define STAMPS	       1000u
#define BATCHES	       20u

struct timer timer = {.ns_per_tick = 1};

/* Counters are older than the instruction; a guest's CPU may lack it. */
static bool has_rdtscp(void)
{
#ifdef __x86_64__
	unsigned a, b, c, d;

	return __get_cpuid(0x80000001, &a, &b, &c, &d) && (d & RDTSCP_BIT);
#else
	return false;
#endif
}

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

/* The least difference between two stamps that are not the same: what a stamp takes, or more where
 * counters go in steps of many ticks. */
static double find_step(void)
{
	uint64_t least = UINT64_MAX, before = timer_now();

	for (unsigned i = 0; i < STAMPS || least == UINT64_MAX; i++) {
		uint64_t now = timer_now();

		if (now != before && now - before < least)
			least = now - before;
		before = now;
	}
	return (double)least * (timer.tsc ? timer.ns_per_tick : 1);
}

/* Of one stamp: the best of some batches, since all else only adds to it. */
static double measure_cost(uint64_t (*stamp)(void))
{
	double best = INFINITY;

	for (unsigned batch = 0; batch < BATCHES; batch++) {
		uint64_t start = timer_clock();

		for (unsigned i = 0; i < STAMPS; i++)
			stamp();
		best = fmin(best, (double)(timer_clock() - start) / STAMPS);
	}
	return best;
}

static uint64_t stamp_begin(void)
{
	return timer_begin();
}

static uint64_t stamp_end(void)
{
	return timer_now();
}

void timer_start(void)
{
	timer = (struct timer){.ns_per_tick = 1};
	timer.clock_cost_ns = measure_cost(timer_clock);
	timer.cost_ns = 2 * timer.clock_cost_ns;
	timer.why = "the kernel does not keep time by a counter that can be read here";
	timer.tsc = has_rdtscp() && kernel_trusts_tsc();
	if (timer.tsc) {
		double begin = measure_cost(stamp_begin), end = measure_cost(stamp_end);

		timer.tsc_cost_ns = (begin + end) / 2;
		timer.tsc = begin + end < timer.cost_ns;
		timer.why = timer.tsc ? "cheaper than clock_gettime" : "cheaper than rdtscp";
		timer.cost_ns = fmin(timer.cost_ns, begin + end);
	}
	if (timer.tsc)
		calibrate();
	timer.step_ns = find_step();
}
