/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Replay.  Every step may be cut and repeated: records name blocks and slots, the last one
 * for each decides, and the horizon moves only when all effects are durable.
 */
#include <errno.h>
#include <stdlib.h>

#include "error.h"
#include "heap.h"

struct freed_block {
	uint64_t offset;
	uint64_t seq;			/* of the last record that frees it */
};

static int by_offset_and_seq(const void *a, const void *b)
{
	const struct freed_block *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static int by_offset(const void *key, const void *element)
{
	const uint64_t *offset = key;
	const struct freed_block *freed = element;

	return *offset < freed->offset ? -1 : *offset > freed->offset;
}

/* The blocks that the changes free, in order, each with the last such record. */
static size_t list_freed(const struct dh_change *changes, size_t count,
			 struct freed_block *freed)
{
	size_t all = 0, kept = 0;

	for (size_t i = 0; i < count; i++)
		if ((changes[i].entry.target & DH_ENTRY_KIND_MASK) == DH_ENTRY_FREE)
			freed[all++] = (struct freed_block){changes[i].entry.value,
							    changes[i].seq};
	qsort(freed, all, sizeof(*freed), by_offset_and_seq);
	for (size_t i = 0; i < all; i++) {
		if (kept && freed[kept - 1].offset == freed[i].offset)
			kept--;
		freed[kept++] = freed[i];
	}
	return kept;
}

static int bad_change(const struct dh_change *change, const char *what)
{
	return dh_fail(EBADMSG, "the log is damaged: the record of sequence %llu names %s: "
		       "restore the pool from a backup", (unsigned long long)change->seq, what);
}

static int replay_block(struct daxheap *heap, const struct dh_change *change, bool live)
{
	uint64_t offset = change->entry.value;
	struct dh_block block;
	int err = dh_block_at(&heap->media, offset, &block);

	if (err == -EBADMSG)
		return err;
	if (err || block.offset != offset)
		return bad_change(change, "no block");
	err = dh_mapping_detach(&heap->mapping, block.word, sizeof(*block.word));
	if (err)
		return err;
	err = dh_word_check_and_set(&heap->media, block.word, block.mask, live);
	dh_flush(&heap->persist, &heap->traffic, block.word, sizeof(*block.word));
	return err;
}

static int replay_word(struct daxheap *heap, const struct dh_change *change, uint64_t value,
		       const struct freed_block *freed, size_t freed_count)
{
	uint64_t offset = change->entry.target & ~DH_ENTRY_KIND_MASK;
	uint64_t *word;
	int err;

	if (!dh_root_slot(heap, offset)) {
		const struct freed_block *gone;
		struct dh_block block;

		err = dh_block_at(&heap->media, offset, &block);
		if (err == -EBADMSG)
			return err;
		if (err)
			return bad_change(change, "no word of a block");
		gone = bsearch(&block.offset, freed, freed_count, sizeof(*freed), by_offset);
		/* The block may be another's by now: what was stored there is void. */
		if (gone && gone->seq >= change->seq && !dh_faulty(DH_FAULT_NO_FREED_RULE))
			return 0;
	}
	word = (uint64_t *)(heap->base + offset);
	err = dh_mapping_detach(&heap->mapping, word, sizeof(*word));
	if (err)
		return err;
	dh_store64(word, value);
	dh_flush(&heap->persist, &heap->traffic, word, sizeof(*word));
	return 0;
}

static int replay(struct daxheap *heap, const struct dh_change *change,
		  const struct freed_block *freed, size_t freed_count)
{
	unsigned kind = change->entry.target & DH_ENTRY_KIND_MASK;
	int err;

	if (kind < DH_ENTRY_PUBLISH || kind > DH_ENTRY_SET)
		return bad_change(change, "a change of no known kind");
	err = replay_word(heap, change, kind == DH_ENTRY_FREE ? 0 : change->entry.value, freed,
			  freed_count);
	if (!err && kind != DH_ENTRY_SET)
		err = replay_block(heap, change, kind == DH_ENTRY_PUBLISH);
	return err;
}

int dh_recover(struct daxheap *heap, const struct dh_change *changes, size_t count)
{
	struct freed_block *freed = malloc((count + 1) * sizeof(*freed));
	size_t freed_count;
	int err = 0;

	if (!freed)
		return dh_fail(ENOMEM, "no memory to replay the log");
	freed_count = list_freed(changes, count, freed);
	for (size_t i = 0; i < count && !err; i++)
		err = replay(heap, &changes[i], freed, freed_count);
	free(freed);
	return err ? err : dh_log_replayed(&heap->log, &heap->traffic);
}
