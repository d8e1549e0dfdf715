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

/* The blocks that the records free, in order, each with the last such record. */
static size_t list_freed(const struct dh_record *records, size_t count,
			 struct freed_block *freed)
{
	size_t all = 0, kept = 0;

	for (size_t i = 0; i < count; i++)
		if (records[i].freed)
			freed[all++] = (struct freed_block){records[i].freed, records[i].seq};
	qsort(freed, all, sizeof(*freed), by_offset_and_seq);
	for (size_t i = 0; i < all; i++) {
		if (kept && freed[kept - 1].offset == freed[i].offset)
			kept--;
		freed[kept++] = freed[i];
	}
	return kept;
}

static int bad_record(const struct dh_record *record, const char *what)
{
	return dh_fail(EBADMSG, "the log is damaged: the record of sequence %llu names %s: "
		       "restore the pool from a backup", (unsigned long long)record->seq, what);
}

static int replay_block(struct daxheap *heap, const struct dh_record *record,
			uint64_t offset, bool live)
{
	struct dh_block block;
	int err = dh_block_at(&heap->media, offset, &block);

	if (err == -EBADMSG)
		return err;
	if (err || block.offset != offset)
		return bad_record(record, "no block");
	err = dh_block_set_live(&heap->media, &block, live);
	dh_flush(&heap->persist, block.word, sizeof(*block.word));
	return err;
}

static int replay_slot(struct daxheap *heap, const struct dh_record *record,
		       const struct freed_block *freed, size_t freed_count)
{
	uint64_t *slot;

	if (record->slot % sizeof(*slot))
		return bad_record(record, "no slot");
	if (!dh_root_slot(heap, record->slot)) {
		const struct freed_block *gone;
		struct dh_block block;
		int err = dh_block_at(&heap->media, record->slot, &block);

		if (err == -EBADMSG)
			return err;
		if (err)
			return bad_record(record, "no slot");
		gone = bsearch(&block.offset, freed, freed_count, sizeof(*freed), by_offset);
		/* The block may be another's by now: what was stored there is void. */
		if (gone && gone->seq >= record->seq)
			return 0;
	}
	slot = (uint64_t *)(heap->base + record->slot);
	dh_store64(slot, record->value);
	dh_flush(&heap->persist, slot, sizeof(*slot));
	return 0;
}

static int replay(struct daxheap *heap, const struct dh_record *record,
		  const struct freed_block *freed, size_t freed_count)
{
	int err = replay_slot(heap, record, freed, freed_count);

	if (!err && record->value)
		err = replay_block(heap, record, record->value, true);
	if (!err && record->freed)
		err = replay_block(heap, record, record->freed, false);
	return err;
}

int dh_recover(struct daxheap *heap, const struct dh_record *records, size_t count)
{
	struct freed_block *freed = malloc((count + 1) * sizeof(*freed));
	size_t freed_count;
	int err = 0;

	if (!freed)
		return dh_fail(ENOMEM, "no memory to replay the log");
	freed_count = list_freed(records, count, freed);
	for (size_t i = 0; i < count && !err; i++)
		err = replay(heap, &records[i], freed, freed_count);
	free(freed);
	return err ? err : dh_log_replayed(&heap->log);
}
