/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The redo log: lanes, records, horizon.  format.h says what they are on media.
 *
 * An operation begins in its thread's lane (which announces it), takes the locks of its slots,
 * commits its record, stores in place and notes the lines that it stored to, gives the locks
 * back, and ends.
 *
 * Sequences are Lamport's clocks: a commit draws one greater than the lane's clock, the log's
 * floor and what the caller says that it depends on.
 *
 * The horizon.  To advance it to T a thread first raises the floor to T, then reads all
 * announcements.  An operation announces a lower bound, then (behind the full barrier of a
 * lock) reads the floor.  So of each operation that is not done either the announcement is
 * seen, and the horizon stays below it, or it saw the floor, and draws a greater sequence.
 * The lines noted by all operations up to the horizon are flushed and fenced, and then the
 * horizon is stored.  While operations go on this costs no fence: lines are flushed in front
 * of the fence of one commit of the lane, and the horizon is stored in front of the next's.
 */
#ifndef DH_LOG_H
#define DH_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "format.h"
#include "lock.h"
#include "persist.h"

#define DH_NOT_ANNOUNCED	UINT64_MAX
#define DH_DIRTY		128u	/* lines that a lane remembers; a power of two */
#define DH_EVICTED		32u	/* evicted lines; a count above says: and more */

/* A line of the pool that was stored to in place, and the last record that did; clean behind the
 * horizon. */
struct dh_dirty {
	atomic_uint_fast64_t line;
	atomic_uint_fast64_t seq;
};

/* The first of the two entries that a line may have. */
static inline unsigned dh_dirty_index(uint64_t line)
{
	return (unsigned)((line ^ line >> 9) % (DH_DIRTY / 2) * 2);
}

struct dh_lane {
	/* No record of the operation in flight has a smaller sequence. */
	_Alignas(DH_LINE_SIZE) atomic_uint_fast64_t announced;
	atomic_uint_fast64_t clock;	/* the last sequence drawn here */
	uint64_t head;			/* the next record's position */
	struct dh_record *ring;		/* on media */
	uint64_t advancing_to;		/* flushed and fenced up to here, not stored; 0: none */
	unsigned index;
	bool shared;
	struct dh_lock lock;		/* of a shared lane */

	/* Lines that left `dirty` since the lane's last fence: its next commit flushes them, and
	 * so must whoever advances the horizon before. */
	atomic_uint evicted_count;
	atomic_uint_fast64_t evicted[DH_EVICTED];

	uint64_t seqs[DH_RING_MAX];	/* of the records in the ring; 0: none */
	struct dh_dirty dirty[DH_DIRTY];	/* by hash of the line */
};

struct dh_log {
	struct dh_persist *persist;
	struct dh_horizon *copies;	/* on media: 2 */
	uint64_t seed;
	uint64_t size;			/* of the file when it was opened */
	char *base;
	unsigned lane_count;
	unsigned ring;			/* records of a lane */

	/* Read by every operation, written when the horizon advances. */
	_Alignas(DH_LINE_SIZE) atomic_uint_fast64_t floor;
	atomic_uint_fast64_t durable_horizon;
	atomic_uint advancing;		/* lane that is at it, plus 1; a hint */

	_Alignas(DH_LINE_SIZE) struct dh_lock horizon_lock;	/* who stores the horizon */
	unsigned next_copy;		/* horizon_lock */
	struct dh_lane *lanes;
};

/* Writes an empty log (create); the caller must fence. */
void dh_log_format(char *base, struct dh_persist *persist, struct dh_traffic *traffic,
		   uint64_t seed);

/* A change that a record behind the horizon tells, to be replayed. */
struct dh_change {
	uint64_t seq;
	unsigned lane;
	struct dh_entry entry;
};

/*
 * Reads the log of the pool at @base, whose file has @size bytes.  Flushes and fences it first:
 * after a kill the newest lines may be in the CPU's cache alone, and what is acted on must be
 * durable before.
 * *changes: in the order of replay, to be freed by the caller; *records counts theirs.
 * -EBADMSG where the log is damaged; -ENOMEM.
 */
int dh_log_open(struct dh_log *log, char *base, uint64_t size, const struct dh_superblock *sb,
		struct dh_persist *persist, struct dh_traffic *traffic,
		struct dh_change **changes, size_t *count, size_t *records);
void dh_log_close(struct dh_log *log);

/* After replay: sets the horizon behind all that was read; fences before and after. */
int dh_log_replayed(struct dh_log *log, struct dh_traffic *traffic);

/*
 * Returns when the effects of all records up to @seq are durable in place.  Waits for the
 * operations that are announced below it, so no lock may be held that these could want.
 */
int dh_log_advance(struct dh_log *log, struct dh_traffic *traffic, uint64_t seq);

/* The same for all records there are. */
int dh_log_settle(struct dh_log *log, struct dh_traffic *traffic);

/* Behind a commit: makes room in the lane's ring, when the caller holds no lock. */
int dh_log_make_room(struct dh_log *log, struct dh_lane *lane, struct dh_traffic *traffic);

/* Before the record is written, when the ring begins to fill: a step of the horizon. */
void dh_log_step_horizon(struct dh_log *log, struct dh_lane *lane,
			 struct dh_traffic *traffic, bool *stored);
/* Before the fence of a commit. */
void dh_log_flush_evicted(struct dh_log *log, struct dh_lane *lane, struct dh_traffic *traffic);

/* Behind the fence, which failed with @err if not 0. */
void dh_log_horizon_stored(struct dh_log *log, struct dh_lane *lane, int err);

