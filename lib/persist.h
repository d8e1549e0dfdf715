/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one door through which every durable store goes.  A store is durable after a flush
 * of its lines and a fence, both by the thread that stored or saw the store.
 */
#ifndef DH_PERSIST_H
#define DH_PERSIST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daxheap.h"

struct dh_persist {
	enum daxheap_durability durability;
	atomic_bool failed;		/* an msync failed: nothing can be promised any more */
	atomic_uint_fast64_t fences;
	atomic_uint_fast64_t flushed_lines;

	/* msync modes: the bytes flushed by any thread and not yet fenced. */
	pthread_mutex_t pending_lock;
	uintptr_t pending_start;
	uintptr_t pending_end;
};

/* Told of all that goes through the door, after it happened.  For tests that form the
 * images a crash could leave. */
struct dh_persist_listener {
	void (*store)(void *arg, const void *at, size_t size);
	void (*flush)(void *arg, const void *at, size_t size);
	void (*fence)(void *arg);
};

/* Process-wide; NULL ends it.  Not while a heap is in use by another thread. */
void dh_persist_listen(const struct dh_persist_listener *listener, void *arg);

void dh_persist_init(struct dh_persist *persist, enum daxheap_durability durability);
void dh_persist_destroy(struct dh_persist *persist);

/* Atomic: a reader sees the old word or @value, and what was stored before it. */
void dh_store64(uint64_t *at, uint64_t value);
/* Stores @value if the word is still *@seen, else updates *@seen. */
bool dh_compare_store64(uint64_t *at, uint64_t *seen, uint64_t value);
void dh_write(void *at, const void *from, size_t size);
void dh_flush(struct dh_persist *persist, const void *at, size_t size);
/* 0, or -EIO, once and for all, when the system could not make data durable. */
int dh_fence(struct dh_persist *persist);

#endif
