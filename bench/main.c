/* SPDX-License-Identifier: BSD-3-Clause */
#include <argp.h>
#include <daxheap.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "bench.h"

static const struct argp_option option_list[] = {
	{"dir", 'd', "DIR", 0, "Make the pools in DIR (default /dev/shm)", 0},
	{"json", 'j', "FILE", 0, "Write the result as JSON, too; to standard output if FILE is -", 0},
	{"rounds", 'r', "N", 0, "Rounds, of which the median counts (default 101, for alloc; else 21)", 0},
	{"only", 'o', "WORKLOAD[,...]", 0, "Only these workloads, or preparations", 0},
	{"peers", 'p', "PEER[,...]", 0, "Only these peers", 0},
	{"threads", 't', "N[,...]", 0, "Numbers of threads (default 1,2)", 0},
	{0},
};

struct args {
	struct options options;
	const char *words[3];
	unsigned count;
};

/* 0: it is none. */
static unsigned parse_number(const char *text, char **end, unsigned max)
{
	unsigned long n;

	errno = 0;
	n = strtoul(text, end, 10);
	return *end == text || errno || n > max ? 0 : (unsigned)n;
}

static void parse_threads(struct options *options, const char *list,
			  const struct argp_state *state)
{
	const unsigned max = sizeof(options->threads) / sizeof(options->threads[0]) - 1;
	char *end = (char *)list - 1;
	unsigned count = 0;

	do {
		unsigned n = parse_number(end + 1, &end, MAX_THREADS);

		if (!n || count == max || (*end && *end != ','))
			argp_error(state, "--threads: '%s' is no list of numbers up to %u", list,
				   MAX_THREADS);
		options->threads[count++] = n;
	} while (*end);
	options->threads[count] = 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *args = state->input;
	struct options *options = &args->options;
	char *end;

	switch (key) {
	case 'd':
		options->dir = arg;
		return 0;
	case 'j':
		options->json = arg;
		return 0;
	case 'r':
		options->rounds = parse_number(arg, &end, 100000);
		if (!options->rounds || *end)
			argp_error(state, "--rounds: '%s' is no number", arg);
		return 0;
	case 'o':
		options->only = arg;
		return 0;
	case 'p':
		options->peers = arg;
		return 0;
	case 't':
		parse_threads(options, arg, state);
		return 0;
	case ARGP_KEY_ARG:
		if (args->count == sizeof(args->words) / sizeof(args->words[0]))
			argp_usage(state);
		args->words[args->count++] = arg;
		return 0;
	case ARGP_KEY_END:
		if (!args->count)
			argp_usage(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* Whether @name had to be set. */
static bool set_default(const char *name, const char *value)
{
	if (getenv(name))
		return false;
	setenv(name, value, 1);
	return true;
}

/*
 * Libraries read these before main(), so it takes another start.  Off DAX, cache-line flushes
 * must be demanded; and jemalloc's thread-local storage is more than glibc keeps free for
 * libraries that are loaded late.
 */
static void set_environment(const char *dir, char **argv)
{
	struct daxheap_place place;
	bool changed;

	if (daxheap_get_place(dir, &place))
		die("%s", daxheap_errormsg());
	changed = set_default("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=8192");
	changed |= !place.dax && set_default("PMEM_IS_PMEM_FORCE", "1");
	if (!changed)
		return;
	execv("/proc/self/exe", argv);
	die("/proc/self/exe: %s", strerror(errno));
}

static int run_verb(struct args *args)
{
	struct options *options = &args->options;
	const char *verb = args->words[0];

	if (!options->rounds)
		options->rounds = strcmp(verb, "alloc") ? 21 : 101;
	if (args->count == 1 && !strcmp(verb, "alloc"))
		return bench_alloc(options);
	if (args->count == 1 && !strcmp(verb, "grow"))
		return bench_grow(options);
	if (args->count == 1 && !strcmp(verb, "io"))
		return bench_io(options);
	if (args->count == 1 && !strcmp(verb, "open"))
		return bench_open(options);
	if (args->count == 1 && !strcmp(verb, "space"))
		return bench_space(options);
	if (args->count == 1 && !strcmp(verb, "trim"))
		return bench_trim(options);
	if (args->count == 1 && !strcmp(verb, "prepare"))
		return bench_prepare(options);
	if (args->count == 3 && !strcmp(verb, "loop")) {
		const char *what = args->words[1];
		char *end;
		unsigned n = parse_number(args->words[2], &end, 10000000);

		if (n && !*end && (!strcmp(what, "publish") || !strcmp(what, "reserve")))
			return bench_loop(options, what, n);
	}
	fprintf(stderr, "daxbench: what is '%s'? See daxbench --help\n", verb);
	return EX_USAGE;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		option_list, parse, "alloc\ngrow\nio\nopen\nspace\ntrim\nprepare\nloop publish|reserve N",
		"Measure the heap against its peers and against the hardware.\v"
		"alloc: what operations cost.  grow: what it adds that the file grows with use.  "
		"io: what io_uring on blocks costs and brings.  "
		"open: what opening and creating a pool costs.  "
		"space: what a pool takes beyond its content.  trim: what it takes to give space "
		"back.  prepare: which way to grow a file "
		"makes first stores cheapest.  loop: only do N pairs of operations, to be looked "
		"at by a profiler.", NULL, NULL, NULL};
	struct args args = {.options = {.dir = "/dev/shm", .threads = {1, 2}}};

	argp_err_exit_status = EX_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &args);
	set_environment(args.options.dir, argv);
	return run_verb(&args);
}
