/* SPDX-License-Identifier: BSD-3-Clause */
/* The log: rings that wrap, the horizon, announcements, and what damage to each does. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "heap.h"
#include "pool.h"

TestSuite(log, .fini = pool_cleanup);

/* The log's shape, as the pool "pool" has it. */
static struct dh_superblock sb;

static uint64_t place_of(unsigned lane, uint64_t position)
{
	return DH_LOG_OFFSET + (lane * sb.ring + position % sb.ring) * sizeof(struct dh_record);
}

static void read_record(unsigned lane, uint64_t position, struct dh_record *record)
{
	pool_read("copy", place_of(lane, position), record, sizeof(*record));
}

/* The lane that this thread's records are in. */
static unsigned used_lane(void)
{
	struct dh_record record;

	for (unsigned lane = 0; lane < sb.lanes; lane++) {
		read_record(lane, 0, &record);
		if (record.seq)
			return lane;
	}
	cr_assert(false, "no lane was used");
	return 0;
}

static void write_record(unsigned lane, struct dh_record *record)
{
	record->where = dh_record_where(dh_record_position(record), lane,
					dh_record_count(record));
	record->checksum = dh_record_checksum(record, dh_pool_seed(&sb));
	pool_write("copy", place_of(lane, dh_record_position(record)), record, sizeof(*record));
}

#define must_not_open(part)                                                                    \
	do {                                                                                   \
		struct daxheap *out = (void *)1;                                               \
		must_fail(EBADMSG, daxheap_open(pool_path("copy"), 0, &out));                  \
		must_say(part);                                                                \
		must_fail(EBADMSG, daxheap_open(pool_path("copy"), DAXHEAP_READ_ONLY, &out));  \
		cr_assert_eq((void *)out, (void *)1);                                          \
	} while (0)

static uint64_t must_open(void)
{
	struct daxheap *heap = pool_open("copy", 0);
	struct daxheap_info info;

	pool_census(heap);
	must(daxheap_get_info(heap, &info));
	daxheap_close(heap);
	return info.replayed;
}

/* A pool with @count operations in its log, and as "copy" what a kill would leave. */
static struct daxheap *make_log(unsigned count)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	daxheap_ref *root = pool_root(heap, "r");

	sb = heap->sb;
	for (unsigned i = 0; i < count; i++) {
		if (*root)
			must(daxheap_free(heap, root));
		else
			pool_publish(heap, root, 64, (int)i);
	}
	pool_copy("pool", "copy");
	return heap;
}

Test(log, records_are_written_forward_and_say_what_was_done)
{
	struct daxheap *heap = make_log(300);
	unsigned lane = used_lane();
	uint64_t last_seq = 0, last_horizon = 0;
	struct dh_record record;

	for (uint64_t position = 300 - sb.ring; position < 300; position++) {
		unsigned kind = position % 2 ? DH_ENTRY_FREE : DH_ENTRY_PUBLISH;

		read_record(lane, position, &record);
		cr_assert_eq(dh_record_position(&record), position);
		cr_assert_eq(dh_record_lane(&record), lane);
		cr_assert_eq(dh_record_count(&record), 1);
		cr_assert_gt(record.seq, last_seq);
		cr_assert_geq(record.horizon, last_horizon);
		cr_assert_lt(record.horizon, record.seq);
		cr_assert_eq(record.entries[0].target, DH_ROOTS_OFFSET | kind);
		cr_assert_neq(record.entries[0].value, 0);
		cr_assert_eq(record.entries[1].target | record.entries[1].value, 0);
		/* Overwriting needed a horizon behind what was there. */
		cr_assert_geq(record.horizon, position < sb.ring ? 0 : position - sb.ring + 1);
		last_seq = record.seq;
		last_horizon = record.horizon;
	}
	cr_assert_leq(must_open(), sb.ring);
	cr_assert_eq(must_open(), 0);
	daxheap_close(heap);
}

Test(log, damage_in_the_middle_is_told)
{
	struct daxheap *heap = make_log(50);
	unsigned lane = used_lane();

	for (unsigned byte = 0; byte < DH_LINE_SIZE; byte += 7) {
		pool_flip("copy", place_of(lane, 20) + byte, 0x10);
		must_not_open("position 20");
		pool_flip("copy", place_of(lane, 20) + byte, 0x10);
	}
	cr_assert_eq(must_open(), 50);
	daxheap_close(heap);
}

/* Nobody can tell a damaged newest record from one that a crash tore: it is not there. */
Test(log, the_newest_record_may_be_torn)
{
	struct daxheap *heap = make_log(51);
	unsigned lane = used_lane();

	pool_flip("copy", place_of(lane, 50) + 8, 1);
	cr_assert_eq(must_open(), 50);
	daxheap_close(heap);
}

