/* SPDX-License-Identifier: BSD-3-Clause */
/* io_uring: the beginnings of operations. */
#include <errno.h>
#include <sys/socket.h>
#include <time.h>

#include "error.h"
#include "underio.h"
#include "uring.h"

#define SIZE_LIMIT	(UINT64_C(0x7ffff000))	/* of one read(2) or write(2) */
#define PATIENCE_NS	UINT64_C(1000000000)	/* with the gate */

struct request {
	enum dh_op_kind kind;
	int fd;
	const void *at;
	size_t size;
	uint64_t file_offset;
	int flags;
	void *data;
};

/* What can be told without the block. */
static int check(const struct daxheap_uring *uring, const struct request *request)
{
	const struct daxheap *heap = uring->heap;
	int err = dh_op_writes_memory(request->kind) ? dh_check_writable(heap) :
						       dh_check_usable(heap);

	if (err)
		return err;
	if (atomic_load_explicit(&heap->closed, memory_order_relaxed))
		return dh_fail(EBADF, "the heap was closed: detach");
	if (!request->size || request->size > SIZE_LIMIT)
		return dh_fail(EINVAL, "an operation has 1 to %llu bytes, not %zu",
			       (unsigned long long)SIZE_LIMIT, request->size);
	if (request->kind == DH_OP_SEND && request->flags & MSG_ZEROCOPY)
		return dh_fail(EINVAL, "with MSG_ZEROCOPY the kernel reads the block after the "
			       "completion, too: use daxheap_uring_prep_send_zc()");
	if (uring->unused == uring->entries)
		return dh_fail(EAGAIN, "%u operations are in flight, and the attachment has room "
			       "for no more: take completions", uring->entries);
	if (!io_uring_sq_space_left(uring->ring))
		return dh_fail(EAGAIN, "the submission queue is full: call io_uring_submit()");
	return 0;
}

/* Finds the block that the range lies in, and counts the operation there. */
static int begin_on_block(struct daxheap *heap, const void *at, size_t size, struct dh_found *found)
{
	uint64_t offset = (uint64_t)((uintptr_t)at - (uintptr_t)heap->base);
	int err = dh_in_pool(heap, at, size) ? dh_find(&heap->space, offset, found) : -EINVAL;

	if (err && err != -EINVAL)
		return err;
	if (err || offset + size > found->offset + dh_found_size(found))
		return dh_fail(EINVAL, "the %zu bytes at %p do not lie in one block of this pool",
			       size, at);
	err = dh_found_used(found) ? dh_io_begin(&heap->space, found) : -EINVAL;
	return err == -EINVAL ? dh_fail(EINVAL, "the block at %p is free", at) : err;
}

static uint64_t coarse_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static struct dh_op *take_op(struct daxheap_uring *uring, const struct request *request,
			     const struct dh_found *found, int buffer)
{
	struct dh_op *op = &uring->ops[uring->unused];

	uring->unused = op->next;
	uring->in_flight++;
	op->generation++;
	op->data = request->data;
	op->span = found->span;
	op->block = found->offset;
	atomic_store_explicit(&op->offset, dh_media_offset(&uring->heap->media, request->at),
			      memory_order_relaxed);
	atomic_store_explicit(&op->size, (unsigned)request->size, memory_order_relaxed);
	atomic_store_explicit(&op->since_ns, coarse_ns(), memory_order_relaxed);
	atomic_store_explicit(&op->buffer, (signed char)buffer, memory_order_relaxed);
	atomic_store_explicit(&op->kind, request->kind, memory_order_relaxed);
	return op;
}

/* Reads and writes a file, at @slot of the registered buffers or, if that is -1, at @at. */
static void fill_file(struct io_uring_sqe *sqe, const struct request *request, void *at, int slot)
{
	const unsigned size = (unsigned)request->size;

	if (request->kind == DH_OP_READ && slot >= 0)
		io_uring_prep_read_fixed(sqe, request->fd, at, size, request->file_offset, slot);
	else if (request->kind == DH_OP_READ)
		io_uring_prep_read(sqe, request->fd, at, size, request->file_offset);
	else if (slot >= 0)
		io_uring_prep_write_fixed(sqe, request->fd, at, size, request->file_offset, slot);
	else
		io_uring_prep_write(sqe, request->fd, at, size, request->file_offset);
}

static void fill(struct io_uring_sqe *sqe, const struct request *request, void *at, int slot)
{
	switch (request->kind) {
	case DH_OP_RECV:
		io_uring_prep_recv(sqe, request->fd, at, request->size, request->flags);
		break;
	case DH_OP_SEND:
		io_uring_prep_send(sqe, request->fd, at, request->size, request->flags);
		break;
	case DH_OP_SEND_ZC:
		io_uring_prep_send_zc(sqe, request->fd, at, request->size, request->flags, 0);
		break;
	default:
		fill_file(sqe, request, at, slot);
	}
}

