/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "space.h"

struct dh_span {
	struct dh_span *next, *prev;	/* in its class's list of partial spans */
	uint64_t chunk;
	unsigned unit;
	unsigned class;
	unsigned blocks;
	unsigned used_blocks;
	bool partial;			/* whether it is in the list */
	uint64_t last_seq;
	uint64_t used[];		/* a bit for each block, 64 in a word */
};

#define BITS 64u

static uint64_t max64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint32_t units_mask(unsigned unit, unsigned count)
{
	return (uint32_t)(((UINT64_C(1) << count) - 1) << unit);
}

static void list_add(struct dh_space *space, struct dh_span *span)
{
	struct dh_span **first = &space->partial[span->class];

	span->prev = NULL;
	span->next = *first;
	if (*first)
		(*first)->prev = span;
	*first = span;
	span->partial = true;
}

static void list_remove(struct dh_space *space, struct dh_span *span)
{
	if (span->prev)
		span->prev->next = span->next;
	else
		space->partial[span->class] = span->next;
	if (span->next)
		span->next->prev = span->prev;
	span->partial = false;
}

/* --- spans --- */

static struct dh_span *add_span(struct dh_space *space, uint64_t chunk, unsigned unit,
				unsigned class)
{
	struct dh_units *units = space->chunks[chunk].units;
	unsigned count = dh_class_units(class);
	uint64_t first;
	unsigned blocks = dh_span_blocks(class, unit, &first);
	struct dh_span *span = calloc(1, sizeof(*span) +
				      (blocks + BITS - 1) / BITS * sizeof(uint64_t));

	if (!span)
		return NULL;
	span->chunk = chunk;
	span->unit = unit;
	span->class = class;
	span->blocks = blocks;
	for (unsigned i = 0; i < count; i++)
		units->spans[unit + i] = span;
	units->free &= ~units_mask(unit, count);
	list_add(space, span);
	return span;
}

static void drop_span(struct dh_space *space, struct dh_span *span)
{
	struct dh_units *units = space->chunks[span->chunk].units;
	unsigned count = dh_class_units(span->class);

	if (span->partial)
		list_remove(space, span);
	for (unsigned i = 0; i < count; i++) {
		units->spans[span->unit + i] = NULL;
		units->last_seq[span->unit + i] = span->last_seq;
	}
	units->free |= units_mask(span->unit, count);
	free(span);
}

static void mark_used(struct dh_space *space, struct dh_span *span, unsigned index)
{
	span->used[index / BITS] |= UINT64_C(1) << index % BITS;
	span->used_blocks++;
	if (span->used_blocks == span->blocks && span->partial)
		list_remove(space, span);
}

static unsigned first_unused(const struct dh_span *span)
{
	unsigned word = 0;

	while (span->used[word] == UINT64_MAX)
		word++;
	return word * BITS + (unsigned)__builtin_ctzll(~span->used[word]);
}

/* --- chunks --- */

static void drop_chunk(struct dh_space *space, uint64_t index)
{
	struct dh_chunk *chunk = &space->chunks[index];

	for (unsigned unit = 0; unit < DH_UNITS_PER_CHUNK; unit++)
		chunk->last_seq = max64(chunk->last_seq, chunk->units->last_seq[unit]);
	free(chunk->units);
	chunk->units = NULL;
	chunk->kind = DH_CHUNK_FREE;
}

static void store_word(struct dh_space *space, uint64_t *at, uint64_t payload)
{
	dh_store64(at, dh_word_make(payload, dh_media_offset(space->media, at)));
}

static void drop_empty_span(struct dh_space *space, struct dh_span *span)
{
	uint64_t chunk = span->chunk;

	drop_span(space, span);
	if (space->chunks[chunk].units->free == UINT32_MAX)
		drop_chunk(space, chunk);
}

/* Takes back the empty spans that classes keep. */
static bool drop_empty_spans(struct dh_space *space)
{
	bool any = false;

	for (unsigned class = 0; class < DH_CLASSES; class++) {
		struct dh_span *span, *next;

		for (span = space->partial[class]; span; span = next) {
			next = span->next;
			if (span->used_blocks)
				continue;
			drop_empty_span(space, span);
			any = true;
		}
	}
	return any;
}

