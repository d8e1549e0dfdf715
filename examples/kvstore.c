/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>

#include "kvstore.h"

static int new_buckets(struct kv *kv, unsigned count, void **buckets)
{
	int err = daxheap_calloc(kv->heap, count, sizeof(struct kv_bucket), buckets);

	return err ? err : daxheap_persist(kv->heap, *buckets, count * sizeof(struct kv_bucket));
}

static int open_table(struct kv *kv)
{
	daxheap_ref *root;
	void *table;
	int err = daxheap_root(kv->heap, "kv", &root);

	if (err == -ENOENT)
		return 0;
	if (!err && !*root) {
		err = new_buckets(kv, KV_BUCKETS, &table);
		if (!err)
			err = daxheap_publish(kv->heap, root, table);
	}
	if (!err)
		kv->table = daxheap_ptr(kv->heap, *root);
	return err;
}

int kv_open(struct kv *kv, const char *path, unsigned flags, uint64_t create)
{
	int err;

	*kv = (struct kv){0};
	err = daxheap_open(path, flags, &kv->heap);
	if (err == -ENOENT && create)
		err = daxheap_create(path, create, flags, &kv->heap);
	if (err)
		return err;
	err = open_table(kv);
	if (err)
		daxheap_close(kv->heap);
	return err;
}

void kv_close(struct kv *kv)
{
	daxheap_close(kv->heap);
}

size_t kv_entry_size(const struct kv_entry *entry)
{
	return sizeof(*entry) + entry->key_size + entry->value_size;
}

/* FNV-1a (Fowler, Noll, Vo). */
static unsigned bucket_of(const char *key, size_t size)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ (unsigned char)key[i]) * UINT64_C(0x100000001b3);
	return (unsigned)(hash % KV_BUCKETS);
}

/* The slot that holds the key, or NULL; then *empty is one that could take it, or NULL. */
static daxheap_ref *find(const struct kv *kv, const char *key, size_t size, daxheap_ref **empty)
{
	struct kv_bucket *bucket = &kv->table[bucket_of(key, size)];

	*empty = NULL;
	for (; bucket; bucket = daxheap_ptr(kv->heap, bucket->overflow)) {
		for (unsigned i = 0; i < KV_ENTRIES; i++) {
			daxheap_ref *slot = &bucket->entry[i];
			const struct kv_entry *entry = daxheap_ptr(kv->heap, *slot);

			if (entry && entry->key_size == size && !memcmp(entry->bytes, key, size))
				return slot;
			if (!entry && !*empty)
				*empty = slot;
		}
	}
	return NULL;
}

/* A bucket more behind the last of a full chain. */
static int extend(struct kv *kv, unsigned index, daxheap_ref **empty)
{
	struct kv_bucket *bucket = &kv->table[index];
	void *more;
	int err = new_buckets(kv, 1, &more);

	if (err)
		return err;
	while (bucket->overflow)
		bucket = daxheap_ptr(kv->heap, bucket->overflow);
	*empty = ((struct kv_bucket *)more)->entry;
	return daxheap_publish(kv->heap, &bucket->overflow, more);
}

/* Reserved, filled and durable: ready to be published. */
static int new_entry(struct kv *kv, const char *key, const void *value, uint32_t value_size,
		     struct kv_entry **entry_out)
{
	struct kv_entry *entry, head = {(uint32_t)strlen(key), value_size};
	void *block;
	int err = daxheap_alloc(kv->heap, kv_entry_size(&head), &block);

	if (err)
		return err;
	entry = block;
	*entry = head;
	memcpy(entry->bytes, key, head.key_size);
	memcpy(entry->bytes + head.key_size, value, value_size);
	*entry_out = entry;
	return daxheap_persist(kv->heap, entry, kv_entry_size(entry));
}

static void announce(struct kv *kv, const char *key, size_t size)
{
	if (kv->before_change)
		kv->before_change(kv, bucket_of(key, size));
}

int kv_put(struct kv *kv, const char *key, const void *value, uint32_t value_size)
{
	const size_t size = strlen(key);
	daxheap_ref *empty, *slot;
	struct kv_entry *entry;
	int err;

	err = new_entry(kv, key, value, value_size, &entry);
	if (err)
		return err;
	announce(kv, key, size);
	slot = find(kv, key, size, &empty);
	if (!slot && !empty)
		err = extend(kv, bucket_of(key, size), &empty);
	if (!err)
		err = slot ? daxheap_replace(kv->heap, slot, entry) :
			     daxheap_publish(kv->heap, empty, entry);
	if (err)
		daxheap_cancel(kv->heap, entry);
	return err;
}

int kv_add(struct kv *kv, struct kv_entry *entry)
{
	daxheap_ref *empty;
	int err = 0;

	find(kv, entry->bytes, entry->key_size, &empty);
	if (!empty)
		err = extend(kv, bucket_of(entry->bytes, entry->key_size), &empty);
	return err ? err : daxheap_publish(kv->heap, empty, entry);
}

const struct kv_entry *kv_get(const struct kv *kv, const char *key)
{
	daxheap_ref *empty, *slot = kv->table ? find(kv, key, strlen(key), &empty) : NULL;

	return slot ? daxheap_ptr(kv->heap, *slot) : NULL;
}

int kv_del(struct kv *kv, const char *key)
{
	daxheap_ref *empty, *slot = find(kv, key, strlen(key), &empty);

	if (!slot)
		return -ENOENT;
	announce(kv, key, strlen(key));
	return daxheap_free(kv->heap, slot);
}

uint64_t kv_walk(const struct kv *kv, unsigned index,
		 void (*each)(void *arg, const struct kv_entry *entry), void *arg)
{
	const struct kv_bucket *bucket = &kv->table[index];
	uint64_t blocks = 0;

	for (; bucket; bucket = daxheap_ptr(kv->heap, bucket->overflow)) {
		blocks += bucket->overflow != 0;
		for (unsigned i = 0; i < KV_ENTRIES; i++) {
			const struct kv_entry *entry = daxheap_ptr(kv->heap, bucket->entry[i]);

			if (!entry)
				continue;
			blocks++;
			each(arg, entry);
		}
	}
	return blocks;
}
