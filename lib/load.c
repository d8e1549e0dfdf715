/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A chunk's state, read from the media when it is first needed.  Nothing is believed: of a
 * damaged chunk, and of all chunks of a damaged huge block, nothing is given out.
 */
#include <errno.h>
#include <string.h>

#include "error.h"
#include "space.h"

static int damaged(uint64_t chunk, unsigned unit, const char *what)
{
	return dh_fail(EBADMSG, "the pool is damaged: span %u of chunk %llu %s: 'daxheap check' "
		       "tells more", unit, (unsigned long long)chunk, what);
}

static int check_words(const struct dh_media *media, uint64_t chunk, unsigned unit,
		       bool *any_live)
{
	const struct dh_span_record *record = dh_span_record(media, chunk, unit);
	const uint64_t *words = &record->descriptor;

	*any_live = false;
	for (unsigned i = 0; i < sizeof(*record) / sizeof(*words); i++)
		if (!dh_word_valid(words[i], dh_media_offset(media, &words[i])))
			return damaged(chunk, unit, "has a word that fails its check");
	for (unsigned i = 0; i < DH_SPAN_BITMAP_WORDS; i++)
		*any_live |= dh_word_payload(record->bitmap[i]) != 0;
	return 0;
}

static int load_live_blocks(struct dh_span *span)
{
	for (unsigned i = 0; i < DH_SPAN_BITMAP_WORDS; i++) {
		uint64_t live = dh_word_payload(span->bitmap[i]);

		for (; live; live &= live - 1) {
			unsigned index = i * DH_WORD_BITS + (unsigned)__builtin_ctzll(live);

			if (index >= span->blocks)
				return damaged(span->chunk, span->unit,
					       "has a live block too many");
			atomic_store(&span->free[index / 64],
				     atomic_load(&span->free[index / 64]) &
					     ~(UINT64_C(1) << index % 64));
		}
	}
	atomic_store(&span->has_live, true);
	return 0;
}

static int load_live_span(struct dh_space *space, struct dh_units *units, uint64_t chunk,
			  unsigned unit, unsigned *length)
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
	err = dh_span_make(space, units, chunk, unit, head.class, head.tag, &span);
	if (err)
		return err;
	span->format_durable = true;
	*length = head.units;
	return load_live_blocks(span);
}

/* Without the space's lock, so the spans are listed later: see list_loaded(). */
static int load_spans(struct dh_space *space, uint64_t index)
{
	struct dh_units *units = dh_units_new(space);
	unsigned unit = 0;
	int err = units ? 0 : -ENOMEM;

	while (unit < DH_UNITS_PER_CHUNK && !err) {
		bool any_live;
		unsigned length = 1;

		err = check_words(space->media, index, unit, &any_live);
		if (!err && any_live)
			err = load_live_span(space, units, index, unit, &length);
		unit += length;
	}
	if (err)
		return err;
	space->chunks[index].kept = units;
	/* Without a live block its format may not be durable: it is made anew when used. */
	if (units->free == UINT32_MAX)
		return 0;
	atomic_store(&space->chunks[index].kind, DH_CHUNK_SPANS);
	atomic_store_explicit(&space->chunks[index].units, units, memory_order_release);
	for (unsigned i = 0; i < DH_UNITS_PER_CHUNK; i++)
		if (units->spans[i].state != DH_SPAN_UNUSED)
			dh_span_show(space, &units->spans[i]);
	return 0;
}

void dh_space_set_huge(struct dh_space *space, uint64_t index, uint64_t length, uint16_t tag,
		     bool live)
{
	struct dh_chunk *head = &space->chunks[index];

	for (uint64_t i = 1; i < length; i++) {
		atomic_store(&head[i].length, (unsigned)i);
		atomic_store(&head[i].kind, DH_CHUNK_HUGE_TAIL);
		atomic_store(&head[i].loaded, 1);
	}
	head->tag = tag;
	atomic_store(&head->live, live);
	atomic_store(&head->length, (unsigned)length);
	atomic_store(&head->kind, DH_CHUNK_HUGE_HEAD);
}