/* All words of the 32 records valid and fenced before the chunk word says so. */
static int format_spans(struct dh_space *space, uint64_t index)
{
	struct dh_span_record *records = dh_span_record(space->media, index, 0);
	uint64_t *words = &records->descriptor;
	uint64_t *table_word = &space->media->table[index];
	int err;

	for (unsigned i = 0; i < DH_CHUNK_HEADER_SIZE / sizeof(*words); i++)
		store_word(space, &words[i], 0);
	dh_flush(space->persist, words, DH_CHUNK_HEADER_SIZE);
	err = dh_fence(space->persist);
	if (err)
		return err;
	store_word(space, table_word, dh_chunk_payload(DH_CHUNK_SPANS, 0));
	dh_flush(space->persist, table_word, sizeof(*table_word));
	return dh_fence(space->persist);
}

/* First of @length free chunks in a row; 0: there are none. */
static uint64_t find_free_chunks(const struct dh_space *space, uint64_t length)
{
	uint64_t run = 0;

	for (uint64_t i = space->media->first_chunk; i < space->media->chunks; i++) {
		run = space->chunks[i].kind == DH_CHUNK_FREE ? run + 1 : 0;
		if (run == length)
			return i - length + 1;
	}
	return 0;
}

static int no_space(uint64_t size)
{
	return dh_fail(ENOMEM, "no free space for a block of %llu bytes: free some, or move to "
		       "a larger pool", (unsigned long long)size);
}

static struct dh_units *new_units(void)
{
	struct dh_units *units = calloc(1, sizeof(*units));

	if (units)
		units->free = UINT32_MAX;
	return units;
}

static int add_chunk(struct dh_space *space, uint64_t *index_out)
{
	uint64_t index = find_free_chunks(space, 1);
	struct dh_chunk *chunk = &space->chunks[index];
	struct dh_units *units;
	int err;

	if (!index)
		return no_space(DH_UNIT_SIZE);
	err = dh_log_advance(space->log, chunk->last_seq);
	if (!err)
		err = format_spans(space, index);
	if (err)
		return err;
	units = new_units();
	if (!units)
		return dh_fail(ENOMEM, "no memory");
	chunk->units = units;
	chunk->kind = DH_CHUNK_SPANS;
	*index_out = index;
	return 0;
}

static bool find_units(const struct dh_space *space, unsigned class, uint64_t chunk,
		       unsigned *unit_out)
{
	const struct dh_units *units = space->chunks[chunk].units;
	unsigned count = dh_class_units(class);
	uint64_t first;

	for (unsigned unit = 0; unit + count <= DH_UNITS_PER_CHUNK; unit++) {
		uint32_t mask = units_mask(unit, count);

		if ((units->free & mask) == mask && dh_span_blocks(class, unit, &first)) {
			*unit_out = unit;
			return true;
		}
	}
	return false;
}

static int format_span(struct dh_space *space, uint64_t chunk, unsigned unit, unsigned class)
{
	const struct dh_units *units = space->chunks[chunk].units;
	unsigned count = dh_class_units(class);
	uint64_t last_seq = 0;
	int err;

	for (unsigned i = 0; i < count; i++)
		last_seq = max64(last_seq, units->last_seq[unit + i]);
	err = dh_log_advance(space->log, last_seq);
	if (err)
		return err;
	for (unsigned i = 0; i < count; i++) {
		struct dh_span_record *record = dh_span_record(space->media, chunk, unit + i);

		/* The bitmap is empty, as that of every free span. */
		store_word(space, &record->descriptor,
			   i ? dh_span_payload(DH_SPAN_TAIL, 0, i) :
			       dh_span_payload(DH_SPAN_HEAD, class, count));
		dh_flush(space->persist, &record->descriptor, sizeof(record->descriptor));
	}
	return dh_fence(space->persist);
}

static int new_span(struct dh_space *space, unsigned class, struct dh_span **span)
{
	uint64_t chunk = space->media->first_chunk;
	unsigned unit = 0;
	bool found = false;
	int err = 0;

	for (; chunk < space->media->chunks; chunk++) {
		found = space->chunks[chunk].kind == DH_CHUNK_SPANS &&
			find_units(space, class, chunk, &unit);
		if (found)
			break;
	}
	if (!found) {
		err = add_chunk(space, &chunk);
		if (!err)
			find_units(space, class, chunk, &unit);
	}
	if (!err)
		err = format_span(space, chunk, unit, class);
	if (err)
		return err;
	*span = add_span(space, chunk, unit, class);
	return *span ? 0 : dh_fail(ENOMEM, "no memory");
}

