/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * io_uring straight from and to the blocks of a daxheap.
 *
 * A heap is attached to a ring that the application made by liburing and goes on to use as ever.
 * The calls below prepare operations on blocks in its submission queue; completions are taken
 * from it as ever, and handed to daxheap_uring_complete(), which tells the heap's own from
 * others and makes what a device wrote durable.
 *
 *	io_uring_queue_init(64, &ring, 0);
 *	daxheap_uring_attach(heap, &ring, 0, 0, &uring);
 *
 *	daxheap_uring_prep_read(uring, fd, block, 4096, offset, block, NULL);
 *	io_uring_submit(&ring);
 *	io_uring_wait_cqe(&ring, &cqe);
 *	if (daxheap_uring_complete(uring, cqe, &done) == 1)
 *		...	// done.result bytes lie in the block, durable
 *	else
 *		...	// not the heap's: use cqe
 *	io_uring_cqe_seen(&ring, cqe);
 *
 *	daxheap_uring_detach(uring);
 *	io_uring_queue_exit(&ring);
 *
 * What it is for: a block under I/O can be freed or cancelled by its owner, and goes back to the
 * heap or the file system only after the completion; and no hole is punched into the pool's file
 * and no tail cut off while the heap's I/O is in flight on its memory.  An operation is in flight
 * from its preparation until its last completion was handed to daxheap_uring_complete().
 *
 * Threads.  One at a time for a ring and its attachment: the application's lock for the ring, if
 * it needs one, covers the calls below on it.  Any thread may take the completions, also those of
 * operations whose thread has exited: these stay in flight, and when what they wait for happens
 * they complete or are cancelled by the kernel (-ECANCELED).  Different rings of a heap are used at
 * the same time, and beside all other calls on the heap.
 *
 * Processes.  In a child after fork() each call is refused with -EPERM.  When a process dies, a
 * device may go on with its I/O.  So the attachment puts the pool's file into the ring's table of
 * files, which the kernel keeps until the last operation is over, and the pool's lock with it:
 * until then it can't be opened (-EBUSY).  Reservations are gone then, and the content of live
 * blocks that a device was writing is undefined, as far as the operations in flight reached.
 *
 * A ring that has a table already, of its own (io_uring_register_files(3)) or by the attachment of
 * another heap, is used as it is, and then the lock goes with the process: who kills it waits for
 * its devices before the pool is opened again.  daxheap_uring_info() tells, by its lock_reason.
 * Where that must not be, the application makes the table, sparse, and gives each attachment a slot
 * of it by DAXHEAP_URING_FILE_SLOT().
 *
 * The rest is liburing's: see io_uring(7).
 */
#ifndef DAXHEAP_URING_H
#define DAXHEAP_URING_H

#include "daxheap.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of liburing. */
struct io_uring;
struct io_uring_sqe;
struct io_uring_cqe;

struct daxheap_uring;

/* Flags of daxheap_uring_attach(). */
enum {
	/* Register the pool's memory with the ring where the kernel takes it; see below. */
	DAXHEAP_URING_REGISTER = 1 << 0,
	/* Completions flush what a device wrote and don't fence: the thread that took them calls
	 * daxheap_fence() once for many.  Until then they are not durable. */
	DAXHEAP_URING_NO_FENCE = 1 << 1,
	/* Never wait in a preparation while the pool is being trimmed: -EAGAIN at once. */
	DAXHEAP_URING_NO_WAIT = 1 << 2,
	/* Stage reads and recvs, or don't, whatever is faster by measurement; see below. */
	DAXHEAP_URING_STAGE = 1 << 3,
	DAXHEAP_URING_NO_STAGE = 1 << 4,
};

/*
 * The same: the pool's file goes into this slot, 0 to 65534, of the table of files that the ring
 * has; see above.  Nothing else may use the slot before the detach, which makes it free.
 */
#define DAXHEAP_URING_FILE_SLOT(slot) (((unsigned)(slot) + 1) << 16)

