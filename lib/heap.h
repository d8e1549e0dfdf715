/* SPDX-License-Identifier: BSD-3-Clause */
/* The open pool. */
#ifndef DH_HEAP_H
#define DH_HEAP_H

#include <pthread.h>
#include <stdint.h>

#include "block.h"
#include "daxheap.h"
#include "format.h"
#include "log.h"
#include "mapping.h"
#include "persist.h"
#include "space.h"

/*
 * Lock order: root_lock; stripes in ascending order; a lane's lock; space.lock;
 * log.horizon_lock.  Whoever waits for announced operations holds the horizon's lock alone
 * of those that an announced operation could still want: none.
 */
#define DH_STRIPES 32u

struct daxheap {
	char *base;			/* first, and public: see daxheap_ptr() */
	unsigned flags;
	unsigned fork_generation;
	uint64_t replayed;
	struct dh_superblock sb;
	struct dh_mapping mapping;
	struct dh_persist persist;
	struct dh_media media;
	struct dh_log log;
	struct dh_space space;
	pthread_mutex_t root_lock;
	/* Each guards the slots and blocks on the pages that it stands for, so that it is
	 * held by whoever changes a slot there or frees a block that lies there. */
	pthread_mutex_t stripes[DH_STRIPES];
};

/* 0, or -EPERM in a child after fork(). */
int dh_check_usable(const struct daxheap *heap);
/* The same, and -EROFS. */
int dh_check_writable(const struct daxheap *heap);

/* root.c */
/* -EBADMSG: a root entry is damaged. */
int dh_roots_check(const struct daxheap *heap);
/* Whether @offset is that of a named root's slot. */
bool dh_root_slot(const struct daxheap *heap, uint64_t offset);

/* recover.c: applies what the log holds behind the horizon. */
int dh_recover(struct daxheap *heap, const struct dh_record *records, size_t count);

#endif
