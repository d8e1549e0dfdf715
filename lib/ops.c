/* SPDX-License-Identifier: BSD-3-Clause */
/* What applications do with blocks: reserve, publish, free, step through. */
#include <errno.h>
#include <string.h>

#include "error.h"
#include "heap.h"

static bool in_pool(const struct daxheap *heap, const void *at, size_t size)
{
	uintptr_t start = (uintptr_t)heap->base, addr = (uintptr_t)at;

	return addr >= start && addr - start <= heap->sb.size &&
	       size <= heap->sb.size - (addr - start);
}

/* The block that starts at @at; -EINVAL if none does. */
static int find_block(const struct daxheap *heap, const void *at, struct dh_block *block)
{
	uint64_t offset = (uint64_t)((uintptr_t)at - (uintptr_t)heap->base);
	int err = in_pool(heap, at, 1) ? dh_block_at(&heap->media, offset, block) : -EINVAL;

	if (err == -EBADMSG)
		return err;
	if (err || block->offset != offset)
		return dh_fail(EINVAL, "%p is not the start of a block of this pool", at);
	return 0;
}

/* --- stripes: a bit of a mask for each --- */

static uint32_t stripes_of(uint64_t offset, uint64_t size)
{
	uint64_t first = offset / DH_PAGE_SIZE, last = (offset + size - 1) / DH_PAGE_SIZE;
	uint32_t mask = 0;

	if (last - first >= DH_STRIPES)
		return UINT32_MAX;
	for (uint64_t page = first; page <= last; page++)
		mask |= UINT32_C(1) << page % DH_STRIPES;
	return mask;
}

static void lock_stripes(struct daxheap *heap, uint32_t mask)
{
	for (; mask; mask &= mask - 1)
		pthread_mutex_lock(&heap->stripes[__builtin_ctz(mask)]);
}

static void unlock_stripes(struct daxheap *heap, uint32_t mask)
{
	for (; mask; mask &= mask - 1)
		pthread_mutex_unlock(&heap->stripes[__builtin_ctz(mask)]);
}

/* --- reservations --- */

/*
 * 0 if @block is reserved.  Its stripe must be held, so that it stays what it is: once it is
 * in use, its span keeps its format, and only holders of the stripe change its state.
 */
static int check_reserved(struct daxheap *heap, const struct dh_block *block)
{
	bool used = dh_space_used(&heap->space, block);
	int live = dh_block_live(&heap->media, block);

	if (live < 0)
		return live;
	if (live || !used)
		return dh_fail(EINVAL, "the block at %p is %s, not reserved",
			       (void *)(heap->base + block->offset), live ? "live" : "free");
	return 0;
}

DAXHEAP_API int daxheap_alloc(struct daxheap *heap, size_t size, void **block)
{
	uint64_t offset;
	int err = dh_check_writable(heap);

	if (err)
		return err;
	if (!size)
		return dh_fail(EINVAL, "a block has at least 1 byte");
	err = dh_space_reserve(&heap->space, size, &offset);
	if (!err)
		*block = heap->base + offset;
	return err;
}

DAXHEAP_API int daxheap_cancel(struct daxheap *heap, void *at)
{
	struct dh_block block;
	uint32_t stripes;
	int err = dh_check_writable(heap);

	if (!err)
		err = find_block(heap, at, &block);
	if (err)
		return err;
	stripes = stripes_of(block.offset, 1);
	lock_stripes(heap, stripes);
	err = check_reserved(heap, &block);
	if (!err)
		dh_space_cancel(&heap->space, &block);
	unlock_stripes(heap, stripes);
	return err;
}

DAXHEAP_API int64_t daxheap_usable_size(struct daxheap *heap, const void *at)
{
	struct dh_block block;
	int err = dh_check_usable(heap);

	if (!err)
		err = find_block(heap, at, &block);
	if (err)
		return err;
	if (!dh_space_used(&heap->space, &block))
		return dh_fail(EINVAL, "the block at %p is free", at);
	return (int64_t)block.size;
}

/* --- changes of a slot --- */

struct change {
	enum dh_op op;
	uint64_t *slot;
	uint64_t parent;		/* the block that the slot lies in, 0: a root */
	struct dh_block value;		/* to be published; offset 0: none */
	struct dh_block freed;		/* to be freed; offset 0: none */
};

static int bad_slot(const void *slot, const char *why)
{
	return dh_fail(EINVAL, "%p is no slot: %s", slot, why);
}