/*
 * Attaches @heap to @ring, with room for @entries operations in flight (1 to 65536; 0: as many as
 * the ring's completion queue has).  The ring stays the application's, but for its table of files
 * if it has none yet; see above.  The struct itself stays where it is until the detach: it must
 * not be copied or moved, as the attachment points to it.
 *
 * Where the data goes:
 *
 * - Direct: the operation is on the block itself, whose pages the kernel pins while it lasts.
 *   That is so for all writes and sends, and for reads and recvs that are not staged.
 *
 * - Staged: a read or recv of up to 1 MiB is into one of up to 32 buffers in DRAM (with more in
 *   flight, or without memory for them, it is direct); its completion copies past the CPU's cache
 *   into the block.  The default where data is made durable by flushing cache lines, since it
 *   takes less time than to flush each line of what something else wrote (daxbench(1)); not with
 *   eADR, and not where msync() does it.  While it waits for its data nothing of the pool is
 *   pinned, and the pool can be trimmed.  Nothing is in the block before the completion was
 *   handed over.
 *
 * - Registered: reads and writes inside a chunk of 2 MiB through buffers that the kernel has
 *   pinned once and for all.  It saves devices that are read and written by O_DIRECT the
 *   look-up of pages; what the CPU copies goes no faster.  Chunks are registered when they are
 *   first used, in the ring's table of buffers, which the attachment takes for itself, and stay
 *   in the file until it is detached, whatever is freed.  The default on device DAX, where
 *   nothing is trimmed anyway; elsewhere on demand by DAXHEAP_URING_REGISTER, and where the kernel
 *   takes it: tmpfs does; FS DAX never (EOPNOTSUPP, all kernels known), page cache no more
 *   (EFAULT).  Refused, the attachment works without.  The staging buffers are registered as well,
 *   each when it is first used, since the kernel takes them also where it refuses the pool.
 *
 * daxheap_uring_info() tells which it is.
 *
 * On a heap that is open read-only, blocks can be written and sent, not read or received into.
 *
 * -EOPNOTSUPP	the kernel may drop completions (before Linux 5.5)
 * -EINVAL	@entries or @flags out of range, or the table of files has no such slot
 * -ENXIO	a slot was given, and the ring has no table of files
 * -EEXIST	a slot was given, and only another thread may use the ring
 *		(IORING_SETUP_SINGLE_ISSUER)
 * -ENOMEM
 */
DAXHEAP_API int daxheap_uring_attach(struct daxheap *heap, struct io_uring *ring,
				     unsigned entries, unsigned flags,
				     struct daxheap_uring **uring);

/*
 * Ends the attachment (NULL is allowed) and unregisters its buffers.  Before
 * io_uring_queue_exit(): behind that nobody can tell when the operations in flight are over, so
 * their blocks stay out of use, and the pool open and locked, until the process ends.
 *
 * With IORING_SETUP_SINGLE_ISSUER the thread that submits to the ring is to do it.  Another's
 * detach succeeds as well, but the kernel lets it unregister nothing: the ring keeps its tables, and the
 * chunks that were registered stay in the file until the pool is opened again.
 *
 * An attachment holds the pool: if daxheap_close() was called before, the last detach does what
 * that left to do, so that no memory is unmapped, and the pool's lock not given up, under I/O.
 *
 * -EBUSY	operations are in flight: take their completions first; the message names the oldest
 */
DAXHEAP_API int daxheap_uring_detach(struct daxheap_uring *uring);

/*
 * Prepare an operation on the @size bytes (1 to 2 GiB - 4096) at @at, which lie in one live or
 * reserved block: the same as io_uring_prep_read(3) and the others.  Read and recv write into the
 * block, so that range must hold no slots once the block is published.  The block may be freed
 * or cancelled as soon as the call has returned, but not during it.
 *
 * @data comes back with the completion.  *@sqe, if @sqe is not NULL, is the entry prepared, in
 * which IOSQE_FIXED_FILE, IOSQE_IO_LINK, IOSQE_IO_HARDLINK, IOSQE_IO_DRAIN and IOSQE_ASYNC may
 * be set, and the personality and ioprio; nothing else of it may be changed.  Its user_data can be
 * given to io_uring_prep_cancel64(3) until the last completion was taken; the operation then
 * completes with -ECANCELED, or as if nothing had been.
 *
 * An operation that is linked behind a read or recv of the same block finds its data there only if
 * that is not staged: DAXHEAP_URING_NO_STAGE.
 *
 * An entry once prepared must be submitted: liburing can't take it back, and until its completion
 * it counts as in flight.
 *
 * -EAGAIN	nothing was prepared, for want of an entry of the submission queue (submit) or of
 *		@entries (take completions), or since the pool is being trimmed: with operations in
 *		flight on this ring take their completions, as trimming waits for them; with none
 *		the call has waited for a second already.  A thread that has operations in flight
 *		on another ring should not let this one wait: see DAXHEAP_URING_NO_WAIT
 * -EINVAL	the range is not inside one block, or that is free
 * -EROFS	read and recv, on a heap that is open read-only
 * -EBADF	the heap was closed
 */
