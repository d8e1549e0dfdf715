/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The crash explorer: random sequences of operations, crashed wherever they can be, in every
 * way that the media allows.  Prints TAP.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "case.h"
#include "control.h"
#include "random.h"
#include "report.h"
#include "shrink.h"

#define JOBS_MAX	64u
#define CONTROL_IMAGES	2000000u		/* then a control is not found */

static const char usage[] =
	"Usage: explore [--images N] [--jobs N] [--seed S] [--ops N] [--threads N]\n"
	"       explore --control NAME | --controls [--jobs N] [--seed S]\n"
	"       explore --case SEED [--keep STEPS] [--still STEPS] [--ops N] [--threads N]\n"
	"               [--from STEP] [--control NAME] [--thorough]\n"
	"\n"
	"  --images N     until so many distinct images were tried (1000000)\n"
	"  --jobs N       in so many processes (2)\n"
	"  --seed S       another run (1)\n"
	"  --ops N        operations in each sequence\n"
	"  --threads N    threads in each sequence, at most (3)\n"
	"  --control NAME with this mistake, which must be found\n"
	"  --controls     with each of them, one after the other\n"
	"  --case SEED    this sequence alone, and tell all of it\n"
	"  --keep STEPS   of its steps these alone: 3,5,7-9\n"
	"  --still STEPS  without a switch of threads in these\n"
	"  --from STEP    crashed from this one on\n"
	"  --thorough     more samples of each crash\n";

struct options {
	uint64_t images, seed;
	unsigned jobs;
	bool controls, one_case;
	const char *keep, *still;
	struct case_spec spec;		/* what all cases have in common; or the one */
};

struct job {
	pid_t pid;
	struct case_spec spec;
	struct violation *result;
};

static struct job jobs[JOBS_MAX];

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* --- many cases --- */

static void start_job(struct job *job, const struct options *options, uint64_t number)
{
	job->spec = options->spec;
	job->spec.seed = mix_two(options->seed, number);
	job->pid = case_start(&job->spec, job->result);
}

static struct job *wait_for_job(int *status)
{
	pid_t pid = wait(status);

	for (unsigned i = 0; i < JOBS_MAX; i++)
		if (jobs[i].pid == pid && pid > 0) {
			jobs[i].pid = 0;
			return &jobs[i];
		}
	broken("a process that nobody started has ended");
}

/* Runs cases until enough distinct images were tried; the job that found a violation, or
 * NULL. */
static struct job *run_cases(const struct options *options)
{
	uint64_t number = 0;
	unsigned running = 0;
	struct job *found = NULL;

	for (;;) {
		struct job *job;
		int status;

		for (unsigned i = 0; i < options->jobs; i++) {
			if (jobs[i].pid || found ||
			    atomic_load(&totals->distinct) >= options->images)
				continue;
			start_job(&jobs[i], options, number++);
			running++;
		}
		if (!running)
			return found;
		job = wait_for_job(&status);
		running--;
		if (case_found(status, job->result) && !found)
			found = job;
	}
}

/* --- for people --- */

static void print_text(const char *text)
{
	printf("# ");
	for (; *text; text++) {
		putchar(*text);
		if (*text == '\n')
			printf("# ");
	}
	putchar('\n');
}

static void print_list(const char *option, const bool *flags, bool value, unsigned count)
{
	const char *before = "";
	bool any = false;

	for (unsigned i = 0; i < count; i++) {
		unsigned last = i;

		if (flags[i] != value)
			continue;
		while (last + 1 < count && flags[last + 1] == value)
			last++;
		printf(any ? "" : " %s ", option);
		any = true;
		printf(last > i ? "%s%u-%u" : "%s%u", before, i, last);
		before = ",";
		i = last;
	}
}