static inline uint64_t dh_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static inline uint64_t dh_durable_horizon(const struct dh_log *log)
{
	return atomic_load_explicit(&log->durable_horizon, memory_order_acquire);
}

/*
 * Makes room for a record and announces the operation.  May advance the horizon, and so wait
 * for operations that other threads have announced; these wait for nobody.
 */
static __always_inline int dh_log_begin(struct dh_log *log, struct dh_lane *lane,
			       struct dh_traffic *traffic)
{
	uint64_t floor;

	if (lane->shared)
		dh_lock(&lane->lock);
	if (__builtin_expect(lane->seqs[lane->head & (log->ring - 1)] > dh_durable_horizon(log) ||
			     atomic_load_explicit(&log->persist->failed, memory_order_relaxed),
			     0)) {
		int err = dh_log_make_room(log, lane, traffic);

		if (err) {
			if (lane->shared)
				dh_unlock(&lane->lock);
			return err;
		}
	}
	floor = atomic_load_explicit(&log->floor, memory_order_relaxed);
	atomic_store_explicit(&lane->announced,
			      dh_max(atomic_load_explicit(&lane->clock, memory_order_relaxed),
				     floor) + 1,
			      memory_order_release);
	return 0;
}

/* The full barrier between the announcement and the floor is the lock of the slot. */
static inline void dh_barrier_behind_lock(void)
{
#if defined(__x86_64__)
	/* A locked instruction lay in between; the compiler must only keep the order. */
	atomic_signal_fence(memory_order_seq_cst);
#else
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

/*
 * Draws a sequence greater than @after.  Under the locks of the words that the record names.
 */
static __always_inline uint64_t dh_log_draw(struct dh_log *log, struct dh_lane *lane, uint64_t after)
{
	uint64_t seq;

	dh_barrier_behind_lock();
	seq = dh_max(atomic_load_explicit(&log->floor, memory_order_relaxed),
		     atomic_load_explicit(&lane->clock, memory_order_relaxed));
	seq = dh_max(seq, after) + 1;
	atomic_store_explicit(&lane->clock, seq, memory_order_relaxed);
	return seq;
}

/*
 * Makes the record durable: the operation is done when this returns 0.  Of @record, seq,
 * entries (or extent) are the caller's to set, and @count as in the record's `where`.
 */
static __always_inline int dh_log_commit(struct dh_log *log, struct dh_lane *lane,
				struct dh_traffic *traffic, struct dh_record *record,
				unsigned count)
{
	const unsigned mask = log->ring - 1;
	struct dh_record *place = &lane->ring[lane->head & mask];
	bool stored = false;
	int err;

	if (__builtin_expect(lane->advancing_to ||
			     lane->seqs[(lane->head + log->ring / 4) & mask] >
				     dh_durable_horizon(log), 0))
		dh_log_step_horizon(log, lane, traffic, &stored);
	if (atomic_load_explicit(&lane->evicted_count, memory_order_relaxed))
		dh_log_flush_evicted(log, lane, traffic);
	record->where = dh_record_where(lane->head, lane->index, count);
	record->horizon = dh_durable_horizon(log);
	record->checksum = dh_record_checksum(record, log->seed);
	dh_write(place, record, sizeof(*record));
	dh_flush(log->persist, traffic, place, sizeof(*place));
	err = dh_fence(log->persist, traffic);
	if (__builtin_expect(stored, 0))
		dh_log_horizon_stored(log, lane, err);
	if (__builtin_expect(err, 0))
		return err;
	if (atomic_load_explicit(&lane->evicted_count, memory_order_relaxed))
		atomic_store_explicit(&lane->evicted_count, 0, memory_order_release);
	lane->seqs[lane->head & mask] = record->seq;
	lane->head++;
	return 0;
}

/* When a line has no entry: gives it that of the two which was stored to longer ago. */
void dh_log_note_line(struct dh_log *log, struct dh_lane *lane, struct dh_traffic *traffic,
		      uint64_t line, uint64_t seq);

/* Notes the line of a word that was stored to in place. */
static __always_inline void dh_log_stored(struct dh_log *log, struct dh_lane *lane,
				 struct dh_traffic *traffic, const void *word, uint64_t seq)
{
	uint64_t line = (uint64_t)((const char *)word - log->base) / DH_LINE_SIZE;
	struct dh_dirty *dirty = &lane->dirty[dh_dirty_index(line)];

	if (atomic_load_explicit(&dirty->line, memory_order_relaxed) != line)
		dirty++;
	if (__builtin_expect(atomic_load_explicit(&dirty->line, memory_order_relaxed) == line, 1))
		atomic_store_explicit(&dirty->seq, seq, memory_order_release);
	else
		dh_log_note_line(log, lane, traffic, line, seq);
}

/* After an operation that evicted more lines than can be remembered. */
void dh_log_fence_evicted(struct dh_log *log, struct dh_lane *lane, struct dh_traffic *traffic);

/* After the in-place stores, or instead of the commit: withdraws the announcement. */
static __always_inline void dh_log_end(struct dh_log *log, struct dh_lane *lane,
				       struct dh_traffic *traffic)
{
	atomic_store_explicit(&lane->announced, DH_NOT_ANNOUNCED, memory_order_release);
	if (__builtin_expect(atomic_load_explicit(&lane->evicted_count, memory_order_relaxed) >
				     DH_EVICTED, 0))
		dh_log_fence_evicted(log, lane, traffic);
	if (__builtin_expect(lane->shared, 0))
		dh_unlock(&lane->lock);
}

#endif
