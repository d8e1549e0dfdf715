/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxheap: a heap in a file on persistent memory.
 *
 * A pool is one file.  Blocks are taken with daxheap_alloc(), which reserves: a reservation
 * costs no flush and is gone after a crash or a close.  A block begins to live when
 * daxheap_publish() stores its reference into a slot, and ends when daxheap_free() clears
 * that slot; each of these is one atomic and durable step.  So there is no moment, also not
 * in a power cut, in which a block is reachable and free, or allocated and lost.
 *
 * A slot is an 8-byte word of type daxheap_ref in the pool: that of a named root, or one
 * inside a live block.  Slots belong to the heap: read them as you like, but once their
 * block is published only the calls below may write them.  Before that, the words of a
 * reserved block that are to be slots must be set to 0 and made durable with the rest of
 * its content.
 *
 *	struct daxheap *heap;
 *	daxheap_ref *root;
 *	void *block;
 *
 *	daxheap_open("/mnt/pmem/pool", 0, &heap);
 *	daxheap_root(heap, "greeting", &root);
 *	daxheap_alloc(heap, 32, &block);
 *	strcpy(block, "hello");
 *	daxheap_persist(heap, block, 32);	// the content, durable first
 *	daxheap_publish(heap, root, block);	// then what leads to it
 *	daxheap_close(heap);
 *
 * Errors.  Functions return 0 (or a count where that is said) or a negative errno, and
 * leave a sentence that says what to do in daxheap_errormsg().  An output parameter is
 * written on success alone.  Besides those named at each function, every function that
 * writes can return
 *
 *	-EROFS	the pool was opened read-only
 *	-EIO	the system refused to make data durable (msync), now or earlier; what was
 *		acknowledged before is safe, the call's own effect may or may not be there
 *		(so don't write to a block that it was to publish); close and open again
 *	-EPERM	called in a child after fork(): the heap belongs to the parent
 *	-ENOMEM	no memory, in the first call of a thread or the first that reads a chunk
 *
 * and every function that looks at a block
 *
 *	-EBADMSG the pool is damaged where the block lies; the message says where
 *
 * Threads.  Any number of threads may call on one heap at the same time, all functions but
 * daxheap_close().  Two that work on the same slot are ordered, and the loser of a race
 * gets an error.  The heap orders nothing else: what a reader may follow while another
 * thread frees it is the application's matter, and so is that no slot is used whose block
 * another thread is freeing.
 *
 * Durability.  "Durable" means: there after a power cut, in the mode that
 * daxheap_get_info() reports.  With DAXHEAP_MAP_SYNC a flush is of CPU cache lines and a
 * fence an instruction; in the other modes the fence is msync(), which is slower.
 */
#ifndef DAXHEAP_H
#define DAXHEAP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DAXHEAP_API __attribute__((visibility("default")))

struct daxheap;

/* A persistent reference: offset in bytes from the start of the pool; 0 is null. */
typedef uint64_t daxheap_ref;

/* Flags of daxheap_open() and daxheap_create(). */
enum {
	/* Fail with -EOPNOTSUPP where MAP_SYNC can't be had, instead of falling to msync. */
	DAXHEAP_REQUIRE_MAP_SYNC = 1 << 0,
	/* See and change nothing on media; see daxheap_open(). */
	DAXHEAP_READ_ONLY = 1 << 1,
	/* Of daxheap_create() on device DAX: whatever the device holds is lost. */
	DAXHEAP_OVERWRITE = 1 << 2,
};

enum daxheap_durability {
	/* DAX, mapped with MAP_SYNC: cache-line flushes (none with eADR), fences. */
	DAXHEAP_MAP_SYNC = 1,
	/* DAX without MAP_SYNC (virtio-pmem): cache-line flushes, and msync at each fence. */
	DAXHEAP_DAX_MSYNC = 2,
	/* Page cache: msync at each fence; on tmpfs nothing outlives the machine. */
	DAXHEAP_PAGE_CACHE = 3,
	/* Read-only open: nothing is written. */
	DAXHEAP_NOTHING_WRITTEN = 4,
	/* Cache-line flushes on a file that promises nothing, since PMEM_IS_PMEM_FORCE=1 in the
	 * environment (libpmem(7)) says so: for measurements on tmpfs. */
	DAXHEAP_FORCED = 5,
};

/*
 * Makes a new pool, whose file may grow to @size bytes (8 MiB to 16 TiB, rounded up to 2 MiB), and
 * opens it.  The file is short at first; it gets longer, and takes space from the file system, in
 * front of use.  An existing file is never touched.
 *
 * @path may also be a device of device DAX (/dev/dax0.0), which must be empty: zero in its first
 * 2 MiB, and in 24 KiB at least of each further 2 MiB.  The pool is a multiple of the device's
 * alignment; @size 0 takes all of the device.
 *
 * Durable when it returns: the pool and its name.  After a crash half way the file can't be
 * opened (daxheap_check() may make an empty pool of it); on an error it is removed.
 *
 * -EEXIST	there is a file of that name, or the device is not empty
 * -EMEDIUMTYPE	there is something else of that name
 * -ENOSPC	the file system, or the device, has not enough space
 * -EIO		the device has bad blocks where the pool would have its tables; see daxheap(7)
 * -EINVAL	size or flags out of range
 * -EOPNOTSUPP	MAP_SYNC demanded and not to be had
 * or what open(2), fallocate(2) and mmap(2) say.
 */
DAXHEAP_API int daxheap_create(const char *path, uint64_t size, unsigned flags,
			       struct daxheap **heap);

/*
 * Opens a pool: takes its lock, checks superblock and log, and replays what a crash left
 * behind.  Durable when it returns: every operation that had returned before the crash,
 * and each that was in flight either wholly or not at all.
 *
 * With DAXHEAP_READ_ONLY it needs no write permission, changes no byte of the file (what
 * must be replayed is replayed in memory) and shares the pool with other read-only opens.  On
 * device DAX, where mappings can't be private, that takes memory for the log and tables and for
 * each 2 MiB in which something is replayed.
 *
 * -EBUSY	the pool is open elsewhere, in this process or another, and was so for a second; or
 *		a device is still at the I/O of a process that was killed: see daxheap-uring.h
 * -EMEDIUMTYPE	the file is no pool
 * -EBADMSG	the pool is damaged; the message says where
 * -EPROTONOSUPPORT a newer library made it; -EROFS: read-only opens work
 * -EOPNOTSUPP	MAP_SYNC demanded and not to be had
 * or what open(2) and mmap(2) say.
 */
DAXHEAP_API int daxheap_open(const char *path, unsigned flags, struct daxheap **heap);

/*
 * Closes @heap (NULL is allowed) and gives up the lock.  No other thread may be inside a
 * call.  Reservations are cancelled; all else was durable before.  Pointers into the pool
 * are void.
 */
DAXHEAP_API void daxheap_close(struct daxheap *heap);

/*
 * Reserves a block of at least @size bytes (1 byte to the whole pool).  Its content is
 * undefined.  A block whose size is a multiple of 512 or 4096 is aligned to that, one of a
 * power of two up to 4096 to its size, any other to 16 bytes.  Nothing is durable: the
 * block is free again after a crash or daxheap_close().
 *
 * A block belongs to whoever reserved it until it is published or cancelled; it may be
 * handed to another thread.
 *
 * -ENOMEM	no free space of that size in the pool, but for what other threads keep: a few
 *		empty spans, and blocks of their spans that were given back by others since
 *		they last reserved
 * -ENOSPC	the file system has no space for the pool to grow into
 * -EINVAL	@size is 0
 */
DAXHEAP_API int daxheap_alloc(struct daxheap *heap, size_t size, void **block);

/*
 * The same for @count elements of @size bytes, filled with zero (not flushed: call
 * daxheap_persist() before the publish, as for any content).
 * -EINVAL also when the product overflows.
 */
DAXHEAP_API int daxheap_calloc(struct daxheap *heap, size_t count, size_t size, void **block);

/*
 * The same with an @alignment (0, or a power of two up to 2 MiB) and a @tag.  The tag says
 * what kind of thing the block is, for daxheap_next_tagged(); 0 is that of daxheap_alloc().
 * Blocks of one size and tag lie together, so a tag costs no byte in a block; but a pool with
 * many tags of few blocks each wastes up to 64 KiB for each size of each.
 * -EINVAL also for a bad @alignment.
 */
DAXHEAP_API int daxheap_alloc_as(struct daxheap *heap, size_t size, size_t alignment,
				 uint16_t tag, void **block);

/*
 * Gives back a block that was reserved and not published.
 *
 * -EINVAL	@block is not such a block: free already, live, inside a block, or foreign;
 *		nothing is changed
 */
DAXHEAP_API int daxheap_cancel(struct daxheap *heap, void *block);

/*
 * Makes the reserved @block live and stores its reference into the empty @slot.
 * Durable when it returns: both.  One flushed line and one fence.  The content is not
 * flushed: call daxheap_persist() on it before, from the same thread.
 *
 * -EEXIST	the slot is not empty
 * -EINVAL	@block is not the start of a reserved block, or @slot not a word of a live
 *		block or root
 */
DAXHEAP_API int daxheap_publish(struct daxheap *heap, daxheap_ref *slot, void *block);

/*
 * Clears @slot and frees the block it refers to.  Durable when it returns: both.  Blocks
 * that the freed block refers to are not freed with it.
 *
 * -ENOENT	the slot is empty
 * -EINVAL	@slot is not a word of a live block or root, or holds no reference to a
 *		live block (then nothing is changed)
 */
DAXHEAP_API int daxheap_free(struct daxheap *heap, daxheap_ref *slot);

/*
 * daxheap_free() and daxheap_publish() in one atomic step: @slot goes from the live block
 * it refers to, which is freed, to the reserved @block.  Content as for daxheap_publish().
 *
 * Errors of both.
 */
DAXHEAP_API int daxheap_replace(struct daxheap *heap, daxheap_ref *slot, void *block);

/*
 * Gives the live block that @slot refers to @size bytes at least: where it lies if it has
 * them and would not be much too large, else by a new block of the same tag with the same
 * content (as much as fits), which replaces it in one atomic step.  Durable when it returns:
 * the new block and what was copied; a block that stays is not flushed.  Nobody may write to
 * the block meanwhile; if it moved, pointers into it are void, and it has the alignment that
 * daxheap_alloc() gives.
 *
 * Errors of daxheap_alloc() and daxheap_free(); the old block is there then.
 */
DAXHEAP_API int daxheap_realloc(struct daxheap *heap, daxheap_ref *slot, size_t size);

/*
 * Actions: any number of changes in one atomic, durable step, under one fence.
 *
 * An action is gathered in memory by the calls below, which change nothing in the pool and
 * know errors of their own only; commit checks and does all of it.  An action belongs to one
 * thread at a time.
 */
struct daxheap_action;

/* -ENOMEM */
DAXHEAP_API int daxheap_action_new(struct daxheap *heap, struct daxheap_action **action);
/* NULL is allowed.  Before daxheap_close(). */
DAXHEAP_API void daxheap_action_delete(struct daxheap_action *action);
/* Forgets what was gathered. */
DAXHEAP_API void daxheap_action_reset(struct daxheap_action *action);

/*
 * What to do: as daxheap_publish(), daxheap_free(), daxheap_replace(), and for set: store
 * @value into the 8-byte @word of a live block, the durable way.  A word that is set by
 * actions is written by actions alone.
 *
 * A slot or word may also lie in a block that the same action publishes; a slot must then be
 * 0 and durable as content.  Each word, and each block, appears once in an action; a free
 * followed by a publish of the same slot is a replace.  A slot in a block that the action
 * frees can be freed by it as well, so a list or tree goes in one step.
 *
 * -ENOMEM	no memory to remember it
 * -EINVAL	not an aligned word of the pool; no block of it; the word, or the block to be
 *		published, is in the action already
 */
DAXHEAP_API int daxheap_action_publish(struct daxheap_action *action, daxheap_ref *slot,
				       void *block);
DAXHEAP_API int daxheap_action_free(struct daxheap_action *action, daxheap_ref *slot);
DAXHEAP_API int daxheap_action_replace(struct daxheap_action *action, daxheap_ref *slot,
				       void *block);
DAXHEAP_API int daxheap_action_set(struct daxheap_action *action, uint64_t *word,
				   uint64_t value);

/*
 * Does all that was gathered, or nothing.  Durable when it returns 0: all.  Then the action
 * is empty and can be used again; on an error it is as before, and so is the pool.  An action
 * of more than two changes needs 16 bytes for each in a free block of the pool, for a while.
 *
 * -EEXIST -ENOENT -EINVAL as the single calls say of one of the changes
 * -ENOMEM -ENOSPC no room in the pool for the action's entries
 */
DAXHEAP_API int daxheap_action_commit(struct daxheap_action *action);

/*
 * The slot of the root named @name (1 to 47 bytes); it is made, empty and durable, if
 * there is none.  A pool has 64 roots, and they stay.
 *
 * -ENOENT	no such root, in a pool that is open read-only
 * -ENOSPC	all 64 names are taken
 * -EINVAL	empty or long name
 */
DAXHEAP_API int daxheap_root(struct daxheap *heap, const char *name, daxheap_ref **slot);

struct daxheap_block {
	daxheap_ref ref;
	uint64_t size;		/* usable bytes */
	uint16_t tag;
};

/*
 * Steps through the live blocks in the order of their references.  Start with a zeroed
 * @block; each call replaces it by the next.  Returns 1, or 0 at the end.  Blocks that
 * others publish or free meanwhile may or may not be seen.
 */
DAXHEAP_API int daxheap_next(struct daxheap *heap, struct daxheap_block *block);

/* The same for the blocks with @tag alone; passes over the others 64 KiB at a time. */
DAXHEAP_API int daxheap_next_tagged(struct daxheap *heap, uint16_t tag,
				    struct daxheap_block *block);

/* Bytes that fit into the live or reserved @block, or -EINVAL if it is none. */
DAXHEAP_API int64_t daxheap_usable_size(struct daxheap *heap, const void *block);

/*
 * Makes @size bytes at @addr durable: flushes their lines and fences.
 * -EINVAL: the range is not inside the pool.
 */
DAXHEAP_API int daxheap_persist(struct daxheap *heap, const void *addr, size_t size);

/* The two halves of daxheap_persist(), to flush several ranges under one fence.  A fence
 * covers the flushes of its own thread alone. */
DAXHEAP_API int daxheap_flush(struct daxheap *heap, const void *addr, size_t size);
DAXHEAP_API int daxheap_fence(struct daxheap *heap);

struct daxheap_info {
	uint64_t size;			/* bytes that the file may grow to */
	uint64_t length;		/* bytes that it has now */
	uint32_t format_version;
	enum daxheap_durability durability;
	uint64_t compat, ro_compat, incompat;	/* feature flags */
	uint8_t uuid[16];
	uint64_t created_s;		/* seconds since the epoch */
	uint64_t replayed;		/* log records that this open replayed */
	uint64_t fences, flushed_lines;	/* since the open; with eADR no line is flushed */
	uint64_t trimmed_bytes;		/* given back to the file system since the open */
};

/* What is known of the open pool without looking at its blocks. */
DAXHEAP_API int daxheap_get_info(struct daxheap *heap, struct daxheap_info *info);

/*
 * Gives space that no block needs back to the file system: punches holes where chunks (2 MiB) are
 * free, and cuts the file behind the last one that is not; and punches the free units (64 KiB) of
 * chunks that are not half in use, which costs these their huge pages.  So much keeps its space
 * that @keep_bytes find room there, the first chunks and units.  Empty spans that other threads
 * keep for their next blocks stay.  Live and reserved blocks are not touched, and all threads may
 * go on; one that finds no other space waits for what is being given back, and one for which the
 * file must take more space waits in the kernel for what that is at.
 *
 * It waits for the heap's own I/O in flight (new I/O waits for it in turn), the calling thread's
 * included, and the kernel for pages that others have pinned; all in all not much longer than
 * @time_limit_ms, which is 1 at least.
 *
 * Durable when it returns: what was given back.  A crash half way loses nothing; the next open for
 * writing finishes the run of chunks that it was at.  *@freed_bytes (may be NULL): what the file
 * takes less.
 *
 * -ETIMEDOUT	not all was given back in time; the message says what held it up.  What was is
 *		told by daxheap_get_info(); try again.
 * -EINVAL	no time limit
 * -EOPNOTSUPP	the pool lies on a device
 * -EAGAIN	no thread for the system call: see pthread_create(3)
 * -EMFILE	no file descriptor for it
 * or what fallocate(2), ftruncate(2) and fsync(2) say.
 */
DAXHEAP_API int daxheap_trim(struct daxheap *heap, uint64_t keep_bytes, unsigned time_limit_ms,
			     uint64_t *freed_bytes);

/* Of daxheap_set_trim_policy(), for @keep_bytes: give nothing back. */
#define DAXHEAP_KEEP_ALL UINT64_MAX

/*
 * From now on the thread whose call frees a block gives space back, when free chunks have more
 * than both @keep_bytes and @keep_percent of the space in use, and by an eighth of that; it trims
 * to there as daxheap_trim() does, whole chunks alone, within @time_limit_ms; but it does not wait
 * for the heap's I/O in flight, which may be the thread's own: then it leaves all as it is, until
 * some chunks more are free.  Whether it could is not told; the call that freed has its own result.
 * Chunks that were free when the pool was opened, and not looked at since, count for nothing.
 * DAXHEAP_KEEP_ALL ends it, and is how a pool is opened: a heap doesn't stall calls unasked.  Not
 * durable: to be set after each open.  Waits for a trim that is under way.
 *
 * -EINVAL	no time limit
 * -EOPNOTSUPP	the pool lies on a device
 */
DAXHEAP_API int daxheap_set_trim_policy(struct daxheap *heap, uint64_t keep_bytes,
					unsigned keep_percent, unsigned time_limit_ms);

struct daxheap_stats {
	uint64_t live_blocks, live_bytes;
	uint64_t reserved_blocks, reserved_bytes;	/* those that hold actions' entries for
							 * a while included */
	uint64_t spans, span_bytes;	/* runs of 64 KiB units that hold blocks up to 1 MiB */
	uint64_t huge_blocks, huge_bytes;	/* blocks of whole chunks, of the live and
						 * reserved ones */
	uint64_t free_bytes;		/* of the pool, in no span and no huge block; empty spans
					 * that threads keep for their next blocks included */
	uint64_t largest_free;		/* bytes of the largest block that fits there, or in a
					 * span */
	uint64_t file_bytes;		/* that the file has on its file system */
};

/*
 * Counts; reads the whole chunk table and all bitmaps, so it takes time that grows with the
 * pool.  With other threads at work it is a picture of no single moment.
 * -EBADMSG: a damaged word; the message says where.
 */
DAXHEAP_API int daxheap_get_stats(struct daxheap *heap, struct daxheap_stats *stats);

struct daxheap_class_stats {
	uint64_t block_size;
	uint64_t spans;
	uint64_t blocks;		/* that the spans have room for */
	uint64_t live_blocks, reserved_blocks;
};

/*
 * The same for each size class, from the smallest: fills in up to @count of them, and returns
 * how many there are.
 */
DAXHEAP_API int daxheap_get_class_stats(struct daxheap *heap,
					struct daxheap_class_stats *stats, unsigned count);

/* A word for people, such as "MAP_SYNC: cache-line flushes (none with eADR)". */
DAXHEAP_API const char *daxheap_durability_name(enum daxheap_durability durability);

struct daxheap_place {
	char fs_type[32];		/* "ext4"; "devdax": no file system, but device DAX */
	char mount_options[256];
	char block_device[64];		/* "pmem0", or "dax0.0"; empty: none seen */
	char namespace_name[64];	/* "namespace0.0"; empty: not on pmem */
	char persistence_domain[32];	/* of the region: "memory_controller", "cpu_cache",
					 * "unknown"; empty: not on pmem */
	int dax;			/* 1 if the file is accessed by DAX (statx), or is a
					 * device of it */
};

/*
 * Tells what lies under the file or folder @path, as far as the caller may see it.
 * -ENOENT and what statx(2) says.
 */
DAXHEAP_API int daxheap_get_place(const char *path, struct daxheap_place *place);

enum daxheap_severity {
	DAXHEAP_DAMAGE = 1,		/* something is wrong; what it costs is said */
	DAXHEAP_REPAIRED = 2,		/* it was, and is repaired */
	DAXHEAP_UNKNOWN = 3,		/* could not be told, since what would tell is damaged */
};

struct daxheap_finding {
	enum daxheap_severity severity;
	uint64_t offset, size;		/* of the bytes of the pool that it is about */
	const char *what;		/* a sentence; valid during the call */
};

enum {
	/* Put right what can be put right without losing a live block. */
	DAXHEAP_CHECK_REPAIR = 1 << 0,
};

/*
 * Checks every structure of a pool that nobody has open, and tells @report, if not NULL, of each
 * finding.  Without
 * DAXHEAP_CHECK_REPAIR no byte of the file is changed.  With it, superblocks are restored
 * from each other, and span and bitmap words that fail their check are rebuilt from what else
 * is known; a block whose state can't be known is kept as live.  Content is not looked at.
 *
 * Returns the number of findings that are DAXHEAP_DAMAGE or DAXHEAP_UNKNOWN.
 *
 * -EMEDIUMTYPE	the file is no pool
 * -EBUSY	the pool is open
 * or what open(2) and mmap(2) say.
 */
DAXHEAP_API int daxheap_check(const char *path, unsigned flags,
			      void (*report)(void *arg, const struct daxheap_finding *finding),
			      void *arg);

/* What went wrong in the calling thread's last failing call, and what to do. */
DAXHEAP_API const char *daxheap_errormsg(void);

/* The version of the library, "0.1.0". */
DAXHEAP_API const char *daxheap_version(void);

/* Conversions; @heap is the open pool that the reference or address belongs to.  The
 * first word of struct daxheap is the address of the pool, and stays so. */
static inline void *daxheap_ptr(const struct daxheap *heap, daxheap_ref ref)
{
	return ref ? *(char *const *)heap + ref : NULL;
}

static inline daxheap_ref daxheap_ref_of(const struct daxheap *heap, const void *addr)
{
	return addr ? (daxheap_ref)((const char *)addr - *(char *const *)heap) : 0;
}

#ifdef __cplusplus
}
#endif

#endif
