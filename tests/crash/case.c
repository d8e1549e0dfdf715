/* SPDX-License-Identifier: BSD-3-Clause */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"
#include "control.h"
#include "forest.h"
#include "heap.h"
#include "media.h"
#include "random.h"
#include "report.h"
#include "stock.h"

#define TEMPLATE_PAGES	256u
#define PATIENCE_S	300		/* until a case counts as hung */

/* Small pools: lanes are shared and rings wrap. */
static const struct geometry {
	unsigned lanes, ring;
} geometries[] = {{2, 8}, {3, 8}, {4, 8}, {2, 16}, {4, 16}};
#define GEOMETRIES (sizeof(geometries) / sizeof(geometries[0]))

static struct template templates[GEOMETRIES];

/* --- the pools that cases begin with --- */

static void must(int err, const char *what)
{
	if (err)
		broken("%s: %d, %s", what, err, daxheap_errormsg());
}

static void take_pages(struct template *template, const char *bytes, int fd)
{
	static const char zeros[DH_PAGE_SIZE];
	struct stat st;

	if (fstat(fd, &st))
		broken("a new pool is gone");
	template->length = (uint64_t)st.st_size;
	template->count = 0;
	for (uint32_t page = 0; page < template->length / DH_PAGE_SIZE; page++) {
		const char *from = bytes + page * (size_t)DH_PAGE_SIZE;

		if (!memcmp(from, zeros, DH_PAGE_SIZE))
			continue;
		if (template->count == TEMPLATE_PAGES)
			broken("a new pool has too many pages");
		memcpy(template->bytes[template->count], from, DH_PAGE_SIZE);
		template->pages[template->count++] = page;
	}
}

/* Every run has the same pools, so that equal images are counted once. */
static void make_uniform(char *bytes)
{
	static const uint64_t places[] = {0, DH_COPY_OFFSET};
	uint64_t seed = 0;

	for (unsigned i = 0; i < 2; i++) {
		struct dh_superblock *sb = (struct dh_superblock *)(bytes + places[i]);

		memset(sb->uuid, 1, sizeof(sb->uuid));
		sb->created_s = 1;
		sb->checksum = dh_superblock_checksum(sb);
		seed = dh_pool_seed(sb);
	}
	for (unsigned i = 0; i < 2; i++) {
		uint64_t offset = DH_HORIZON_OFFSET + i * sizeof(struct dh_horizon);
		struct dh_horizon *horizon = (struct dh_horizon *)(bytes + offset);

		horizon->checksum = dh_horizon_checksum(horizon, offset, seed);
	}
}

static void create_pool(const struct geometry *geometry, struct template *template)
{
	const char *folder = getenv("TMPDIR");
	char path[4096], *bytes;
	struct daxheap *heap;
	int fd;

	snprintf(path, sizeof(path), "%s/explore-XXXXXX", folder ? folder : "/tmp");
	if (!mkdtemp(path))
		broken("%s: can't make a folder", path);
	strcat(path, "/pool");
	must(dh_create_sized(path, POOL_SIZE, 0, geometry->lanes, geometry->ring, &heap),
	     "create");
	daxheap_close(heap);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	bytes = calloc(1, POOL_SIZE);
	if (fd < 0 || !bytes || read(fd, bytes, POOL_SIZE) < (ssize_t)DH_CHUNK_SIZE)
		broken("%s: can't read it", path);
	unlink(path);
	*strrchr(path, '/') = 0;
	rmdir(path);
	make_uniform(bytes);
	take_pages(template, bytes, fd);
	close(fd);
	free(bytes);
}

static const char *path_of(int fd)
{
	static char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return path;
}

static void make_table(struct daxheap *heap)
{
	daxheap_ref *root;
	void *table;

	must(daxheap_root(heap, "table", &root), "root");
	must(daxheap_alloc(heap, TABLE_BYTES, &table), "alloc");
	forest_fill_table(table);
	must(daxheap_persist(heap, table, TABLE_BYTES), "persist");
	must(daxheap_publish(heap, root, table), "publish");
}

