/* SPDX-License-Identifier: BSD-3-Clause */
/* Stepping through the live blocks, by chunk words and bitmaps. */
#include <errno.h>

#include "error.h"
#include "heap.h"

/* What is looked for, and from where. */
struct walk {
	const struct dh_media *media;
	const uint16_t *tag;		/* NULL: any */
	uint64_t offset;		/* of the chunk being looked at, or inside it */
	struct daxheap_block *block;	/* where what is found goes */
};

static int found(const struct walk *walk, uint64_t offset, uint64_t size, uint16_t tag)
{
	*walk->block = (struct daxheap_block){offset, size, tag};
	return 1;
}

/* The first live block of the span with the number @index at least. */
static int walk_bitmap(const struct walk *walk, uint64_t chunk, unsigned unit,
		       const struct dh_span_word *span, uint64_t index)
{
	const struct dh_span_record *record = dh_span_record(walk->media, chunk, unit);
	uint64_t first = 0, blocks = dh_span_blocks(span->class, unit, &first);
	uint64_t size = dh_class_size(span->class);

	for (uint64_t word = index / DH_WORD_BITS; word * DH_WORD_BITS < blocks; word++) {
		uint64_t payload;
		int err = dh_word_read(walk->media, &record->bitmap[word], &payload);

		if (err)
			return err;
		if (word == index / DH_WORD_BITS)
			payload &= ~UINT64_C(0) << index % DH_WORD_BITS;
		if (!payload)
			continue;
		index = word * DH_WORD_BITS + (unsigned)__builtin_ctzll(payload);
		if (index >= blocks)
			return 0;
		return found(walk, chunk * DH_CHUNK_SIZE + first + index * size, size,
			     span->tag);
	}
	return 0;
}

static int walk_span(const struct walk *walk, uint64_t chunk, unsigned unit,
		     const struct dh_span_word *span)
{
	uint64_t first = 0, in_chunk = walk->offset % DH_CHUNK_SIZE, index = 0;

	if (span->class >= DH_CLASSES || span->units != dh_class_units(span->class) ||
	    !dh_span_blocks(span->class, unit, &first))
		return 0;
	if (walk->tag && *walk->tag != span->tag)
		return 0;
	if (walk->offset / DH_CHUNK_SIZE == chunk && in_chunk > first)
		index = (in_chunk - first + dh_class_size(span->class) - 1) /
			dh_class_size(span->class);
	return walk_bitmap(walk, chunk, unit, span, index);
}

static int walk_spans(const struct walk *walk, uint64_t chunk)
{
	unsigned unit = 0;

	while (unit < DH_UNITS_PER_CHUNK) {
		struct dh_span_word span;
		int more = dh_span_read(walk->media, chunk, unit, &span);

		if (!more && span.kind == DH_SPAN_HEAD &&
		    (unit + span.units) * DH_UNIT_SIZE > walk->offset % DH_CHUNK_SIZE)
			more = walk_span(walk, chunk, unit, &span);
		if (more)
			return more;
		/* A tail whose head is gone belongs to nothing. */
		unit += span.kind == DH_SPAN_HEAD && span.units ? span.units : 1;
	}
	return 0;
}

static int walk_chunk(const struct walk *walk, uint64_t chunk, uint64_t *next)
{
	struct dh_chunk_word word;
	int err = dh_chunk_read(walk->media, chunk, &word);

	*next = chunk + 1;
	if (err)
		return err;
	if (word.kind == DH_CHUNK_SPANS)
		return walk_spans(walk, chunk);
	if (word.kind != DH_CHUNK_HUGE_HEAD || !word.live || !word.length ||
	    word.length > walk->media->chunks - chunk)
		return 0;
	*next = chunk + word.length;
	if (walk->offset % DH_CHUNK_SIZE || (walk->tag && *walk->tag != word.tag))
		return 0;
	return found(walk, chunk * DH_CHUNK_SIZE, word.length * DH_CHUNK_SIZE, word.tag);
}

static int next_block(struct daxheap *heap, const uint16_t *tag, struct daxheap_block *block)
{
	struct walk walk = {.media = &heap->media, .tag = tag, .block = block,
			    .offset = heap->media.first_chunk * DH_CHUNK_SIZE};
	uint64_t chunk;

	if (block->ref)
		walk.offset = block->ref + block->size;
	if (walk.offset < heap->media.first_chunk * DH_CHUNK_SIZE)
		walk.offset = heap->media.first_chunk * DH_CHUNK_SIZE;
	chunk = walk.offset / DH_CHUNK_SIZE;
	while (chunk < heap->media.chunks) {
		uint64_t next;
		int more = walk_chunk(&walk, chunk, &next);

		if (more)
			return more;
		chunk = next;
		walk.offset = chunk * DH_CHUNK_SIZE;
	}
	return 0;
}

static int next(struct daxheap *heap, const uint16_t *tag, struct daxheap_block *block)
{
	int err = dh_check_usable(heap);

	if (err)
		return err;
	if (block->ref > DH_SIZE_MAX || block->size > DH_SIZE_MAX)
		return dh_fail(EINVAL, "start with a zeroed block");
	/* No chunk changes its format meanwhile; else content could be taken for records. */
	dh_lock(&heap->space.lock);
	err = next_block(heap, tag, block);
	dh_unlock(&heap->space.lock);
	return err;
}

DAXHEAP_API int daxheap_next(struct daxheap *heap, struct daxheap_block *block)
{
	return next(heap, NULL, block);
}

DAXHEAP_API int daxheap_next_tagged(struct daxheap *heap, uint16_t tag,
				    struct daxheap_block *block)
{
	return next(heap, &tag, block);
}
