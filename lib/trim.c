/* SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "bounded.h"
#include "cache.h"
#include "error.h"

#define NS_PER_MS	UINT64_C(1000000)
#define FINISH_NS	(1000 * NS_PER_MS)	/* for what an open finds */

/* --- the intent --- */

static int store_intent(struct daxheap *heap, struct dh_traffic *traffic,
			const struct dh_intent *intent)
{
	char *at = heap->base + DH_INTENT_OFFSET;

	dh_write(at, intent, sizeof(*intent));
	dh_flush(&heap->persist, traffic, at, sizeof(*intent));
	return dh_fence(&heap->persist, traffic);
}

static int declare(struct daxheap *heap, struct dh_traffic *traffic, const struct dh_run *run)
{
	struct dh_intent intent = {.first = run->first, .count = run->count};

	intent.checksum = dh_intent_checksum(&intent, heap->log.seed);
	return store_intent(heap, traffic, &intent);
}

static int clear_intent(struct daxheap *heap, struct dh_traffic *traffic)
{
	static const struct dh_intent none;

	return store_intent(heap, traffic, &none);
}

/* --- one run --- */

/* Until when to wait, in ns of CLOCK_MONOTONIC. */
struct limits {
	uint64_t gate;			/* for I/O in flight */
	uint64_t all;
};

/*
 * The one door to a punch or truncate of the file: behind it no I/O of the heap is in flight.
 * @left: as of dh_bounded_cut().
 */
static int take_away(struct daxheap *heap, struct dh_cut cut, const struct limits *limits,
		     struct dh_bounded **left)
{
	int err = dh_gate_close(&heap->gate, limits->gate);

	if (err)
		return err;
	assert(dh_faulty(DH_FAULT_NO_GATE) || dh_gate_is_closed(&heap->gate));
	cut.fd = heap->mapping.fd;
	if (cut.is_tail)
		err = dh_mapping_hide(&heap->mapping, cut.offset);
	if (!err)
		err = dh_bounded_cut(&cut, limits->all, left);
	if (cut.is_tail && err && !*left)
		dh_mapping_show(&heap->mapping);
	dh_gate_open(&heap->gate);
	return err;
}

static int take_run_away(struct daxheap *heap, const struct dh_run *run,
			 const struct limits *limits, struct dh_bounded **left)
{
	const struct dh_cut cut = {
		.is_tail = run->is_tail,
		.offset = run->first * DH_CHUNK_SIZE,
		.size = run->count * DH_CHUNK_SIZE,
	};
	int err = take_away(heap, cut, limits, left);

	if (!err)
		dh_mapping_changed(run->is_tail ? DH_FILE_CUT : DH_FILE_PUNCHED, cut.offset,
				   cut.size);
	return err;
}

static void count_trimmed(struct daxheap *heap, uint64_t before)
{
	uint64_t after = dh_mapping_space(&heap->mapping);

	if (after < before)
		atomic_fetch_add(&heap->trim.trimmed, before - after);
}

/* Everything but the intent; the run is taken. */
static int free_run(struct daxheap *heap, struct dh_traffic *traffic, const struct dh_run *run,
		    const struct limits *limits, struct dh_bounded **left)
{
	/* A hole has nothing to be flushed; behind the file's end there is no mapping of it. */
	const uint64_t from = run->is_tail ? 0 : run->first * DH_CHUNK_SIZE;
	const uint64_t to = run->is_tail ? DH_PAGE_SIZE : from + run->count * DH_CHUNK_SIZE;
	const uint64_t before = dh_mapping_space(&heap->mapping);
	int err = 0;

	if (dh_faulty(DH_FAULT_TRIM_EARLY))
		err = take_run_away(heap, run, limits, left);
	if (!err)
		err = dh_spare_clear(&heap->space, traffic, run);
	if (!err && !dh_faulty(DH_FAULT_TRIM_EARLY))
		err = take_run_away(heap, run, limits, left);
	if (!err)
		err = dh_mapping_sync(&heap->mapping, from, to);
	if (!err)
		count_trimmed(heap, before);
	return err;
}