static void prepare(unsigned i)
{
	struct template *template = &templates[i];
	struct daxheap *heap;
	char *bytes;
	int fd;

	create_pool(&geometries[i], template);
	fd = media_file(template, (void **)&bytes);
	must(daxheap_open(path_of(fd), 0, &heap), "open");
	make_table(heap);
	daxheap_close(heap);
	take_pages(template, bytes, fd);
}

void cases_prepare(void)
{
	struct shared {
		struct template templates[GEOMETRIES];
	} *shared = shared_memory(sizeof(*shared));
	int status;
	pid_t child;

	for (unsigned i = 0; i < GEOMETRIES; i++) {
		templates[i].pages = shared_memory(TEMPLATE_PAGES * sizeof(uint32_t));
		templates[i].bytes = shared_memory((size_t)TEMPLATE_PAGES * DH_PAGE_SIZE);
	}
	/* In a child, so that no case inherits what the heap keeps for a process. */
	child = fork();
	if (!child) {
		for (unsigned i = 0; i < GEOMETRIES; i++)
			prepare(i);
		memcpy(shared->templates, templates, sizeof(templates));
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0 || status)
		broken("can't make the pools that cases begin with");
	memcpy(templates, shared->templates, sizeof(templates));
}

/* --- planning --- */

static const struct geometry *choose_geometry(uint64_t *random)
{
	return &geometries[random_below(random, GEOMETRIES)];
}

/* Every event of a few steps, or some of many. */
static void plan_length(struct play *play, uint64_t *random)
{
	if (random_one_in(random, 3)) {
		play->warm = random_below(random, random_one_in(random, 4) ? 1 : 100);
		play->step_count = play->warm + 5 + random_below(random, 10);
		play->tried_each = 1;
	} else {
		play->step_count = 100 + random_below(random, 100);
		play->tried_each = 12;
	}
}

/* The pool crashes in earnest, so that what comes after a recovery gets its time too. */
static void plan_crashes(struct play *play, uint64_t *random)
{
	unsigned crashes = random_below(random, 5);

	play->crash_growing = random_one_in(random, 4);
	while (crashes--)
		play->steps[random_below(random, play->step_count)].crash_at =
			1 + random_below(random, 12);
}

static const struct geometry *plan_all(const struct case_spec *spec, struct play *play,
				       uint64_t *random)
{
	static const unsigned actors[] = {1, 2, 2, 2, 3, 3}, switches[] = {2, 5, 15, 50};
	const struct geometry *geometry = choose_geometry(random);

	memset(play, 0, sizeof(*play));
	play->actors = actors[random_below(random, 6)];
	if (play->actors > spec->threads)
		play->actors = spec->threads;
	play->switch_each = switches[random_below(random, 4)];
	play->stall_each = 1 + random_below(random, 6);
	plan_length(play, random);
	if (spec->steps)
		play->step_count = play->warm + spec->steps;
	if (play->step_count > STEPS_MAX)
		play->step_count = STEPS_MAX;
	if (spec->from > play->warm)
		play->warm = spec->from;
	for (unsigned i = 0; i < play->step_count; i++) {
		struct step *step = &play->steps[i];
		uint64_t own = mix_two(spec->seed, i);

		step->actor = random_below(&own, 60) % play->actors;
		step->kind = random_one_in(&own, 12) ? OP_LEAVE : ops_random_kind(&own);
		step->random = random_next(&own);
		step->dropped = spec->dropped[i];
		step->still = spec->still[i];
	}
	plan_crashes(play, random);
	return geometry;
}

void case_plan(const struct case_spec *spec, struct play *play)
{
	uint64_t random = spec->seed;

	plan_all(spec, play, &random);
}

/* --- running --- */

static void choose_effort(const struct case_spec *spec, uint64_t *random,
			  struct effort effort[LEVELS + 1])
{
	effort[0] = (struct effort){
		.subsets_max = random_one_in(random, 8) ? 1024 : 64,
		.samples = spec->thorough ? 60 : 10,
		.singles_max = 256,
		.recover_each = 64,
		.work_each = 16,
		.check_each = 64,
	};
	effort[1] = (struct effort){
		.subsets_max = 32,
		.samples = 6,
		.singles_max = 16,
		.recover_each = 200,
		.work_each = 64,
		.check_each = 256,
	};
	effort[2] = effort[1];
	effort[2].samples = 3;
	effort[2].singles_max = 8;
}

