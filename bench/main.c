/* SPDX-License-Identifier: BSD-3-Clause */
#include <argp.h>
#include <daxheap.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "bench.h"
#include "ranks.h"

enum { OPT_OPS = 256, OPT_RAW, OPT_THRESHOLD, OPT_MARKDOWN, OPT_OUTPUT, OPT_AGAINST,
       OPT_REQUIRE_DAX, OPT_BESIDE, OPT_BESIDE_JSON, OPT_LIST, OPT_UMOUNT };

static const struct argp_option option_list[] = {
	{"dir", 'd', "DIR", 0, "Measure in DIR, or on a device of device DAX (default /dev/shm)",
	 0},
	{"json", 'j', "FILE", 0, "Write the result as JSON, too; to standard output if FILE is -",
	 0},
	{"rounds", 'r', "N", 0, "Rounds (default 101 for alloc, else 21)", 0},
	{"only", 'o', "NAME[,...]", 0, "Only these; of latencies, patterns like 'write-*/2m*'", 0},
	{"threads", 't', "N[,...]", 0, "Numbers of threads (default 1,2)", 0},

	{NULL, 0, NULL, 0, "Latencies:", 1},
	{"list", OPT_LIST, NULL, 0, "Only list the names of what would be measured", 0},
	{"ops", OPT_OPS, "N", 0, "Operations of a round", 0},
	{"require-dax", OPT_REQUIRE_DAX, NULL, 0, "An error where files in DIR are not accessed by "
	 "DAX", 0},
	{"beside", OPT_BESIDE, "DIR", 0, "Measure the same in DIR, by turns, and compare", 0},
	{"beside-json", OPT_BESIDE_JSON, "FILE", 0, "Write that one's result as JSON", 0},
	{"raw", OPT_RAW, NULL, 0, "Keep each value in the JSON", 0},
	{"umount", OPT_UMOUNT, NULL, 0, "truncate: umount as well, for which the file system "
	 "mounted on DIR is unmounted and mounted again each time; as root, and nobody else may use "
	 "it", 0},

	{NULL, 0, NULL, 0, "compare:", 2},
	{"threshold", OPT_THRESHOLD, "PERCENT", 0, "What is less does not matter (default 5)", 0},
	{"markdown", OPT_MARKDOWN, NULL, 0, "Print the table as Markdown", 0},

	{NULL, 0, NULL, 0, "plot:", 3},
	{"against", OPT_AGAINST, "PARAMETER", 0, "Latency against size, pins, ...; without it, "
	 "distributions", 0},
	{"output", OPT_OUTPUT, "FILE", 0, "Write the SVG to FILE (default standard output)", 0},

	{NULL, 0, NULL, 0, "alloc, open, space:", 4},
	{"peers", 'p', "PEER[,...]", 0, "Only these peers", 0},

	{NULL, 0, NULL, 0, "Help:", -1},
	{0},
};

/* Enough for plot to show many results in one picture. */
#define WORDS_MAX 9

