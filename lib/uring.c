/* SPDX-License-Identifier: BSD-3-Clause */
/* io_uring: attachments, and the ends of their operations. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "fault.h"
#include "underio.h"
#include "uring.h"

#define ENTRIES_MAX 65536u		/* of a completion queue */
#define SLOT_MASK 0xffff0000u		/* of the flags: DAXHEAP_URING_FILE_SLOT() */

static const char *const kind_names[] = {
	[DH_OP_NONE] = "?",	[DH_OP_READ] = "read",	[DH_OP_WRITE] = "write",
	[DH_OP_RECV] = "recv",	[DH_OP_SEND] = "send",	[DH_OP_SEND_ZC] = "send_zc",
};

/* Of those at the gate, or of all.  By any thread. */
static const struct dh_op *oldest(const struct daxheap_uring *uring, bool at_gate)
{
	const struct dh_op *found = NULL;

	for (uint32_t i = 0; i < uring->entries; i++) {
		const struct dh_op *op = &uring->ops[i];

		if (atomic_load(&op->kind) && !(at_gate && atomic_load(&op->buffer) >= 0) &&
		    (!found || atomic_load(&op->since_ns) < atomic_load(&found->since_ns)))
			found = op;
	}
	return found;
}

static void describe_op(const struct daxheap_uring *uring, unsigned in_flight,
			const struct dh_op *op, char *text, size_t size)
{
	uint64_t now = dh_now_ns(), since;

	if (!op) {
		snprintf(text, size, "the ring of fd %d has %u operations in flight",
			 uring->ring_fd, in_flight);
		return;
	}
	since = atomic_load(&op->since_ns);
	snprintf(text, size, "the ring of fd %d has %u operations in flight, the oldest a %s of "
		 "%u bytes at offset %llu of the pool, for %llu ms",
		 uring->ring_fd, in_flight, kind_names[atomic_load(&op->kind)],
		 atomic_load(&op->size), (unsigned long long)atomic_load(&op->offset),
		 (unsigned long long)(now > since ? (now - since) / 1000000 : 0));
}

static void describe(const struct dh_gate_user *user, char *text, size_t size)
{
	const struct daxheap_uring *uring = (const struct daxheap_uring *)user;

	describe_op(uring, atomic_load(&user->in_flight), oldest(uring, true), text, size);
}

/* --- attach, detach --- */

static int make_ops(struct daxheap_uring *uring)
{
	uring->ops = calloc(uring->entries, sizeof(*uring->ops));
	if (!uring->ops)
		return dh_fail(ENOMEM, "no memory for %u operations", uring->entries);
	for (uint32_t i = 0; i < uring->entries; i++)
		uring->ops[i].next = i + 1;
	return 0;
}

/*
 * When a process dies its I/O goes on for as long as the device takes, and its descriptors are
 * closed at once: the next to open the pool would be given blocks that the device still writes.
 * But what is in the ring's table of files is closed behind the last operation, and with it the
 * pool's lock goes.  Nothing else of a ring does that for a file: an operation that waits, a poll
 * say, is cancelled when the process dies, before those that a device is at are over.
 */
static int hold_file(struct daxheap_uring *uring)
{
	const unsigned slot = (uring->flags & SLOT_MASK) / DAXHEAP_URING_FILE_SLOT(0);
	const int fd = uring->heap->mapping.fd;
	int done;

	if (!slot) {
		uring->lock_reason = -io_uring_register_files(uring->ring, &fd, 1);
		return 0;
	}
	done = io_uring_register_files_update(uring->ring, slot - 1, &fd, 1);
	if (done == 1)
		return 0;
	return dh_fail(done < 0 ? -done : EIO, "can't put the pool's file into slot %u of the "
		       "ring's table of files: %s: register a table with free slots first "
		       "(io_uring_register_files_sparse()), in the thread that uses the ring",
		       slot - 1, strerror(done < 0 ? -done : EIO));
}

static void drop_file(const struct daxheap_uring *uring)
{
	const unsigned slot = (uring->flags & SLOT_MASK) / DAXHEAP_URING_FILE_SLOT(0);
	const int none = -1;

	if (slot)
		io_uring_register_files_update(uring->ring, slot - 1, &none, 1);
	else if (!uring->lock_reason)
		io_uring_unregister_files(uring->ring);
}