static int trim_run(struct daxheap *heap, struct dh_traffic *traffic, const struct dh_run *run,
		    const struct limits *limits)
{
	struct dh_bounded *left = NULL;
	int err = dh_faulty(DH_FAULT_TRIM_BEFORE_HORIZON) ? 0 :
			  dh_log_advance(&heap->log, traffic, run->seq);
	int cleared;

	if (!err)
		err = declare(heap, traffic, run);
	if (!err)
		err = free_run(heap, traffic, run, limits, &left);
	if (left) {
		heap->trim.left = left;
		heap->trim.left_run = *run;
		dh_spare_abandon(&heap->space);
		return err;
	}
	dh_spare_give(&heap->space, run, !err);
	/* After an error they are free all the same, and counted: nothing is to be finished. */
	cleared = clear_intent(heap, traffic);
	return err ? err : cleared;
}

/* --- a trim --- */

static int begin(struct daxheap *heap, uint64_t deadline)
{
	for (unsigned round = 0; !dh_trylock(&heap->trim.lock); round++) {
		if (dh_now_ns() >= deadline)
			return dh_fail(ETIMEDOUT, "another thread trims the pool: try again");
		dh_wait(round);
	}
	return 0;
}

/* Whether what the kernel had not finished in time is over now: then it can be used again. */
static bool take_up_left(struct daxheap *heap)
{
	struct dh_trim *trim = &heap->trim;

	if (!trim->left)
		return true;
	if (!dh_bounded_over(trim->left))
		return false;
	trim->left = NULL;
	if (trim->left_run.is_tail)
		dh_mapping_show(&heap->mapping);
	dh_spare_give_left(&heap->space, &trim->left_run);
	return true;
}

/* Else nothing can be trimmed. */
static int need_left(struct daxheap *heap)
{
	return take_up_left(heap) ? 0 :
		       dh_fail(ETIMEDOUT, "what the kernel was told to give back by an earlier "
			       "call is still under way: try again later");
}

bool dh_trim_reclaim(struct daxheap *heap)
{
	bool any;

	/* Who trims sees to it. */
	if (!dh_trylock(&heap->trim.lock))
		return false;
	any = heap->trim.left && take_up_left(heap);
	dh_unlock(&heap->trim.lock);
	return any;
}

static int out_of_time(void)
{
	return dh_fail(ETIMEDOUT, "not all of the free space could be given back in time: give the "
		       "trim more");
}

/* In chunks of [@from, @to); @keep spare ones stay. */
static int trim_all(struct daxheap *heap, struct dh_traffic *traffic, uint64_t from, uint64_t to,
		    uint64_t keep, const struct limits *limits)
{
	struct dh_run run;
	int err = 0;

	while (!err && dh_spare_take(&heap->space, from, to, keep, &run)) {
		if (dh_now_ns() < limits->all) {
			err = trim_run(heap, traffic, &run, limits);
		} else {
			dh_spare_give(&heap->space, &run, false);
			err = out_of_time();
		}
		to = run.first;
	}
	return err;
}

/* --- free units of chunks in use --- */

static int trim_units_of(struct daxheap *heap, uint64_t chunk, uint32_t units,
			 const struct limits *limits)
{
	const struct dh_cut cut = {.offset = chunk * DH_CHUNK_SIZE, .units = units};
	struct dh_bounded *left = NULL;
	int err = take_away(heap, cut, limits, &left);

	if (left) {
		heap->trim.left = left;
		heap->trim.left_run = (struct dh_run){.first = chunk, .count = 1,
							.units = units};
		dh_spare_abandon(&heap->space);
		return err;
	}
	for (unsigned i = 0; i < DH_UNITS_PER_CHUNK && !err; i++)
		if (units >> i & 1)
			dh_mapping_changed(DH_FILE_PUNCHED, cut.offset + i * DH_UNIT_SIZE,
					   DH_UNIT_SIZE);
	dh_spare_give_units(&heap->space, chunk, units, !err);
	return err;
}

