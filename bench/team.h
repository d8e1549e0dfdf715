/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads that stay, each pinned to a CPU of its own, and do one thing together after another. */
#ifndef TEAM_H
#define TEAM_H

#include <stdint.h>

struct team;

/* Pins the calling thread to the @index-th CPU that its process may use; beginning anew where there
 * are fewer. */
void team_pin_self(unsigned index);
/* How many these are. */
unsigned team_cpus(void);


struct team *team_new(unsigned threads);
void team_delete(struct team *team);

/*
 * Calls @work(arg, thread) in each thread, all started at the same moment.  Returns the
 * nanoseconds from the first one's start to the last one's end.
 */
uint64_t team_do(struct team *team, void (*work)(void *arg, unsigned thread), void *arg);

#endif
