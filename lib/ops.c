/* SPDX-License-Identifier: BSD-3-Clause */
/* Publish, free, replace: the changes of one slot. */
#include <errno.h>

#include "change.h"

int dh_bad_slot(const void *slot, const char *why)
{
	return dh_fail(EINVAL, "%p is no slot: %s", slot, why);
}

int dh_no_block(const void *at)
{
	if (!at)
		return dh_fail(EINVAL, "no block (NULL)");
	return dh_fail(EINVAL, "%p is not the start of a block of this pool", at);
}

int dh_not_reserved(const void *at, const struct dh_found *found)
{
	return dh_fail(EINVAL, "the block at %p is %s, not reserved", at,
		       dh_found_live(found) ? "live" : "free");
}

int dh_find_freed(struct daxheap *heap, const daxheap_ref *slot, daxheap_ref old,
		  struct dh_found *freed)
{
	int err = old < heap->sb.size ? dh_find(&heap->space, old, freed) : -EINVAL;

	if (err == -EBADMSG || err == -ENOMEM)
		return err;
	if (err || freed->offset != old || !dh_found_live(freed))
		return dh_bad_slot(slot, "it holds no reference to a live block");
	return 0;
}

/* What one change of a slot does; constant where it is inlined. */
enum change { PUBLISHES = 1, FREES = 2 };

static int slot_not_empty(void)
{
	return dh_fail(EEXIST, "the slot is not empty: daxheap_replace() replaces what it "
		       "refers to");
}

/* @parent is the offset of the block that the slot lies in; 0: none. */
static __always_inline int find_old(struct daxheap *heap, const daxheap_ref *slot,
				    uint64_t parent, struct dh_found *freed)
{
	daxheap_ref old = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
	int err;

	if (__builtin_expect(!old, 0))
		return dh_fail(ENOENT, "the slot is empty");
	err = dh_find_freed(heap, slot, old, freed);
	if (!err && __builtin_expect(parent == freed->offset, 0))
		return dh_bad_slot(slot, "it lies in the block that it would free");
	return err;
}

/*
 * What the change needs to know; *after: what its sequence must be greater than, besides that of
 * the slot's last change.  Holds as long as no slot of the stripe changes.
 */
static __always_inline int look(struct daxheap *heap, enum change change,
				const daxheap_ref *slot, const struct dh_found *value,
				struct dh_found *freed, uint64_t *after)
{
	struct dh_found parent;
	int is_root;

	*after = 0;
	is_root = dh_find_parent(heap, dh_media_offset(&heap->media, slot), &parent, after);
	if (__builtin_expect(is_root < 0, 0))
		return is_root;
	if (is_root)
		parent.offset = 0;
	else if (__builtin_expect(!dh_found_live(&parent), 0))
		return dh_bad_slot(slot, "its block is not published");
	if (change & PUBLISHES)
		*after = dh_max(*after, dh_found_freed_seq(value));
	if (change & FREES) {
		int err = find_old(heap, slot, parent.offset, freed);

		if (!err)
			*after = dh_max(*after, dh_changes_inside(heap, freed));
		return err;
	}
	if (__builtin_expect(__atomic_load_n(slot, __ATOMIC_ACQUIRE) != 0, 0))
		return slot_not_empty();
	return 0;
}

static __always_inline void store_in_place(struct dh_cache *cache, enum change change,
					   daxheap_ref *slot, const struct dh_found *value,
					   const struct dh_found *freed, uint64_t seq)
{
	if (change & PUBLISHES)
		dh_set_live(cache, value, true, seq);
	dh_set_word(cache, slot, change & PUBLISHES ? value->offset : 0, seq);
	if (change & FREES)
		dh_set_live(cache, freed, false, seq);
}

static __always_inline unsigned fill_record(struct dh_record *record, enum change change,
					    uint64_t offset, const struct dh_found *value,
					    const struct dh_found *freed)
{
	unsigned count = 0;

	if (change & FREES)
		record->entries[count++] = (struct dh_entry){offset | DH_ENTRY_FREE,
							     freed->offset};
	if (change & PUBLISHES)
		record->entries[count++] = (struct dh_entry){offset | DH_ENTRY_PUBLISH,
							     value->offset};
	if (count < DH_RECORD_ENTRIES)
		record->entries[count] = (struct dh_entry){0};
	return count;
}