DAXHEAP_API int daxheap_uring_attach(struct daxheap *heap, struct io_uring *ring,
				     unsigned entries, unsigned flags,
				     struct daxheap_uring **uring_out)
{
	const unsigned known = DAXHEAP_URING_REGISTER | DAXHEAP_URING_STAGE |
			       DAXHEAP_URING_NO_STAGE | DAXHEAP_URING_NO_FENCE |
			       DAXHEAP_URING_NO_WAIT | SLOT_MASK;
	struct daxheap_uring *uring;
	int err = dh_check_usable(heap);

	if (err)
		return err;
	if (flags & ~known)
		return dh_fail(EINVAL, "unknown flags %#x", flags & ~known);
	if (flags & DAXHEAP_URING_STAGE && flags & DAXHEAP_URING_NO_STAGE)
		return dh_fail(EINVAL, "to stage and not to stage exclude each other");
	if (entries > ENTRIES_MAX)
		return dh_fail(EINVAL, "at most %u operations in flight, not %u", ENTRIES_MAX,
			       entries);
	if (!(ring->features & IORING_FEAT_NODROP))
		return dh_fail(EOPNOTSUPP, "the kernel may drop completions of a full queue: "
			       "Linux 5.5 or later is needed");
	uring = aligned_alloc(DH_LINE_SIZE, sizeof(*uring));
	if (!uring)
		return dh_fail(ENOMEM, "no memory for the attachment");
	memset(uring, 0, sizeof(*uring));
	uring->heap = heap;
	uring->ring = ring;
	uring->ring_fd = ring->ring_fd;
	uring->flags = flags;
	uring->entries = entries ? entries : ring->cq.ring_entries;
	uring->user.describe = describe;
	err = make_ops(uring);
	if (!err)
		err = hold_file(uring);
	if (err) {
		free(uring->ops);
		free(uring);
		return err;
	}
	uring->staging.wanted = dh_staging_wanted(uring);
	dh_buffers_open(uring);
	dh_gate_join(&heap->gate, &uring->user);
	dh_heap_hold(heap);
	*uring_out = uring;
	return 0;
}

DAXHEAP_API int daxheap_uring_detach(struct daxheap_uring *uring)
{
	char what[256];
	int err;

	if (!uring)
		return 0;
	err = dh_check_usable(uring->heap);
	if (err)
		return err;
	if (uring->in_flight) {
		describe_op(uring, uring->in_flight, oldest(uring, false), what, sizeof(what));
		return dh_fail(EBUSY, "%s: take the completions first (after "
			       "io_uring_queue_exit() there are none to take: then the pool stays "
			       "open until the process ends)", what);
	}
	dh_gate_quit(&uring->user);
	dh_buffers_close(uring);
	drop_file(uring);
	dh_staging_close(uring);
	dh_heap_drop(uring->heap);
	free(uring->ops);
	free(uring);
	return 0;
}

DAXHEAP_API int daxheap_uring_info(struct daxheap_uring *uring, struct daxheap_uring_info *info)
{
	int err = dh_check_usable(uring->heap);

	if (err)
		return err;
	*info = (struct daxheap_uring_info){
		.write_path = uring->buffers.chunks ? DAXHEAP_URING_REGISTERED :
						      DAXHEAP_URING_DIRECT,
		.reason = uring->buffers.reason,
		.entries = uring->entries,
		.in_flight = uring->in_flight,
		.registered_bytes = uring->buffers.count * DH_CHUNK_SIZE +
				    (unsigned)__builtin_popcount(uring->buffers.staging) *
					    DH_STAGING_SIZE,
		.through_registered = uring->through_registered,
		.direct = uring->direct,
		.staged = uring->staged,
		.lock_reason = uring->lock_reason,
	};
	info->read_path = uring->staging.wanted ? DAXHEAP_URING_STAGED : info->write_path;
	return 0;
}

/* --- completions --- */

/* NULL: not of this attachment. */
static struct dh_op *op_of(const struct daxheap_uring *uring, uint64_t user_data)
{
	uint64_t address = user_data & DH_OP_ADDRESS;
	uint64_t delta = address - (uintptr_t)uring->ops;

	if (delta >= uring->entries * sizeof(struct dh_op) || delta % sizeof(struct dh_op))
		return NULL;
	return &uring->ops[delta / sizeof(struct dh_op)];
}

