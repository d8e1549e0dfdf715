/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "facts.h"
#include "rounds.h"
#include "timer.h"

#define EMPTY_ROOM  512u
#define LIMIT_S	    120u	/* for one round of one cell: it hangs */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

void record_refuse(struct record *record, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(record->refused, sizeof(record->refused), format, args);
	va_end(args);
}

void record_empty(struct record *record)
{
	for (unsigned i = 0; i < EMPTY_ROOM; i++) {
		uint64_t start = timer_begin();

		record->empty[i] = timer_now() - start;
	}
	record->empty_count = EMPTY_ROOM;
}

/* --- the plan --- */

struct cell *plan_add(struct plan *plan, const void *what, size_t what_size, const char *name, ...)
{
	struct cell cell = {.params = NULL};
	va_list args;

	va_start(args, name);
	vsnprintf(cell.name, sizeof(cell.name), name, args);
	va_end(args);
	if (!matches(plan->options->only, cell.name))
		return NULL;
	cell.params = json_object_new_object();
	cell.what = malloc(what_size);
	plan->cells = reallocarray(plan->cells, plan->count + 1, sizeof(cell));
	if (!cell.what || !plan->cells)
		die("out of memory");
	memcpy(cell.what, what, what_size);
	plan->cells[plan->count] = cell;
	return &plan->cells[plan->count++];
}

/* --- the shared record --- */

static size_t record_size(unsigned room)
{
	return sizeof(struct record) + ((size_t)room + EMPTY_ROOM) * sizeof(uint64_t);
}

static struct record *record_new(unsigned room)
{
	struct record *record = mmap(NULL, record_size(room), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (record == MAP_FAILED)
		die("out of memory");
	return record;
}

/* Storing to all of it: no value's place may fault while something is measured. */
static void record_reset(struct record *record, unsigned room)
{
	memset(record, 0, record_size(room));
	record->room = room;
	record->ticks = (uint64_t *)(record + 1);
	record->empty = record->ticks + room;
}

/* --- one round of a cell --- */

__attribute__((noreturn)) static void measure_in_child(const struct plan *plan,
							const struct cell *cell,
							struct record *record)
{
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(LIMIT_S);
	/* Once more, by this process: its page table is new. */
	for (char *at = (char *)record; at < (char *)record + record_size(record->room); at += 512)
		*(volatile char *)at = *(volatile char *)at;
	plan->measure(plan, cell, record);
	_exit(0);
}

static int wait_for(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid: %s", strerror(errno));
	return status;
}

/* False if interrupted. */
static bool run_cell(const struct plan *plan, const struct cell *cell, struct record *record)
{
	pid_t child;
	int status;

	record_reset(record, cell->room);
	fflush(NULL);
	child = fork();
	if (child < 0)
		die("fork: %s", strerror(errno));
	if (!child)
		measure_in_child(plan, cell, record);
	status = wait_for(child);
	if (plan->clean)
		plan->clean(plan, child);
	/* A terminal interrupts both. */
	if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGINT || WTERMSIG(status) == SIGTERM))
		interrupted = 1;
	if (interrupted)
		return false;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
		record_refuse(record, "a round did not end within %u s: it hangs", LIMIT_S);
		record->hopeless = true;
	} else if (WIFSIGNALED(status)) {
		record_refuse(record, "the process that measured it died: %s",
			      strsignal(WTERMSIG(status)));
	} else if (WEXITSTATUS(status)) {
		/* The others may be fine, and those before it were. */
		record_refuse(record, "the process that measured it gave up, and said why");
	}
	return true;
}

/* --- what comes of it --- */

/* A cell's, while rounds go on. */
struct tally {
	uint64_t figures[ROUNDS_FIGURES];
	unsigned refused;		/* rounds */
	char *why;			/* the first of them was */
	bool not_huge;
};

/* One of two folders, or the one that there is. */
struct side {
	struct options options;		/* with its folder */
	struct plan plan;
	struct result *result;
	struct tally *tallies;
};

