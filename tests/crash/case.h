/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A case: a sequence of operations and all that follows from its seed.  Each runs in a process
 * of its own, so that nothing of another is left, and a crash of the explorer is a violation
 * like any other.
 */
#ifndef CRASH_CASE_H
#define CRASH_CASE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "report.h"
#include "stage.h"

struct control;

struct case_spec {
	uint64_t seed;
	unsigned threads;		/* at most */
	unsigned steps;			/* 0: by the seed */
	bool dropped[STEPS_MAX];
	bool still[STEPS_MAX];
	unsigned from;			/* no images before this step */
	bool thorough;			/* more samples of each crash: for shrinking */
	const struct control *control;	/* NULL: none */
};

/* Makes the pools that cases begin with; once, before all cases. */
void cases_prepare(void);

/* The steps of a case. */
void case_plan(const struct case_spec *spec, struct play *play);

/* Runs the case in a child, which tells in @result what it found. */
pid_t case_start(const struct case_spec *spec, struct violation *result);
/* Whether the child found a violation; says so in @result if a signal ended it. */
bool case_found(int status, struct violation *result);
/* Start and wait. */
bool case_run(const struct case_spec *spec, struct violation *result);

#endif