static struct life life;
static struct play played;

static void describe_where(char *text, size_t size)
{
	int used = snprintf(text, size, "\n  at step %u, event %u", stage_step(), events);

	images_describe(text + used, size - (size_t)used);
}

/* After a crash: a power cut, or a kill, after which all is in the CPU's cache. */
static const char *begin_again(uint64_t *random)
{
	const char *path;

	if (random_one_in(random, 3))
		media_unflush(life.media);
	else
		images_happen(&life);
	path = path_of(media_new_file(life.media));
	memset(&life.claims, 0, sizeof(life.claims));
	memset(life.stock, 0, sizeof(life.stock));
	life.growing = false;
	model_crash(&life.model, &life.model);
	life.effort = random_one_in(random, 4) ? played.effort : NULL;
	life_open(&life, path);
	life_check(&life);
	return path;
}

static void play_all(uint64_t *random, bool filled, const char **path, struct listener *own)
{
	for (;;) {
		if (filled)
			stock_fill_pool(life.heap, random_next(random));
		listening = NULL;
		if (!stage_play(&life, &played))
			break;
		if (telling)
			printf("#   crash\n");
		listening = own;
		*path = begin_again(random);
	}
	listening = own;
}

static void run(const struct case_spec *spec)
{
	struct listener listener = {.life = &life, .flusher = FLUSHER_MAIN};
	uint64_t random = spec->seed;
	const struct geometry *geometry = plan_all(spec, &played, &random);
	const struct template *template = &templates[geometry - geometries];
	struct effort effort[LEVELS + 1] = {0};
	const char *path;
	char *bytes;

	on_violation = describe_where;
	choose_effort(spec, &random, effort);
	ops_large = random_one_in(&random, 4);
	ops_policy = random_one_in(&random, 4);
	if (spec->control) {
		mistake = spec->control->mistake;
		dh_fault = spec->control->fault;
	}
	for (unsigned i = 0; i < LEVELS; i++)
		media_init(&medias[i], template, i ? &medias[i - 1] : NULL);
	medias[0].hash = mix_two(geometry->lanes, geometry->ring);
	for (unsigned i = 1; i < LEVELS; i++)
		medias[i].hash = medias[0].hash;

	model_init(&life.model);
	life.media = &medias[0];
	life.random = random_next(&random);
	listening = &listener;
	life_start_listening();
	path = path_of(media_file(template, (void **)&bytes));
	life_open(&life, path);
	life_check(&life);
	played.effort = effort;
	play_all(&random, random_one_in(&random, 2), &path, &listener);
	life_check(&life);
	life_crash(&life);
	life_close(&life);
	life.effort = NULL;
	life_open(&life, path);
	life_check(&life);
	life_close(&life);
}

pid_t case_start(const struct case_spec *spec, struct violation *result)
{
	pid_t child;

	result->text[0] = 0;
	result->images = 0;
	fflush(stdout);
	child = fork();
	if (child < 0)
		broken("no process");
	if (child)
		return child;
	violated = result;
	alarm(PATIENCE_S);
	run(spec);
	atomic_fetch_add(&totals->cases, 1);
	fflush(stdout);
	_exit(CASE_RIGHT);
}

bool case_found(int status, struct violation *result)
{
	if (WIFSIGNALED(status)) {
		snprintf(result->text, sizeof(result->text), "ended by signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
		return true;
	}
	if (WEXITSTATUS(status) == CASE_RIGHT)
		return false;
	if (WEXITSTATUS(status) == CASE_BROKEN)
		broken("a case could not run");
	/* A sanitizer, say. */
	if (WEXITSTATUS(status) != CASE_VIOLATION)
		snprintf(result->text, sizeof(result->text), "ended with status %d",
			 WEXITSTATUS(status));
	return true;
}

bool case_run(const struct case_spec *spec, struct violation *result)
{
	pid_t child = case_start(spec, result);
	int status;

	if (waitpid(child, &status, 0) < 0)
		broken("a case is gone");
	return case_found(status, result);
}
