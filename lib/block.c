/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include "block.h"
#include "error.h"
#include "persist.h"

void dh_media_init(struct dh_media *media, char *base, const struct dh_superblock *sb,
		   const atomic_uint_fast64_t *length)
{
	media->base = base;
	media->table = (uint64_t *)(base + sb->table_offset);
	media->first_chunk = sb->first_chunk;
	media->chunks = sb->size / DH_CHUNK_SIZE;
	media->length = length;
}

static int read_word(const struct dh_media *media, const uint64_t *at, uint64_t *payload)
{
	uint64_t word = __atomic_load_n(at, __ATOMIC_ACQUIRE);

	if (!dh_word_valid(word, dh_media_offset(media, at)))
		return -EBADMSG;
	*payload = dh_word_payload(word);
	return 0;
}

uint64_t dh_chunk_payload(enum dh_chunk_kind kind, uint64_t length, uint16_t tag)
{
	return kind | length << 8 | (uint64_t)tag << 32;
}

int dh_chunk_read_word(const struct dh_media *media, uint64_t chunk, struct dh_chunk_word *word)
{
	const uint64_t *at = &media->table[chunk];
	uint64_t payload = 0;

	/* 0: never written. */
	if (__atomic_load_n(at, __ATOMIC_ACQUIRE) && read_word(media, at, &payload))
		return dh_fail(EBADMSG, "the pool is damaged: chunk word %llu fails its check",
			       (unsigned long long)chunk);
	word->kind = payload & 0xf;
	word->live = payload & DH_CHUNK_LIVE;
	word->length = payload >> 8 & 0xffffff;
	word->tag = payload >> 32 & 0xffff;
	return 0;
}

static bool in_use(const struct dh_chunk_word *word)
{
	return word->kind == DH_CHUNK_SPANS || (word->kind == DH_CHUNK_HUGE_HEAD && word->live);
}

static int cut_short(uint64_t chunk)
{
	return dh_fail(EBADMSG, "the pool is damaged: chunk %llu is in use, and the file was "
		       "truncated there: restore it from a backup", (unsigned long long)chunk);
}

int dh_chunk_read(const struct dh_media *media, uint64_t chunk, struct dh_chunk_word *word)
{
	int err = dh_chunk_read_word(media, chunk, word);

	if (err || !in_use(word) ||
	    dh_media_has(media, chunk, word->kind == DH_CHUNK_SPANS ? 1 : word->length))
		return err;
	return cut_short(chunk);
}

uint64_t dh_span_payload(enum dh_span_kind kind, unsigned class, unsigned units,
			 uint16_t tag)
{
	return kind | class << 8 | units << 16 | (uint64_t)tag << 24;
}

struct dh_span_record *dh_span_record(const struct dh_media *media, uint64_t chunk,
				      unsigned unit)
{
	return (struct dh_span_record *)(media->base + chunk * DH_CHUNK_SIZE) + unit;
}

int dh_span_read(const struct dh_media *media, uint64_t chunk, unsigned unit,
		 struct dh_span_word *word)
{
	uint64_t payload;

	if (read_word(media, &dh_span_record(media, chunk, unit)->descriptor, &payload))
		return dh_fail(EBADMSG, "the pool is damaged: span %u of chunk %llu fails its "
			       "check", unit, (unsigned long long)chunk);
	word->kind = payload & 0xf;
	word->class = payload >> 8 & 0xff;
	word->units = payload >> 16 & 0xff;
	word->tag = payload >> 24 & 0xffff;
	return 0;
}

void dh_span_block(const struct dh_media *media, uint64_t chunk, unsigned unit,
		   unsigned class, unsigned index, struct dh_block *block)
{
	uint64_t first = 0;

	dh_span_blocks(class, unit, &first);
	block->size = dh_class_size(class);
	block->offset = chunk * DH_CHUNK_SIZE + first + index * block->size;
	block->word = &dh_span_record(media, chunk, unit)->bitmap[index / DH_WORD_BITS];
	block->mask = UINT64_C(1) << index % DH_WORD_BITS;
	block->tag = 0;
}

static int block_in_spans(const struct dh_media *media, uint64_t offset,
			  struct dh_block *block)
{
	uint64_t chunk = offset / DH_CHUNK_SIZE, in_chunk = offset % DH_CHUNK_SIZE;
	unsigned unit = (unsigned)(in_chunk / DH_UNIT_SIZE), count;
	uint64_t first = 0, index;
	struct dh_span_word span;
	int err = dh_span_read(media, chunk, unit, &span);

	if (!err && span.kind == DH_SPAN_TAIL && span.units <= unit) {
		unit -= span.units;
		err = dh_span_read(media, chunk, unit, &span);
	}
	if (err)
		return err;
	if (span.kind != DH_SPAN_HEAD || span.class >= DH_CLASSES ||
	    span.units != dh_class_units(span.class))
		return -EINVAL;
	count = dh_span_blocks(span.class, unit, &first);
	if (in_chunk < first)
		return -EINVAL;
	index = (in_chunk - first) / dh_class_size(span.class);
	if (index >= count)
		return -EINVAL;
	dh_span_block(media, chunk, unit, span.class, (unsigned)index, block);
	block->tag = span.tag;
	return 0;
}

int dh_block_at(const struct dh_media *media, uint64_t offset, struct dh_block *block)
{
	uint64_t chunk = offset / DH_CHUNK_SIZE, head = chunk;
	struct dh_chunk_word word;
	int err;

	if (chunk < media->first_chunk || chunk >= media->chunks)
		return -EINVAL;
	err = dh_chunk_read(media, chunk, &word);
	if (!err && word.kind == DH_CHUNK_HUGE_TAIL && word.length <= chunk &&
	    chunk - word.length >= media->first_chunk) {
		head = chunk - word.length;
		err = dh_chunk_read(media, head, &word);
	}
	if (err)
		return err;
	if (word.kind == DH_CHUNK_SPANS && head == chunk)
		return block_in_spans(media, offset, block);
	if (word.kind != DH_CHUNK_HUGE_HEAD || chunk - head >= word.length ||
	    word.length > media->chunks - head)
		return -EINVAL;
	if (!dh_media_has(media, head, word.length))
		return cut_short(head);
	block->offset = head * DH_CHUNK_SIZE;
	block->size = word.length * DH_CHUNK_SIZE;
	block->word = &media->table[head];
	block->mask = DH_CHUNK_LIVE;
	block->tag = word.tag;
	return 0;
}

static int word_damaged(uint64_t offset)
{
	return dh_fail(EBADMSG, "the pool is damaged: the word at %#llx fails its check",
		       (unsigned long long)offset);
}

int dh_block_live(const struct dh_media *media, const struct dh_block *block)
{
	uint64_t payload;
	int err = dh_word_read(media, block->word, &payload);

	return err ? err : (payload & block->mask) != 0;
}

int dh_word_read(const struct dh_media *media, const uint64_t *at, uint64_t *payload)
{
	return read_word(media, at, payload) ? word_damaged(dh_media_offset(media, at)) : 0;
}

int dh_word_check_and_set(const struct dh_media *media, uint64_t *word, uint64_t mask, bool set)
{
	uint64_t payload;
	int err = dh_word_read(media, word, &payload);

	if (err)
		return err;
	dh_word_set(media, word, mask, set);
	return 0;
}
