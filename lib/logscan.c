/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads the log of a pool that was not closed, and judges it. */
#include <errno.h>
#include <stdlib.h>

#include "error.h"
#include "log.h"

static const struct dh_record *record_at(const struct dh_log *log, unsigned lane,
					 uint64_t position)
{
	return &log->lanes[lane].ring[position & (log->ring - 1)];
}

/* Cheap checks first: most places of most rings were never written. */
static bool record_valid(const struct dh_log *log, unsigned lane, unsigned place)
{
	const struct dh_record *record = record_at(log, lane, place);

	return record->seq > 0 && record->seq <= DH_SEQ_MAX &&
	       dh_record_lane(record) == lane &&
	       (dh_record_position(record) & (log->ring - 1)) == place &&
	       record->checksum == dh_record_checksum(record, log->seed);
}

static bool is_zero(const struct dh_record *record)
{
	static const struct dh_record zero;

	return !memcmp(record, &zero, sizeof(zero));
}

static bool extent_in_pool(const struct dh_log *log, const struct dh_record *record)
{
	uint64_t offset = record->extent.offset, count = record->extent.count;

	return offset >= DH_CHUNK_SIZE && offset < log->size &&
	       offset % sizeof(struct dh_entry) == 0 && count &&
	       count <= (log->size - offset) / sizeof(struct dh_entry);
}

/* Whether the extent of a record behind the horizon is what was written under its fence. */
static bool extent_valid(const struct dh_log *log, const struct dh_record *record)
{
	const struct dh_entry *entries;

	if (dh_record_count(record) <= DH_RECORD_ENTRIES)
		return true;
	if (dh_record_count(record) != DH_RECORD_EXTENT || !extent_in_pool(log, record))
		return false;
	entries = (const struct dh_entry *)(log->base + record->extent.offset);
	return record->extent.checksum ==
	       dh_extent_checksum(entries, record->extent.count, log->seed, record->seq);
}

/* What one reading of a lane tells. */
struct scan {
	uint64_t head;			/* position of the next record */
	uint64_t newest_seq;
	uint64_t named_horizon;		/* the greatest that a record names */
	size_t records, entries;	/* of those behind the horizon */
	bool valid[DH_RING_MAX];
};

static void scan_lane(const struct dh_log *log, unsigned lane, struct scan *scan)
{
	memset(scan, 0, sizeof(*scan));
	for (unsigned place = 0; place < log->ring; place++) {
		const struct dh_record *record = record_at(log, lane, place);

		scan->valid[place] = record_valid(log, lane, place);
		if (!scan->valid[place])
			continue;
		scan->head = dh_max(scan->head, dh_record_position(record) + 1);
		scan->newest_seq = dh_max(scan->newest_seq, record->seq);
		scan->named_horizon = dh_max(scan->named_horizon, record->horizon);
	}
}

static int damaged(unsigned lane, uint64_t position, const char *what)
{
	return dh_fail(EBADMSG, "the log is damaged: lane %u, position %llu %s; what it held is "
		       "lost, so the pool can't be opened for writing: restore it from a backup",
		       lane, (unsigned long long)position, what);
}

/*
 * The newest record may be torn in its extent: then it was never committed, and the next
 * record takes its place.
 */
static void drop_torn(const struct dh_log *log, unsigned lane, uint64_t horizon,
		      struct scan *scan)
{
	const struct dh_record *newest;

	if (!scan->head)
		return;
	newest = record_at(log, lane, scan->head - 1);
	if (newest->seq <= horizon || extent_valid(log, newest))
		return;
	scan->head--;
	scan->valid[scan->head & (log->ring - 1)] = false;
}

/*
 * Judges one lane: all records before the head must be valid and in order, those that never
 * were written zero; at the head itself anything may lie.  A damaged one is harmless if a
 * later record of the lane is behind the horizon.
 */
static int judge_lane(const struct dh_log *log, unsigned lane, uint64_t horizon,
		      struct scan *scan)
{
	uint64_t later_seq = UINT64_MAX;
	uint64_t first = scan->head > log->ring - 1 ? scan->head - (log->ring - 1) : 0;

	for (uint64_t position = scan->head; position-- > first;) {
		const struct dh_record *record = record_at(log, lane, position);
		bool good = scan->valid[position & (log->ring - 1)] &&
			    dh_record_position(record) == position && record->seq < later_seq;

		if (!good && later_seq > horizon)
			return damaged(lane, position, "is no valid record");
		if (!good)
			continue;
		later_seq = record->seq;
	}
	for (uint64_t place = scan->head + 1; place < log->ring; place++)
		if (!is_zero(record_at(log, lane, place)))
			return damaged(lane, place, "was never written, and is not zero");
	return 0;
}

