/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Power cuts and kills at every flush and fence of random sequences of operations: each image
 * that could be left must open, hold what had returned, hold what was in flight wholly or not
 * at all, and neither leak nor lose a block.  Recovery is cut in the same way.
 *
 * The negative controls take away a flush or a fence and must find a violation.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "persist.h"
#include "pool.h"
#include "shadow.h"

#define LANES	4
#define RING	16		/* few and short, so that they wrap */
#define OUTER	12		/* slots of the table */
#define INNER	2		/* slots in each block */

/* What a block holds: slots, and behind them its number, many times. */
struct content {
	daxheap_ref slot[INNER];
	uint64_t number[14];
};

/* Which block each slot refers to, by number; 0: none. */
struct model {
	uint64_t outer[OUTER];
	uint64_t inner[OUTER][INNER];
};

static struct {
	struct daxheap *heap;
	daxheap_ref *table;
	struct model before, after;	/* the operation in flight */
	uint64_t numbers;
	unsigned seed;
	uint64_t violations;
	bool count_violations;		/* a negative control */
	unsigned kill_each, kills_skipped;
	char first[160];
} test;

TestSuite(crash, .fini = pool_cleanup, .timeout = 120);

static void violation(const char *what, const char *detail)
{
	if (!test.violations++)
		snprintf(test.first, sizeof(test.first), "%s: %s", what, detail);
	if (!test.count_violations)
		cr_assert_fail("%s: %s", what, detail);
}

/* The number of the block behind @ref, 0 for none, UINT64_MAX if its content is not whole. */
static uint64_t number_of(const struct daxheap *heap, daxheap_ref ref)
{
	const struct content *content = daxheap_ptr(heap, ref);

	if (!ref)
		return 0;
	if (ref > POOL_SIZE - sizeof(*content))
		return UINT64_MAX;
	for (unsigned i = 1; i < 14; i++)
		if (content->number[i] != content->number[0])
			return UINT64_MAX;
	return content->number[0];
}

/* What the open pool holds; returns how many blocks its slots reach. */
static uint64_t read_model(struct daxheap *heap, const daxheap_ref *table, struct model *found)
{
	uint64_t reached = 1;

	memset(found, 0, sizeof(*found));
	for (unsigned i = 0; i < OUTER; i++) {
		const struct content *content = daxheap_ptr(heap, table[i]);

		found->outer[i] = number_of(heap, table[i]);
		reached += found->outer[i] != 0;
		if (!found->outer[i] || found->outer[i] == UINT64_MAX)
			continue;
		for (unsigned j = 0; j < INNER; j++) {
			found->inner[i][j] = number_of(heap, content->slot[j]);
			reached += found->inner[i][j] != 0;
		}
	}
	return reached;
}

static void check_open(struct daxheap *heap)
{
	struct daxheap_stats stats;
	struct model found;
	daxheap_ref *root;
	uint64_t reached;

	if (daxheap_root(heap, "table", &root) || !*root) {
		violation("the table is gone", daxheap_errormsg());
		return;
	}
	reached = read_model(heap, daxheap_ptr(heap, *root), &found);
	if (memcmp(&found, &test.before, sizeof(found)) &&
	    memcmp(&found, &test.after, sizeof(found)))
		violation("the slots hold neither what was before nor what is after", "");
	if (daxheap_get_stats(heap, &stats))
		violation("the image can't be counted", daxheap_errormsg());
	else if (reached != stats.live_blocks)
		violation("blocks are leaked or lost", "");
}

static void check_image(void *arg)
{
	struct daxheap *heap;

	(void)arg;
	if (daxheap_open(shadow_image_path(), DAXHEAP_READ_ONLY, &heap)) {
		violation("the image does not open", daxheap_errormsg());
		return;
	}
	check_open(heap);
	daxheap_close(heap);
}

/* --- operations --- */

/* Filled through the door, so that the shadow hears of it. */
static void *new_content(void)
{
	struct content content = {0};
	void *block;

	must(daxheap_alloc(test.heap, sizeof(content), &block));
	test.numbers++;
	for (unsigned i = 0; i < 14; i++)
		content.number[i] = test.numbers;
	dh_write(block, &content, sizeof(content));
	must(daxheap_persist(test.heap, block, sizeof(content)));
	return block;
}

static void random_operation(void)
{
	unsigned i = (unsigned)rand_r(&test.seed) % OUTER;
	unsigned j = (unsigned)rand_r(&test.seed) % INNER;
	bool is_inner = test.before.outer[i] && rand_r(&test.seed) % 2;
	struct content *outer = daxheap_ptr(test.heap, test.table[i]);
	daxheap_ref *slot = is_inner ? &outer->slot[j] : &test.table[i];
	uint64_t *place = is_inner ? &test.after.inner[i][j] : &test.after.outer[i];
	void *block;

	/* A block with children is not freed: they would be leaked by its owner. */
	if (!is_inner && (test.before.inner[i][0] || test.before.inner[i][1]))
		return;
	if (*place && rand_r(&test.seed) % 2) {
		*place = 0;
		must(daxheap_free(test.heap, slot));
		return;
	}
	block = new_content();
	if (*place) {
		*place = test.numbers;
		must(daxheap_replace(test.heap, slot, block));
	} else {
		*place = test.numbers;
		must(daxheap_publish(test.heap, slot, block));
	}
}

