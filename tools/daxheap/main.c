/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "daxheap.h"
#include "daxheap_cli.h"

enum {
	OPT_REPAIR = 0x100, OPT_REQUIRE_MAP_SYNC, OPT_OVERWRITE, OPT_TAG, OPT_SIZE, OPT_SUMMARY,
	OPT_KEEP, OPT_TIME_LIMIT,
};

#define JSON_OPTION {"json", 'j', NULL, 0, "Print the result as JSON", 0}

static const struct argp_option create_options[] = {
	JSON_OPTION,
	{"require-map-sync", OPT_REQUIRE_MAP_SYNC, NULL, 0,
	 "Fail where MAP_SYNC can't be had, instead of falling to msync", 0},
	{"overwrite", OPT_OVERWRITE, NULL, 0,
	 "Make the pool on a device of device DAX that holds something, which is lost", 0},
	{0},
};

static const struct argp_option json_options[] = {
	JSON_OPTION,
	{0},
};

static const struct argp_option check_options[] = {
	JSON_OPTION,
	{"repair", OPT_REPAIR, NULL, 0,
	 "Put right what can be put right without losing a live block", 0},
	{0},
};

static const struct argp_option ls_options[] = {
	JSON_OPTION,
	{"tag", OPT_TAG, "TAG", 0, "Only blocks with this tag", 0},
	{"size", OPT_SIZE, "SIZE", 0, "Only blocks with so many usable bytes", 0},
	{"summary", OPT_SUMMARY, "tag|size", 0, "Count them by tag or size", 0},
	{0},
};

#define TIME_LIMIT_MS	10000u

static const struct argp_option trim_options[] = {
	JSON_OPTION,
	{"keep", OPT_KEEP, "SIZE", 0, "Keep so much of the free space (default: none)", 0},
	{"time-limit", OPT_TIME_LIMIT, "MS", 0,
	 "Give up after so many milliseconds (default: 10000)", 0},
	{0},
};

struct verb {
	const char *name;
	const char *args;
	const char *doc;
	int args_min, args_max;
	const struct argp_option *options;
	int (*run)(const struct cli_args *args);
};

static const struct verb verbs[] = {
	{"create", "POOL [SIZE]",
	 "Make a new pool of SIZE bytes (suffixes K, M, G, T).  On device DAX it takes the whole "
	 "device without a SIZE."
	 "\v  daxheap create /mnt/pmem/pool 1G\n"
	 "  daxheap create --require-map-sync /mnt/pmem/pool 512M\n"
	 "  daxheap create /dev/dax0.0",
	 1, 2, create_options, cli_create},
	{"info", "POOL",
	 "Tell what the pool is, what lies under it, and how durable it is there."
	 "\v  daxheap info /mnt/pmem/pool\n  daxheap info --json /mnt/pmem/pool",
	 1, 1, json_options, cli_info},
	{"check", "POOL",
	 "Check every structure of the pool.  Changes nothing without --repair."
	 "\v  daxheap check /mnt/pmem/pool\n  daxheap check --repair /mnt/pmem/pool",
	 1, 1, check_options, cli_check},
	{"ls", "POOL",
	 "List the live blocks, or count them by tag or size."
	 "\v  daxheap ls --tag 7 /mnt/pmem/pool\n  daxheap ls --summary=size /mnt/pmem/pool",
	 1, 1, ls_options, cli_ls},
	{"stat", "POOL",
	 "Tell what is in use and what is free, by size class."
	 "\v  daxheap stat /mnt/pmem/pool\n  daxheap stat --json /mnt/pmem/pool",
	 1, 1, json_options, cli_stat},
	{"trim", "POOL",
	 "Give the space that no block needs back to the file system."
	 "\v  daxheap trim /mnt/pmem/pool\n  daxheap trim --keep 64M /mnt/pmem/pool",
	 1, 1, trim_options, cli_trim},
	{"doctor", "PATH",
	 "Tell what a heap at PATH gets (a pool, file, folder, mount point or device): durability "
	 "by cache-line flushes, huge pages, long-term pins; what hinders, and what to do."
	 "\v  daxheap doctor /mnt/pmem\n  daxheap doctor --json /dev/pmem0",
	 1, 1, json_options, cli_doctor},
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

struct parse_state {
	const struct verb *verb;
	struct cli_args args;
};

static bool parse_number(const char *text, unsigned long max, unsigned long *number)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 0);
	if (errno || end == text || *end || *text == '-' || value > max)
		return false;
	*number = value;
	return true;
}