Test(log, damage_behind_the_horizon_is_harmless)
{
	unsigned lane;

	daxheap_close(make_log(50));
	pool_copy("pool", "copy");
	lane = used_lane();
	for (uint64_t position = 0; position < 49; position++)
		pool_flip("copy", place_of(lane, position) + 30, 0xff);
	cr_assert_eq(must_open(), 0);
}

Test(log, places_never_written_are_zero)
{
	struct daxheap *heap = make_log(50);
	unsigned lane = used_lane();
	unsigned other = (lane + 3) % sb.lanes;

	/* At the head itself anything may lie: a torn record. */
	pool_flip("copy", place_of(lane, 50), 1);
	cr_assert_eq(must_open(), 50);
	pool_copy("pool", "copy");
	pool_flip("copy", place_of(lane, 51), 1);
	must_not_open("position 51");
	pool_copy("pool", "copy");
	pool_flip("copy", place_of(other, 100) + 63, 1);
	must_not_open("never written");
	daxheap_close(heap);
}

/* Two lanes may draw the same sequence, when neither operation depends on the other. */
Test(log, one_sequence_in_two_lanes)
{
	struct daxheap *heap = make_log(50);
	unsigned lane = used_lane();
	struct dh_record record;

	read_record(lane, 49, &record);
	record.where = dh_record_where(0, 0, 0);
	record.entries[0] = (struct dh_entry){0};
	write_record((lane + 1) % sb.lanes, &record);
	cr_assert_eq(must_open(), 51);
	daxheap_close(heap);
}

/* A valid record elsewhere: of another lane, another place, another pool. */
Test(log, records_out_of_place)
{
	struct daxheap *heap = make_log(50), *other;
	unsigned lane = used_lane();
	struct dh_record record, foreign;

	read_record(lane, 30, &record);
	pool_write("copy", place_of(lane, 31), &record, sizeof(record));
	must_not_open("position 31");
	pool_copy("pool", "copy");
	pool_write("copy", place_of((lane + 1) % sb.lanes, 30), &record, sizeof(record));
	must_not_open("never written");

	other = pool_create("other", POOL_SIZE);
	pool_publish(other, pool_root(other, "r"), 64, 1);
	pool_read("other", place_of(lane, 0), &foreign, sizeof(foreign));
	cr_assert_eq(foreign.seq, 1);
	daxheap_close(other);
	pool_copy("pool", "copy");
	pool_write("copy", place_of(lane, 0), &foreign, sizeof(foreign));
	must_not_open("position 0");
	daxheap_close(heap);
}

static struct dh_horizon horizon_copy(unsigned i)
{
	struct dh_horizon horizon;

	pool_read("copy", DH_HORIZON_OFFSET + i * sizeof(horizon), &horizon, sizeof(horizon));
	return horizon;
}

static void damage_horizon(unsigned i)
{
	pool_flip("copy", DH_HORIZON_OFFSET + i * sizeof(struct dh_horizon) + 1, 4);
}

Test(log, horizon_copies)
{
	struct daxheap *heap = make_log(300);
	unsigned newest = horizon_copy(1).seq > horizon_copy(0).seq;

	cr_assert_gt(horizon_copy(newest).seq, 0);
	damage_horizon(!newest);
	cr_assert_leq(must_open(), sb.ring);

	/* The newest is named by the records that followed it. */
	pool_copy("pool", "copy");
	damage_horizon(newest);
	must_not_open("horizon");

	pool_copy("pool", "copy");
	damage_horizon(newest);
	damage_horizon(!newest);
	must_not_open("horizon");
	daxheap_close(heap);
}

/* Without a record that names it, the older one is as good: replay repeats itself. */
Test(log, newest_horizon_lost_after_a_clean_close)
{
	struct daxheap *heap;

	daxheap_close(make_log(50));
	pool_copy("pool", "copy");
	damage_horizon(horizon_copy(1).seq > horizon_copy(0).seq);
	cr_assert_eq(must_open(), 50);
	heap = pool_open("copy", 0);
	cr_assert_eq(pool_census(heap).blocks, 0);
	daxheap_close(heap);
}

