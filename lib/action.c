/* SPDX-License-Identifier: BSD-3-Clause */
/* Actions: many changes under one record and one fence. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "change.h"
#include "map.h"

/* What is done to one word. */
struct step {
	uint64_t *word;
	uint64_t value;			/* block to publish, or what to set */
	bool frees, publishes, sets;
	struct dh_found freed, published;
};

struct daxheap_action {
	struct daxheap *heap;
	struct step *steps;
	uint32_t count, capacity;
	struct dh_map words;		/* step of each word */
	struct dh_map published;	/* blocks */
	struct dh_map freed;		/* blocks; known in the commit alone */
	uint64_t stripes[DH_STRIPES / 64];	/* to be locked */
};

#define COUNT_MAX (UINT32_C(1) << 28)

/* --- gathering --- */

DAXHEAP_API int daxheap_action_new(struct daxheap *heap, struct daxheap_action **action_out)
{
	struct daxheap_action *action;
	int err = dh_check_writable(heap);

	if (err)
		return err;
	action = calloc(1, sizeof(*action));
	if (!action)
		return dh_fail(ENOMEM, "no memory for the action");
	action->heap = heap;
	*action_out = action;
	return 0;
}

DAXHEAP_API void daxheap_action_delete(struct daxheap_action *action)
{
	if (!action)
		return;
	free(action->steps);
	dh_map_free(&action->words);
	dh_map_free(&action->published);
	dh_map_free(&action->freed);
	free(action);
}

DAXHEAP_API void daxheap_action_reset(struct daxheap_action *action)
{
	action->count = 0;
	dh_map_clear(&action->words);
	dh_map_clear(&action->published);
	memset(action->stripes, 0, sizeof(action->stripes));
}

static int twice(const void *at, const char *what)
{
	return dh_fail(EINVAL, "the %s at %p appears twice in the action", what, at);
}

static int make_room(struct daxheap_action *action)
{
	uint32_t capacity = action->capacity ? 2 * action->capacity : 32;
	struct step *steps;
	int err;

	if (action->count < action->capacity)
		return 0;
	if (action->count == COUNT_MAX)
		return dh_fail(ENOMEM, "an action has at most %u changes", COUNT_MAX);
	err = dh_map_reserve(&action->words, capacity);
	if (!err)
		err = dh_map_reserve(&action->published, capacity);
	if (!err)
		err = dh_map_reserve(&action->freed, capacity);
	if (err)
		return err;
	steps = realloc(action->steps, capacity * sizeof(*steps));
	if (!steps)
		return dh_fail(ENOMEM, "no memory for %u changes", capacity);
	action->steps = steps;
	action->capacity = capacity;
	return 0;
}

static int add_step(struct daxheap_action *action, const struct step *step)
{
	const struct daxheap *heap = action->heap;
	uint64_t offset = dh_media_offset(&heap->media, step->word);
	uint64_t stripe = offset / DH_LINE_SIZE % DH_STRIPES;
	const uint32_t *there;
	struct step *merged;
	int err = dh_check_usable(heap);

	if (!err)
		err = dh_check_word(heap, step->word);
	if (!err)
		err = make_room(action);
	if (err)
		return err;
	if (step->publishes && dh_map_get(&action->published, step->value))
		return twice(heap->base + step->value, "block");
	there = dh_map_get(&action->words, offset);
	merged = there ? &action->steps[*there] : NULL;
	if (merged && (merged->publishes || merged->sets || !step->publishes || step->frees))
		return twice(step->word, "word");
	if (step->publishes)
		dh_map_put(&action->published, step->value, 0);
	if (merged) {
		/* A free, and now a publish of the same slot: a replace. */
		merged->publishes = true;
		merged->value = step->value;
		return 0;
	}
	action->stripes[stripe / 64] |= UINT64_C(1) << stripe % 64;
	dh_map_put(&action->words, offset, action->count);
	action->steps[action->count++] = *step;
	return 0;
}

static int add_publish(struct daxheap_action *action, daxheap_ref *slot, void *block,
		       bool frees)
{
	struct step step = {.word = slot, .frees = frees, .publishes = true};

	/* Whether it is a reserved block, the commit sees. */
	if (!block || !dh_in_pool(action->heap, block, 1))
		return dh_no_block(block);
	step.value = dh_media_offset(&action->heap->media, block);
	return step.value ? add_step(action, &step) : dh_no_block(block);
}

DAXHEAP_API int daxheap_action_publish(struct daxheap_action *action, daxheap_ref *slot,
				       void *block)
{
	return add_publish(action, slot, block, false);
}

DAXHEAP_API int daxheap_action_replace(struct daxheap_action *action, daxheap_ref *slot,
				       void *block)
{
	return add_publish(action, slot, block, true);
}

DAXHEAP_API int daxheap_action_free(struct daxheap_action *action, daxheap_ref *slot)
{
	struct step step = {.word = slot, .frees = true};

	return add_step(action, &step);
}