static int reserve_in_span(struct dh_space *space, uint64_t size, uint64_t *offset)
{
	unsigned class = dh_class_of(size), index;
	struct dh_span *span = space->partial[class];
	struct dh_block block;

	if (!span) {
		int err = new_span(space, class, &span);

		if (err)
			return err;
	}
	index = first_unused(span);
	mark_used(space, span, index);
	dh_span_block(space->media, span->chunk, span->unit, class, index, &block);
	space->usage.used_blocks++;
	space->usage.used_bytes += block.size;
	*offset = block.offset;
	return 0;
}

static int format_huge(struct dh_space *space, uint64_t index, uint64_t length)
{
	uint64_t *words = &space->media->table[index];

	store_word(space, &words[0], dh_chunk_payload(DH_CHUNK_HUGE_HEAD, length));
	for (uint64_t i = 1; i < length; i++)
		store_word(space, &words[i], dh_chunk_payload(DH_CHUNK_HUGE_TAIL, i));
	dh_flush(space->persist, words, length * sizeof(*words));
	return dh_fence(space->persist);
}

static void use_huge(struct dh_space *space, uint64_t index, uint64_t length)
{
	space->chunks[index].kind = DH_CHUNK_HUGE_HEAD;
	space->chunks[index].length = (uint32_t)length;
	for (uint64_t i = 1; i < length; i++)
		space->chunks[index + i].kind = DH_CHUNK_HUGE_TAIL;
	space->usage.used_blocks++;
	space->usage.used_bytes += length * DH_CHUNK_SIZE;
}

static int reserve_huge(struct dh_space *space, uint64_t size, uint64_t *offset)
{
	uint64_t length = (size + DH_CHUNK_SIZE - 1) / DH_CHUNK_SIZE;
	uint64_t index = find_free_chunks(space, length), last_seq = 0;
	int err;

	if (!index)
		return no_space(size);
	for (uint64_t i = 0; i < length; i++)
		last_seq = max64(last_seq, space->chunks[index + i].last_seq);
	err = dh_log_advance(space->log, last_seq);
	if (!err)
		err = format_huge(space, index, length);
	if (err)
		return err;
	use_huge(space, index, length);
	*offset = index * DH_CHUNK_SIZE;
	return 0;
}

static int reserve(struct dh_space *space, uint64_t size, uint64_t *offset)
{
	if (size > DH_CLASS_SIZE_MAX)
		return reserve_huge(space, size, offset);
	return reserve_in_span(space, size, offset);
}

int dh_space_reserve(struct dh_space *space, uint64_t size, uint64_t *offset)
{
	int err;

	if (size > DH_SIZE_MAX)
		return no_space(size);
	pthread_mutex_lock(&space->lock);
	err = reserve(space, size, offset);
	if (err == -ENOMEM && drop_empty_spans(space))
		err = reserve(space, size, offset);
	pthread_mutex_unlock(&space->lock);
	return err;
}

/* --- blocks in use --- */

static struct dh_span *span_of(struct dh_space *space, const struct dh_block *block,
			       unsigned *index)
{
	uint64_t chunk = block->offset / DH_CHUNK_SIZE;
	uint64_t in_chunk = block->offset % DH_CHUNK_SIZE, first;
	struct dh_units *units = space->chunks[chunk].units;
	struct dh_span *span = units ? units->spans[in_chunk / DH_UNIT_SIZE] : NULL;

	if (!span)
		return NULL;
	dh_span_blocks(span->class, span->unit, &first);
	if (in_chunk < first)
		return NULL;
	*index = (unsigned)((in_chunk - first) / dh_class_size(span->class));
	return *index < span->blocks ? span : NULL;
}

bool dh_space_used(struct dh_space *space, const struct dh_block *block)
{
	struct dh_chunk *chunk = &space->chunks[block->offset / DH_CHUNK_SIZE];
	struct dh_block here = {.offset = block->offset};
	struct dh_span *span;
	unsigned index;
	bool used;

	pthread_mutex_lock(&space->lock);
	span = span_of(space, block, &index);
	if (span) {
		used = span->used[index / BITS] >> index % BITS & 1;
		dh_span_block(space->media, span->chunk, span->unit, span->class, index, &here);
	} else {
		used = chunk->kind == DH_CHUNK_HUGE_HEAD;
		here.size = chunk->length * DH_CHUNK_SIZE;
	}
	pthread_mutex_unlock(&space->lock);
	return used && here.offset == block->offset && here.size == block->size;
}

