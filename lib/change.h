/* SPDX-License-Identifier: BSD-3-Clause */
/* What single changes of a slot (ops.c) and actions have in common. */
#ifndef DH_CHANGE_H
#define DH_CHANGE_H

#include "cache.h"
#include "error.h"
#include "heap.h"

int dh_bad_slot(const void *slot, const char *why);
int dh_no_block(const void *at);
/* Why a found block is not reserved. */
int dh_not_reserved(const void *at, const struct dh_found *found);

static __always_inline struct dh_stripe *dh_stripe_of(struct daxheap *heap, uint64_t offset)
{
	return &heap->stripes[offset / DH_LINE_SIZE % DH_STRIPES];
}

static __always_inline int dh_check_word(const struct daxheap *heap, const uint64_t *word)
{
	if (__builtin_expect(!dh_in_pool(heap, word, sizeof(*word)) ||
			     (uintptr_t)word % sizeof(*word), 0))
		return dh_bad_slot(word, "it is not an aligned word of this pool");
	return 0;
}

/* The block that starts at @at: -EINVAL if none does. */
static __always_inline int dh_find_start(struct daxheap *heap, const void *at, struct dh_found *found)
{
	uint64_t offset = (uint64_t)((uintptr_t)at - (uintptr_t)heap->base);
	int err = offset < heap->sb.size ? dh_find(&heap->space, offset, found) : -EINVAL;

	if (__builtin_expect(err == -EBADMSG || err == -ENOMEM, 0))
		return err;
	if (__builtin_expect(err || found->offset != offset, 0))
		return dh_no_block(at);
	return 0;
}

/* The reserved block that starts at @at. */
static __always_inline int dh_find_reserved(struct daxheap *heap, const void *at,
				   struct dh_found *found)
{
	int err = dh_find_start(heap, at, found);

	if (!err && __builtin_expect(!dh_found_used(found) || dh_found_live(found), 0))
		return dh_not_reserved(at, found);
	return err;
}

/*
 * The block that the word at @offset lies in, live or not, and in *after what the sequence of a
 * change of the word must be greater than.  1: the word is a root's slot, and in no block.
 */
static __always_inline int dh_find_parent(struct daxheap *heap, uint64_t offset,
				 struct dh_found *parent, uint64_t *after)
{
	int err;

	if (dh_root_slot(heap, offset))
		return 1;
	err = dh_find(&heap->space, offset, parent);
	if (__builtin_expect(err, 0))
		return err == -EINVAL ? dh_bad_slot(heap->base + offset,
						    "it lies in no block and is no root") : err;
	*after = dh_max(*after, dh_found_freed_seq(parent));
	return 0;
}

/* The live block that the slot's value refers to. */
int dh_find_freed(struct daxheap *heap, const daxheap_ref *slot, daxheap_ref old,
		  struct dh_found *freed);

/* The greatest sequence of a change inside the block, which is about to be freed. */
static __always_inline uint64_t dh_changes_inside(struct daxheap *heap, const struct dh_found *found)
{
	uint64_t lines = (dh_found_size(found) + DH_LINE_SIZE - 1) / DH_LINE_SIZE, seq = 0;

	/* A small block may begin and end inside a line. */
	lines += found->offset % DH_LINE_SIZE != 0;
	if (lines > DH_STRIPES)
		lines = DH_STRIPES;
	for (uint64_t i = 0; i < lines; i++)
		seq = dh_max(seq, atomic_load_explicit(
				     &dh_stripe_of(heap, found->offset + i * DH_LINE_SIZE)->seq,
				     memory_order_relaxed));
	return seq;
}

/* In place, after the record. */
static __always_inline void dh_set_live(struct dh_cache *cache, const struct dh_found *found, bool live,
			      uint64_t seq)
{
	struct daxheap *heap = cache->heap;
	uint64_t *word, mask;

	if (__builtin_expect(found->span != NULL, 1)) {
		word = &found->span->bitmap[found->index / DH_WORD_BITS];
		mask = UINT64_C(1) << found->index % DH_WORD_BITS;
		if (live && !atomic_load_explicit(&found->span->has_live, memory_order_relaxed))
			atomic_store_explicit(&found->span->has_live, true,
					      memory_order_relaxed);
	} else {
		word = &heap->media.table[found->offset / DH_CHUNK_SIZE];
		mask = DH_CHUNK_LIVE;
		atomic_store(&found->huge->live, live);
	}
	dh_word_set(&heap->media, word, mask, live);
	dh_log_stored(&heap->log, cache->lane, &cache->traffic, word, seq);
}

static __always_inline void dh_set_word(struct dh_cache *cache, uint64_t *word, uint64_t value,
			       uint64_t seq)
{
	dh_store64(word, value);
	dh_log_stored(&cache->heap->log, cache->lane, &cache->traffic, word, seq);
}

#endif