static void print_again(const struct case_spec *spec, unsigned steps)
{
	printf("# again: explore --case %#llx", (unsigned long long)spec->seed);
	print_list("--keep", spec->dropped, false, steps);
	print_list("--still", spec->still, true, steps);
	if (spec->threads != ACTORS)
		printf(" --threads %u", spec->threads);
	if (spec->steps)
		printf(" --ops %u", spec->steps);
	if (spec->from)
		printf(" --from %u", spec->from);
	if (spec->thorough)
		printf(" --thorough");
	if (spec->control)
		printf(" --control %s", spec->control->name);
	printf("\n");
}

static void report_violation(struct case_spec *spec, struct violation *result)
{
	struct play play;

	print_text(result->text);
	printf("# shrinking %#llx\n", (unsigned long long)spec->seed);
	fflush(stdout);
	shrink(spec, result);
	case_plan(spec, &play);
	telling = TELL_OPERATIONS;
	case_run(spec, result);
	print_text(result->text);
	print_again(spec, play.step_count);
}

static void print_figures(double started)
{
	printf("# figures: %llu images, %llu distinct, %llu operations in %llu sequences, "
	       "%llu recoveries crashed, %llu checked as a whole, %.0f seconds\n",
	       (unsigned long long)totals->images, (unsigned long long)totals->distinct,
	       (unsigned long long)totals->operations, (unsigned long long)totals->cases,
	       (unsigned long long)totals->recoveries, (unsigned long long)totals->checks,
	       seconds() - started);
}

/* --- what is asked for --- */

static int explore(const struct options *options)
{
	double started = seconds();
	struct job *found;

	printf("1..1\n");
	fflush(stdout);
	seen_init(options->images);
	found = run_cases(options);
	printf("%sok 1 - every image of a crash is right (seed %llu)\n", found ? "not " : "",
	       (unsigned long long)options->seed);
	print_figures(started);
	if (found)
		report_violation(&found->spec, found->result);
	return found != NULL;
}

/* The job that found it, or NULL. */
static struct job *run_control(struct options *options, const struct control *control,
			       unsigned number)
{
	double started = seconds();
	struct job *found;

	options->spec.control = control;
	options->images = CONTROL_IMAGES;
	memset(totals, 0, sizeof(*totals));
	seen_init(options->images);
	found = run_cases(options);
	printf("%sok %u - %s is found\n# %s %llu images, in %.1f seconds\n", found ? "" : "not ",
	       number, control->name, found ? "after" : "not in",
	       (unsigned long long)totals->images, seconds() - started);
	fflush(stdout);
	return found;
}

static int run_one_control(struct options *options)
{
	struct job *found;

	printf("1..1\n");
	found = run_control(options, options->spec.control, 1);
	if (found)
		report_violation(&found->spec, found->result);
	return !found;
}

static int run_controls(struct options *options)
{
	unsigned count = 0;

	printf("1..%u\n", control_count);
	for (unsigned i = 0; i < control_count; i++) {
		struct job *found = run_control(options, &controls[i], i + 1);

		if (!found)
			continue;
		count++;
		*strchrnul(found->result->text, '\n') = 0;
		print_text(found->result->text);
		print_again(&found->spec, 0);
		fflush(stdout);
	}
	printf("# figures: %u of %u deliberate mistakes found\n", count, control_count);
	return count < control_count;
}

static void parse_list(const char *list, bool *flags, bool value)
{
	while (list && *list) {
		char *end;
		unsigned long first = strtoul(list, &end, 10), last = first;

		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		for (unsigned long i = first; i <= last && i < STEPS_MAX; i++)
			flags[i] = value;
		list = *end == ',' ? end + 1 : "";
	}
}

static int run_one(struct options *options)
{
	struct case_spec *spec = &options->spec;
	bool found;

	telling = TELL_EVENTS;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (options->keep)
		memset(spec->dropped, true, sizeof(spec->dropped));
	parse_list(options->keep, spec->dropped, false);
	parse_list(options->still, spec->still, true);
	spec->seed = options->seed;
	found = case_run(spec, jobs[0].result);
	if (found)
		print_text(jobs[0].result->text);
	else
		printf("# no violation\n");
	return found;
}