static void note_seq(struct dh_space *space, const struct dh_block *block, uint64_t seq)
{
	struct dh_chunk *chunk = &space->chunks[block->offset / DH_CHUNK_SIZE];
	unsigned index;
	struct dh_span *span = span_of(space, block, &index);

	if (span)
		span->last_seq = max64(span->last_seq, seq);
	else
		for (uint32_t i = 0; i < chunk->length; i++)
			chunk[i].last_seq = max64(chunk[i].last_seq, seq);
}

/* An empty span goes back at once, unless it is the only one of its class with room. */
static void release(struct dh_space *space, const struct dh_block *block)
{
	struct dh_chunk *chunk = &space->chunks[block->offset / DH_CHUNK_SIZE];
	unsigned index;
	struct dh_span *span = span_of(space, block, &index);

	space->usage.used_blocks--;
	space->usage.used_bytes -= block->size;
	if (!span) {
		uint32_t length = chunk->length;

		chunk->length = 0;
		for (uint32_t i = 0; i < length; i++)
			chunk[i].kind = DH_CHUNK_FREE;
		return;
	}
	span->used[index / BITS] &= ~(UINT64_C(1) << index % BITS);
	span->used_blocks--;
	if (!span->partial)
		list_add(space, span);
	if (!span->used_blocks && (span->next || span->prev))
		drop_empty_span(space, span);
}

void dh_space_published(struct dh_space *space, const struct dh_block *block, uint64_t seq)
{
	pthread_mutex_lock(&space->lock);
	note_seq(space, block, seq);
	space->usage.live_blocks++;
	space->usage.live_bytes += block->size;
	pthread_mutex_unlock(&space->lock);
}

void dh_space_freed(struct dh_space *space, const struct dh_block *block, uint64_t seq)
{
	pthread_mutex_lock(&space->lock);
	note_seq(space, block, seq);
	space->usage.live_blocks--;
	space->usage.live_bytes -= block->size;
	release(space, block);
	pthread_mutex_unlock(&space->lock);
}

void dh_space_cancel(struct dh_space *space, const struct dh_block *block)
{
	pthread_mutex_lock(&space->lock);
	release(space, block);
	pthread_mutex_unlock(&space->lock);
}

void dh_space_usage(struct dh_space *space, struct dh_usage *usage)
{
	pthread_mutex_lock(&space->lock);
	*usage = space->usage;
	pthread_mutex_unlock(&space->lock);
}

/* --- opening --- */

static int damaged(uint64_t chunk, unsigned unit, const char *what)
{
	return dh_fail(EBADMSG, "the pool is damaged: span %u of chunk %llu %s: restore it from "
		       "a backup", unit, (unsigned long long)chunk, what);
}

static int check_words(const struct dh_media *media, uint64_t chunk, unsigned unit,
		       bool *any_live)
{
	const struct dh_span_record *record = dh_span_record(media, chunk, unit);
	const uint64_t *words = &record->descriptor;

	*any_live = false;
	for (unsigned i = 0; i < sizeof(*record) / sizeof(*words); i++) {
		if (!dh_word_valid(words[i], dh_media_offset(media, &words[i])))
			return damaged(chunk, unit, "has a word that fails its check");
		if (&words[i] >= record->bitmap && dh_word_payload(words[i]))
			*any_live = true;
	}
	return 0;
}

static int read_live_blocks(struct dh_space *space, struct dh_span *span)
{
	const struct dh_span_record *record = dh_span_record(space->media, span->chunk,
							     span->unit);

	for (unsigned i = 0; i < DH_SPAN_BITMAP_WORDS * DH_WORD_BITS; i++) {
		uint64_t payload = dh_word_payload(record->bitmap[i / DH_WORD_BITS]);

		if (!(payload >> i % DH_WORD_BITS & 1))
			continue;
		if (i >= span->blocks)
			return damaged(span->chunk, span->unit, "has a live block too many");
		mark_used(space, span, i);
	}
	space->usage.live_blocks += span->used_blocks;
	space->usage.live_bytes += span->used_blocks * dh_class_size(span->class);
	return 0;
}