struct args {
	struct options options;
	const char *words[WORDS_MAX];
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

/* Options of latencies, compare and plot. */
static error_t parse_of_latencies(int key, char *arg, struct options *options,
				  const struct argp_state *state)
{
	char *end;

	switch (key) {
	case OPT_OPS:
		options->ops = parse_number(arg, &end, 1000000);
		if (!options->ops || *end)
			argp_error(state, "--ops: '%s' is no number up to 1000000", arg);
		return 0;
	case OPT_THRESHOLD:
		options->threshold = strtod(arg, &end);
		if (end == arg || *end || !(options->threshold >= 0))
			argp_error(state, "--threshold: '%s' is no number of per cent", arg);
		return 0;
	case OPT_BESIDE:
		options->beside = arg;
		return 0;
	case OPT_BESIDE_JSON:
		options->beside_json = arg;
		return 0;
	case OPT_REQUIRE_DAX:
		options->require_dax = true;
		return 0;
	case OPT_LIST:
		options->list = true;
		return 0;
	case OPT_RAW:
		options->raw = true;
		return 0;
	case OPT_UMOUNT:
		options->umount = true;
		return 0;
	case OPT_MARKDOWN:
		options->markdown = true;
		return 0;
	case OPT_OUTPUT:
		options->output = arg;
		return 0;
	case OPT_AGAINST:
		options->against = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
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
		return parse_of_latencies(key, arg, options, state);
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

static const struct verb {
	const char *name;
	int (*run)(const struct options *options);
	unsigned rounds;	/* by default */
	bool latencies;
} verbs[] = {
	{"alloc", bench_alloc, 101, false},
	{"grow", bench_grow, 21, false},
	{"io", bench_io, 21, false},
	{"open", bench_open, 21, false},
	{"space", bench_space, 21, false},
	{"trim", bench_trim, 21, false},
	{"prepare", bench_prepare, 21, false},
	{"fault", bench_fault, 21, true},
	{"truncate", bench_truncate, 21, true},
	{"pin", bench_pin, 21, true},
	{"flush", bench_flush, 21, true},
	{"agree", bench_agree, 21, true},
};

__attribute__((noreturn, format(printf, 1, 2))) static void misused(const char *format, ...)
{
	va_list args;

	fputs("daxbench: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("; see daxbench --help\n", stderr);
	exit(EX_USAGE);
}

static void check_options(const struct verb *verb, const struct options *options)
{
	bool of_latencies = options->list || options->ops || options->require_dax ||
			    options->beside || options->beside_json || options->raw;

	if (of_latencies && !verb->latencies)
		misused("--list, --ops, --require-dax, --beside and --raw are of latencies, not of "
			"'%s'", verb->name);
	if (options->umount && strcmp(verb->name, "truncate"))
		misused("--umount is of truncate, not of '%s'", verb->name);
	if (options->beside_json && !options->beside)
		misused("--beside-json needs --beside");
	/* Each round is kept, and drawn from 2000 times. */
	if (verb->latencies && options->rounds > RANKS_ROUNDS_MAX)
		misused("--rounds: %u are the most; for more values use --ops", RANKS_ROUNDS_MAX);
	check_writable(options->json);
	check_writable(options->beside_json);
}

static int run_loop(const struct args *args)
{
	const char *what = args->words[1];
	char *end;
	unsigned n = parse_number(args->words[2], &end, 10000000);

	if (!n || *end || (strcmp(what, "publish") && strcmp(what, "reserve")))
		misused("loop publish|reserve N");
	return bench_loop(&args->options, what, n);
}

static int run_measuring(const struct verb *verb, struct args *args, char **argv)
{
	struct options *options = &args->options;

	if (args->count != 1)
		misused("'%s' takes options alone, not '%s'", verb->name, args->words[1]);
	if (!options->rounds)
		options->rounds = verb->rounds;
	check_options(verb, options);
	set_environment(options->dir, argv);
	return verb->run(options);
}

static int run_verb(struct args *args, char **argv)
{
	const struct options *options = &args->options;
	const char *verb = args->words[0];

	if (!strcmp(verb, "compare")) {
		if (args->count != 3)
			misused("compare takes two results, as --json wrote them");
		return bench_compare(options, args->words[1], args->words[2]);
	}
	if (!strcmp(verb, "plot")) {
		if (args->count < 2)
			misused("plot takes results, as --json wrote them");
		return bench_plot(options, args->words + 1, args->count - 1);
	}
	if (!strcmp(verb, "loop")) {
		if (args->count != 3)
			misused("loop publish|reserve N");
		set_environment(options->dir, argv);
		return run_loop(args);
	}
	for (unsigned i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (!strcmp(verb, verbs[i].name))
			return run_measuring(&verbs[i], args, argv);
	misused("what is '%s'?", verb);
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		option_list, parse,
		"fault\ntruncate\npin\nflush\nagree\ncompare A.json B.json\nplot A.json...\n"
		"alloc\ngrow\nio\nopen\nspace\ntrim\nprepare\nloop publish|reserve N",
		"Measure what DAX costs, and the heap against its peers and the hardware.\v"
		"fault: what a page fault takes.  truncate: what truncate, punching a hole "
		"and the like take.  pin: what it takes to hold pages and let go.  "
		"flush: flushes, fences, stores past the cache.  agree: the same measured by others, "
		"fio among them.  compare: whether B is slower than A.  "
		"plot: a picture (SVG).\n\n"
		"alloc: what operations cost.  grow: what it adds that the file grows with use.  "
		"io: what io_uring on blocks costs and brings.  "
		"open: what opening and creating a pool costs.  "
		"space: what a pool takes beyond its content.  trim: what it takes to give space "
		"back.  prepare: which way to grow a file "
		"makes first stores cheapest.  loop: only do N pairs of operations, to be looked "
		"at by a profiler.", NULL, NULL, NULL};
	struct args args = {.options = {.dir = "/dev/shm", .threads = {1, 2}, .threshold = 5}};
	int status;

	argp_err_exit_status = EX_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &args);
	status = run_verb(&args, argv);
	if (fflush(stdout) || ferror(stdout))
		die("standard output: %s", strerror(errno));
	return status;
}