/* On the block itself: at the gate. */
static int enter(struct daxheap_uring *uring)
{
	return dh_gate_enter(&uring->user, uring->flags & DAXHEAP_URING_NO_WAIT ? 0 : PATIENCE_NS);
}

static void leave(struct daxheap_uring *uring, int buffer)
{
	if (buffer >= 0)
		dh_staging_put(uring, buffer);
	else
		dh_gate_leave(&uring->user);
}

/* The registered buffer that a file operation is on, staged or not; -1: on none. */
static int find_slot(struct daxheap_uring *uring, const struct request *request, int buffer)
{
	if (request->kind != DH_OP_READ && request->kind != DH_OP_WRITE)
		return -1;
	if (buffer >= 0)
		return dh_buffers_staging_slot(uring, buffer);
	return dh_buffers_slot(uring, dh_media_offset(&uring->heap->media, request->at),
			       request->size);
}

/* With MSG_TRUNC TCP counts bytes that it drops: what earlier data left in a buffer would be taken
 * for them. */
static bool can_be_staged(const struct request *request)
{
	return dh_op_writes_memory(request->kind) && !(request->flags & MSG_TRUNC);
}

static int prepare(struct daxheap_uring *uring, const struct request *request,
		   struct io_uring_sqe **sqe_out)
{
	void *at = (void *)(uintptr_t)request->at;
	struct io_uring_sqe *sqe;
	struct dh_found found;
	int buffer = -1, slot, err = check(uring, request);

	if (err)
		return err;
	if (can_be_staged(request))
		buffer = dh_staging_take(uring, request->size);
	if (buffer < 0)
		err = enter(uring);
	if (err)
		return err;
	err = begin_on_block(uring->heap, request->at, request->size, &found);
	if (err) {
		leave(uring, buffer);
		return err;
	}
	if (buffer >= 0)
		at = dh_staging_at(uring, buffer);
	slot = find_slot(uring, request, buffer);
	*(buffer >= 0 ? &uring->staged :
	  slot >= 0 ? &uring->through_registered : &uring->direct) += 1;
	/* There is one: see check(). */
	sqe = io_uring_get_sqe(uring->ring);
	fill(sqe, request, at, slot);
	io_uring_sqe_set_data64(sqe, dh_op_user_data(take_op(uring, request, &found, buffer)));
	if (sqe_out)
		*sqe_out = sqe;
	return 0;
}

DAXHEAP_API int daxheap_uring_prep_read(struct daxheap_uring *uring, int fd, void *at,
					size_t size, uint64_t offset, void *data,
					struct io_uring_sqe **sqe)
{
	const struct request request = {.kind = DH_OP_READ, .fd = fd, .at = at, .size = size,
					.file_offset = offset, .data = data};

	return prepare(uring, &request, sqe);
}

DAXHEAP_API int daxheap_uring_prep_write(struct daxheap_uring *uring, int fd, const void *at,
					 size_t size, uint64_t offset, void *data,
					 struct io_uring_sqe **sqe)
{
	const struct request request = {.kind = DH_OP_WRITE, .fd = fd, .at = at, .size = size,
					.file_offset = offset, .data = data};

	return prepare(uring, &request, sqe);
}

DAXHEAP_API int daxheap_uring_prep_recv(struct daxheap_uring *uring, int fd, void *at,
					size_t size, int flags, void *data,
					struct io_uring_sqe **sqe)
{
	const struct request request = {.kind = DH_OP_RECV, .fd = fd, .at = at, .size = size,
					.flags = flags, .data = data};

	return prepare(uring, &request, sqe);
}

DAXHEAP_API int daxheap_uring_prep_send(struct daxheap_uring *uring, int fd, const void *at,
					size_t size, int flags, void *data,
					struct io_uring_sqe **sqe)
{
	const struct request request = {.kind = DH_OP_SEND, .fd = fd, .at = at, .size = size,
					.flags = flags, .data = data};

	return prepare(uring, &request, sqe);
}

DAXHEAP_API int daxheap_uring_prep_send_zc(struct daxheap_uring *uring, int fd, const void *at,
					   size_t size, int flags, void *data,
					   struct io_uring_sqe **sqe)
{
	const struct request request = {.kind = DH_OP_SEND_ZC, .fd = fd, .at = at, .size = size,
					.flags = flags, .data = data};

	return prepare(uring, &request, sqe);
}