/* Under the slot's lock, all checked. */
static __always_inline int commit(struct daxheap *heap, struct dh_cache *cache,
				  enum change change, daxheap_ref *slot,
				  struct dh_stripe *stripe, const struct dh_found *value,
				  const struct dh_found *freed, uint64_t after)
{
	struct dh_record record;
	unsigned count = fill_record(&record, change, dh_media_offset(&heap->media, slot),
				     value, freed);
	int err;

	record.seq = dh_log_draw(&heap->log, cache->lane, after);
	if (dh_faulty(DH_FAULT_SLOT_BEFORE_RECORD))
		store_in_place(cache, change, slot, value, freed, record.seq);
	err = dh_log_commit(&heap->log, cache->lane, &cache->traffic, &record, count);
	if (__builtin_expect(err, 0))
		return err;
	store_in_place(cache, change, slot, value, freed, record.seq);
	atomic_store_explicit(&stripe->seq, record.seq, memory_order_release);
	if (change & FREES)
		dh_cache_note_freed(cache, freed, record.seq);
	return 0;
}

/* A block as it was when its slot was looked at. */
struct seen {
	uint64_t offset, size;
	uint16_t tag;
	uint64_t freed_seq;		/* of its span, or of its chunks */
};

/* Not freed, and reserved anew, since then. */
static inline bool is_same(const struct dh_found *block, const struct seen *seen)
{
	return block->offset == seen->offset && dh_found_freed_seq(block) == seen->freed_seq;
}

/* Under the slot's lock. */
static __attribute__((noinline)) int look_again(struct daxheap *heap, enum change change,
						const daxheap_ref *slot,
						const struct dh_found *value,
						struct dh_found *freed, uint64_t *after)
{
	return look(heap, change, slot, value, freed, after);
}

/*
 * @seen: what must be freed, or -EAGAIN; NULL: anything.
 *
 * The lock waits until the fence before it, of the last operation, is over, and all in front of
 * it runs meanwhile.  So the look is in front, and is repeated when it failed or a slot of the
 * stripe has changed since.
 */
static __always_inline int change_slot(struct daxheap *heap, enum change change,
				       daxheap_ref *slot, void *block, const struct seen *seen)
{
	struct dh_found value, freed;
	struct dh_stripe *stripe;
	uint64_t after, seq;
	int err;
	struct dh_cache *cache = dh_cache_of(heap, &err);

	if (__builtin_expect(!cache, 0))
		return err;
	err = dh_check_word(heap, slot);
	if (!err && change & PUBLISHES)
		err = dh_find_reserved(heap, block, &value);
	if (!err)
		err = dh_log_begin(&heap->log, cache->lane, &cache->traffic);
	if (__builtin_expect(err, 0))
		return err;
	stripe = dh_stripe_of(heap, dh_media_offset(&heap->media, slot));
	seq = atomic_load_explicit(&stripe->seq, memory_order_acquire);
	err = look(heap, change, slot, &value, &freed, &after);
	if (!dh_faulty(DH_FAULT_NO_SLOT_LOCK))
		dh_lock(&stripe->lock);
	if (__builtin_expect(err || seq != atomic_load_explicit(&stripe->seq,
								memory_order_relaxed), 0)) {
		seq = atomic_load_explicit(&stripe->seq, memory_order_relaxed);
		err = look_again(heap, change, slot, &value, &freed, &after);
	}
	if (!err && seen && !is_same(&freed, seen))
		err = -EAGAIN;
	if (!err)
		err = commit(heap, cache, change, slot, stripe, &value, &freed,
			     dh_max(after, seq));
	if (!dh_faulty(DH_FAULT_NO_SLOT_LOCK))
		dh_unlock(&stripe->lock);
	dh_log_end(&heap->log, cache->lane, &cache->traffic);
	if (!err && change & FREES) {
		dh_cache_release(cache, &freed);
		dh_trim_if_due(cache);
	}
	return err;
}

