/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "log.h"

#define NOT_ANNOUNCED UINT64_MAX

static void make_horizon(struct dh_horizon *horizon, uint64_t seq, uint64_t offset,
			 uint64_t seed)
{
	memset(horizon, 0, sizeof(*horizon));
	horizon->seq = seq;
	horizon->checksum = dh_horizon_checksum(horizon, offset, seed);
}

void dh_log_format(char *base, struct dh_persist *persist, uint64_t seed)
{
	/* The rings are zero in a new file. */
	for (unsigned i = 0; i < 2; i++) {
		uint64_t offset = DH_HORIZON_OFFSET + i * sizeof(struct dh_horizon);
		struct dh_horizon horizon;

		make_horizon(&horizon, 0, offset, seed);
		dh_write(base + offset, &horizon, sizeof(horizon));
		dh_flush(persist, base + offset, sizeof(horizon));
	}
}

/* The thread's lane: threads are dealt out to the lanes in turn. */
static struct dh_lane *own_lane(struct dh_log *log)
{
	static atomic_uint threads;
	static __thread unsigned number;

	if (!number)
		number = atomic_fetch_add(&threads, 1) % DH_LANES + 1;
	return &log->lanes[number - 1];
}

int dh_log_begin(struct dh_log *log, struct dh_lane **lane_out)
{
	struct dh_lane *lane = own_lane(log);
	uint64_t overwritten;
	int err = 0;

	/* A record whose operation failed may lie at the lane's head: it stays. */
	if (atomic_load(&log->persist->failed))
		return dh_fence(log->persist);
	pthread_mutex_lock(&lane->lock);
	overwritten = lane->notes[atomic_load(&lane->head) % DH_RING].seq;
	if (overwritten > atomic_load(&log->durable_horizon))
		err = dh_log_advance(log, overwritten);
	if (err) {
		pthread_mutex_unlock(&lane->lock);
		return err;
	}
	/* Announced before the sequence is drawn: see reachable_horizon(). */
	atomic_store(&lane->announced, atomic_load(&log->seq) + 1);
	*lane_out = lane;
	return 0;
}

int dh_log_commit(struct dh_log *log, struct dh_lane *lane, struct dh_record *record)
{
	unsigned index = (unsigned)(lane - log->lanes);
	uint64_t position = atomic_load(&lane->head);
	struct dh_record *place = &log->rings[index * DH_RING + position % DH_RING];

	record->seq = atomic_fetch_add(&log->seq, 1) + 1;
	record->position = position;
	record->lane = (uint16_t)index;
	record->reserved = 0;
	record->horizon = atomic_load(&log->durable_horizon);
	record->checksum = dh_record_checksum(record, log->seed);
	dh_write(place, record, sizeof(*record));
	dh_flush(log->persist, place, sizeof(*place));
	return dh_fence(log->persist);
}

void dh_log_end(struct dh_log *log, struct dh_lane *lane, uint64_t seq,
		uint64_t *const words[DH_RECORD_WORDS])
{
	(void)log;
	if (words) {
		uint64_t position = atomic_load(&lane->head);
		struct dh_log_note *note = &lane->notes[position % DH_RING];

		note->seq = seq;
		memcpy(note->words, words, sizeof(note->words));
		atomic_store(&lane->head, position + 1);
	}
	atomic_store(&lane->announced, NOT_ANNOUNCED);
	pthread_mutex_unlock(&lane->lock);
}

/*
 * The greatest sequence that the horizon may take now.  A thread stores its announcement
 * before it draws from log->seq, and withdraws it after its in-place stores.  So if a
 * sequence up to the value read here was drawn, its announcement is either seen below, or
 * already withdrawn and all is in place.
 */
static uint64_t reachable_horizon(struct dh_log *log)
{
	uint64_t limit = atomic_load(&log->seq);

	for (unsigned i = 0; i < DH_LANES; i++) {
		uint64_t announced = atomic_load(&log->lanes[i].announced);

		if (announced <= limit)
			limit = announced - 1;
	}
	return limit;
}

/* Flushes what the lane's records up to @horizon touched.  They can't be overwritten
 * meanwhile: that takes a durable horizon behind them. */