static void *operate(void *arg)
{
	(void)arg;
	random_operation();
	return NULL;
}

/* In a thread of its own, so that its record is in another lane, which then is idle. */
static void operate_in_thread(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, operate, NULL);
	pthread_join(thread, NULL);
}

/* --- recovery --- */

static void write_killed(const void *bytes)
{
	int fd = open(pool_path("killed"), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	cr_assert_eq(write(fd, bytes, POOL_SIZE), (ssize_t)POOL_SIZE);
	close(fd);
}

static bool in_horizon(size_t offset)
{
	return offset >= DH_HORIZON_OFFSET && offset < DH_LOG_OFFSET;
}

/*
 * As if the process were killed now: what it stored is there, settled or not, and the pool is
 * opened anew.  That open is cut at each of its flushes and fences.
 */
static void recover_after_kill(void *arg)
{
	const struct shadow *shadow = *(struct shadow **)arg;
	struct shadow *next;
	struct daxheap *heap;

	/* Where the horizon is in the making, each time. */
	if (!in_horizon(shadow_last_flush(shadow)) && test.kills_skipped++ % test.kill_each)
		return;
	next = shadow_after_kill(shadow);
	write_killed(*(char **)test.heap);
	shadow_listen(next, 6, check_image, NULL, NULL);
	if (daxheap_open(pool_path("killed"), 0, &heap)) {
		violation("the killed pool does not open", daxheap_errormsg());
	} else {
		shadow_try(next);
		shadow_stop();
		check_open(heap);
		daxheap_close(heap);
	}
	shadow_stop();
	shadow_free(next);
}

static void start(unsigned seed)
{
	daxheap_ref *root;

	memset(&test, 0, sizeof(test));
	test.seed = seed;
	unlink(pool_path("crash"));
	test.heap = pool_create_small("crash", POOL_SIZE, LANES, RING);
	root = pool_root(test.heap, "table");
	pool_publish(test.heap, root, OUTER * sizeof(daxheap_ref), 0);
	test.heap = pool_reopen(test.heap, "crash");
	test.table = daxheap_ptr(test.heap, *pool_root(test.heap, "table"));
}

/*
 * @operations in a row, most of them in this thread, so that its ring wraps and the horizon
 * moves over the records of idle lanes.
 */
static void run(unsigned seed, unsigned operations, unsigned samples, enum shadow_mistake mistake)
{
	struct shadow *shadow;
	const char *base;

	start(seed);
	test.count_violations = mistake != SHADOW_HONEST;
	test.kill_each = operations > 60 ? 50 : 9;
	base = *(char **)test.heap;
	shadow = shadow_new(base, base, POOL_SIZE, mistake, seed);
	shadow_listen(shadow, samples, check_image, recover_after_kill, &shadow);
	for (unsigned i = 0; i < operations && !test.violations; i++) {
		if (i % 10 == 9)
			operate_in_thread();
		else
			random_operation();
		test.before = test.after;
		shadow_try(shadow);
	}
	shadow_stop();
	shadow_free(shadow);
	daxheap_close(test.heap);
}

Test(crash, every_image_is_right)
{
	unsigned seed = test_seed();

	for (unsigned i = 0; i < 3; i++)
		run(seed + i, 40, 20, SHADOW_HONEST);
	fprintf(stderr, "%llu images\n", (unsigned long long)shadow_images());
}

Test(crash, rings_that_wrap)
{
	run(test_seed(), 3 * RING, 4, SHADOW_HONEST);
	fprintf(stderr, "%llu images\n", (unsigned long long)shadow_images());
}

static void must_be_seen(enum shadow_mistake mistake, unsigned operations)
{
	for (unsigned seed = 1; seed < 20; seed++) {
		run(seed, operations, 20, mistake);
		if (test.violations) {
			fprintf(stderr, "seen with seed %u: %s\n", seed, test.first);
			return;
		}
	}
	cr_assert_fail("a mistake of kind %d was not seen", mistake);
}

Test(crash, control_record_is_not_flushed)
{
	must_be_seen(SHADOW_NO_RECORD_FLUSH, 20);
}

Test(crash, control_content_is_not_flushed)
{
	must_be_seen(SHADOW_NO_CONTENT_FLUSH, 20);
}

Test(crash, control_horizon_does_not_write_back)
{
	must_be_seen(SHADOW_NO_WRITE_BACK, 2 * RING);
}

Test(crash, control_no_fence)
{
	must_be_seen(SHADOW_NO_FENCE, 20);
}

Test(crash, control_recovery_does_not_flush_the_log)
{
	must_be_seen(SHADOW_NO_RECOVERY_FLUSH, 40);
}