DAXHEAP_API int daxheap_publish(struct daxheap *heap, daxheap_ref *slot, void *block)
{
	return change_slot(heap, PUBLISHES, slot, block, NULL);
}

DAXHEAP_API int daxheap_free(struct daxheap *heap, daxheap_ref *slot)
{
	return change_slot(heap, FREES, slot, NULL, NULL);
}

static int replace(struct daxheap *heap, daxheap_ref *slot, void *block, const struct seen *seen)
{
	return change_slot(heap, FREES | PUBLISHES, slot, block, seen);
}

DAXHEAP_API int daxheap_replace(struct daxheap *heap, daxheap_ref *slot, void *block)
{
	return replace(heap, slot, block, NULL);
}

/*
 * Another thread may free the block meanwhile, and its next owner write to it: then that is seen
 * before the copy is published, and it is thrown away.  Hence atomic loads.
 */
static void copy_content(uint64_t *to, const uint64_t *from, size_t size)
{
	for (size_t i = 0; i < size / sizeof(*to); i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
	dh_listened_store(to, size);
}

/* The live block that the slot of a root or live block refers to. */
static int find_current(struct daxheap *heap, const daxheap_ref *slot, struct dh_found *old)
{
	uint64_t after = 0;
	struct dh_found parent;
	int is_root = dh_find_parent(heap, dh_media_offset(&heap->media, slot), &parent, &after);

	if (is_root < 0)
		return is_root;
	if (!is_root && !dh_found_live(&parent))
		return dh_bad_slot(slot, "its block is not published");
	return find_old(heap, slot, is_root ? 0 : parent.offset, old);
}

static int see(struct daxheap *heap, const daxheap_ref *slot, struct seen *seen)
{
	struct dh_stripe *stripe = dh_stripe_of(heap, dh_media_offset(&heap->media, slot));
	struct dh_found old;
	int err;

	dh_lock(&stripe->lock);
	err = find_current(heap, slot, &old);
	if (!err)
		*seen = (struct seen){
			.offset = old.offset,
			.size = dh_found_size(&old),
			.tag = dh_found_tag(&old),
			.freed_seq = dh_found_freed_seq(&old),
		};
	dh_unlock(&stripe->lock);
	return err;
}

/* The new block, filled and durable; not published. */
static int copy_block(struct daxheap *heap, const struct seen *old, size_t size, void **block)
{
	/* Sizes of blocks are multiples of 16. */
	size_t keep = size < old->size ? (size + 15) & ~(size_t)15 : old->size;
	int err = daxheap_alloc_as(heap, size, 0, old->tag, block);

	if (err)
		return err;
	copy_content(*block, (const uint64_t *)(heap->base + old->offset), keep);
	err = daxheap_persist(heap, *block, keep);
	if (err)
		daxheap_cancel(heap, *block);
	return err;
}

static int try_realloc(struct daxheap *heap, daxheap_ref *slot, size_t size)
{
	struct seen old;
	void *block;
	int err = see(heap, slot, &old);

	/* Not worth a move: as long as half of the block is used. */
	if (err || (size <= old.size && size >= old.size / 2))
		return err;
	err = copy_block(heap, &old, size, &block);
	if (err)
		return err;
	err = replace(heap, slot, block, &old);
	if (err)
		daxheap_cancel(heap, block);
	return err;
}

DAXHEAP_API int daxheap_realloc(struct daxheap *heap, daxheap_ref *slot, size_t size)
{
	int err;

	if (!dh_cache_of(heap, &err))
		return err;
	err = dh_check_word(heap, slot);
	if (err)
		return err;
	if (!size)
		return dh_fail(EINVAL, "a block has at least 1 byte");
	/* Another thread freed this block, or one of its span: what was copied may be stale. */
	do {
		err = try_realloc(heap, slot, size);
	} while (err == -EAGAIN);
	return err;
}