enum { IMAGES = 256, JOBS, SEED, OPS, THREADS, CONTROL, CONTROLS, CASE, KEEP, STILL, FROM,
       THOROUGH };

static const struct option long_options[] = {
	{"images", required_argument, NULL, IMAGES},
	{"jobs", required_argument, NULL, JOBS},
	{"seed", required_argument, NULL, SEED},
	{"ops", required_argument, NULL, OPS},
	{"threads", required_argument, NULL, THREADS},
	{"control", required_argument, NULL, CONTROL},
	{"controls", no_argument, NULL, CONTROLS},
	{"case", required_argument, NULL, CASE},
	{"keep", required_argument, NULL, KEEP},
	{"still", required_argument, NULL, STILL},
	{"from", required_argument, NULL, FROM},
	{"thorough", no_argument, NULL, THOROUGH},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static uint64_t number_of(const char *text, uint64_t least, uint64_t most)
{
	char *end;
	uint64_t number = strtoull(text, &end, 0);

	if (*end || end == text || number < least || number > most) {
		fprintf(stderr, "explore: %s: not a number from %llu to %llu\n", text,
			(unsigned long long)least, (unsigned long long)most);
		exit(2);
	}
	return number;
}

static void take_option(struct options *options, int option)
{
	switch (option) {
	case IMAGES:
		options->images = number_of(optarg, 1, UINT64_C(1) << 32);
		break;
	case JOBS:
		options->jobs = (unsigned)number_of(optarg, 1, JOBS_MAX);
		break;
	case SEED:
	case CASE:
		options->seed = number_of(optarg, 0, UINT64_MAX);
		options->one_case |= option == CASE;
		break;
	case OPS:
		options->spec.steps = (unsigned)number_of(optarg, 1, STEPS_MAX);
		break;
	case THREADS:
		options->spec.threads = (unsigned)number_of(optarg, 1, ACTORS);
		break;
	case CONTROL:
		options->spec.control = control_find(optarg);
		if (!options->spec.control) {
			fprintf(stderr, "explore: no control is named %s\n", optarg);
			exit(2);
		}
		break;
	case CONTROLS:
		options->controls = true;
		break;
	case KEEP:
		options->keep = optarg;
		break;
	case STILL:
		options->still = optarg;
		break;
	case FROM:
		options->spec.from = (unsigned)number_of(optarg, 0, STEPS_MAX);
		break;
	case THOROUGH:
		options->spec.thorough = true;
		break;
	case 'h':
		fputs(usage, stdout);
		exit(0);
	default:
		fputs(usage, stderr);
		exit(2);
	}
}

/*
 * libpmem reads the variable before main(); then a fence needs no msync.  And what the heap does
 * may depend on addresses: where the system allows it, they are the same each time.
 */
static void start_again(char **argv)
{
	const char *force = getenv("PMEM_IS_PMEM_FORCE");

	if (force && !strcmp(force, "1"))
		return;
	setenv("PMEM_IS_PMEM_FORCE", "1", 1);
	personality(ADDR_NO_RANDOMIZE);
	execv("/proc/self/exe", argv);
	broken("can't start again");
}

int main(int argc, char **argv)
{
	struct options options = {.images = 1000000, .seed = 1, .jobs = 2,
				  .spec.threads = ACTORS};
	int option;

	start_again(argv);
	while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1)
		take_option(&options, option);
	if (optind < argc)
		take_option(&options, '?');
	totals = shared_memory(sizeof(*totals));
	for (unsigned i = 0; i < options.jobs; i++)
		jobs[i].result = shared_memory(sizeof(*jobs[i].result));
	violated = jobs[0].result;
	cases_prepare();
	if (options.one_case)
		return run_one(&options);
	if (options.spec.control)
		return run_one_control(&options);
	return options.controls ? run_controls(&options) : explore(&options);
}