DAXHEAP_API int daxheap_uring_prep_read(struct daxheap_uring *uring, int fd, void *at,
					size_t size, uint64_t offset, void *data,
					struct io_uring_sqe **sqe);
DAXHEAP_API int daxheap_uring_prep_write(struct daxheap_uring *uring, int fd, const void *at,
					 size_t size, uint64_t offset, void *data,
					 struct io_uring_sqe **sqe);
/* @flags as for recv(2) and send(2).  With MSG_TRUNC the result can be larger than @size, or count
 * bytes that were dropped; nothing behind the range is written, and nothing is staged.  Send with
 * MSG_ZEROCOPY is -EINVAL, as the block is read after the completion: see below. */
DAXHEAP_API int daxheap_uring_prep_recv(struct daxheap_uring *uring, int fd, void *at,
					size_t size, int flags, void *data,
					struct io_uring_sqe **sqe);
DAXHEAP_API int daxheap_uring_prep_send(struct daxheap_uring *uring, int fd, const void *at,
					size_t size, int flags, void *data,
					struct io_uring_sqe **sqe);
/* Without a copy, from Linux 6.0.  Two completions: see struct daxheap_uring_completion. */
DAXHEAP_API int daxheap_uring_prep_send_zc(struct daxheap_uring *uring, int fd, const void *at,
					   size_t size, int flags, void *data,
					   struct io_uring_sqe **sqe);

struct daxheap_uring_completion {
	void *data;
	/*
	 * Bytes, or -errno, as the kernel reports it: also fewer than asked for (prepare another
	 * operation for the rest), also -EAGAIN, -EINTR and -ECANCELED (nothing was transferred).
	 * -EIO can as well mean that the bytes are there and could not be made durable; then
	 * daxheap_errormsg() is about msync.
	 */
	int result;
	/*
	 * Of the CQE.  IORING_CQE_F_MORE: the operation is still in flight, and has another
	 * completion to come.  IORING_CQE_F_NOTIF: that one, of a send without copy; its result
	 * means nothing.
	 */
	unsigned flags;
};

/*
 * Ends the operation that @cqe completes, which the caller took from the ring and has not marked
 * as seen.  Durable when it returns 1: the @result bytes that a read or recv wrote, unless
 * DAXHEAP_URING_NO_FENCE was given.  Nothing after them in the range is flushed.
 *
 * Returns 1; or 0: not of the heap's operations, or not of this attachment, *@completion is
 * untouched.
 *
 * -EINVAL	a completion of an operation that has ended: it was handed over twice
 */
DAXHEAP_API int daxheap_uring_complete(struct daxheap_uring *uring,
				       const struct io_uring_cqe *cqe,
				       struct daxheap_uring_completion *completion);

/* See daxheap_uring_attach(). */
enum daxheap_uring_path {
	DAXHEAP_URING_DIRECT = 1,
	DAXHEAP_URING_STAGED = 2,
	DAXHEAP_URING_REGISTERED = 3,
};

struct daxheap_uring_info {
	/* Of reads and recvs, and of writes and sends; single ones may be direct: see there. */
	enum daxheap_uring_path read_path, write_path;
	/*
	 * Why chunks are not registered, or no more of them: an errno, 0 if they are.
	 * EOPNOTSUPP: FS DAX; EFAULT: page cache; EBUSY: the ring had a table of its own;
	 * EINVAL: a kernel before 5.19; ENOMEM: RLIMIT_MEMLOCK; EROFS: open read-only;
	 * EEXIST: another thread alone may use the ring (IORING_SETUP_SINGLE_ISSUER); EACCES: the
	 * ring's restrictions forbid it; ECANCELED: not asked for.  Others as io_uring_register(2)
	 * has them, such as EBADFD.
	 */
	int reason;
	unsigned entries, in_flight;
	uint64_t registered_bytes;	/* of chunks and of staging buffers */
	uint64_t direct, staged, through_registered;	/* operations prepared so far */
	/*
	 * Why the pool's lock goes with the process though a device may still be at its blocks: an
	 * errno, 0 if it does not.  EBUSY: the ring had a table of files already; EEXIST: another
	 * thread alone may use the ring; others as io_uring_register(2) has them for
	 * IORING_REGISTER_FILES.
	 */
	int lock_reason;
};

DAXHEAP_API int daxheap_uring_info(struct daxheap_uring *uring, struct daxheap_uring_info *info);

#ifdef __cplusplus
}
#endif

#endif
