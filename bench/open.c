/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench open: what opening a pool costs, after a close and after a crash, and creating one.
 *
 * A crash is a kill -9 of a process whose threads have just published and freed, so that the
 * log is as full as it gets.  That process is another each time.
 */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "peer.h"

#define POOL_SIZE	(UINT64_C(512) << 20)
#define BLOCK_SIZE	64u
#define BATCH		10000u
#define REPUBLISHES	2000u	/* of a thread before the crash */

static const struct peer *const contestants[] = {
	&daxheap_peer,
#ifdef HAVE_PMEMOBJ
	&pmemobj_action_peer,
#endif
};
#define CONTESTANTS (sizeof(contestants) / sizeof(contestants[0]))

struct crasher {
	const struct peer *peer;
	pthread_barrier_t *done;
	struct pool *pool;
	unsigned thread;
};

static void *republish(void *arg)
{
	const struct crasher *crasher = arg;

	for (unsigned i = 0; i < REPUBLISHES; i++) {
		unsigned slot = crasher->thread * BATCH / 64 + i % (BATCH / 64);

		crasher->peer->unpublish(crasher->pool, slot);
		crasher->peer->publish(crasher->pool, slot, BLOCK_SIZE, false);
	}
	pthread_barrier_wait(crasher->done);
	/* A thread that ends would put its things in order. */
	pause();
	return NULL;
}

static void crash(const struct peer *peer, const char *path, unsigned threads)
{
	struct pool *pool = peer->open(path);
	struct crasher crashers[MAX_THREADS];
	pthread_barrier_t done;
	pthread_t id;

	pthread_barrier_init(&done, NULL, threads + 1);
	for (unsigned i = 0; i < threads; i++) {
		crashers[i] = (struct crasher){peer, &done, pool, i};
		if (pthread_create(&id, NULL, republish, &crashers[i]))
			die("no thread could be started");
	}
	pthread_barrier_wait(&done);
	raise(SIGKILL);
}

static void build(const struct peer *peer, const char *path, unsigned blocks)
{
	struct pool *pool = peer->create(peer, path, POOL_SIZE, blocks);
	const struct slots none = {0, 0};

	for (unsigned i = 0; i < blocks; i += BATCH)
		peer->action(pool, 0, (struct slots){i, BATCH}, none, BLOCK_SIZE);
	peer->close(pool);
}

/* In a process of its own: the pool is opened and, by @threads threads, left without a close. */
static void crash_in_child(const struct peer *peer, const char *path, unsigned threads)
{
	int status;
	pid_t child = fork();

	if (child < 0)
		die("fork failed");
	if (!child) {
		crash(peer, path, threads);
		_exit(EXIT_FAILURE);
	}
	if (waitpid(child, &status, 0) < 0 || !WIFSIGNALED(status) ||
	    WTERMSIG(status) != SIGKILL)
		die("the process that was to crash ended otherwise");
}

struct outcome {
	double ms;
	uint64_t replayed;
};

static struct outcome time_open(const struct peer *peer, const char *path, unsigned threads,
				unsigned rounds)
{
	double *ms = calloc(rounds, sizeof(*ms));
	struct outcome outcome = {0};

	if (!ms)
		die("out of memory");
	for (unsigned i = 0; i < rounds; i++) {
		struct pool *pool;
		uint64_t start_ns;

		if (threads)
			crash_in_child(peer, path, threads);
		start_ns = now_ns();
		pool = peer->open(path);
		ms[i] = (double)(now_ns() - start_ns) / 1e6;
		if (peer->counters)
			outcome.replayed = peer->counters(pool).replayed;
		peer->close(pool);
	}
	outcome.ms = median(ms, rounds);
	free(ms);
	return outcome;
}