static void keep_text(char **text, const char *new)
{
	if (*text || !new[0])
		return;
	*text = strdup(new);
	if (!*text)
		die("out of memory");
}

static void keep_raw(struct series *series, const struct record *record)
{
	struct json_object *round = json_object_new_array();

	if (!series->raw)
		series->raw = json_object_new_array();
	for (unsigned i = 0; i < record->count; i++)
		json_object_array_add(round,
				      json_object_new_uint64(timer_ns(record->ticks[i])));
	json_object_array_add(series->raw, round);
}

static void keep_round(const struct plan *plan, struct series *series, struct tally *tally,
		       const struct record *record)
{
	static struct histogram round;

	round = (struct histogram){0};
	for (unsigned i = 0; i < record->count; i++)
		histogram_add(&round, timer_ns(record->ticks[i]), 1);
	if (!round.count)
		return;
	series_add_round(series, &round);
	for (unsigned i = 0; i < record->empty_count; i++)
		histogram_add(&series->harness, timer_ns(record->empty[i]), 1);
	noise_add(&series->noise, &record->noise);
	for (unsigned i = 0; i < ROUNDS_FIGURES; i++)
		tally->figures[i] += record->figures[i];
	keep_text(&series->note, record->note);
	if (plan->options->raw)
		keep_raw(series, record);
}

/* One bad round is worth a note; more than there are good ones, and nothing is shown. */
static void refuse_round(struct series *series, struct tally *tally, const struct record *record)
{
	tally->refused++;
	tally->not_huge |= record->not_huge;
	keep_text(&tally->why, record->refused);
	if (record->hopeless || tally->refused > series->round_count)
		keep_text(&series->refused, record->hopeless ? record->refused : tally->why);
}

static void note_refused(struct series *series, const struct tally *tally)
{
	char *before = series->note;

	if (!tally->refused || series->refused)
		return;
	if (asprintf(&series->note, "%s%s%u of %u rounds have no figures: %s", before ? before : "",
		     before ? "; " : "", tally->refused, tally->refused + series->round_count,
		     tally->why) < 0)
		die("out of memory");
	free(before);
}

/* --- all rounds --- */

static void shuffle(unsigned *order, unsigned count, uint64_t *seed)
{
	for (unsigned i = 0; i < count; i++)
		order[i] = i;
	for (unsigned i = count; i > 1; i--) {
		unsigned k = random_below(seed, i), was = order[i - 1];

		order[i - 1] = order[k];
		order[k] = was;
	}
}

/* What is measured, and how often, for the progress. */
struct extent {
	const char *verb;
	unsigned rounds, of_round;
	uint64_t start_ns;
};

static void show_progress(const struct extent *extent, unsigned round, unsigned done)
{
	unsigned all = (extent->rounds + 1) * extent->of_round;
	unsigned now = round * extent->of_round + done;
	double passed_s = (double)(now_ns() - extent->start_ns) / 1e9, left_s;

	if (!isatty(STDERR_FILENO))
		return;
	left_s = now ? passed_s / now * (all - now) : 0;
	fprintf(stderr, "\r%s: round %u of %u%s, %u %%, %u:%02u left\033[K", extent->verb,
		round ? round : 1, extent->rounds, round ? "" : " (warming up)", now * 100 / all,
		(unsigned)left_s / 60, (unsigned)left_s % 60);
}

/* Where no terminal shows the progress, once, when it is known how long a round takes. */
static void tell_duration(const struct extent *extent)
{
	uint64_t left_s = (now_ns() - extent->start_ns) * extent->rounds / 1000000000;

	if (!isatty(STDERR_FILENO) && left_s >= 10)
		fprintf(stderr, "daxbench %s: %u series in %u rounds, about %u:%02u left\n",
			extent->verb, extent->of_round, extent->rounds, (unsigned)left_s / 60,
			(unsigned)left_s % 60);
}

