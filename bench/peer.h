/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is measured against what: daxheap and its peers behind one set of functions.  Each
 * ends the program when an operation fails.
 */
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An open pool, of a kind that each peer knows for itself. */
struct pool;

/* Since the pool was opened. */
struct counters {
	uint64_t fences;
	uint64_t flushed_lines;
	uint64_t replayed;	/* records, by the open */
};

#define SLOTS_PER_THREAD	131072u	/* thread 0 uses the first ones, and so on */

struct slots {
	unsigned first;
	unsigned count;
};

struct peer {
	const char *name;

	/* Whether it can be had here; NULL: it can. */
	bool (*found)(void);

	/* A new pool of @size bytes at @path, with @slots empty slots. */
	struct pool *(*create)(const struct peer *peer, const char *path, uint64_t size,
			       unsigned slots);
	/* Opens it again; NULL: a pool ends with its process. */
	struct pool *(*open)(const char *path);
	void (*close)(struct pool *pool);

	/* The functions below are NULL where a peer has no such thing. */

	/* Nothing need survive a crash. */
	void *(*alloc)(struct pool *pool, size_t size);
	void (*free)(struct pool *pool, void *block);

	/* Allocates a block and makes it durably reachable from the empty @slot; with @content,
	 * all its bytes are set and durable before that. */
	void (*publish)(struct pool *pool, unsigned slot, size_t size, bool content);
	/* Durably empties @slot and frees its block. */
	void (*unpublish)(struct pool *pool, unsigned slot);
	/* Both for many slots in one step, by @thread. */
	void (*action)(struct pool *pool, unsigned thread, struct slots publish,
		       struct slots unpublish, size_t size);

	/* Stores into @count lines of @thread's, from number @first on, flushes them, fences. */
	void (*persist_lines)(struct pool *pool, unsigned thread, unsigned first,
			      unsigned count);

	/* Gives free space back to the file system. */
	void (*trim)(struct pool *pool);

	struct counters (*counters)(struct pool *pool);

	size_t slot_size;
	/* Its library is not to be trusted with several threads. */
	bool one_thread;
	/* create() takes space for the whole pool. */
	bool allocates_all;
};

#define PERSIST_LINES	1024u	/* of a thread, for persist_lines() */

extern const struct peer daxheap_peer, hardware_peer;
extern const struct peer pmemobj_atomic_peer, pmemobj_action_peer, pmemobj_tx_peer;
extern const struct peer memkind_peer, jemalloc_peer, mimalloc_peer, glibc_peer;

/* All that are built in, daxheap first; ends with NULL. */
extern const struct peer *const peers[];

#endif
