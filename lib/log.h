/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The redo log: records, horizon, scan.  format.h says what they are on media.
 *
 * An operation takes a ticket (a lane, with room in its ring), announces itself, commits
 * its record, stores in place, and ends the ticket.  The sequence is drawn in the commit,
 * so the caller must hold the locks of slot and blocks from before the commit until after
 * the in-place stores: then the order of sequences is the order of operations on each.
 */
#ifndef DH_LOG_H
#define DH_LOG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "format.h"
#include "persist.h"

/* The lines that a record's in-place stores touch: slot, word of value, word of freed. */
#define DH_RECORD_WORDS 3

/* What the horizon must write back before it passes a record. */
struct dh_log_note {
	uint64_t seq;			/* 0: the place in the ring is free */
	uint64_t *words[DH_RECORD_WORDS];	/* NULL: none */
};

struct dh_lane {
	pthread_mutex_t lock;		/* whoever holds it writes the lane */
	/* No record of the operation in flight has a smaller sequence; UINT64_MAX: none. */
	atomic_uint_fast64_t announced;
	atomic_uint_fast64_t head;	/* the next record's position */
	uint64_t retired;		/* first position not behind the horizon; horizon_lock */
	struct dh_log_note notes[DH_RING];
};

struct dh_log {
	struct dh_persist *persist;
	struct dh_record *rings;	/* on media: DH_LANES * DH_RING */
	struct dh_horizon *copies;	/* on media: 2 */
	uint64_t seed;

	atomic_uint_fast64_t seq;	/* the last one drawn */
	atomic_uint_fast64_t durable_horizon;
	pthread_mutex_t horizon_lock;	/* one thread advances it */
	unsigned next_copy;		/* horizon_lock */
	struct dh_lane lanes[DH_LANES];
};

/* Writes an empty log (create); the caller flushes nothing, but must fence. */
void dh_log_format(char *base, struct dh_persist *persist, uint64_t seed);

/*
 * Reads the log at @base.  Flushes and fences it first: after a kill the newest lines may
 * be in the CPU's cache alone, and what is acted on must be durable before.
 * *records: those behind the horizon in the order of their sequence, to be freed by the
 * caller.  -EBADMSG where the log is damaged; -ENOMEM.
 */
int dh_log_open(struct dh_log *log, char *base, struct dh_persist *persist, uint64_t seed,
		struct dh_record **records, size_t *count);
void dh_log_close(struct dh_log *log);

/* After replay: sets the horizon behind all that was read; fences before and after. */
int dh_log_replayed(struct dh_log *log);

/*
 * Takes a lane with room, for the calling thread.  May advance the horizon, and so wait for
 * operations that other threads have announced; these wait for nobody.
 */
int dh_log_begin(struct dh_log *log, struct dh_lane **lane);

/*
 * Draws the sequence and makes the record durable; the operation is done when this
 * returns 0.  Of @record, op, slot, value and freed are the caller's to set.
 */
int dh_log_commit(struct dh_log *log, struct dh_lane *lane, struct dh_record *record);

/* After the in-place stores to @words, or after a failed commit (then @words is NULL). */
void dh_log_end(struct dh_log *log, struct dh_lane *lane, uint64_t seq,
		uint64_t *const words[DH_RECORD_WORDS]);

/* Returns when the effects of all records up to @seq are durable in place. */
int dh_log_advance(struct dh_log *log, uint64_t seq);

#endif