/*
 * Nothing on media says that a unit is free but that no block in it lives; and nothing in it is
 * looked at.  The log may still tell of blocks that were there: their bits lie in the chunk's first
 * unit, which stays, and words inside them are void, since it tells as well that they were freed.
 * So there is nothing to be made durable before.
 */
static int trim_units(struct daxheap *heap, uint64_t keep, const struct limits *limits)
{
	const uint64_t before = dh_mapping_space(&heap->mapping);
	bool any = false;
	int err = 0;

	for (uint64_t i = heap->media.first_chunk; dh_media_has(&heap->media, i, 1) && !err; i++) {
		uint32_t units = dh_spare_take_units(&heap->space, i, &keep);

		if (!units)
			continue;
		any = true;
		if (dh_now_ns() < limits->all) {
			err = trim_units_of(heap, i, units, limits);
		} else {
			dh_spare_give_units(&heap->space, i, units, false);
			err = out_of_time();
		}
	}
	if (any && !err)
		err = dh_mapping_sync(&heap->mapping, 0, DH_PAGE_SIZE);
	count_trimmed(heap, before);
	return err;
}

/* Besides what spare chunks have. */
static uint64_t units_to_keep(struct daxheap *heap, uint64_t keep_bytes)
{
	uint64_t spare = dh_spare_count(&heap->space) * DH_CHUNK_SIZE;

	return keep_bytes > spare ? (keep_bytes - spare - 1) / DH_UNIT_SIZE + 1 : 0;
}

static int check_trimmable(const struct daxheap *heap, unsigned time_limit_ms)
{
	if (!time_limit_ms)
		return dh_fail(EINVAL, "a trim needs a time limit of 1 ms at least");
	if (heap->mapping.is_device)
		return dh_fail(EOPNOTSUPP, "a device has no file system to give space back to");
	return 0;
}

DAXHEAP_API int daxheap_trim(struct daxheap *heap, uint64_t keep_bytes, unsigned time_limit_ms,
			     uint64_t *freed_bytes)
{
	const uint64_t deadline = dh_now_ns() + time_limit_ms * NS_PER_MS;
	const struct limits limits = {.gate = deadline, .all = deadline};
	uint64_t before;
	int err;
	struct dh_cache *cache = dh_cache_of(heap, &err);

	if (!cache)
		return err;
	err = check_trimmable(heap, time_limit_ms);
	if (!err)
		err = begin(heap, deadline);
	if (err)
		return err;
	before = atomic_load(&heap->trim.trimmed);
	dh_cache_reclaim(cache);
	err = need_left(heap);
	if (!err)
		err = dh_spare_find(&heap->space, heap->media.first_chunk,
				    heap->media.chunks, deadline);
	if (!err)
		err = trim_all(heap, &cache->traffic, heap->media.first_chunk,
			       heap->media.chunks, dh_spare_chunks(keep_bytes), &limits);
	if (!err)
		err = trim_units(heap, units_to_keep(heap, keep_bytes), &limits);
	if (!err && freed_bytes)
		*freed_bytes = atomic_load(&heap->trim.trimmed) - before;
	dh_unlock(&heap->trim.lock);
	return err;
}

/* --- by policy --- */

static uint64_t reserve_of(struct daxheap *heap)
{
	uint64_t spare = dh_spare_count(&heap->space) * DH_CHUNK_SIZE;
	uint64_t space = dh_mapping_space(&heap->mapping);
	uint64_t used = space > spare ? space - spare : 0, share;

	if (__builtin_mul_overflow(used / 100, heap->trim.keep_percent, &share))
		share = UINT64_MAX;
	return dh_spare_chunks(dh_max(heap->trim.keep_bytes, share));
}