static bool parse_summary(const char *text, enum cli_summary *summary)
{
	if (!strcmp(text, "tag"))
		*summary = CLI_BY_TAG;
	else if (!strcmp(text, "size"))
		*summary = CLI_BY_SIZE;
	else
		return false;
	return true;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct parse_state *parsed = state->input;
	struct cli_args *args = &parsed->args;
	const struct verb *verb = parsed->verb;
	unsigned long number = 0;

	switch (key) {
	case 'j':
		args->json = true;
		return 0;
	case OPT_REPAIR:
		args->repair = true;
		return 0;
	case OPT_REQUIRE_MAP_SYNC:
		args->require_map_sync = true;
		return 0;
	case OPT_OVERWRITE:
		args->overwrite = true;
		return 0;
	case OPT_TAG:
		if (!parse_number(arg, UINT16_MAX, &number))
			argp_error(state, "'%s' is no tag: give a number up to 65535", arg);
		args->tag = (int)number;
		return 0;
	case OPT_SIZE:
		if (!cli_parse_size(arg, &args->size) || !args->size)
			argp_error(state, "'%s' is no size: give it as 64, 4K, …", arg);
		return 0;
	case OPT_KEEP:
		if (!cli_parse_size(arg, &args->keep))
			argp_error(state, "'%s' is no size: give it as 0, 64M, …", arg);
		return 0;
	case OPT_TIME_LIMIT:
		if (!parse_number(arg, UINT32_MAX, &number) || !number)
			argp_error(state, "'%s' is no time: give it in milliseconds", arg);
		args->time_limit_ms = (unsigned)number;
		return 0;
	case OPT_SUMMARY:
		if (!parse_summary(arg, &args->summary))
			argp_error(state, "'%s' is no kind of summary: tag or size", arg);
		return 0;
	case ARGP_KEY_ARG:
		if ((int)state->arg_num >= verb->args_max)
			argp_error(state, "too many arguments");
		if (state->arg_num == 0)
			args->pool = arg;
		else if (!cli_parse_size(arg, &args->size))
			argp_error(state, "'%s' is no size: give it as 64M, 1G, …", arg);
		return 0;
	case ARGP_KEY_END:
		if ((int)state->arg_num < verb->args_min)
			argp_error(state, "%.*s is missing", (int)strcspn(verb->args, " "),
				   verb->args);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int usage(FILE *to, int status)
{
	fputs("Usage: daxheap VERB [OPTION...] POOL ...\n"
	      "Work with the pools of the persistent-memory heap libdaxheap.\n"
	      "\n"
	      "  create POOL [SIZE] make a pool\n"
	      "  info POOL          what it is, what lies under it, how durable it is there\n"
	      "  check POOL         find damage; --repair puts right what can be\n"
	      "  ls POOL            the live blocks, by tag or size\n"
	      "  stat POOL          what is in use and what is free, by size class\n"
	      "  trim POOL          give free space back to the file system\n"
	      "  doctor PATH        what a heap there gets, what hinders, and what to do\n"
	      "\n"
	      "daxheap VERB --help tells more; daxheap(1) lists the exit codes.\n", to);
	return status;
}

/* Else a list that was cut short would pass for the whole. */
static int finish_output(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	fprintf(stderr, "daxheap: can't write the output: %s\n", strerror(errno));
	return status ? status : EX_IOERR;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	argp_err_exit_status = EX_USAGE;
	if (!strcmp(name, "--help") || !strcmp(name, "-?") || !strcmp(name, "help"))
		return usage(stdout, EXIT_SUCCESS);
	if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
		printf("daxheap %s\n", daxheap_version());
		return EXIT_SUCCESS;
	}
	for (size_t i = 0; i < VERBS; i++) {
		struct argp argp = {verbs[i].options, parse, verbs[i].args, verbs[i].doc,
				    NULL, NULL, NULL};
		struct parse_state parsed = {.verb = &verbs[i], .args.tag = -1,
					     .args.time_limit_ms = TIME_LIMIT_MS};
		char program[64];

		if (strcmp(name, verbs[i].name))
			continue;
		snprintf(program, sizeof(program), "daxheap %s", name);
		argv[1] = program;
		argp_parse(&argp, argc - 1, argv + 1, 0, NULL, &parsed);
		return finish_output(verbs[i].run(&parsed.args));
	}
	if (name[0])
		fprintf(stderr, "daxheap: there is no verb '%s'\n", name);
	return usage(stderr, EX_USAGE);
}

int cli_fail(int err)
{
	fprintf(stderr, "daxheap: %s\n", daxheap_errormsg());
	switch (-err) {
	case EMEDIUMTYPE:
	case EBADMSG:
		return EX_DATAERR;
	case ENOENT:
		return EX_NOINPUT;
	case EOPNOTSUPP:
		return EX_UNAVAILABLE;
	case EEXIST:
	case ENOSPC:
		return EX_CANTCREAT;
	case EBUSY:
	case ETIMEDOUT:
		return EX_TEMPFAIL;
	case EPROTONOSUPPORT:
	case EROFS:
		return EX_PROTOCOL;
	case EACCES:
	case EPERM:
		return EX_NOPERM;
	case EINVAL:
		return EX_USAGE;
	default:
		return EX_IOERR;
	}
}

bool cli_parse_size(const char *text, uint64_t *size)
{
	static const char suffixes[] = "KMGT";
	const char *suffix;
	unsigned shift = 0;
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text || *text == '-')
		return false;
	if (*end) {
		suffix = strchr(suffixes, *end);
		if (!suffix || (end[1] && strcmp(end + 1, "iB")))
			return false;
		shift = 10 * (unsigned)(suffix - suffixes + 1);
	}
	if (value > UINT64_MAX >> shift)
		return false;
	*size = value << shift;
	return true;
}