static void clear_progress(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

/* Round 0 is not kept. */
static void do_cell(struct side *side, unsigned nth, unsigned round, struct record *record)
{
	struct series *series = &side->result->series[nth];

	if (series->refused || interrupted || !run_cell(&side->plan, &side->plan.cells[nth], record))
		return;
	if (record->refused[0])
		refuse_round(series, &side->tallies[nth], record);
	else if (round)
		keep_round(&side->plan, series, &side->tallies[nth], record);
}

static void do_rounds(struct side *sides, unsigned side_count, struct record *record)
{
	const struct plan *plan = &sides[0].plan;
	struct extent extent = {plan->verb, plan->options->rounds, plan->count * side_count,
				now_ns()};
	unsigned *order = calloc(plan->count, sizeof(*order));
	uint64_t seed = 1;

	if (!order)
		die("out of memory");
	for (unsigned round = 0; round <= extent.rounds && !interrupted; round++) {
		shuffle(order, plan->count, &seed);
		for (unsigned i = 0; i < plan->count; i++)
			for (unsigned k = 0; k < side_count; k++) {
				show_progress(&extent, round, i * side_count + k);
				/* Each is the first one now and then. */
				do_cell(&sides[(round + i + k) % side_count], order[i], round,
					record);
			}
		if (!round && !interrupted)
			tell_duration(&extent);
	}
	clear_progress();
	free(order);
}

static void open_side(struct side *side, const struct plan *plan, const char *dir,
		      struct result *result)
{
	*side = (struct side){.options = *plan->options, .plan = *plan, .result = result,
			      .tallies = calloc(plan->count, sizeof(*side->tallies))};
	*result = (struct result){.verb = strdup(plan->verb), .count = plan->count,
				  .series = calloc(plan->count, sizeof(*result->series)),
				  .facts = facts_new(dir)};
	if (!side->tallies || !result->verb || !result->series)
		die("out of memory");
	side->options.dir = dir;
	side->plan.options = &side->options;
	for (unsigned i = 0; i < plan->count; i++) {
		result->series[i].name = strdup(plan->cells[i].name);
		result->series[i].params = json_object_get(plan->cells[i].params);
		result->series[i].batch = plan->cells[i].batch ? plan->cells[i].batch : 1;
	}
}

static void close_side(struct side *side)
{
	const struct plan *plan = &side->plan;

	for (unsigned i = 0; i < plan->count; i++) {
		struct series *series = &side->result->series[i];

		if (!series->round_count)
			keep_text(&series->refused, "interrupted before its first round");
		if (plan->conclude)
			plan->conclude(plan, &plan->cells[i], series, side->tallies[i].figures,
				       side->tallies[i].not_huge);
		note_refused(series, &side->tallies[i]);
		free(side->tallies[i].why);
		series_conclude(series);
	}
	free(side->tallies);
}

void rounds_run(const struct plan *plan, const char *const *dirs, unsigned dir_count,
		struct result *results)
{
	/* The second time it ends at once, should something hang. */
	const struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
	struct side *sides = calloc(dir_count, sizeof(*sides));
	struct sigaction before_int, before_term;
	struct record *record;
	unsigned room = 0;

	if (!sides)
		die("out of memory");
	timer_start();
	for (unsigned i = 0; i < dir_count; i++)
		open_side(&sides[i], plan, dirs[i], &results[i]);
	for (unsigned i = 0; i < plan->count; i++)
		room = plan->cells[i].room > room ? plan->cells[i].room : room;
	record = record_new(room);
	interrupted = 0;
	sigaction(SIGINT, &action, &before_int);
	sigaction(SIGTERM, &action, &before_term);
	do_rounds(sides, dir_count, record);
	for (unsigned i = 0; i < dir_count; i++)
		results[i].interrupted = interrupted;
	for (unsigned i = 0; i < dir_count; i++)
		close_side(&sides[i]);
	sigaction(SIGINT, &before_int, NULL);
	sigaction(SIGTERM, &before_term, NULL);
	munmap(record, record_size(room));
	free(sides);
}

void plan_free(struct plan *plan)
{
	for (unsigned i = 0; i < plan->count; i++) {
		json_object_put(plan->cells[i].params);
		free(plan->cells[i].what);
	}
	free(plan->cells);
	plan->cells = NULL;
	plan->count = 0;
}
