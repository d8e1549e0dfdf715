/* SPDX-License-Identifier: BSD-3-Clause */
/* The open pool. */
#ifndef DH_HEAP_H
#define DH_HEAP_H

#include <stdatomic.h>
#include <stdint.h>

#include "block.h"
#include "daxheap.h"
#include "format.h"
#include "gate.h"
#include "lock.h"
#include "log.h"
#include "mapping.h"
#include "persist.h"
#include "space.h"
#include "trim.h"

/*
 * Guards the slots whose lines it stands for, and remembers the greatest sequence that changed
 * one of them.
 */
#define DH_STRIPES 256u

struct dh_stripe {
	_Alignas(DH_LINE_SIZE) struct dh_lock lock;
	atomic_uint_fast64_t seq;
};

struct daxheap {
	char *base;			/* first, and public: see daxheap_ptr() */
	uint64_t id;			/* never used again in this process; 0: read-only */
	unsigned flags;
	unsigned fork_generation;
	atomic_bool trim_due;		/* by the policy */
	uint64_t replayed;
	struct dh_superblock sb;
	struct dh_mapping mapping;
	struct dh_persist persist;
	struct dh_traffic traffic;	/* of open and close */
	struct dh_media media;
	struct dh_log log;
	struct dh_space space;
	struct dh_gate gate;
	struct dh_trim trim;
	atomic_uint holds;		/* 1 for the application, 1 for each attached ring */
	atomic_bool closed;		/* by the application */
	struct dh_cache *caches;	/* the registry's lock */
	struct dh_lock root_lock;
	atomic_uint named_roots;
	struct dh_stripe stripes[DH_STRIPES];
};

/* 0, or -EPERM in a child after fork(). */
int dh_check_usable(const struct daxheap *heap);
/* The same, and -EROFS. */
int dh_check_writable(const struct daxheap *heap);

/* daxheap_create() with a log of @lanes rings of @ring records; the fewer, the sooner they wrap. */
int dh_create_sized(const char *path, uint64_t size, unsigned flags, unsigned lanes,
		    unsigned ring, struct daxheap **heap);

static inline bool dh_in_pool(const struct daxheap *heap, const void *at, size_t size)
{
	uintptr_t offset = (uintptr_t)at - (uintptr_t)heap->base;

	return offset <= heap->sb.size && size <= heap->sb.size - offset;
}

/* An attached ring holds the heap open; the last who drops it closes it. */
void dh_heap_hold(struct daxheap *heap);
void dh_heap_drop(struct daxheap *heap);

/* root.c */
/* -EBADMSG: a root entry is damaged. */
int dh_roots_check(struct daxheap *heap);

/* Whether @offset is that of a named root's slot. */
static inline bool dh_root_slot(const struct daxheap *heap, uint64_t offset)
{
	uint64_t at = offset - DH_ROOTS_OFFSET;

	return at / sizeof(struct dh_root) <
		       atomic_load_explicit(&heap->named_roots, memory_order_acquire) &&
	       at % sizeof(struct dh_root) == offsetof(struct dh_root, slot);
}

/* recover.c: applies what the log holds behind the horizon, and moves that. */
int dh_recover(struct daxheap *heap, const struct dh_change *changes, size_t count);

#endif