/* Not for each chunk, when the reserve is large. */
static void set_due(struct daxheap *heap, uint64_t reserve)
{
	dh_spare_set_due(&heap->space, reserve + 1 + reserve / 8);
}

void dh_trim_by_policy(struct daxheap *heap, struct dh_traffic *traffic)
{
	struct dh_trim *trim = &heap->trim;
	struct limits limits = {0};
	uint64_t reserve;
	int err;

	/* Who trims at the moment, or sets the policy, sees to it. */
	if (!dh_trylock(&trim->lock))
		return;
	atomic_store_explicit(&heap->trim_due, false, memory_order_relaxed);
	if (trim->keep_bytes == DAXHEAP_KEEP_ALL) {
		dh_unlock(&trim->lock);
		return;
	}
	reserve = reserve_of(heap);
	/* The I/O in flight may be this thread's own, which nobody else reaps. */
	limits.all = dh_now_ns() + trim->time_limit_ms * NS_PER_MS;
	err = need_left(heap);
	if (!err)
		err = trim_all(heap, traffic, heap->media.first_chunk, heap->media.chunks, reserve,
			       &limits);
	/* What can't be given back now, or while a ring has it registered, is not tried at once. */
	set_due(heap, dh_max(reserve, dh_spare_count(&heap->space)) + (err ? 16 : 0));
	dh_unlock(&trim->lock);
}

DAXHEAP_API int daxheap_set_trim_policy(struct daxheap *heap, uint64_t keep_bytes,
					unsigned keep_percent, unsigned time_limit_ms)
{
	int err = dh_check_writable(heap);

	if (!err)
		err = check_trimmable(heap, time_limit_ms);
	if (err)
		return err;
	dh_lock(&heap->trim.lock);
	heap->trim.keep_bytes = keep_bytes;
	heap->trim.keep_percent = keep_percent;
	heap->trim.time_limit_ms = time_limit_ms;
	if (keep_bytes == DAXHEAP_KEEP_ALL)
		dh_spare_set_due(&heap->space, UINT64_MAX);
	else
		set_due(heap, reserve_of(heap));
	dh_unlock(&heap->trim.lock);
	return 0;
}

/* --- open, close --- */

void dh_trim_init(struct daxheap *heap)
{
	dh_lock_init(&heap->trim.lock, DH_RANK_TRIM);
	heap->trim.keep_bytes = DAXHEAP_KEEP_ALL;
}

int dh_trim_finish(struct daxheap *heap)
{
	struct dh_intent intent;
	const uint64_t deadline = dh_now_ns() + FINISH_NS;
	const struct limits limits = {.gate = deadline, .all = deadline};
	uint64_t to;
	int err;

	/* A pool that was copied there from a file may have one: there is nothing to give back to. */
	if (heap->mapping.is_device)
		return 0;
	memcpy(&intent, heap->base + DH_INTENT_OFFSET, sizeof(intent));
	if (intent.checksum != dh_intent_checksum(&intent, heap->log.seed) ||
	    intent.first < heap->media.first_chunk || intent.first >= heap->media.chunks ||
	    intent.count > heap->media.chunks - intent.first)
		return 0;
	if (dh_faulty(DH_FAULT_FORGET_INTENT))
		return clear_intent(heap, &heap->traffic);
	to = intent.first + intent.count;
	err = dh_spare_find(&heap->space, intent.first, to, deadline);
	if (!err)
		err = trim_all(heap, &heap->traffic, intent.first, to, 0, &limits);
	if (!err)
		err = clear_intent(heap, &heap->traffic);
	/* The pool is as good without: a trim finds what is left. */
	return err == -EIO ? err : 0;
}

void dh_trim_close(struct daxheap *heap)
{
	heap->mapping.busy = !dh_bounded_over(heap->trim.left);
	if (heap->mapping.busy)
		dh_bounded_forget(heap->trim.left);
}