static int read_horizon(struct dh_log *log, uint64_t named, uint64_t *horizon)
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
	if (!found || named > greatest)
		return dh_fail(EBADMSG, "the log's horizon is damaged: what must be replayed "
			       "can't be told; restore the pool from a backup");
	*horizon = greatest;
	return 0;
}

static size_t entry_count(const struct dh_record *record)
{
	return dh_record_count(record) == DH_RECORD_EXTENT ? record->extent.count :
							     dh_record_count(record);
}

static void take_entries(const struct dh_log *log, unsigned lane,
			 const struct dh_record *record, struct dh_change *changes)
{
	const struct dh_entry *entries = record->entries;

	if (dh_record_count(record) == DH_RECORD_EXTENT)
		entries = (const struct dh_entry *)(log->base + record->extent.offset);
	for (size_t i = 0; i < entry_count(record); i++)
		changes[i] = (struct dh_change){record->seq, lane, entries[i]};
}

/*
 * Counts the records behind the horizon, and takes their entries if @changes is not NULL.  That
 * at the place of the head is among them, if nothing was written there since.
 */
static int take_lane(const struct dh_log *log, unsigned lane, uint64_t horizon,
		     struct scan *scan, struct dh_change *changes)
{
	uint64_t first = scan->head > log->ring ? scan->head - log->ring : 0;

	scan->records = scan->entries = 0;
	for (uint64_t position = first; position < scan->head; position++) {
		const struct dh_record *record = record_at(log, lane, position);

		if (!scan->valid[position & (log->ring - 1)] ||
		    dh_record_position(record) != position || record->seq <= horizon)
			continue;
		if (changes)
			take_entries(log, lane, record, changes + scan->entries);
		else if (!extent_valid(log, record))
			return damaged(lane, position, "has lost its entries");
		scan->entries += entry_count(record);
		scan->records++;
	}
	return 0;
}

/* Entries of one record stay as they are: qsort() would not keep them. */
static int by_replay(const void *a, const void *b)
{
	const struct dh_change *x = a, *y = b;

	if (x->seq != y->seq)
		return x->seq < y->seq ? -1 : 1;
	if (x->lane != y->lane)
		return x->lane < y->lane ? -1 : 1;
	return 0;
}

/* A merge sort, which is stable: the entries of a record keep their order. */
static void sort_changes(struct dh_change *changes, struct dh_change *spare, size_t count)
{
	size_t half = count / 2, a = 0, b = half, n = 0;

	if (count < 2 || dh_faulty(DH_FAULT_NO_SORT))
		return;
	sort_changes(changes, spare, half);
	sort_changes(changes + half, spare, count - half);
	memcpy(spare, changes, half * sizeof(*changes));
	while (a < half) {
		if (b < count && by_replay(&changes[b], &spare[a]) < 0)
			changes[n++] = changes[b++];
		else
			changes[n++] = spare[a++];
	}
}

/*
 * After a kill the newest lines may be in the CPU's cache alone.  What is acted on, and what
 * the next records rely on to be there, is made durable first.
 */
static int settle(struct dh_log *log, struct dh_traffic *traffic, const struct scan *scans,
		  uint64_t horizon)
{
	dh_flush(log->persist, traffic, log->copies, 2 * sizeof(struct dh_horizon));
	for (unsigned lane = 0; lane < log->lane_count; lane++) {
		for (unsigned place = 0; place < log->ring; place++) {
			const struct dh_record *record = record_at(log, lane, place);

			if (!scans[lane].valid[place] || record->seq <= horizon)
				continue;
			dh_flush(log->persist, traffic, record, sizeof(*record));
			if (dh_record_count(record) == DH_RECORD_EXTENT &&
			    extent_in_pool(log, record))
				dh_flush(log->persist, traffic, log->base + record->extent.offset,
					 record->extent.count * sizeof(struct dh_entry));
		}
	}
	return dh_faulty(DH_FAULT_NO_RECOVERY_FENCE) ? 0 : dh_fence(log->persist, traffic);
}

