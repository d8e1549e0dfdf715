/* SPDX-License-Identifier: BSD-3-Clause */
/* The horizon; reading the log is in logscan.c. */
#include <errno.h>
#include <stdlib.h>

#include "error.h"
#include "log.h"

static void make_horizon(struct dh_horizon *horizon, uint64_t seq, uint64_t offset,
			 uint64_t seed)
{
	memset(horizon, 0, sizeof(*horizon));
	horizon->seq = seq;
	horizon->checksum = dh_horizon_checksum(horizon, offset, seed);
}

void dh_log_format(char *base, struct dh_persist *persist, struct dh_traffic *traffic,
		   uint64_t seed)
{
	/* The rings are zero in a new file. */
	for (unsigned i = 0; i < 2; i++) {
		uint64_t offset = DH_HORIZON_OFFSET + i * sizeof(struct dh_horizon);
		struct dh_horizon horizon;

		make_horizon(&horizon, 0, offset, seed);
		dh_write(base + offset, &horizon, sizeof(horizon));
		dh_flush(persist, traffic, base + offset, sizeof(horizon));
	}
}

void dh_log_close(struct dh_log *log)
{
	free(log->lanes);
}

/* --- the horizon --- */

/*
 * Raises the floor to @seq at least and to all clocks, and returns the greatest sequence that
 * the horizon may take now; see log.h.
 */
static uint64_t reachable_horizon(struct dh_log *log, uint64_t seq)
{
	uint64_t limit = seq, floor = atomic_load(&log->floor);

	for (unsigned i = 0; i < log->lane_count; i++)
		limit = dh_max(limit, atomic_load(&log->lanes[i].clock));
	/* Always an exchange: it is the full barrier in front of the announcements. */
	while (!atomic_compare_exchange_weak(&log->floor, &floor, dh_max(floor, limit)))
		;
	for (unsigned i = 0; i < log->lane_count; i++) {
		uint64_t announced = atomic_load(&log->lanes[i].announced);

		if (announced <= limit && !dh_faulty(DH_FAULT_PASS_ANNOUNCED))
			limit = announced - 1;
	}
	return limit;
}

static void flush_line(struct dh_log *log, struct dh_traffic *traffic, uint64_t line)
{
	dh_flush(log->persist, traffic, log->base + line * DH_LINE_SIZE, DH_LINE_SIZE);
}

/*
 * Flushes what operations of the lane stored to in place.  The lane may be at work meanwhile: a
 * line that it takes from `dirty` is in `evicted` before, and leaves that after a fence of its
 * own; so `dirty` is read first.  False: too many lines left it for `evicted`, in an operation
 * that is not over yet.
 */
static bool write_back(struct dh_log *log, struct dh_lane *lane, struct dh_traffic *traffic)
{
	uint64_t horizon = dh_durable_horizon(log);
	unsigned count;

	/* Idle since the horizon passed its last record. */
	if (atomic_load(&lane->clock) <= horizon)
		return true;
	for (unsigned i = 0; i < DH_DIRTY; i++) {
		uint64_t seq = atomic_load(&lane->dirty[i].seq);
		uint64_t line = atomic_load(&lane->dirty[i].line);

		if (line && seq > horizon)
			flush_line(log, traffic, line);
	}
	count = atomic_load(&lane->evicted_count);
	for (unsigned i = 0; i < count && i < DH_EVICTED; i++)
		flush_line(log, traffic, atomic_load(&lane->evicted[i]));
	return count <= DH_EVICTED;
}

static bool write_back_all(struct dh_log *log, const struct dh_lane *own,
			   struct dh_traffic *traffic)
{
	bool all = true;

	for (unsigned i = 0; i < log->lane_count && all; i++)
		if (!dh_faulty(DH_FAULT_RETIRE_OWN) || &log->lanes[i] == own)
			all = write_back(log, &log->lanes[i], traffic);
	return all;
}

/*
 * A line leaves the lane's table.  It is flushed beside the lane's next record, under the same
 * fence: a flush of its own here would hold up the next lock, which waits for it.  When there
 * are too many to remember, as in a large action, the end of the operation fences.
 */
static void evict(struct dh_log *log, struct dh_lane *lane, struct dh_traffic *traffic,
		  uint64_t line)
{
	unsigned count = atomic_load_explicit(&lane->evicted_count, memory_order_relaxed);

	if (count < DH_EVICTED)
		atomic_store_explicit(&lane->evicted[count], line, memory_order_relaxed);
	else
		flush_line(log, traffic, line);
	if (count <= DH_EVICTED)
		atomic_store_explicit(&lane->evicted_count, count + 1, memory_order_release);
}

void dh_log_note_line(struct dh_log *log, struct dh_lane *lane, struct dh_traffic *traffic,
		      uint64_t line, uint64_t seq)
{
	struct dh_dirty *dirty = &lane->dirty[dh_dirty_index(line)];

	if (atomic_load_explicit(&dirty[1].seq, memory_order_relaxed) <
	    atomic_load_explicit(&dirty[0].seq, memory_order_relaxed))
		dirty++;
	if (atomic_load_explicit(&dirty->seq, memory_order_relaxed) > dh_durable_horizon(log))
		evict(log, lane, traffic,
		      atomic_load_explicit(&dirty->line, memory_order_relaxed));
	atomic_store_explicit(&dirty->line, line, memory_order_release);
	atomic_store_explicit(&dirty->seq, seq, memory_order_release);
}