DAXHEAP_API int daxheap_action_set(struct daxheap_action *action, uint64_t *word,
				   uint64_t value)
{
	struct step step = {.word = word, .value = value, .sets = true};

	return add_step(action, &step);
}

/* --- the stripes --- */

static struct dh_stripe *next_stripe(struct daxheap_action *action, unsigned *i)
{
	while (*i < DH_STRIPES) {
		uint64_t bits = action->stripes[*i / 64] >> *i % 64;
		unsigned at = bits ? *i + (unsigned)__builtin_ctzll(bits) : *i | 63;

		*i = at + 1;
		if (bits)
			return &action->heap->stripes[at];
	}
	return NULL;
}

static void lock_stripes(struct daxheap_action *action)
{
	struct dh_stripe *stripe;
	unsigned i = 0;

	while ((stripe = next_stripe(action, &i)))
		dh_lock(&stripe->lock);
}

static uint64_t newest_of_stripes(struct daxheap_action *action)
{
	struct dh_stripe *stripe;
	uint64_t seq = 0;
	unsigned i = 0;

	while ((stripe = next_stripe(action, &i)))
		seq = dh_max(seq, atomic_load_explicit(&stripe->seq, memory_order_relaxed));
	return seq;
}

/* @seq: what changed their words; 0: nothing did. */
static void unlock_stripes(struct daxheap_action *action, uint64_t seq)
{
	struct dh_stripe *stripe;
	unsigned i = 0;

	while ((stripe = next_stripe(action, &i))) {
		if (seq)
			atomic_store_explicit(&stripe->seq, seq, memory_order_relaxed);
		dh_unlock(&stripe->lock);
	}
}

/* --- the commit: checks --- */

/* Before any lock. */
static int find_published(struct daxheap_action *action)
{
	struct daxheap *heap = action->heap;

	for (uint32_t i = 0; i < action->count; i++) {
		struct step *step = &action->steps[i];
		int err = 0;

		if (step->publishes)
			err = dh_find_reserved(heap, heap->base + step->value,
					       &step->published);
		if (err)
			return err;
	}
	return 0;
}

static int find_freed(struct daxheap_action *action, struct step *step, uint64_t *after)
{
	struct daxheap *heap = action->heap;
	daxheap_ref old = __atomic_load_n(step->word, __ATOMIC_ACQUIRE);
	int err;

	if (!old)
		return dh_fail(ENOENT, "the slot at %p is empty", (void *)step->word);
	err = dh_find_freed(heap, step->word, old, &step->freed);
	if (err)
		return err;
	if (dh_map_get(&action->freed, old))
		return twice(heap->base + old, "block");
	dh_map_put(&action->freed, old, 0);
	*after = dh_max(*after, dh_changes_inside(heap, &step->freed));
	return 0;
}

/*
 * The word lies in a live block that stays, or in one that the action publishes.  A slot that
 * is only freed may lie in a block that is freed too: so a whole list can be.
 */
static int check_place(const struct daxheap_action *action, const struct step *step,
		       uint64_t *after)
{
	struct daxheap *heap = action->heap;
	struct dh_found parent;
	int is_root = dh_find_parent(heap, dh_media_offset(&heap->media, step->word), &parent,
				     after);

	if (is_root < 0)
		return is_root;
	if (is_root)
		return step->sets ? dh_bad_slot(step->word, "a root's slot is not to be set") : 0;
	if ((step->publishes || step->sets) && dh_map_get(&action->freed, parent.offset))
		return dh_bad_slot(step->word, "the action frees the block that it lies in");
	if (!dh_found_live(&parent) && !dh_map_get(&action->published, parent.offset))
		return dh_bad_slot(step->word, "its block is not published");
	return 0;
}

/* Under the locks of all words. */
static int check(struct daxheap_action *action, uint64_t *after)
{
	int err = 0;

	*after = newest_of_stripes(action);
	dh_map_clear(&action->freed);
	for (uint32_t i = 0; i < action->count && !err; i++)
		if (action->steps[i].frees)
			err = find_freed(action, &action->steps[i], after);
	for (uint32_t i = 0; i < action->count && !err; i++) {
		struct step *step = &action->steps[i];

		err = check_place(action, step, after);
		if (err || !step->publishes)
			continue;
		*after = dh_max(*after, dh_found_freed_seq(&step->published));
		if (!step->frees && __atomic_load_n(step->word, __ATOMIC_ACQUIRE))
			err = dh_fail(EEXIST, "the slot at %p is not empty",
				      (void *)step->word);
	}
	return err;
}

/* --- the commit: record and effects --- */

static uint64_t count_entries(const struct daxheap_action *action)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < action->count; i++)
		count += action->steps[i].frees && action->steps[i].publishes ? 2 : 1;
	return count;
}

/* Where the entries of an action lie that are too many for a record. */
struct extent {
	struct dh_entry *entries;	/* in the pool; NULL: in the record */
	uint64_t count;
};