/* Under the slot's stripe: its block can't be freed meanwhile. */
static int check_slot(const struct daxheap *heap, struct change *change)
{
	uint64_t offset = dh_media_offset(&heap->media, change->slot);
	struct dh_block parent;
	int err;

	change->parent = 0;
	if (dh_root_slot(heap, offset))
		return 0;
	err = dh_block_at(&heap->media, offset, &parent);
	if (err == -EBADMSG)
		return err;
	if (err)
		return bad_slot(change->slot, "it lies in no block and is no root");
	err = dh_block_live(&heap->media, &parent);
	if (err < 0)
		return err;
	if (!err)
		return bad_slot(change->slot, "its block is not published");
	change->parent = parent.offset;
	return 0;
}

/* Reads the slot and finds the live block that it refers to. */
static int read_slot(const struct daxheap *heap, struct change *change)
{
	uint64_t old = __atomic_load_n(change->slot, __ATOMIC_ACQUIRE);
	int err = -EINVAL, live = 0;

	if (change->op == DH_OP_PUBLISH)
		return old ? dh_fail(EEXIST, "the slot is not empty: daxheap_replace() replaces "
				     "what it refers to") : 0;
	if (!old)
		return dh_fail(ENOENT, "the slot is empty");
	if (old < heap->sb.size)
		err = find_block(heap, heap->base + old, &change->freed);
	if (!err)
		live = dh_block_live(&heap->media, &change->freed);
	if (err == -EBADMSG || live < 0)
		return -EBADMSG;
	if (!live)
		return bad_slot(change->slot, "it holds no reference to a live block");
	if (change->op == DH_OP_REPLACE && change->parent == change->freed.offset)
		return bad_slot(change->slot, "it lies in the block that it would free");
	return 0;
}

/*
 * Fills in what the change is about.  Under the slot's stripe at least, which keeps the slot
 * and what it refers to as they are.
 */
static int look(const struct daxheap *heap, struct change *change, const void *value)
{
	int err;

	change->value.offset = change->freed.offset = 0;
	err = check_slot(heap, change);
	if (!err)
		err = read_slot(heap, change);
	if (!err && value)
		err = find_block(heap, value, &change->value);
	return err;
}

/* In place, after the record: the words that the horizon must write back. */
static int store_in_place(struct daxheap *heap, const struct change *change,
			  uint64_t *words[DH_RECORD_WORDS])
{
	int err = 0;

	words[0] = change->slot;
	words[1] = change->value.offset ? change->value.word : NULL;
	words[2] = change->freed.offset ? change->freed.word : NULL;
	if (words[1])
		err = dh_block_set_live(&heap->media, &change->value, true);
	dh_store64(change->slot, change->value.offset);
	if (!err && words[2])
		err = dh_block_set_live(&heap->media, &change->freed, false);
	return err;
}

/* Under the stripes, all checked. */
static int commit(struct daxheap *heap, const struct change *change)
{
	struct dh_record record = {
		.op = (uint16_t)change->op,
		.slot = dh_media_offset(&heap->media, change->slot),
		.value = change->value.offset,
		.freed = change->freed.offset,
	};
	uint64_t *words[DH_RECORD_WORDS];
	struct dh_lane *lane;
	int err = dh_log_begin(&heap->log, &lane);

	if (err)
		return err;
	err = dh_log_commit(&heap->log, lane, &record);
	if (!err)
		err = store_in_place(heap, change, words);
	/* The record may be durable and its effect is not in place: the horizon must never
	 * pass it.  The next open replays it, or finds the damage. */
	if (err)
		atomic_store(&heap->persist.failed, true);
	dh_log_end(&heap->log, lane, record.seq, err ? NULL : words);
	if (err)
		return err;
	if (change->value.offset)
		dh_space_published(&heap->space, &change->value, record.seq);
	if (change->freed.offset)
		dh_space_freed(&heap->space, &change->freed, record.seq);
	return 0;
}

static uint32_t change_stripes(const struct daxheap *heap, const struct change *change)
{
	uint32_t mask = stripes_of(dh_media_offset(&heap->media, change->slot), 1);

	if (change->value.offset)
		mask |= stripes_of(change->value.offset, 1);
	/* All of it: nobody else may change a slot inside a block that is being freed. */
	if (change->freed.offset)
		mask |= stripes_of(change->freed.offset, change->freed.size);
	return mask;
}