static void write_back(struct dh_log *log, struct dh_lane *lane, uint64_t horizon)
{
	uint64_t head = atomic_load(&lane->head);

	while (lane->retired < head) {
		const struct dh_log_note *note = &lane->notes[lane->retired % DH_RING];

		if (note->seq > horizon)
			break;
		for (unsigned i = 0; i < DH_RECORD_WORDS; i++)
			if (note->words[i])
				dh_flush(log->persist, note->words[i], sizeof(uint64_t));
		lane->retired++;
	}
}

static int store_horizon(struct dh_log *log, uint64_t seq)
{
	struct dh_horizon *copy = &log->copies[log->next_copy];
	struct dh_horizon horizon;
	int err;

	make_horizon(&horizon, seq,
		     DH_HORIZON_OFFSET + log->next_copy * sizeof(struct dh_horizon),
		     log->seed);
	dh_write(copy, &horizon, sizeof(horizon));
	dh_flush(log->persist, copy, sizeof(*copy));
	err = dh_fence(log->persist);
	if (err)
		return err;
	log->next_copy ^= 1;
	atomic_store(&log->durable_horizon, seq);
	return 0;
}

int dh_log_advance(struct dh_log *log, uint64_t seq)
{
	int err = 0;

	pthread_mutex_lock(&log->horizon_lock);
	while (!err && atomic_load(&log->durable_horizon) < seq) {
		uint64_t horizon = reachable_horizon(log);

		if (horizon < seq) {
			sched_yield();
			continue;
		}
		for (unsigned i = 0; i < DH_LANES; i++)
			write_back(log, &log->lanes[i], horizon);
		err = dh_fence(log->persist);
		if (!err)
			err = store_horizon(log, horizon);
	}
	pthread_mutex_unlock(&log->horizon_lock);
	return err;
}

int dh_log_replayed(struct dh_log *log)
{
	uint64_t seq = atomic_load(&log->seq);
	int err = dh_fence(log->persist);

	if (!err && atomic_load(&log->durable_horizon) < seq)
		err = store_horizon(log, seq);
	return err;
}

/* --- reading --- */

static bool record_valid(const struct dh_log *log, unsigned lane, unsigned place)
{
	const struct dh_record *record = &log->rings[lane * DH_RING + place];

	return record->checksum == dh_record_checksum(record, log->seed) &&
	       record->lane == lane && record->position % DH_RING == place &&
	       record->seq > 0 && record->seq <= DH_SEQ_MAX;
}

static bool is_zero(const struct dh_record *record)
{
	static const struct dh_record zero;

	return !memcmp(record, &zero, sizeof(zero));
}

/* Position behind the lane's newest valid record; 0 if there is none. */
static uint64_t find_head(const struct dh_log *log, unsigned lane)
{
	uint64_t head = 0;

	for (unsigned place = 0; place < DH_RING; place++) {
		const struct dh_record *record = &log->rings[lane * DH_RING + place];

		if (record_valid(log, lane, place) && record->position + 1 > head)
			head = record->position + 1;
	}
	return head;
}

static int damaged(unsigned lane, uint64_t position, const char *what)
{
	return dh_fail(EBADMSG, "the log is damaged: lane %u, position %llu %s; what it held is "
		       "lost, so the pool can't be opened for writing: restore it from a backup",
		       lane, (unsigned long long)position, what);
}

/*
 * Judges one lane: all records before the head must be valid and in order, those that never
 * were written zero; at the head itself anything may lie.  A damaged one is harmless if a
 * later record of the lane is behind the horizon.
 */
static int judge_lane(const struct dh_log *log, unsigned lane, uint64_t horizon,
		      uint64_t head)
{
	uint64_t first = head > DH_RING - 1 ? head - (DH_RING - 1) : 0;
	uint64_t later_seq = UINT64_MAX;

	for (uint64_t position = head; position > first; position--) {
		unsigned place = (unsigned)((position - 1) % DH_RING);
		const struct dh_record *record = &log->rings[lane * DH_RING + place];
		bool good = record_valid(log, lane, place) &&
			    record->position == position - 1 && record->seq < later_seq;

		if (!good && later_seq > horizon)
			return damaged(lane, position - 1, "is no valid record");
		if (good)
			later_seq = record->seq;
	}
	for (uint64_t place = head + 1; place < DH_RING; place++)
		if (!is_zero(&log->rings[lane * DH_RING + place]))
			return damaged(lane, place, "was never written, and is not zero");
	return 0;
}