static int reserve_extent(struct dh_cache *cache, const struct daxheap_action *action,
			  struct extent *extent)
{
	void *block;
	int err;

	extent->entries = NULL;
	extent->count = count_entries(action);
	if (extent->count <= DH_RECORD_ENTRIES)
		return 0;
	err = dh_cache_prepare_defer(cache);
	if (!err)
		err = daxheap_alloc(cache->heap, extent->count * sizeof(struct dh_entry),
				    &block);
	if (!err)
		extent->entries = block;
	return err;
}

static void fill_entries(const struct daxheap_action *action, struct dh_entry *entries)
{
	const struct dh_media *media = &action->heap->media;

	for (uint32_t i = 0; i < action->count; i++) {
		const struct step *step = &action->steps[i];
		uint64_t offset = dh_media_offset(media, step->word);

		if (step->frees)
			*entries++ = (struct dh_entry){offset | DH_ENTRY_FREE,
						       step->freed.offset};
		if (step->publishes)
			*entries++ = (struct dh_entry){offset | DH_ENTRY_PUBLISH, step->value};
		if (step->sets)
			*entries++ = (struct dh_entry){offset | DH_ENTRY_SET, step->value};
	}
}

static unsigned fill_record(struct dh_cache *cache, const struct daxheap_action *action,
			    const struct extent *extent, struct dh_record *record)
{
	struct daxheap *heap = cache->heap;
	size_t size = extent->count * sizeof(struct dh_entry);

	if (!extent->entries) {
		memset(record->entries, 0, sizeof(record->entries));
		fill_entries(action, record->entries);
		return (unsigned)extent->count;
	}
	fill_entries(action, extent->entries);
	dh_listened_store(extent->entries, size);
	record->extent.offset = dh_media_offset(&heap->media, extent->entries);
	record->extent.count = extent->count;
	record->extent.checksum = dh_extent_checksum(extent->entries, extent->count,
						     heap->log.seed, record->seq);
	record->extent.reserved = 0;
	/* Under the record's fence. */
	if (!dh_faulty(DH_FAULT_NO_CONTINUATION))
		dh_flush(&heap->persist, &cache->traffic, extent->entries, size);
	return DH_RECORD_EXTENT;
}

static void store_in_place(struct dh_cache *cache, const struct daxheap_action *action,
			   uint64_t seq)
{
	for (uint32_t i = 0; i < action->count; i++) {
		const struct step *step = &action->steps[i];

		if (step->publishes)
			dh_set_live(cache, &step->published, true, seq);
		dh_set_word(cache, step->word,
			    step->publishes || step->sets ? step->value : 0, seq);
		if (!step->frees)
			continue;
		dh_set_live(cache, &step->freed, false, seq);
		dh_cache_note_freed(cache, &step->freed, seq);
	}
}

/* Under the locks of all words; all is checked. */
static int write_and_store(struct dh_cache *cache, const struct daxheap_action *action,
			   const struct extent *extent, uint64_t after, uint64_t *seq)
{
	struct daxheap *heap = cache->heap;
	struct dh_record record;
	unsigned count;
	int err;

	record.seq = *seq = dh_log_draw(&heap->log, cache->lane, after);
	count = fill_record(cache, action, extent, &record);
	err = dh_log_commit(&heap->log, cache->lane, &cache->traffic, &record, count);
	if (!err)
		store_in_place(cache, action, *seq);
	return err;
}

static int commit(struct dh_cache *cache, struct daxheap_action *action,
		  const struct extent *extent, uint64_t *seq)
{
	struct daxheap *heap = action->heap;
	uint64_t after;
	int err = dh_log_begin(&heap->log, cache->lane, &cache->traffic);

	*seq = 0;
	if (err)
		return err;
	lock_stripes(action);
	err = check(action, &after);
	if (!err)
		err = write_and_store(cache, action, extent, after, seq);
	unlock_stripes(action, *seq);
	dh_log_end(&heap->log, cache->lane, &cache->traffic);
	return err;
}

DAXHEAP_API int daxheap_action_commit(struct daxheap_action *action)
{
	struct daxheap *heap = action->heap;
	struct extent extent;
	uint64_t seq;
	int err;
	struct dh_cache *cache = dh_cache_of(heap, &err);

	if (!cache)
		return err;
	if (!action->count)
		return 0;
	err = find_published(action);
	if (!err)
		err = reserve_extent(cache, action, &extent);
	if (err)
		return err;
	err = commit(cache, action, &extent, &seq);
	if (extent.entries && !seq)
		daxheap_cancel(heap, extent.entries);
	else if (extent.entries)
		dh_cache_defer(cache, dh_media_offset(&heap->media, extent.entries),
			       extent.count * sizeof(struct dh_entry), seq);
	if (err)
		return err;
	for (uint32_t i = 0; i < action->count; i++)
		if (action->steps[i].frees)
			dh_cache_release(cache, &action->steps[i].freed);
	daxheap_action_reset(action);
	dh_trim_if_due(cache);
	return 0;
}
