/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench alloc: every peer at every workload.  The peers of a workload take turns, round
 * after round, so that a disturbance hits all alike.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "results.h"
#include "team.h"

#define POOL_SIZE	(UINT64_C(256) << 20)
#define MAX_JOBS	16u

static void do_prepare(void *arg, unsigned thread)
{
	struct job *job = arg;

	job->workers[thread].random = thread + 1;
	if (job->workload->prepare)
		job->workload->prepare(job, thread);
}

static void do_run(void *arg, unsigned thread)
{
	struct job *job = arg;

	job->workload->run(job, thread);
}

static void do_finish(void *arg, unsigned thread)
{
	struct job *job = arg;

	if (job->workload->finish)
		job->workload->finish(job, thread);
}

static struct counters counters_of(const struct job *job)
{
	return job->peer->counters ? job->peer->counters(job->pool) : (struct counters){0};
}

static void open_job(struct job *job, struct team *team, const char *dir)
{
	char *path = temporary_path(dir, job->peer->name);

	job->pool = job->peer->create(job->peer, path, POOL_SIZE,
				      job->threads * SLOTS_PER_THREAD);
	/* Gone with the process, however it ends. */
	unlink(path);
	free(path);
	team_do(team, do_prepare, job);
	team_do(team, do_run, job);	/* warm-up */
	job->round++;
}

static void close_job(struct job *job, struct team *team)
{
	team_do(team, do_finish, job);
	job->peer->close(job->pool);
}

static struct result evaluate(const struct job *job, double *round_ns, unsigned rounds,
			      struct counters before)
{
	struct counters after = counters_of(job);
	double pairs = (double)job->workload->pairs * job->threads * rounds;

	if (job->workload->across)
		pairs /= 2;
	return (struct result){
		.workload = job->workload,
		.peer = job->peer,
		.threads = job->threads,
		.ns = median(round_ns, rounds) / job->workload->pairs,
		.fences = job->peer->counters ? (double)(after.fences - before.fences) / pairs : -1,
		.lines = (double)(after.flushed_lines - before.flushed_lines) / pairs,
	};
}

static void measure(struct results *results, struct job *jobs, unsigned count,
		    struct team *team, const struct options *options)
{
	double *ns = calloc((size_t)count * options->rounds, sizeof(*ns));
	struct counters before[MAX_JOBS];
	unsigned msyncs;

	if (!ns)
		die("out of memory");
	for (unsigned i = 0; i < count; i++) {
		open_job(&jobs[i], team, options->dir);
		before[i] = counters_of(&jobs[i]);
	}
	msyncs = msync_calls();
	for (unsigned round = 0; round < options->rounds; round++)
		for (unsigned i = 0; i < count; i++, jobs[i - 1].round++)
			ns[i * options->rounds + round] = (double)team_do(team, do_run, &jobs[i]);
	results->msyncs += msync_calls() - msyncs;
	for (unsigned i = 0; i < count; i++) {
		results_add(results, evaluate(&jobs[i], &ns[i * options->rounds], options->rounds,
					      before[i]));
		close_job(&jobs[i], team);
	}
	free(ns);
}

/* The peers that can do @workload and are asked for, each with its state. */
static unsigned line_up(struct job *jobs, const struct workload *workload, unsigned threads,
			const struct options *options)
{
	unsigned count = 0;

	for (const struct peer *const *peer = peers; *peer && count < MAX_JOBS; peer++) {
		if (!workload->can(*peer) || !listed(options->peers, (*peer)->name) ||
		    ((*peer)->one_thread && threads > 1) ||
		    ((*peer)->found && !(*peer)->found()))
			continue;
		memset(&jobs[count], 0, sizeof(jobs[count]));
		jobs[count].workload = workload;
		jobs[count].peer = *peer;
		jobs[count].threads = threads;
		count++;
	}
	return count;
}

static void measure_all(struct results *results, const struct options *options)
{
	struct job *jobs = aligned_alloc(alignof(struct job), MAX_JOBS * sizeof(*jobs));

	if (!jobs)
		die("out of memory");
	for (const unsigned *threads = options->threads; *threads; threads++) {
		struct team *team = team_new(*threads);

		for (const struct workload *workload = workloads; workload->name; workload++) {
			if (!listed(options->only, workload->name) ||
			    (workload->across && *threads % 2))
				continue;
			fprintf(stderr, "%s, %u thread%s\n", workload->name, *threads,
				*threads == 1 ? "" : "s");
			measure(results, jobs, line_up(jobs, workload, *threads, options), team,
				options);
		}
		team_delete(team);
	}
	free(jobs);
}

static void say_missing(const struct options *options)
{
	for (const struct peer *const *peer = peers; *peer; peer++)
		if (listed(options->peers, (*peer)->name) && (*peer)->found && !(*peer)->found())
			fprintf(stderr, "daxbench: %s is not installed, and left out\n",
				(*peer)->name);
}

int bench_alloc(const struct options *options)
{
	struct json_object *report = report_new(options, "alloc");
	struct results results = {0};

	say_missing(options);
	measure_all(&results, options);
	if (!results.count) {
		fprintf(stderr, "daxbench: no workload or no peer of such a name\n");
		return EX_USAGE;
	}
	if (prints_table(options)) {
		results_print(&results);
		goals_print(&results);
		printf("\nmsync() was called %u times in the rounds\n", results.msyncs);
	}
	report_add_number(report, "msync_calls", results.msyncs);
	json_object_object_add(report, "results", results_json(&results));
	json_object_object_add(report, "goals", goals_json(&results));
	report_write(options, report);
	free(results.rows);
	if (results.msyncs)
		fprintf(stderr, "daxbench: THESE FIGURES ARE NOT OF CACHE-LINE FLUSHES ALONE: "
			"msync() was called\n");
	return results.msyncs ? EXIT_FAILURE : EXIT_SUCCESS;
}