static int scan_lanes(struct dh_log *log, struct dh_traffic *traffic, struct scan *scans,
		      uint64_t *horizon)
{
	uint64_t named = 0, newest = 0;
	int err;

	for (unsigned lane = 0; lane < log->lane_count; lane++) {
		scan_lane(log, lane, &scans[lane]);
		named = dh_max(named, scans[lane].named_horizon);
		newest = dh_max(newest, scans[lane].newest_seq);
	}
	err = read_horizon(log, named, horizon);
	if (!err)
		err = settle(log, traffic, scans, *horizon);
	for (unsigned lane = 0; lane < log->lane_count && !err; lane++) {
		drop_torn(log, lane, *horizon, &scans[lane]);
		err = judge_lane(log, lane, *horizon, &scans[lane]);
		if (!err)
			err = take_lane(log, lane, *horizon, &scans[lane], NULL);
		log->lanes[lane].head = scans[lane].head;
	}
	atomic_store(&log->durable_horizon, *horizon);
	/* A torn record's sequence counts too: behind the horizon it stays without effect. */
	atomic_store(&log->floor, dh_max(newest, *horizon));
	return err;
}

static int collect(struct dh_log *log, struct scan *scans, uint64_t horizon,
		   struct dh_change **changes_out, size_t *count_out, size_t *records_out)
{
	struct dh_change *changes;
	size_t count = 0, records = 0;

	for (unsigned lane = 0; lane < log->lane_count; lane++) {
		count += scans[lane].entries;
		records += scans[lane].records;
	}
	/* Each lies in the pool, and no two may lie at one place. */
	if (count > log->size / sizeof(struct dh_entry) +
			    log->lane_count * (uint64_t)log->ring * DH_RECORD_ENTRIES)
		return dh_fail(EBADMSG, "the log is damaged: its records name more changes than "
			       "the pool has room for: restore it from a backup");
	/* Behind the changes, room to sort them. */
	changes = malloc((count + count / 2 + 1) * sizeof(*changes));
	if (!changes)
		return dh_fail(ENOMEM, "no memory to read the log");
	count = 0;
	for (unsigned lane = 0; lane < log->lane_count; lane++) {
		take_lane(log, lane, horizon, &scans[lane], changes + count);
		count += scans[lane].entries;
	}
	sort_changes(changes, changes + count, count);
	*changes_out = changes;
	*count_out = count;
	*records_out = records;
	return 0;
}

/*
 * What lies at a lane's head and is no older record was torn; see format.h.  The caller fences
 * before a record is written.
 */
static void clear_torn(struct dh_log *log, struct dh_traffic *traffic, const struct scan *scans)
{
	static const struct dh_record zero;

	for (unsigned lane = 0; lane < log->lane_count; lane++) {
		unsigned place = scans[lane].head & (log->ring - 1);
		struct dh_record *record = &log->lanes[lane].ring[place];

		if (scans[lane].valid[place] || is_zero(record) || dh_faulty(DH_FAULT_KEEP_TORN))
			continue;
		dh_write(record, &zero, sizeof(zero));
		dh_flush(log->persist, traffic, record, sizeof(*record));
	}
}

static int init(struct dh_log *log, char *base, uint64_t size, const struct dh_superblock *sb,
		struct dh_persist *persist)
{
	memset(log, 0, sizeof(*log));
	log->persist = persist;
	log->seed = dh_pool_seed(sb);
	log->base = base;
	log->size = size;
	log->lane_count = sb->lanes;
	log->ring = sb->ring;
	log->copies = (struct dh_horizon *)(base + DH_HORIZON_OFFSET);
	dh_lock_init(&log->horizon_lock, DH_RANK_HORIZON);
	log->lanes = aligned_alloc(DH_LINE_SIZE, sb->lanes * sizeof(*log->lanes));
	if (!log->lanes)
		return dh_fail(ENOMEM, "no memory for the log");
	memset(log->lanes, 0, sb->lanes * sizeof(*log->lanes));
	for (unsigned i = 0; i < sb->lanes; i++) {
		struct dh_lane *lane = &log->lanes[i];

		lane->index = i;
		lane->shared = i == sb->lanes - 1;
		lane->ring = (struct dh_record *)(base + DH_LOG_OFFSET) + i * sb->ring;
		atomic_store(&lane->announced, DH_NOT_ANNOUNCED);
		dh_lock_init(&lane->lock, DH_RANK_LANE);
	}
	return 0;
}

int dh_log_open(struct dh_log *log, char *base, uint64_t size, const struct dh_superblock *sb,
		struct dh_persist *persist, struct dh_traffic *traffic,
		struct dh_change **changes, size_t *count, size_t *records)
{
	struct scan *scans = malloc(sb->lanes * sizeof(*scans));
	uint64_t horizon = 0;
	int err = scans ? init(log, base, size, sb, persist) : dh_fail(ENOMEM, "no memory");

	if (err) {
		free(scans);
		return err;
	}
	err = scan_lanes(log, traffic, scans, &horizon);
	if (!err)
		err = collect(log, scans, horizon, changes, count, records);
	if (!err)
		clear_torn(log, traffic, scans);
	free(scans);
	if (err)
		dh_log_close(log);
	return err;
}