static double time_create(const struct peer *peer, const char *path, uint64_t size,
			  unsigned rounds)
{
	double *ms = calloc(rounds, sizeof(*ms)), result;

	if (!ms)
		die("out of memory");
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t start_ns = now_ns();
		struct pool *pool = peer->create(peer, path, size, 0);

		ms[i] = (double)(now_ns() - start_ns) / 1e6;
		peer->close(pool);
		unlink(path);
	}
	result = median(ms, rounds);
	free(ms);
	return result;
}

static void print_open(const struct peer *peer, unsigned blocks, unsigned threads,
		       const struct outcome *outcome)
{
	printf("%-15s %10u %10u %10.3f %10" PRIu64, peer->name, blocks, threads, outcome->ms,
	       outcome->replayed);
	/* Where nothing is replayed, which takes time of its own. */
	if (!threads && peer == &daxheap_peer)
		printf("   at most 0.3: %s", verdict(outcome->ms, 0.3));
	putchar('\n');
}

static void measure_open(const struct peer *peer, const struct options *options, bool table,
			 struct json_object *list)
{
	static const unsigned blocks[] = {10000, 100000, 1000000}, threads[] = {0, 1, 32};
	char *path = temporary_path(options->dir, peer->name);

	for (unsigned i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
		build(peer, path, blocks[i]);
		for (unsigned j = 0; j < sizeof(threads) / sizeof(threads[0]); j++) {
			struct outcome outcome = time_open(peer, path, threads[j], options->rounds);
			struct json_object *row = json_object_new_object();

			report_add_string(row, "peer", peer->name);
			report_add_number(row, "blocks", blocks[i]);
			report_add_number(row, "crashed_threads", threads[j]);
			report_add_number(row, "ms", outcome.ms);
			if (peer->counters)
				report_add_number(row, "replayed", (double)outcome.replayed);
			json_object_array_add(list, row);
			if (table)
				print_open(peer, blocks[i], threads[j], &outcome);
		}
		unlink(path);
	}
	free(path);
}

static void measure_create(const struct peer *peer, const struct options *options, bool table,
			   struct json_object *list)
{
	static const unsigned sizes_mib[] = {64, 1024, 65536};
	char *path = temporary_path(options->dir, peer->name);

	for (unsigned i = 0; i < sizeof(sizes_mib) / sizeof(sizes_mib[0]); i++) {
		struct json_object *row;
		double ms;

		if (peer->allocates_all && sizes_mib[i] > 1024)
			continue;
		ms = time_create(peer, path, (uint64_t)sizes_mib[i] << 20, options->rounds);
		row = json_object_new_object();
		report_add_string(row, "peer", peer->name);
		report_add_number(row, "mib", sizes_mib[i]);
		report_add_number(row, "ms", ms);
		json_object_array_add(list, row);
		if (table)
			printf("%-15s %10u %10.3f%s%s\n", peer->name, sizes_mib[i], ms,
			       peer == &daxheap_peer ? "   at most 1: " : "",
			       peer == &daxheap_peer ? verdict(ms, 1) : "");
	}
	free(path);
}

int bench_open(const struct options *options)
{
	struct json_object *report = report_new(options, "open");
	struct json_object *opens = json_object_new_array(), *creates = json_object_new_array();
	bool table = prints_table(options);

	if (table)
		puts("Opening a pool, after a close (0 threads) or a kill -9 of so many threads, ms\n"
		     "(median)\n\n"
		     "peer                blocks    threads         ms   replayed");
	for (unsigned i = 0; i < CONTESTANTS; i++)
		if (listed(options->peers, contestants[i]->name))
			measure_open(contestants[i], options, table, opens);
	if (table)
		puts("\nCreating one, ms (median)\n\n"
		     "peer                   MiB         ms");
	for (unsigned i = 0; i < CONTESTANTS; i++)
		if (listed(options->peers, contestants[i]->name))
			measure_create(contestants[i], options, table, creates);
	json_object_object_add(report, "open", opens);
	json_object_object_add(report, "create", creates);
	report_write(options, report);
	return EXIT_SUCCESS;
}