static struct dh_found found_of(struct dh_space *space, const struct dh_op *op)
{
	struct dh_found found = {.span = op->span, .offset = op->block};
	bool starts;

	if (found.span)
		found.index = dh_span_index(found.span, op->block, &starts);
	else
		found.huge = &space->chunks[op->block / DH_CHUNK_SIZE];
	return found;
}

/*
 * For msync(): the kernel marks the pages that a device shall write as dirty at the start.  When
 * another thread's msync() cleans them meanwhile, it marks them again, but some time after the
 * completion.  So each is stored to here: a byte that it has.
 */
static void mark_dirty(char *at, size_t size)
{
	for (char *byte = at; byte < at + size;
	     byte = (char *)(((uintptr_t)byte | (DH_PAGE_SIZE - 1)) + 1)) {
		char seen = __atomic_load_n(byte, __ATOMIC_RELAXED);

		while (!__atomic_compare_exchange_n(byte, &seen, seen, false, __ATOMIC_RELAXED,
						    __ATOMIC_RELAXED))
			;
	}
}

/*
 * Nobody wants what came into a block that was given back meanwhile.  @result can be larger than
 * the range: to a recv with MSG_TRUNC it is the length of the message, which others choose.
 */
static int make_durable(struct daxheap_uring *uring, const struct dh_op *op,
			const struct dh_found *found, size_t result)
{
	struct daxheap *heap = uring->heap;
	size_t asked = atomic_load_explicit(&op->size, memory_order_relaxed);
	size_t size = result < asked ? result : asked;
	char *at = heap->base + atomic_load_explicit(&op->offset, memory_order_relaxed);
	int buffer = atomic_load_explicit(&op->buffer, memory_order_relaxed);
	struct dh_traffic traffic = {0};
	int err = 0;

	if (dh_found_waits(found))
		return 0;
	if (buffer >= 0) {
		dh_copy(&heap->persist, &traffic, at, dh_staging_at(uring, buffer), size);
	} else {
		if (heap->persist.syncs)
			mark_dirty(at, size);
		/* Whoever wrote, a device or the kernel on another CPU: it reaches all caches. */
		dh_flush(&heap->persist, &traffic, at, size);
	}
	if (!(uring->flags & DAXHEAP_URING_NO_FENCE))
		err = dh_fence(&heap->persist, &traffic);
	/* Of all attachments. */
	atomic_fetch_add(&heap->traffic.fences, atomic_load(&traffic.fences));
	atomic_fetch_add(&heap->traffic.flushed_lines, atomic_load(&traffic.flushed_lines));
	return err;
}

static void end(struct daxheap_uring *uring, struct dh_op *op, const struct dh_found *found)
{
	int buffer = atomic_load_explicit(&op->buffer, memory_order_relaxed);

	atomic_store_explicit(&op->kind, DH_OP_NONE, memory_order_relaxed);
	op->next = uring->unused;
	uring->unused = (uint32_t)(op - uring->ops);
	uring->in_flight--;
	dh_io_end(&uring->heap->space, found);
	if (buffer >= 0)
		dh_staging_put(uring, buffer);
	else
		dh_gate_leave(&uring->user);
}

DAXHEAP_API int daxheap_uring_complete(struct daxheap_uring *uring,
				       const struct io_uring_cqe *cqe,
				       struct daxheap_uring_completion *completion)
{
	struct dh_op *op = op_of(uring, cqe->user_data);
	int err = dh_check_usable(uring->heap);
	enum dh_op_kind kind;
	struct dh_found found;

	if (err)
		return err;
	if (!op)
		return 0;
	kind = atomic_load_explicit(&op->kind, memory_order_relaxed);
	if (!kind || op->generation != cqe->user_data >> DH_OP_ADDRESS_BITS)
		return dh_fail(EINVAL, "the operation of this completion has ended: it was handed "
			       "over before");
	found = found_of(&uring->heap->space, op);
	completion->data = op->data;
	completion->result = cqe->res;
	completion->flags = cqe->flags;
	if (dh_op_writes_memory(kind) && cqe->res > 0) {
		err = make_durable(uring, op, &found, (size_t)cqe->res);
		if (err)
			completion->result = err;
	}
	if (!(cqe->flags & IORING_CQE_F_MORE))
		end(uring, op, &found);
	return 1;
}