static int check_tails(const struct dh_space *space, uint64_t index,
		       const struct dh_chunk_word *head)
{
	struct dh_chunk_word tail;

	for (uint64_t i = 1; i < head->length; i++) {
		int err = dh_chunk_read(space->media, index + i, &tail);

		if (err)
			return err;
		if (tail.kind != DH_CHUNK_HUGE_TAIL || tail.length != i ||
		    atomic_load(&space->chunks[index + i].loaded))
			return dh_fail(EBADMSG, "the pool is damaged: chunk %llu overlaps the "
				       "huge block before it",
				       (unsigned long long)(index + i));
	}
	return 0;
}

static void set_damaged(struct dh_space *space, uint64_t index)
{
	atomic_store(&space->chunks[index].kind, DH_CHUNK_DAMAGED);
	atomic_store_explicit(&space->chunks[index].loaded, 1, memory_order_release);
}

static int load_huge(struct dh_space *space, uint64_t index, const struct dh_chunk_word *head)
{
	int err;

	if (!head->length || head->length > space->media->chunks - index) {
		set_damaged(space, index);
		return dh_fail(EBADMSG, "the pool is damaged: the huge block at chunk %llu is "
			       "longer than the pool", (unsigned long long)index);
	}
	err = check_tails(space, index, head);
	if (!err) {
		dh_space_set_huge(space, index, head->length, head->tag, true);
		return 0;
	}
	/* Nothing of it may be given out. */
	for (uint64_t i = 0; i < head->length; i++)
		if (!atomic_load(&space->chunks[index + i].loaded))
			set_damaged(space, index + i);
	return err;
}

/*
 * The live head of the huge block that the chunk is a tail of; the chunk itself if there is
 * none.  -EBADMSG: the word that would tell is damaged.
 */
static int find_head(const struct dh_space *space, uint64_t index, struct dh_chunk_word *word,
		     uint64_t *head_index)
{
	struct dh_chunk_word head;
	uint64_t at = index - word->length;
	int err;

	*head_index = index;
	if (!word->length || word->length > index || at < space->media->first_chunk)
		return 0;
	err = dh_chunk_read(space->media, at, &head);
	if (err || head.kind != DH_CHUNK_HUGE_HEAD || !head.live || head.length <= word->length)
		return err;
	*word = head;
	*head_index = at;
	return 0;
}

#define LOST_WORDS_MAX 64u	/* 512 bytes, the least that media lose */

/*
 * A word of zero says free, and so does one that was lost.  So that no chunk of a live huge block
 * is taken for free: a huge block in front that reaches here has lost it.
 */
static int check_not_lost(struct dh_space *space, uint64_t index)
{
	uint64_t at = index, head;
	struct dh_chunk_word word;
	int err;

	do {
		if (at == space->media->first_chunk || index - at == LOST_WORDS_MAX)
			return 0;
		at--;
		err = dh_chunk_read(space->media, at, &word);
	} while (!err && word.kind == DH_CHUNK_FREE);
	if (!err && word.kind == DH_CHUNK_HUGE_TAIL)
		err = find_head(space, at, &word, &head);
	else
		head = at;
	/* What is damaged itself says nothing of its neighbours. */
	if (err || word.kind != DH_CHUNK_HUGE_HEAD || !word.live || word.length <= index - head)
		return 0;
	return load_huge(space, head, &word);
}

/*
 * Whether the chunk starts with a valid word.  That is read from the file: a load from a hole would
 * take space for it on tmpfs, and what can't be read is no word.
 */
static bool starts_with_word(const struct dh_space *space, uint64_t index)
{
	const uint64_t offset = index * DH_CHUNK_SIZE;
	uint64_t word;

	if (!dh_media_has(space->media, index, 1))
		return false;
	if (dh_mapping_peek(space->mapping, &word, sizeof(word), offset) != sizeof(word))
		return false;
	return dh_word_valid(word, offset);
}

