/* SPDX-License-Identifier: BSD-3-Clause */
/* A heap attached to a ring.  One thread at a time, but where said. */
#ifndef DH_URING_H
#define DH_URING_H

#include <liburing.h>

#include "daxheap-uring.h"
#include "gate.h"
#include "heap.h"

enum dh_op_kind { DH_OP_NONE, DH_OP_READ, DH_OP_WRITE, DH_OP_RECV, DH_OP_SEND, DH_OP_SEND_ZC };

/* An operation.  What is atomic is also read by who waits for it, for a message. */
struct dh_op {
	atomic_uint kind;
	atomic_uint size;
	atomic_uint_fast64_t offset;	/* in the pool */
	atomic_uint_fast64_t since_ns;	/* of the coarse clock */
	void *data;
	struct dh_span *span;		/* of the block; NULL: a huge one */
	uint64_t block;			/* its offset */
	uint32_t next;			/* of the unused ones */
	uint16_t generation;
	atomic_schar buffer;		/* of the staging area; -1: none, it is on the block itself */
};

/* Buffers in DRAM; touched as far as used, or registered. */
#define DH_STAGING_MAX	32u
#define DH_STAGING_SIZE	(UINT64_C(1) << 20)

/* Chunks whose pages are registered, at slot chunk % slots of the ring's table, and behind these
 * the staging buffers. */
struct dh_buffers {
	bool has_table;			/* the attachment's own */
	uint32_t slots;			/* for chunks */
	uint32_t *chunks;		/* in each slot; 0: none.  NULL: they are refused */
	uint32_t staging, staging_tried;	/* a bit for each buffer */
	uint64_t count;			/* of chunks */
	int reason;			/* errno why no more chunks are registered; 0 */
};

struct dh_staging {
	bool wanted;
	char *memory;			/* NULL: not yet */
	uint32_t count, unused;
	uint8_t stack[DH_STAGING_MAX];		/* unused ones */
};

struct daxheap_uring {
	struct dh_gate_user user;	/* first: it is found from there */
	struct daxheap *heap;
	struct io_uring *ring;
	int ring_fd;
	unsigned flags;
	int lock_reason;		/* errno why the ring's table of files has not the pool's; 0 */
	uint32_t entries;
	uint32_t unused;		/* first; entries: none */
	uint32_t in_flight;		/* at the gate fewer: the staged ones are not there */
	uint64_t through_registered, direct, staged;
	struct dh_buffers buffers;
	struct dh_staging staging;
	struct dh_op *ops;
};

/* An operation's user_data: its address, and above it its generation, so that a completion that is
 * handed over twice is told from the next of the same entry. */
#define DH_OP_ADDRESS_BITS 48
#define DH_OP_ADDRESS ((UINT64_C(1) << DH_OP_ADDRESS_BITS) - 1)

static inline uint64_t dh_op_user_data(const struct dh_op *op)
{
	return (uint64_t)op->generation << DH_OP_ADDRESS_BITS | (uintptr_t)op;
}

static inline bool dh_op_writes_memory(enum dh_op_kind kind)
{
	return kind == DH_OP_READ || kind == DH_OP_RECV;
}

/* buffers.c */
/* When it is known whether reads are to be staged. */
void dh_buffers_open(struct daxheap_uring *uring);
void dh_buffers_close(struct daxheap_uring *uring);
/* The slot of the registered buffer that the range lies in, registered now if need be; -1. */
int dh_buffers_slot(struct daxheap_uring *uring, uint64_t offset, uint64_t size);
/* The same of a staging buffer. */
int dh_buffers_staging_slot(struct daxheap_uring *uring, int buffer);

/* staging.c */
bool dh_staging_wanted(const struct daxheap_uring *uring);
/* A buffer of @size bytes at least; -1: there is none. */
int dh_staging_take(struct daxheap_uring *uring, uint64_t size);
void dh_staging_put(struct daxheap_uring *uring, int buffer);
void *dh_staging_at(const struct daxheap_uring *uring, int buffer);
void dh_staging_close(struct daxheap_uring *uring);

#endif
