/* SPDX-License-Identifier: BSD-3-Clause */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"
#include "team.h"

struct member {
	struct team *team;
	unsigned index;
	pthread_t thread;
	uint64_t start_ns, end_ns;
};

struct team {
	unsigned threads;
	pthread_barrier_t begin, end;
	atomic_uint arrived;		/* spun on, so that all start at once */
	void (*work)(void *arg, unsigned thread);	/* NULL: go home */
	void *arg;
	struct member members[MAX_THREADS];
};

static void *member_main(void *arg)
{
	struct member *member = arg;
	struct team *team = member->team;

	for (;;) {
		pthread_barrier_wait(&team->begin);
		if (!team->work)
			return NULL;
		atomic_fetch_add(&team->arrived, 1);
		while (atomic_load(&team->arrived) < team->threads)
			sched_yield();
		member->start_ns = now_ns();
		team->work(team->arg, member->index);
		member->end_ns = now_ns();
		pthread_barrier_wait(&team->end);
	}
}

static cpu_set_t allowed;	/* by the process, before any thread was pinned */

static void learn_allowed(void)
{
	if (!CPU_COUNT(&allowed) && sched_getaffinity(getpid(), sizeof(allowed), &allowed))
		die("sched_getaffinity failed");
}

/* The @index-th CPU that this process may use. */
static cpu_set_t nth_cpu(unsigned index)
{
	cpu_set_t one;

	learn_allowed();
	CPU_ZERO(&one);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &allowed) && index-- == 0) {
			CPU_SET(cpu, &one);
			return one;
		}
	}
	die("there are fewer CPUs than threads; see --threads");
}

unsigned team_cpus(void)
{
	learn_allowed();
	return (unsigned)CPU_COUNT(&allowed);
}

void team_pin_self(unsigned index)
{
	cpu_set_t cpu = nth_cpu(index % team_cpus());

	sched_setaffinity(0, sizeof(cpu), &cpu);
}

struct team *team_new(unsigned threads)
{
	struct team *team = calloc(1, sizeof(*team));

	if (!team)
		die("out of memory");
	team->threads = threads;
	pthread_barrier_init(&team->begin, NULL, threads + 1);
	pthread_barrier_init(&team->end, NULL, threads + 1);
	for (unsigned i = 0; i < threads; i++) {
		struct member *member = &team->members[i];
		cpu_set_t cpu = nth_cpu(i);
		pthread_attr_t attr;

		*member = (struct member){.team = team, .index = i};
		pthread_attr_init(&attr);
		pthread_attr_setaffinity_np(&attr, sizeof(cpu), &cpu);
		if (pthread_create(&member->thread, &attr, member_main, member))
			die("no thread could be started");
		pthread_attr_destroy(&attr);
	}
	return team;
}

uint64_t team_do(struct team *team, void (*work)(void *arg, unsigned thread), void *arg)
{
	uint64_t start_ns = UINT64_MAX, end_ns = 0;

	team->work = work;
	team->arg = arg;
	atomic_store(&team->arrived, 0);
	pthread_barrier_wait(&team->begin);
	pthread_barrier_wait(&team->end);
	for (unsigned i = 0; i < team->threads; i++) {
		const struct member *member = &team->members[i];

		start_ns = member->start_ns < start_ns ? member->start_ns : start_ns;
		end_ns = member->end_ns > end_ns ? member->end_ns : end_ns;
	}
	return end_ns - start_ns;
}

void team_delete(struct team *team)
{
	team->work = NULL;
	pthread_barrier_wait(&team->begin);
	for (unsigned i = 0; i < team->threads; i++)
		pthread_join(team->members[i].thread, NULL);
	pthread_barrier_destroy(&team->begin);
	pthread_barrier_destroy(&team->end);
	free(team);
}
