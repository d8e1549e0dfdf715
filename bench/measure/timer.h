/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Time stamps.  Where the kernel itself keeps its time by the time-stamp counter, this runs evenly
 * and alike on all CPUs, and may be read directly: that is done if it is cheaper than
 * clock_gettime(), which is measured at the start.  What both cost goes into the result.
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
	double cost_ns;			/* of a pair of stamps */
	double tsc_cost_ns;		/* of one by the counter; 0: it is not to be had */
	double clock_cost_ns;		/* and by clock_gettime() */
	double step_ns;			/* the least difference between two, but 0 */
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

/* In ticks; all that comes before is done. */
static inline uint64_t timer_now(void)
{
#ifdef __x86_64__
	unsigned cpu;

	if (timer.tsc)
		return __rdtscp(&cpu);
#endif
	return timer_clock();
}

/* The same, and what comes after has not begun. */
static inline uint64_t timer_begin(void)
{
	uint64_t ticks = timer_now();

#ifdef __x86_64__
	if (timer.tsc)
		_mm_lfence();
#endif
	return ticks;
}

/* Of a difference. */
static inline uint64_t timer_ns(uint64_t ticks)
{
	return timer.tsc ? (uint64_t)((double)ticks * timer.ns_per_tick + 0.5) : ticks;
}

#endif
