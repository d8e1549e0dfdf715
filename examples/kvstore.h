/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A persistent hash table of keys and values in a heap: what kv and backup are made of.
 *
 * The root "kv" refers to one block of buckets, a line each.  A bucket has seven slots for
 * entries, and one for another bucket when they are full.  An entry is one block with key and
 * value, and never changes: a new value is a new entry.
 *
 * Each change is one call of the heap, hence atomic and durable when it returns:
 *
 *	a new key	daxheap_publish()	an empty slot gets the entry
 *	a new value	daxheap_replace()	the slot goes from the old entry to the new
 *	no key		daxheap_free()		the slot is empty, the entry free
 *
 * What is published must be durable before: so each block is filled, then persisted, then
 * published.
 *
 * One thread at a time.  Calls return 0, or what the heap's calls do (see daxheap_errormsg()).
 */
#ifndef KVSTORE_H
#define KVSTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <daxheap.h>

#define KV_BUCKETS	4096u
#define KV_ENTRIES	7u

struct kv_bucket {
	daxheap_ref entry[KV_ENTRIES];
	daxheap_ref overflow;
};

struct kv_entry {
	uint32_t key_size;
	uint32_t value_size;
	char bytes[];			/* key, then value; no zero byte behind either */
};

struct kv {
	struct daxheap *heap;
	struct kv_bucket *table;	/* NULL: the pool has none, and is open read-only */
	/* Called before a bucket of the table changes, if not NULL. */
	void (*before_change)(struct kv *kv, unsigned bucket);
};

/* The store in the pool at @path, made by `create` bytes when it is not there (0: it must be). */
int kv_open(struct kv *kv, const char *path, unsigned flags, uint64_t create);
void kv_close(struct kv *kv);

/* The entry, or NULL. */
const struct kv_entry *kv_get(const struct kv *kv, const char *key);
int kv_put(struct kv *kv, const char *key, const void *value, uint32_t value_size);
/* -ENOENT: there is no such key. */
int kv_del(struct kv *kv, const char *key);

/* Publishes an entry, reserved and durable, of a key that is not there. */
int kv_add(struct kv *kv, struct kv_entry *entry);

size_t kv_entry_size(const struct kv_entry *entry);

/*
 * Calls @each for the entries of a bucket and of those behind it; returns how many blocks these
 * entries and buckets are.
 */
uint64_t kv_walk(const struct kv *kv, unsigned bucket,
		 void (*each)(void *arg, const struct kv_entry *entry), void *arg);

#endif