/* The greatest horizon that any record of the lane names. */
static uint64_t horizon_named(const struct dh_log *log, unsigned lane)
{
	uint64_t named = 0;

	for (unsigned place = 0; place < DH_RING; place++) {
		const struct dh_record *record = &log->rings[lane * DH_RING + place];

		if (record_valid(log, lane, place) && record->horizon > named)
			named = record->horizon;
	}
	return named;
}

static int read_horizon(struct dh_log *log, uint64_t *horizon)
{
	bool found = false;
	uint64_t greatest = 0;

	for (unsigned i = 0; i < 2; i++) {
		const struct dh_horizon *copy = &log->copies[i];
		uint64_t offset = DH_HORIZON_OFFSET + i * sizeof(*copy);

		if (copy->checksum != dh_horizon_checksum(copy, offset, log->seed) ||
		    copy->seq > DH_SEQ_MAX)
			continue;
		if (!found || copy->seq >= greatest) {
			greatest = copy->seq;
			log->next_copy = i ^ 1;
		}
		found = true;
	}
	for (unsigned lane = 0; lane < DH_LANES; lane++)
		if (horizon_named(log, lane) > greatest)
			found = false;
	if (!found)
		return dh_fail(EBADMSG, "the log's horizon is damaged: what must be replayed "
			       "can't be told; restore the pool from a backup");
	*horizon = greatest;
	return 0;
}

static int by_seq(const void *a, const void *b)
{
	const struct dh_record *x = a, *y = b;

	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static int collect(struct dh_log *log, uint64_t horizon, struct dh_record *records,
		   size_t *count)
{
	uint64_t greatest = horizon;

	*count = 0;
	for (unsigned lane = 0; lane < DH_LANES; lane++) {
		uint64_t head = find_head(log, lane);
		int err = judge_lane(log, lane, horizon, head);

		if (err)
			return err;
		atomic_store(&log->lanes[lane].head, head);
		log->lanes[lane].retired = head;
		for (unsigned place = 0; place < DH_RING; place++) {
			const struct dh_record *record = &log->rings[lane * DH_RING + place];

			if (!record_valid(log, lane, place))
				continue;
			if (record->seq > greatest)
				greatest = record->seq;
			if (record->seq > horizon)
				records[(*count)++] = *record;
		}
	}
	atomic_store(&log->seq, greatest);
	qsort(records, *count, sizeof(*records), by_seq);
	for (size_t i = 1; i < *count; i++)
		if (records[i].seq == records[i - 1].seq)
			return dh_fail(EBADMSG, "the log is damaged: lanes %u and %u claim the "
				       "same sequence; restore the pool from a backup",
				       records[i - 1].lane, records[i].lane);
	return 0;
}

static void init_lanes(struct dh_log *log)
{
	pthread_mutex_init(&log->horizon_lock, NULL);
	for (unsigned i = 0; i < DH_LANES; i++) {
		pthread_mutex_init(&log->lanes[i].lock, NULL);
		atomic_store(&log->lanes[i].announced, NOT_ANNOUNCED);
	}
}

int dh_log_open(struct dh_log *log, char *base, struct dh_persist *persist, uint64_t seed,
		struct dh_record **records_out, size_t *count_out)
{
	const size_t rings_size = DH_LANES * DH_RING * sizeof(struct dh_record);
	struct dh_record *records = malloc(rings_size);
	uint64_t horizon = 0;
	size_t count = 0;
	int err;

	if (!records)
		return dh_fail(ENOMEM, "no memory to read the log");
	memset(log, 0, sizeof(*log));
	log->persist = persist;
	log->seed = seed;
	log->rings = (struct dh_record *)(base + DH_LOG_OFFSET);
	log->copies = (struct dh_horizon *)(base + DH_HORIZON_OFFSET);
	init_lanes(log);

	dh_flush(persist, log->rings, rings_size);
	dh_flush(persist, log->copies, 2 * sizeof(struct dh_horizon));
	err = dh_fence(persist);
	if (!err)
		err = read_horizon(log, &horizon);
	if (!err)
		err = collect(log, horizon, records, &count);
	if (err) {
		free(records);
		dh_log_close(log);
		return err;
	}
	atomic_store(&log->durable_horizon, horizon);
	*records_out = records;
	*count_out = count;
	return 0;
}

void dh_log_close(struct dh_log *log)
{
	for (unsigned i = 0; i < DH_LANES; i++)
		pthread_mutex_destroy(&log->lanes[i].lock);
	pthread_mutex_destroy(&log->horizon_lock);
}
