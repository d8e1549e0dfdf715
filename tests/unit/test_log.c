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

static uint64_t place_of(unsigned lane, uint64_t position)
{
	return DH_LOG_OFFSET + (lane * DH_RING + position % DH_RING) * sizeof(struct dh_record);
}

static void read_record(unsigned lane, uint64_t position, struct dh_record *record)
{
	pool_read("copy", place_of(lane, position), record, sizeof(*record));
}

/* The lane that this thread's records are in. */
static unsigned used_lane(void)
{
	struct dh_record record;

	for (unsigned lane = 0; lane < DH_LANES; lane++) {
		read_record(lane, 0, &record);
		if (record.seq)
			return lane;
	}
	cr_assert(false, "no lane was used");
	return 0;
	return DH_LANES;
}

static uint64_t pool_seed(void)
{
	struct dh_superblock sb;

	pool_read("copy", 0, &sb, sizeof(sb));
	return dh_pool_seed(&sb);
}

static void write_record(unsigned lane, struct dh_record *record)
{
	record->lane = (uint16_t)lane;
	record->checksum = dh_record_checksum(record, pool_seed());
	pool_write("copy", place_of(lane, record->position), record, sizeof(*record));
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
	struct dh_record record;

	for (uint64_t position = 300 - DH_RING; position < 300; position++) {
		read_record(lane, position, &record);
		cr_assert_eq(record.position, position);
		cr_assert_eq(record.seq, position + 1);
		cr_assert_eq(record.lane, lane);
		cr_assert_eq(record.op, position % 2 ? DH_OP_FREE : DH_OP_PUBLISH);
		cr_assert_eq(record.slot, DH_ROOTS_OFFSET);
		cr_assert_eq(!record.value, position % 2);
		cr_assert_eq(!record.freed, !(position % 2));
		cr_assert_lt(record.horizon, record.seq);
		/* Overwriting needed a horizon behind what was there. */
		cr_assert_geq(record.horizon, position < DH_RING ? 0 : position - DH_RING + 1);
	}
	cr_assert_leq(must_open(), DH_RING);
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
	unsigned other = (lane + 3) % DH_LANES;

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

Test(log, two_records_of_one_sequence)
{
	struct daxheap *heap = make_log(50);
	unsigned lane = used_lane();
	struct dh_record record;

	read_record(lane, 30, &record);
	record.position = 0;
	write_record((lane + 1) % DH_LANES, &record);
	must_not_open("same sequence");
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
	pool_write("copy", place_of((lane + 1) % DH_LANES, 30), &record, sizeof(record));
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
	cr_assert_leq(must_open(), DH_RING);

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
	struct dh_record good = {.seq = 4, .position = 3, .op = DH_OP_PUBLISH,
				 .slot = live, .value = live};
	static const uint64_t nowhere[] = {1, 8, DH_ROOTS_OFFSET + 8, DH_ROOTS_OFFSET + 64,
		DH_LOG_OFFSET, DH_TABLE_OFFSET, DH_CHUNK_SIZE, 4 * MiB, POOL_SIZE,
		UINT64_MAX, UINT64_MAX - 7, UINT64_C(1) << 63};

	for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
		struct dh_record slot = good, value = good, freed = good;

		slot.slot = nowhere[i];
		value.value = nowhere[i];
		freed.freed = nowhere[i];
		pool_copy("pool", "copy");
		write_record(lane, &slot);
		must_not_open("slot");
		pool_copy("pool", "copy");
		write_record(lane, &value);
		must_not_open("no block");
		pool_copy("pool", "copy");
		write_record(lane, &freed);
		must_not_open("no block");
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

struct idler {
	struct daxheap *heap;
	daxheap_ref *slot;
};

static void *one_operation(void *arg)
{
	struct idler *idler = arg;

	must_wrap(idler->heap, idler->slot, 1);
	return NULL;
}

/*
 * Rule 1.  The record of an idle thread stays in its ring.  Were it to survive the records
 * that undid it, a crash would bring back what others freed and gave away again.
 */
Test(log, stale_records_of_an_idle_thread_raise_nothing)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE), *copy;
	daxheap_ref *slots[40];
	pthread_t thread;

	for (unsigned i = 0; i < 40; i++) {
		struct idler idler = {heap, NULL};
		char name[8];

		snprintf(name, sizeof(name), "%u", i);
		slots[i] = idler.slot = pool_root(heap, name);
		pthread_create(&thread, NULL, one_operation, &idler);
		pthread_join(thread, NULL);
	}
	for (unsigned i = 0; i < 40; i++)
		must(daxheap_free(heap, slots[i]));
	must_wrap(heap, slots[0], 3 * DH_RING);
	pool_copy("pool", "copy");
	copy = pool_open("copy", 0);
	cr_assert_eq(pool_census(copy).blocks, 0);
	for (unsigned i = 0; i < 40; i++) {
		char name[8];

		snprintf(name, sizeof(name), "%u", i);
		cr_assert_eq(*pool_root(copy, name), 0);
	}
	daxheap_close(copy);
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

	for (unsigned i = 0; i < 4 * DH_RING; i++) {
		must_wrap(wrapper->heap, wrapper->slot, 1);
		atomic_fetch_add(&wrapper->done, 1);
	}
	return NULL;
}

/* Rule 2: the horizon stays below an announced operation, and who needs it waits. */
Test(log, an_announcement_holds_the_horizon_back)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	struct wrapper wrapper = {.heap = heap, .slot = pool_root(heap, "r")};
	uint64_t announced;
	struct dh_lane *lane;
	pthread_t thread;

	must(dh_log_begin(&heap->log, &lane));
	announced = atomic_load(&lane->announced);
	pthread_create(&thread, NULL, wrap_rings, &wrapper);
	/* Its ring takes so many; then it waits, however long. */
	while (atomic_load(&wrapper.done) < DH_RING)
		usleep(100);
	usleep(30000);
	cr_assert_eq(atomic_load(&wrapper.done), DH_RING);
	cr_assert_lt(atomic_load(&heap->log.durable_horizon), announced);
	dh_log_end(&heap->log, lane, 0, NULL);
	pthread_join(thread, NULL);
	cr_assert_eq(atomic_load(&wrapper.done), 4 * DH_RING);
	cr_assert_gt(atomic_load(&heap->log.durable_horizon), 2 * DH_RING);
	daxheap_close(heap);
}

/* Rule 5: a unit gets another class only behind the horizon of what touched it. */
Test(log, another_class_waits_for_the_horizon)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE), *copy;
	daxheap_ref *root = pool_root(heap, "r");
	void *block;

	/* A span of its class stays for the next block of it: two, so that one goes. */
	for (int i = 0; i < 200; i++) {
		uint64_t before = atomic_load(&heap->log.seq);

		pool_publish(heap, root, 6 * MiB, i);
		must(daxheap_free(heap, root));
		cr_assert_lt(atomic_load(&heap->log.durable_horizon), before + 2);
		must(daxheap_alloc(heap, 100, &block));
		cr_assert_geq(atomic_load(&heap->log.durable_horizon), before + 2);
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
	void *blocks[32];
	int count = 0;

	do {
		cr_assert_lt(count, 32, "the place is not given again");
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