static int change_slot(struct daxheap *heap, enum dh_op op, daxheap_ref *slot, void *value)
{
	struct change change = {.op = op, .slot = slot};
	bool held;
	int err = dh_check_writable(heap);

	if (err)
		return err;
	if (!in_pool(heap, slot, sizeof(*slot)) || (uintptr_t)slot % sizeof(*slot))
		return bad_slot(slot, "it is not an aligned word of this pool");
	/* Which locks are needed is seen under the slot's own; all are taken in order, and
	 * then it is looked at anew. */
	do {
		uint32_t stripes = change_stripes(heap, &change);

		lock_stripes(heap, stripes);
		err = look(heap, &change, value);
		held = !err && !(change_stripes(heap, &change) & ~stripes);
		if (held && value)
			err = check_reserved(heap, &change.value);
		if (held && !err)
			err = commit(heap, &change);
		unlock_stripes(heap, stripes);
	} while (!err && !held);
	return err;
}

static int no_block(void)
{
	return dh_fail(EINVAL, "no block to publish (NULL)");
}

DAXHEAP_API int daxheap_publish(struct daxheap *heap, daxheap_ref *slot, void *block)
{
	return block ? change_slot(heap, DH_OP_PUBLISH, slot, block) : no_block();
}

DAXHEAP_API int daxheap_replace(struct daxheap *heap, daxheap_ref *slot, void *block)
{
	return block ? change_slot(heap, DH_OP_REPLACE, slot, block) : no_block();
}

DAXHEAP_API int daxheap_free(struct daxheap *heap, daxheap_ref *slot)
{
	return change_slot(heap, DH_OP_FREE, slot, NULL);
}

/* --- stepping through --- */

/* Where to look for the next block behind @offset that no block holds. */
static uint64_t next_place(const struct dh_media *media, uint64_t offset)
{
	uint64_t chunk = offset / DH_CHUNK_SIZE;
	uint64_t unit_end = (offset / DH_UNIT_SIZE + 1) * DH_UNIT_SIZE;
	struct dh_chunk_word word;

	if (dh_chunk_read(media, chunk, &word) || word.kind != DH_CHUNK_SPANS)
		return (chunk + 1) * DH_CHUNK_SIZE;
	/* The first blocks of a chunk of spans lie behind its header. */
	if (offset % DH_CHUNK_SIZE < DH_CHUNK_HEADER_SIZE)
		return chunk * DH_CHUNK_SIZE + DH_CHUNK_HEADER_SIZE;
	return unit_end;
}

static int next_block(struct daxheap *heap, struct daxheap_block *block)
{
	uint64_t offset = heap->media.first_chunk * DH_CHUNK_SIZE;

	if (block->ref)
		offset = block->ref + block->size;
	while (offset < heap->sb.size) {
		struct dh_block found;
		int err = dh_block_at(&heap->media, offset, &found);

		if (err == -EBADMSG)
			return err;
		if (err) {
			offset = next_place(&heap->media, offset);
			continue;
		}
		err = dh_block_live(&heap->media, &found);
		if (err < 0)
			return err;
		if (err && found.offset >= offset) {
			*block = (struct daxheap_block){found.offset, found.size};
			return 1;
		}
		offset = found.offset + found.size;
	}
	return 0;
}

DAXHEAP_API int daxheap_next(struct daxheap *heap, struct daxheap_block *block)
{
	int err = dh_check_usable(heap);

	if (err)
		return err;
	if (block->ref > DH_SIZE_MAX || block->size > DH_SIZE_MAX)
		return dh_fail(EINVAL, "start with a zeroed block");
	/* No chunk changes its format meanwhile; else content could be taken for records. */
	pthread_mutex_lock(&heap->space.lock);
	err = next_block(heap, block);
	pthread_mutex_unlock(&heap->space.lock);
	return err;
}

/* --- content --- */

static int check_range(const struct daxheap *heap, const void *addr, size_t size)
{
	int err = dh_check_writable(heap);

	if (err || in_pool(heap, addr, size))
		return err;
	return dh_fail(EINVAL, "%zu bytes at %p are not inside the pool", size, addr);
}

DAXHEAP_API int daxheap_flush(struct daxheap *heap, const void *addr, size_t size)
{
	int err = check_range(heap, addr, size);

	if (!err)
		dh_flush(&heap->persist, addr, size);
	return err;
}

DAXHEAP_API int daxheap_fence(struct daxheap *heap)
{
	int err = dh_check_writable(heap);

	return err ? err : dh_fence(&heap->persist);
}

DAXHEAP_API int daxheap_persist(struct daxheap *heap, const void *addr, size_t size)
{
	int err = daxheap_flush(heap, addr, size);

	return err ? err : dh_fence(&heap->persist);
}
