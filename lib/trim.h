/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Giving space back to the file system.
 *
 * A run of free chunks is taken from those who reserve, and then, each step durable before the
 * next: the horizon passes what the log has of them, an intent tells which they are, their words
 * become 0, the hole is punched or the file cut, the intent is cleared.  Without a lock of the
 * heap while the kernel is at it, and with the gate closed: no I/O of the heap is in flight then.
 */
#ifndef DH_TRIM_H
#define DH_TRIM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lock.h"
#include "persist.h"
#include "spare.h"

struct daxheap;
struct dh_bounded;

struct dh_trim {
	struct dh_lock lock;		/* one trim at a time; all below, but the counter */
	/* What the kernel was at when the last one gave up, and may still be. */
	struct dh_bounded *left;
	struct dh_run left_run;
	/* The policy; see daxheap_set_trim_policy(). */
	uint64_t keep_bytes;
	unsigned keep_percent;
	unsigned time_limit_ms;
	atomic_uint_fast64_t trimmed;	/* bytes, since the open */
};

void dh_trim_init(struct daxheap *heap);
/* At open: finishes what a crash cut, as far as it can; -EIO. */
int dh_trim_finish(struct daxheap *heap);
/* At close. */
void dh_trim_close(struct daxheap *heap);

/*
 * When there is no room: what a trim had to leave to the kernel can be used again, if that is done
 * with it by now.  True if there was any.  No lock is held, but maybe the trim's.
 */
bool dh_trim_reclaim(struct daxheap *heap);

/* What the policy asks for, after an operation that freed something.  No lock is held. */
void dh_trim_by_policy(struct daxheap *heap, struct dh_traffic *traffic);

#endif