/* Right checksums, wrong meaning. */
Test(log, records_that_name_nothing)
{
	struct daxheap *heap = make_log(3);
	uint64_t live = *pool_root(heap, "r");
	unsigned lane = used_lane();
	static const uint64_t nowhere[] = {1, 8, DH_ROOTS_OFFSET + 8, DH_ROOTS_OFFSET + 64,
		DH_LOG_OFFSET, DH_TABLE_OFFSET, DH_CHUNK_SIZE, 4 * MiB, POOL_SIZE,
		UINT64_MAX, UINT64_MAX - 7, UINT64_C(1) << 63};

	for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
		for (unsigned kind = 0; kind <= DH_ENTRY_KIND_MASK; kind++) {
			struct dh_record target = {
				.seq = DH_SEQ_MAX, .where = dh_record_where(3, lane, 1),
				.entries = {{(nowhere[i] & ~DH_ENTRY_KIND_MASK) | kind, live}},
			};
			struct dh_record value = {
				.seq = DH_SEQ_MAX, .where = dh_record_where(3, lane, 1),
				.entries = {{live | kind, nowhere[i]}},
			};

			pool_copy("pool", "copy");
			write_record(lane, &target);
			must_not_open("log");
			/* What is set may have any value. */
			if (kind == DH_ENTRY_SET)
				continue;
			pool_copy("pool", "copy");
			write_record(lane, &value);
			must_not_open("log");
		}
	}
	daxheap_close(heap);
}

/* Counts and extents that can't be: the newest record is torn then, or the log is damaged. */
Test(log, records_with_a_wrong_count)
{
	struct daxheap *heap = make_log(3);
	uint64_t live = *pool_root(heap, "r");
	unsigned lane = used_lane();

	for (unsigned count = DH_RECORD_ENTRIES + 1; count <= DH_RECORD_EXTENT; count++) {
		struct dh_record record = {
			.seq = DH_SEQ_MAX, .where = dh_record_where(3, lane, count),
			.extent = {live, 1000, 77, 0},
		};

		pool_copy("pool", "copy");
		write_record(lane, &record);
		cr_assert_eq(must_open(), 3, "count %u", count);
	}
	daxheap_close(heap);
}

static void must_wrap(struct daxheap *heap, daxheap_ref *slot, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		void *block;

		if (*slot) {
			must(daxheap_free(heap, slot));
		} else {
			must(daxheap_alloc(heap, 64, &block));
			must(daxheap_publish(heap, slot, block));
		}
	}
}

/* A thread that does one operation and then nothing, so that its record stays in its lane. */
struct idler {
	struct daxheap *heap;
	daxheap_ref *slot;
	pthread_barrier_t *done, *end;
};

static void *one_operation(void *arg)
{
	struct idler *idler = arg;

	must_wrap(idler->heap, idler->slot, 1);
	pthread_barrier_wait(idler->done);
	pthread_barrier_wait(idler->end);
	return NULL;
}

/*
 * Rule 1.  The record of an idle thread stays in its ring.  Were it to survive the records
 * that undid it, a crash would bring back what others freed and gave away again.
 */
Test(log, stale_records_of_idle_threads_raise_nothing)
{
	enum { IDLERS = 40 };
	struct daxheap *heap = pool_create("pool", POOL_SIZE), *copy;
	struct idler idlers[IDLERS];
	pthread_t threads[IDLERS];
	pthread_barrier_t done, end;
	char name[8];

	pthread_barrier_init(&done, NULL, IDLERS + 1);
	pthread_barrier_init(&end, NULL, IDLERS + 1);
	for (unsigned i = 0; i < IDLERS; i++) {
		snprintf(name, sizeof(name), "%u", i);
		idlers[i] = (struct idler){heap, pool_root(heap, name), &done, &end};
		pthread_create(&threads[i], NULL, one_operation, &idlers[i]);
	}
	pthread_barrier_wait(&done);
	for (unsigned i = 0; i < IDLERS; i++)
		must(daxheap_free(heap, idlers[i].slot));
	must_wrap(heap, idlers[0].slot, 3 * DH_RING_MAX);
	pool_copy("pool", "copy");
	copy = pool_open("copy", 0);
	cr_assert_eq(pool_census(copy).blocks, 0);
	for (unsigned i = 0; i < IDLERS; i++) {
		snprintf(name, sizeof(name), "%u", i);
		cr_assert_eq(*pool_root(copy, name), 0);
	}
	daxheap_close(copy);
	pthread_barrier_wait(&end);
	for (unsigned i = 0; i < IDLERS; i++)
		pthread_join(threads[i], NULL);
	daxheap_close(heap);
}

struct wrapper {
	struct daxheap *heap;
	daxheap_ref *slot;
	atomic_uint done;
};

static void *wrap_rings(void *arg)
{
	struct wrapper *wrapper = arg;

	for (unsigned i = 0; i < 4 * wrapper->heap->log.ring; i++) {
		must_wrap(wrapper->heap, wrapper->slot, 1);
		atomic_fetch_add(&wrapper->done, 1);
	}
	return NULL;
}

