/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench: what a durable operation costs, against the floor that the hardware and the
 * file system set: one flushed line and a fence, through the same mapping.
 *
 * The workloads run in turn, round after round, so that a disturbance hits all alike; a
 * figure is the median of its rounds.
 */
#include <argp.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include <daxheap.h>

#define POOL_SIZE	(UINT64_C(32) << 20)
#define ROUNDS		21
#define BLOCK_SIZE	64
#define LINES		64	/* flushed in turn: the same line twice in a row costs more */

struct bench {
	struct daxheap *heap;
	daxheap_ref *slots;	/* of a published block, LINES lines */
	unsigned operations;	/* a round */
};

static void die(const char *what)
{
	fprintf(stderr, "daxbench: %s: %s\n", what, daxheap_errormsg());
	exit(EX_IOERR);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void *slot_line(const struct bench *bench, unsigned i)
{
	return (char *)bench->slots + i % LINES * 64;
}

static void run_floor(const struct bench *bench)
{
	/* The last word of each line serves no slot. */
	for (unsigned i = 0; i < bench->operations; i++) {
		uint64_t *line = slot_line(bench, i);

		__atomic_store_n(&line[7], i, __ATOMIC_RELAXED);
		if (daxheap_persist(bench->heap, line, 64))
			die("persist");
	}
}

static void pair(const struct bench *bench, unsigned i, bool content)
{
	void *block;

	if (daxheap_alloc(bench->heap, BLOCK_SIZE, &block))
		die("alloc");
	if (content) {
		memset(block, (int)i, BLOCK_SIZE);
		if (daxheap_persist(bench->heap, block, BLOCK_SIZE))
			die("persist");
	}
	if (daxheap_publish(bench->heap, slot_line(bench, i), block) ||
	    daxheap_free(bench->heap, slot_line(bench, i)))
		die("publish and free");
}

static void run_pair(const struct bench *bench)
{
	for (unsigned i = 0; i < bench->operations; i++)
		pair(bench, i, false);
}

static void run_pair_content(const struct bench *bench)
{
	for (unsigned i = 0; i < bench->operations; i++)
		pair(bench, i, true);
}

static const struct workload {
	const char *name;
	const char *what;
	void (*run)(const struct bench *bench);
} workloads[] = {
	{"floor", "one line flushed, fence", run_floor},
	{"publish-free", "alloc, publish, free of 64 B", run_pair},
	{"content-publish-free", "the same, 64 B made durable before", run_pair_content},
};
#define WORKLOADS (sizeof(workloads) / sizeof(workloads[0]))

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void measure(const struct bench *bench, double median_ns[WORKLOADS])
{
	double ns[WORKLOADS][ROUNDS];

	for (unsigned w = 0; w < WORKLOADS; w++)
		workloads[w].run(bench);	/* warm-up */
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned w = 0; w < WORKLOADS; w++) {
			uint64_t start = now_ns();

			workloads[w].run(bench);
			ns[w][round] = (double)(now_ns() - start) / bench->operations;
		}
	}
	for (unsigned w = 0; w < WORKLOADS; w++) {
		qsort(ns[w], ROUNDS, sizeof(double), by_value);
		median_ns[w] = ns[w][ROUNDS / 2];
	}
}

static void print_text(const char *path, const struct daxheap_info *info,
		       const double median_ns[WORKLOADS])
{
	printf("%s: %s\n", path, daxheap_durability_name(info->durability));
	printf("%-22s %-36s %10s %8s\n", "workload", "one operation is", "median ns", "/ floor");
	for (unsigned w = 0; w < WORKLOADS; w++)
		printf("%-22s %-36s %10.0f %8.2f\n", workloads[w].name, workloads[w].what,
		       median_ns[w], median_ns[w] / median_ns[0]);
}

static void print_json(const char *path, const struct daxheap_info *info,
		       const double median_ns[WORKLOADS])
{
	struct json_object *top = json_object_new_object();
	struct json_object *list = json_object_new_array();

	json_object_object_add(top, "path", json_object_new_string(path));
	json_object_object_add(top, "durability", json_object_new_string(
		daxheap_durability_name(info->durability)));
	json_object_object_add(top, "rounds", json_object_new_int(ROUNDS));
	for (unsigned w = 0; w < WORKLOADS; w++) {
		struct json_object *row = json_object_new_object();

		json_object_object_add(row, "name", json_object_new_string(workloads[w].name));
		json_object_object_add(row, "median_ns", json_object_new_double(median_ns[w]));
		json_object_object_add(row, "ratio_to_floor",
				       json_object_new_double(median_ns[w] / median_ns[0]));
		json_object_array_add(list, row);
	}
	json_object_object_add(top, "workloads", list);
	puts(json_object_to_json_string_ext(top, JSON_C_TO_STRING_PRETTY |
						 JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(top);
}

struct args {
	const char *dir;
	bool json;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *args = state->input;

	switch (key) {
	case 'd':
		args->dir = arg;
		return 0;
	case 'j':
		args->json = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option options[] = {
	{"dir", 'd', "DIR", 0, "Make the pool in DIR (default /dev/shm)", 0},
	{"json", 'j', NULL, 0, "Print the result as JSON", 0},
	{0},
};

static void open_bench(struct bench *bench, const char *path, struct daxheap_info *info)
{
	daxheap_ref *root;
	void *block;

	if (daxheap_create(path, POOL_SIZE, 0, &bench->heap))
		die("create");
	if (daxheap_get_info(bench->heap, info) || daxheap_root(bench->heap, "bench", &root) ||
	    daxheap_alloc(bench->heap, LINES * 64, &block))
		die("alloc");
	memset(block, 0, LINES * 64);
	if (daxheap_persist(bench->heap, block, LINES * 64) ||
	    daxheap_publish(bench->heap, root, block))
		die("publish");
	bench->slots = block;
	/* An msync takes many times what a flush does. */
	bench->operations = info->durability == DAXHEAP_MAP_SYNC ? 20000 : 500;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		options, parse, NULL,
		"Measure durable operations of the heap against the floor: one flushed line "
		"and a fence.\v  daxbench --dir /mnt/pmem", NULL, NULL, NULL};
	struct args args = {.dir = "/dev/shm"};
	struct daxheap_info info;
	struct bench bench;
	double median_ns[WORKLOADS];
	char path[4096];

	argp_err_exit_status = EX_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &args);
	snprintf(path, sizeof(path), "%s/daxbench.%d", args.dir, (int)getpid());
	open_bench(&bench, path, &info);
	/* Gone with the process, however it ends. */
	unlink(path);
	measure(&bench, median_ns);
	daxheap_close(bench.heap);
	(args.json ? print_json : print_text)(args.dir, &info, median_ns);
	return EXIT_SUCCESS;
}