void dh_log_flush_evicted(struct dh_log *log, struct dh_lane *lane, struct dh_traffic *traffic)
{
	unsigned count = atomic_load_explicit(&lane->evicted_count, memory_order_relaxed);

	for (unsigned i = 0; i < count && i < DH_EVICTED; i++)
		flush_line(log, traffic,
			   atomic_load_explicit(&lane->evicted[i], memory_order_relaxed));
}

void dh_log_fence_evicted(struct dh_log *log, struct dh_lane *lane, struct dh_traffic *traffic)
{
	dh_log_flush_evicted(log, lane, traffic);
	/* A failure is remembered in persist.failed. */
	dh_fence(log->persist, traffic);
	atomic_store_explicit(&lane->evicted_count, 0, memory_order_release);
}

/* Under the horizon's lock; the caller must fence, and then take_horizon(). */
static void store_horizon(struct dh_log *log, struct dh_traffic *traffic, uint64_t seq)
{
	struct dh_horizon *copy = &log->copies[log->next_copy];
	struct dh_horizon horizon;

	make_horizon(&horizon, seq,
		     DH_HORIZON_OFFSET + log->next_copy * sizeof(struct dh_horizon),
		     log->seed);
	dh_write(copy, &horizon, sizeof(horizon));
	dh_flush(log->persist, traffic, copy, sizeof(*copy));
}

static void take_horizon(struct dh_log *log, uint64_t seq)
{
	log->next_copy ^= 1;
	atomic_store(&log->durable_horizon, seq);
	atomic_store(&log->advancing, 0);
}

int dh_log_advance(struct dh_log *log, struct dh_traffic *traffic, uint64_t seq)
{
	int err = 0;

	if (dh_durable_horizon(log) >= seq)
		return 0;
	dh_lock(&log->horizon_lock);
	for (unsigned round = 0; !err && dh_durable_horizon(log) < seq; round++) {
		uint64_t horizon = reachable_horizon(log, seq);

		if (horizon < seq) {
			dh_wait(round);
			continue;
		}
		if (!write_back_all(log, NULL, traffic)) {
			dh_wait(round);
			continue;
		}
		err = dh_fence(log->persist, traffic);
		if (err)
			break;
		store_horizon(log, traffic, horizon);
		err = dh_fence(log->persist, traffic);
		if (!err)
			take_horizon(log, horizon);
	}
	dh_unlock(&log->horizon_lock);
	return err;
}

int dh_log_settle(struct dh_log *log, struct dh_traffic *traffic)
{
	uint64_t newest = 0;

	for (unsigned i = 0; i < log->lane_count; i++)
		newest = dh_max(newest, atomic_load(&log->lanes[i].clock));
	return dh_log_advance(log, traffic, newest);
}

int dh_log_make_room(struct dh_log *log, struct dh_lane *lane, struct dh_traffic *traffic)
{
	/* A record whose operation failed may lie at the lane's head: it stays. */
	if (atomic_load(&log->persist->failed))
		return dh_sync_pending(log->persist);
	if (dh_faulty(DH_FAULT_OVERWRITE_EARLY))
		return 0;
	return dh_log_advance(log, traffic, lane->seqs[lane->head & (log->ring - 1)]);
}

void dh_log_step_horizon(struct dh_log *log, struct dh_lane *lane,
			 struct dh_traffic *traffic, bool *stored)
{
	unsigned nobody = 0;

	if (dh_faulty(DH_FAULT_OVERWRITE_EARLY))
		return;
	if (lane->advancing_to <= dh_durable_horizon(log) &&
	    !(lane->advancing_to && dh_faulty(DH_FAULT_HORIZON_BACK)))
		lane->advancing_to = 0;
	if (lane->advancing_to) {
		/* All was flushed, and fenced by the last commit of the lane. */
		if (!dh_trylock(&log->horizon_lock))
			return;
		if (lane->advancing_to > dh_durable_horizon(log) ||
		    dh_faulty(DH_FAULT_HORIZON_BACK)) {
			store_horizon(log, traffic, lane->advancing_to);
			*stored = true;
			return;
		}
		dh_unlock(&log->horizon_lock);
		lane->advancing_to = 0;
	}
	/* If another lane is at it, and stops half way, this one advances when its ring is
	 * full. */
	if (atomic_compare_exchange_strong(&log->advancing, &nobody, lane->index + 1)) {
		uint64_t horizon = reachable_horizon(log, 0);

		if (horizon > dh_durable_horizon(log) && write_back_all(log, lane, traffic))
			lane->advancing_to = horizon;
		else
			atomic_store(&log->advancing, 0);
	}
}

void dh_log_horizon_stored(struct dh_log *log, struct dh_lane *lane, int err)
{
	if (!err)
		take_horizon(log, lane->advancing_to);
	lane->advancing_to = 0;
	dh_unlock(&log->horizon_lock);
}

int dh_log_replayed(struct dh_log *log, struct dh_traffic *traffic)
{
	uint64_t seq = atomic_load(&log->floor);
	int err = dh_fence(log->persist, traffic);

	if (err || dh_durable_horizon(log) >= seq)
		return err;
	store_horizon(log, traffic, seq);
	err = dh_fence(log->persist, traffic);
	if (!err)
		take_horizon(log, seq);
	return err;
}