/* A lane that no thread has. */
static struct dh_lane *idle_lane(struct daxheap *heap)
{
	struct dh_lane *lane = heap->log.lanes + heap->log.lane_count - 2;

	cr_assert(!lane->shared && !lane->head);
	return lane;
}

/* Rule 2: the horizon stays below an announced operation, and who needs it waits. */
Test(log, an_announcement_holds_the_horizon_back)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	struct wrapper wrapper = {.heap = heap, .slot = pool_root(heap, "r")};
	struct dh_lane *lane = idle_lane(heap);
	struct dh_traffic traffic = {0};
	uint64_t announced;
	pthread_t thread;

	must(dh_log_begin(&heap->log, lane, &traffic));
	announced = atomic_load(&lane->announced);
	pthread_create(&thread, NULL, wrap_rings, &wrapper);
	/* Its ring takes so many; then it waits, however long. */
	while (atomic_load(&wrapper.done) < heap->log.ring)
		usleep(100);
	usleep(30000);
	cr_assert_eq(atomic_load(&wrapper.done), heap->log.ring);
	cr_assert_lt(dh_durable_horizon(&heap->log), announced);
	dh_log_end(&heap->log, lane, &traffic);
	pthread_join(thread, NULL);
	cr_assert_eq(atomic_load(&wrapper.done), 4 * heap->log.ring);
	cr_assert_gt(dh_durable_horizon(&heap->log), 2 * heap->log.ring);
	daxheap_close(heap);
}

/* The last sequence that any thread drew. */
static uint64_t newest_seq(struct daxheap *heap)
{
	uint64_t newest = 0;

	for (unsigned i = 0; i < heap->log.lane_count; i++)
		newest = dh_max(newest, atomic_load(&heap->log.lanes[i].clock));
	return newest;
}

/* Rule 5: a unit gets another class only behind the horizon of what touched it. */
Test(log, another_class_waits_for_the_horizon)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE), *copy;
	daxheap_ref *root = pool_root(heap, "r");
	void *block;

	/* A span of its class stays for the next block of it: two, so that one goes. */
	for (int i = 0; i < 200; i++) {
		uint64_t freed;

		pool_publish(heap, root, 6 * MiB, i);
		must(daxheap_free(heap, root));
		freed = newest_seq(heap);
		cr_assert_lt(dh_durable_horizon(&heap->log), freed);
		must(daxheap_alloc(heap, 100, &block));
		cr_assert_geq(dh_durable_horizon(&heap->log), freed);
		must(daxheap_publish(heap, root, block));
		must(daxheap_free(heap, root));
		if (i % 20)
			continue;
		pool_copy("pool", "copy");
		copy = pool_open("copy", 0);
		cr_assert_eq(pool_census(copy).blocks, 0);
		daxheap_close(copy);
	}
	daxheap_close(heap);
}

/* The block at @was anew, filled, in another role. */
static void reuse(struct daxheap *heap, void *was, daxheap_ref *slot)
{
	enum { MANY = 5000 };
	static void *blocks[MANY];
	int count = 0;

	do {
		cr_assert_lt(count, MANY, "the place is not given again");
		blocks[count++] = pool_block(heap, 64, 0x77);
	} while (blocks[count - 1] != was);
	must(daxheap_publish(heap, slot, was));
	while (--count > 0)
		must(daxheap_cancel(heap, blocks[count - 1]));
}

/*
 * Rule 4: a store into a block that a later record frees is void.  The place may hold the
 * content of another block by then, or, as here, more than one after the other.
 */
Test(log, stores_into_freed_blocks_are_void)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE), *copy;
	daxheap_ref *root = pool_root(heap, "r"), *other = pool_root(heap, "o");

	for (int i = 0; i < 8; i++) {
		daxheap_ref *parent = pool_publish(heap, root, 64, 0);
		const unsigned char *content;

		pool_publish(heap, &parent[3], 64, 1);
		if (i % 2)
			must(daxheap_replace(heap, &parent[3], pool_block(heap, 64, 2)));
		must(daxheap_free(heap, &parent[3]));
		/* Out of the way in one of the two ways that free a block. */
		if (i % 4 < 2)
			must(daxheap_free(heap, root));
		else
			must(daxheap_replace(heap, root, pool_block(heap, 64, 3)));
		reuse(heap, parent, other);
		pool_copy("pool", "copy");
		copy = pool_open("copy", 0);
		content = daxheap_ptr(copy, *pool_root(copy, "o"));
		for (int byte = 0; byte < 64; byte++)
			cr_assert_eq(content[byte], 0x77, "round %d, byte %d", i, byte);
		daxheap_close(copy);
		must(daxheap_free(heap, other));
		if (*root)
			must(daxheap_free(heap, root));
	}
	daxheap_close(heap);
}
