/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Time stamps.  The time-stamp counter is read directly where the kernel itself keeps its time by
 * it, so that it runs evenly and alike on all CPUs: that takes no call, and the counter waits for
 * what comes before it.  Elsewhere, in most guests without hardware virtualisation for one,
 * clock_gettime() does it.  What both cost is measured, and goes into the result.
 */
#ifndef MEASURE_TIMER_H
#define MEASURE_TIMER_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#ifdef __x86_64__
#include <x86intrin.h>
#endif

struct timer {
	bool tsc;
	double ns_per_tick;
	double cost_ns;			/* between two stamps with nothing between: the median, */
	double cost_p99_ns;
	double step_ns;			/* the least difference between two stamps */
	double clock_cost_ns;		/* and that of clock_gettime() */
	const char *why;		/* this source */
};

extern struct timer timer;

/* Chooses and calibrates; takes about 50 ms.  Before any threads. */
void timer_start(void);

static inline uint64_t timer_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* In ticks; what comes before is done, and what comes after has not begun. */
static inline uint64_t timer_now(void)
{
#ifdef __x86_64__
	if (timer.tsc) {
		unsigned cpu;
		uint64_t ticks = __rdtscp(&cpu);

		_mm_lfence();
		return ticks;
	}
#endif
	return timer_clock();
}

/* Of a difference. */
static inline uint64_t timer_ns(uint64_t ticks)
{
	return timer.tsc ? (uint64_t)((double)ticks * timer.ns_per_tick + 0.5) : ticks;
}

#endif