static int open_live_span(struct dh_space *space, uint64_t chunk, unsigned unit,
			  unsigned *units)
{
	struct dh_span_word head, tail;
	struct dh_span *span;
	uint64_t first;
	int err = dh_span_read(space->media, chunk, unit, &head);

	if (err)
		return err;
	if (head.kind != DH_SPAN_HEAD || head.class >= DH_CLASSES ||
	    head.units != dh_class_units(head.class) ||
	    !dh_span_blocks(head.class, unit, &first))
		return damaged(chunk, unit, "has live blocks and no valid descriptor");
	for (unsigned i = 1; i < head.units; i++) {
		bool any_live;

		err = check_words(space->media, chunk, unit + i, &any_live);
		if (!err)
			err = dh_span_read(space->media, chunk, unit + i, &tail);
		if (err)
			return err;
		if (tail.kind != DH_SPAN_TAIL || tail.units != i || any_live)
			return damaged(chunk, unit + i, "overlaps the span before it");
	}
	span = add_span(space, chunk, unit, head.class);
	if (!span)
		return dh_fail(ENOMEM, "no memory to open the pool");
	*units = head.units;
	return read_live_blocks(space, span);
}

static int open_spans(struct dh_space *space, uint64_t index)
{
	struct dh_chunk *chunk = &space->chunks[index];
	unsigned unit = 0;

	chunk->units = new_units();
	if (!chunk->units)
		return dh_fail(ENOMEM, "no memory to open the pool");
	chunk->kind = DH_CHUNK_SPANS;
	while (unit < DH_UNITS_PER_CHUNK) {
		bool any_live;
		unsigned units = 1;
		int err = check_words(space->media, index, unit, &any_live);

		if (!err && any_live)
			err = open_live_span(space, index, unit, &units);
		if (err)
			return err;
		unit += units;
	}
	/* Without a live block its format may not be durable: it is made anew when used. */
	if (chunk->units->free == UINT32_MAX)
		drop_chunk(space, index);
	return 0;
}

static int open_huge(struct dh_space *space, uint64_t index, uint64_t length)
{
	struct dh_chunk_word tail;

	if (!length || length > space->media->chunks - index)
		return dh_fail(EBADMSG, "the pool is damaged: the huge block at chunk %llu is "
			       "longer than the pool", (unsigned long long)index);
	for (uint64_t i = 1; i < length; i++) {
		int err = dh_chunk_read(space->media, index + i, &tail);

		if (err)
			return err;
		if (tail.kind != DH_CHUNK_HUGE_TAIL || tail.length != i)
			return dh_fail(EBADMSG, "the pool is damaged: chunk %llu overlaps the "
				       "huge block before it",
				       (unsigned long long)(index + i));
	}
	use_huge(space, index, length);
	space->usage.live_blocks++;
	space->usage.live_bytes += length * DH_CHUNK_SIZE;
	return 0;
}

static int open_chunks(struct dh_space *space)
{
	uint64_t index = space->media->first_chunk;

	while (index < space->media->chunks) {
		struct dh_chunk_word word;
		uint64_t length = 1;
		int err = dh_chunk_read(space->media, index, &word);

		if (err)
			return err;
		if (word.kind == DH_CHUNK_SPANS) {
			err = open_spans(space, index);
		} else if (word.kind == DH_CHUNK_HUGE_HEAD && word.live) {
			err = open_huge(space, index, word.length);
			length = word.length;
		} else if (word.kind > DH_CHUNK_HUGE_TAIL) {
			err = dh_fail(EBADMSG, "the pool is damaged: chunk word %llu says nothing "
				      "known", (unsigned long long)index);
		}
		if (err)
			return err;
		index += length;
	}
	return 0;
}

int dh_space_open(struct dh_space *space, const struct dh_media *media,
		  struct dh_persist *persist, struct dh_log *log)
{
	int err;

	memset(space, 0, sizeof(*space));
	space->media = media;
	space->persist = persist;
	space->log = log;
	space->chunks = calloc(media->chunks, sizeof(*space->chunks));
	if (!space->chunks)
		return dh_fail(ENOMEM, "no memory to open the pool");
	pthread_mutex_init(&space->lock, NULL);
	err = open_chunks(space);
	space->usage.used_blocks = space->usage.live_blocks;
	space->usage.used_bytes = space->usage.live_bytes;
	if (err)
		dh_space_close(space);
	return err;
}

void dh_space_close(struct dh_space *space)
{
	for (uint64_t i = 0; i < space->media->chunks; i++) {
		struct dh_units *units = space->chunks[i].units;

		for (unsigned unit = 0; units && unit < DH_UNITS_PER_CHUNK; unit++)
			if (units->spans[unit])
				drop_span(space, units->spans[unit]);
		free(units);
	}
	free(space->chunks);
	pthread_mutex_destroy(&space->lock);
}