/*
 * The same for a chunk of spans.  A word becomes 0 only after the chunk's last block was freed,
 * durably; and where no chunk of spans was, or it was given back, no valid word lies.
 */
static int check_no_spans(const struct dh_space *space, uint64_t index)
{
	if (!starts_with_word(space, index))
		return 0;
	for (unsigned unit = 0; unit < DH_UNITS_PER_CHUNK; unit++) {
		bool any_live;
		int err = check_words(space->media, index, unit, &any_live);

		/* Content of a huge block that was here. */
		if (err)
			return 0;
		if (any_live)
			return dh_fail(EBADMSG, "the pool is damaged: chunk word %llu is lost: "
				       "'daxheap check --repair' restores it",
				       (unsigned long long)index);
	}
	return 0;
}

static int load_by_word(struct dh_space *space, uint64_t index, uint64_t *head)
{
	struct dh_chunk_word word;
	int err = dh_chunk_read(space->media, index, &word);

	*head = index;
	if (!err && word.kind == DH_CHUNK_HUGE_TAIL)
		err = find_head(space, index, &word, head);
	else if (!err && word.kind == DH_CHUNK_FREE)
		err = check_not_lost(space, index);
	if (!err && word.kind == DH_CHUNK_FREE && !atomic_load(&space->chunks[index].loaded))
		err = check_no_spans(space, index);
	if (err)
		return err;
	switch ((int)word.kind) {
	case DH_CHUNK_FREE:
	case DH_CHUNK_HUGE_TAIL:
		return 0;
	case DH_CHUNK_SPANS:
		return load_spans(space, index);
	case DH_CHUNK_HUGE_HEAD:
		return word.live ? load_huge(space, *head, &word) : 0;
	default:
		return dh_fail(EBADMSG, "the pool is damaged: chunk word %llu says nothing known: "
			       "'daxheap check' tells more", (unsigned long long)index);
	}
}

static int load_chunk(struct dh_space *space, uint64_t index)
{
	uint64_t head;
	int err = load_by_word(space, index, &head);

	if (err == -ENOMEM)
		return err;
	if (err) {
		set_damaged(space, index);
		return err;
	}
	atomic_store_explicit(&space->chunks[head].loaded, 1, memory_order_release);
	atomic_store_explicit(&space->chunks[index].loaded, 1, memory_order_release);
	return 0;
}

int dh_space_load(struct dh_space *space, uint64_t index)
{
	int err = 0;

	if (atomic_load_explicit(&space->chunks[index].loaded, memory_order_acquire))
		return 0;
	dh_lock(&space->load_lock);
	if (!atomic_load(&space->chunks[index].loaded))
		err = load_chunk(space, index);
	dh_unlock(&space->load_lock);
	return err;
}

int dh_find_slow(struct dh_space *space, uint64_t offset, struct dh_found *found)
{
	uint64_t index = offset / DH_CHUNK_SIZE, head = index;
	struct dh_chunk *chunk;
	int err;

	if (index < space->media->first_chunk || index >= space->media->chunks)
		return -EINVAL;
	err = dh_space_load(space, index);
	if (err)
		return err;
	chunk = &space->chunks[index];
	if (atomic_load(&chunk->units))
		return dh_span_at(space, offset) ? dh_find(space, offset, found) : -EINVAL;
	if (atomic_load(&chunk->kind) == DH_CHUNK_DAMAGED)
		return dh_fail(EBADMSG, "the pool is damaged in chunk %llu: 'daxheap check' "
			       "tells more", (unsigned long long)index);
	if (atomic_load(&chunk->kind) == DH_CHUNK_HUGE_TAIL)
		head = index - atomic_load(&chunk->length);
	if (atomic_load(&space->chunks[head].kind) != DH_CHUNK_HUGE_HEAD)
		return -EINVAL;
	*found = (struct dh_found){.huge = &space->chunks[head],
				   .offset = head * DH_CHUNK_SIZE};
	return 0;
}
