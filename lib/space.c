/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "space.h"

#define LOADS_MAX 16u		/* chunks read in search of a partial span, before a new one */

static uint32_t units_mask(unsigned unit, unsigned count)
{
	return (uint32_t)(((UINT64_C(1) << count) - 1) << unit);
}

void dh_span_list_add_first(struct dh_span_list *list, struct dh_span *span)
{
	span->prev = NULL;
	span->next = list->first;
	if (list->first)
		list->first->prev = span;
	else
		list->last = span;
	list->first = span;
}

void dh_span_list_add_last(struct dh_span_list *list, struct dh_span *span)
{
	span->next = NULL;
	span->prev = list->last;
	if (list->last)
		list->last->next = span;
	else
		list->first = span;
	list->last = span;
}

void dh_span_list_remove(struct dh_span_list *list, struct dh_span *span)
{
	if (span->prev)
		span->prev->next = span->next;
	else
		list->first = span->next;
	if (span->next)
		span->next->prev = span->prev;
	else
		list->last = span->prev;
}

bool dh_span_collect(struct dh_span *span)
{
	bool any = false;

	for (unsigned i = 0; i * 64 < span->blocks; i++) {
		uint64_t free, back;

		if (!atomic_load(&span->remote[i]))
			continue;
		free = atomic_load_explicit(&span->free[i], memory_order_relaxed);
		/* What is free already was given back twice by an erring application. */
		back = atomic_exchange(&span->remote[i], 0) & ~free;
		atomic_store_explicit(&span->free[i], free | back, memory_order_relaxed);
		span->used -= (uint32_t)__builtin_popcountll(back);
		any |= back != 0;
	}
	return any;
}

/* --- spans --- */

/* Room for the bitmaps in DRAM.  Outgrown ones stay, as somebody may still look there. */
static int give_words(struct dh_space *space, struct dh_span *span, unsigned blocks)
{
	const unsigned words = (blocks + 63) / 64;

	if (words > span->words_capacity) {
		void **memory = malloc(sizeof(*memory) + 2 * words * sizeof(uint64_t));

		if (!memory)
			return dh_fail(ENOMEM, "no memory");
		memory[0] = atomic_load(&space->bitmaps);
		while (!atomic_compare_exchange_weak(&space->bitmaps, &memory[0], memory))
			;
		span->free = (atomic_uint_fast64_t *)&memory[1];
		span->words_capacity = words;
	}
	span->remote = span->free + span->words_capacity;
	for (unsigned i = 0; i < words; i++) {
		unsigned left = blocks - i * 64;

		atomic_store(&span->free[i],
			     left < 64 ? (UINT64_C(1) << left) - 1 : UINT64_MAX);
		atomic_store(&span->remote[i], 0);
	}
	return 0;
}

static struct dh_units *new_units(struct dh_space *space)
{
	struct dh_units *units = aligned_alloc(DH_LINE_SIZE, sizeof(*units));

	if (!units) {
		dh_fail(ENOMEM, "no memory");
		return NULL;
	}
	memset(units, 0, sizeof(*units));
	memset(units->head, DH_NO_SPAN, sizeof(units->head));
	units->free = UINT32_MAX;
	units->next = atomic_load(&space->units);
	while (!atomic_compare_exchange_weak(&space->units, &units->next, units))
		;
	return units;
}

/* A span with all blocks free, in no list. */
static int make_span(struct dh_space *space, struct dh_units *units, uint64_t chunk,
		     unsigned unit, unsigned class, uint16_t tag, struct dh_span **span_out)
{
	struct dh_span *span = &units->spans[unit];
	uint64_t first = 0, size = dh_class_size(class);
	unsigned blocks = dh_span_blocks(class, unit, &first);

	if (give_words(space, span, blocks))
		return -ENOMEM;
	span->blocks = blocks;
	span->start = chunk * DH_CHUNK_SIZE + first;
	span->size = (uint32_t)size;
	span->reciprocal = ((UINT64_C(1) << 43) + size - 1) / size;
	span->bitmap = dh_span_record(space->media, chunk, unit)->bitmap;
	span->format_durable &= span->class == class && span->tag == tag;
	span->chunk = chunk;
	span->class = (uint8_t)class;
	span->unit = (uint8_t)unit;
	span->units = (uint8_t)dh_class_units(class);
	span->tag = tag;
	span->empty = false;
	atomic_store(&span->has_live, false);
	span->used = span->cursor = 0;
	span->state = DH_SPAN_ALONE;
	atomic_store(&span->owner, NULL);
	atomic_store(&span->freed_seq, 0);
	atomic_store(&span->remote_freed_seq, 0);
	for (unsigned i = 0; i < span->units; i++) {
		/* Each has seen what its units saw. */
		atomic_store(&span->freed_seq, dh_max(atomic_load(&span->freed_seq),
						      units->last_seq[unit + i]));
		atomic_store_explicit(&units->head[unit + i], (unsigned char)unit,
				      memory_order_release);
	}
	units->free &= ~units_mask(unit, span->units);
	*span_out = span;
	return 0;
}

static uint64_t span_last_seq(const struct dh_span *span)
{
	return dh_max(atomic_load(&span->freed_seq), atomic_load(&span->remote_freed_seq));
}

static void lower_hints(struct dh_space *space, uint64_t chunk)
{
	for (unsigned class = 0; class < DH_CLASSES; class++)
		if (space->first_fit[class] > chunk)
			space->first_fit[class] = chunk;
}

static void drop_chunk(struct dh_space *space, uint64_t index);

/* Makes an empty span's units free; it is in no list. */
static void drop_span(struct dh_space *space, struct dh_span *span)
{
	uint64_t chunk = span->chunk;
	struct dh_units *units = atomic_load(&space->chunks[chunk].units);

	for (unsigned i = 0; i < span->units; i++) {
		atomic_store(&units->head[span->unit + i], DH_NO_SPAN);
		units->last_seq[span->unit + i] = span_last_seq(span);
		}
	span->state = DH_SPAN_UNUSED;
	units->free |= units_mask(span->unit, span->units);
	if (units->free == UINT32_MAX)
		drop_chunk(space, chunk);
	else
		lower_hints(space, chunk);
}

/* --- chunks --- */

/* A chunk of free units is free for a huge block as well. */
static void drop_chunk(struct dh_space *space, uint64_t index)
{
	if (index < space->first_free)
		space->first_free = index;
	lower_hints(space, index);
}

static bool chunk_is_free(struct dh_space *space, uint64_t index)
{
	struct dh_chunk *chunk = &space->chunks[index];
	struct dh_units *units = atomic_load(&chunk->units);
	unsigned kind = atomic_load(&chunk->kind);

	return kind == DH_CHUNK_FREE ||
	       (kind == DH_CHUNK_SPANS && units && units->free == UINT32_MAX);
}

static uint64_t chunk_last_seq(struct dh_chunk *chunk)
{
	struct dh_units *units = atomic_load(&chunk->units);
	uint64_t seq = atomic_load(&chunk->last_seq);

	for (unsigned i = 0; units && i < DH_UNITS_PER_CHUNK; i++)
		seq = dh_max(seq, units->last_seq[i]);
	return seq;
}

static void store_word(struct dh_space *space, uint64_t *at, uint64_t payload)
{
	dh_store64(at, dh_word_make(payload, dh_media_offset(space->media, at)));
}

/* Before a chunk or unit means something else. */
static int wait_for_horizon(struct dh_space *space, struct dh_traffic *traffic, uint64_t seq)
{
	return dh_faulty(DH_FAULT_REUSE_EARLY) ? 0 : dh_log_advance(space->log, traffic, seq);
}

/* All words of the 32 records valid and fenced before the chunk word says so. */
static int format_spans(struct dh_space *space, struct dh_traffic *traffic, uint64_t index)
{
	struct dh_span_record *records = dh_span_record(space->media, index, 0);
	uint64_t *words = &records->descriptor;
	uint64_t *table_word = &space->media->table[index];
	int err;

	for (unsigned i = 0; i < DH_CHUNK_HEADER_SIZE / sizeof(*words); i++)
		store_word(space, &words[i], 0);
	dh_flush(space->persist, traffic, words, DH_CHUNK_HEADER_SIZE);
	err = dh_fence(space->persist, traffic);
	if (err)
		return err;
	store_word(space, table_word, dh_chunk_payload(DH_CHUNK_SPANS, 0, 0));
	dh_flush(space->persist, traffic, table_word, sizeof(*table_word));
	return dh_fence(space->persist, traffic);
}

/* Space on the file system for chunks, and for all words of the table up to theirs. */
static int allocate(struct dh_space *space, uint64_t index, uint64_t length)
{
	const uint64_t step = UINT64_C(65536) / sizeof(uint64_t);
	uint64_t words = (index + length + step - 1) / step * step;

	if (words > space->media->chunks)
		words = space->media->chunks;
	if (words > space->words_allocated) {
		int err = dh_mapping_allocate(space->mapping,
					      dh_media_offset(space->media, space->media->table),
					      words * sizeof(uint64_t));

		if (err)
			return err;
		space->words_allocated = words;
	}
	return dh_mapping_allocate_ahead(space->mapping, index * DH_CHUNK_SIZE,
					 length * DH_CHUNK_SIZE);
}

static int no_space(uint64_t size)
{
	return dh_fail(ENOMEM, "no free space for a block of %llu bytes: free some, or move to "
		       "a larger pool", (unsigned long long)size);
}

/* Makes a free chunk one of spans. */
static int add_chunk(struct dh_space *space, struct dh_traffic *traffic, uint64_t index)
{
	struct dh_chunk *chunk = &space->chunks[index];
	struct dh_units *units = chunk->kept;
	int err;

	/* It is one already, with free units. */
	if (atomic_load(&chunk->kind) == DH_CHUNK_SPANS)
		return 0;
	err = wait_for_horizon(space, traffic, chunk_last_seq(chunk));
	if (!err)
		err = allocate(space, index, 1);
	if (err)
		return err;
	if (!units)
		units = chunk->kept = new_units(space);
	if (!units)
		return -ENOMEM;
	for (unsigned i = 0; i < DH_UNITS_PER_CHUNK; i++) {
		units->spans[i].format_durable = false;
		units->last_seq[i] = 0;
	}
	err = format_spans(space, traffic, index);
	if (err)
		return err;
	atomic_store(&chunk->kind, DH_CHUNK_SPANS);
	atomic_store_explicit(&chunk->units, units, memory_order_release);
	return 0;
}

/* --- loading: a chunk's state from the media --- */

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
			span->used++;
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
	err = make_span(space, units, chunk, unit, head.class, head.tag, &span);
	if (err)
		return err;
	span->format_durable = true;
	*length = head.units;
	return load_live_blocks(span);
}

/* Without the space's lock, so the spans are listed later: see list_loaded(). */
static int load_spans(struct dh_space *space, uint64_t index)
{
	struct dh_units *units = new_units(space);
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
	return 0;
}

static void set_huge(struct dh_space *space, uint64_t index, uint64_t length, uint16_t tag,
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
		set_huge(space, index, head->length, head->tag, true);
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

static int load_by_word(struct dh_space *space, uint64_t index, uint64_t *head)
{
	struct dh_chunk_word word;
	int err = dh_chunk_read(space->media, index, &word);

	*head = index;
	if (!err && word.kind == DH_CHUNK_HUGE_TAIL)
		err = find_head(space, index, &word, head);
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

/* Puts a span of nobody, in no list, where it belongs by what is used. */
static void settle_span(struct dh_space *space, struct dh_span *span)
{
	dh_span_collect(span);
	if (!span->used) {
		drop_span(space, span);
	} else if (span->used < span->blocks) {
		dh_span_list_add_first(&space->partial[span->class], span);
		span->state = DH_SPAN_LISTED;
	} else {
		span->state = DH_SPAN_ALONE;
	}
}

/* Puts the spans that loading found into the lists; under the space's lock. */
static void list_loaded(struct dh_space *space, uint64_t index)
{
	struct dh_units *units = atomic_load(&space->chunks[index].units);

	for (unsigned i = 0; units && i < DH_UNITS_PER_CHUNK; i++) {
		struct dh_span *span = &units->spans[i];

		/* Of a span with an owner nothing else may be read. */
		if (!atomic_load(&span->owner) && span->state == DH_SPAN_ALONE)
			settle_span(space, span);
	}
}

static int load_and_list(struct dh_space *space, uint64_t index)
{
	int err = dh_space_load(space, index);

	if (!err)
		list_loaded(space, index);
	/* A damaged chunk is left alone: there are others. */
	return err == -EBADMSG ? 0 : err;
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
		return dh_find(space, offset, found);
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

/* --- taking spans --- */

static struct dh_span *find_partial(struct dh_space *space, unsigned class, uint16_t tag)
{
	struct dh_span *span = space->partial[class].first;

	while (span && span->tag != tag)
		span = span->next;
	return span;
}

static bool find_units(struct dh_space *space, unsigned class, uint64_t chunk,
		       unsigned *unit_out)
{
	const struct dh_units *units = atomic_load(&space->chunks[chunk].units);
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

/* What the units' descriptors said before is overwritten now. */
static void forget_formats(struct dh_space *space, const struct dh_span *span)
{
	struct dh_units *units = atomic_load(&space->chunks[span->chunk].units);

	for (unsigned i = 0; i < DH_UNITS_PER_CHUNK; i++)
		if (i < span->unit + span->units && i + units->spans[i].units > span->unit)
			units->spans[i].format_durable = false;
}

static int format_span(struct dh_space *space, struct dh_traffic *traffic, struct dh_span *span)
{
	int err;

	if (span->format_durable)
		return 0;
	err = wait_for_horizon(space, traffic, span_last_seq(span));
	if (err)
		return err;
	forget_formats(space, span);
	for (unsigned i = 0; i < span->units; i++) {
		struct dh_span_record *record = dh_span_record(space->media, span->chunk,
							       span->unit + i);

		uint64_t payload = i ? dh_span_payload(DH_SPAN_TAIL, 0, i, 0) :
				       dh_span_payload(DH_SPAN_HEAD, span->class, span->units,
						       span->tag);

		/* The bitmap is empty, as that of every free span. */
		store_word(space, &record->descriptor, payload);
		store_word(space, &record->copy, payload);
		dh_flush(space->persist, traffic, &record->descriptor, sizeof(uint64_t));
		dh_flush(space->persist, traffic, &record->copy, sizeof(uint64_t));
	}
	err = dh_fence(space->persist, traffic);
	span->format_durable = !err;
	return err;
}

/* A chunk that no word says is in use, without reading what is in those before; 0: none seen. */
static uint64_t find_untouched(struct dh_space *space, uint64_t from)
{
	for (uint64_t i = from; i < space->media->chunks; i++) {
		if (atomic_load(&space->chunks[i].loaded) ||
		    __atomic_load_n(&space->media->table[i], __ATOMIC_ACQUIRE))
			continue;
		/* A huge block in front of it may reach here, and its words be lost. */
		if (i > space->media->first_chunk)
			dh_space_load(space, i - 1);
		if (!atomic_load(&space->chunks[i].loaded))
			return i;
	}
	return 0;
}

/*
 * Where a new span fits, or a span with a free block in a chunk that was not read before.
 * *unit is DH_UNITS_PER_CHUNK for a chunk to be formatted.
 */
static int find_place(struct dh_space *space, unsigned class, uint16_t tag, uint64_t *chunk_out,
		      unsigned *unit, struct dh_span **partial)
{
	uint64_t chunk = space->first_fit[class];
	unsigned loads = 0;

	for (; chunk < space->media->chunks; chunk++) {
		struct dh_chunk *state = &space->chunks[chunk];

		if (!atomic_load(&state->loaded)) {
			uint64_t untouched = 0;
			int err;

			if (loads++ == LOADS_MAX)
				untouched = find_untouched(space, chunk);
			if (untouched) {
				*chunk_out = untouched;
				*unit = DH_UNITS_PER_CHUNK;
				return 0;
			}
			err = load_and_list(space, chunk);
			if (err)
				return err;
			*partial = find_partial(space, class, tag);
			if (*partial)
				return 0;
		} else if (atomic_load(&state->units)) {
			list_loaded(space, chunk);
			*partial = find_partial(space, class, tag);
			if (*partial)
				return 0;
		}
		if (atomic_load(&state->kind) == DH_CHUNK_SPANS &&
		    !find_units(space, class, chunk, unit))
			continue;
		if (atomic_load(&state->kind) != DH_CHUNK_SPANS) {
			if (!chunk_is_free(space, chunk))
				continue;
			*unit = DH_UNITS_PER_CHUNK;
		}
		space->first_fit[class] = chunk;
		*chunk_out = chunk;
		return 0;
	}
	space->first_fit[class] = chunk;
	return no_space(dh_class_size(class));
}

static int new_span(struct dh_space *space, struct dh_traffic *traffic, uint64_t chunk,
		    unsigned unit, unsigned class, uint16_t tag, struct dh_span **span)
{
	int err;

	if (unit == DH_UNITS_PER_CHUNK) {
		dh_space_load(space, chunk);
		err = add_chunk(space, traffic, chunk);
		if (err)
			return err;
		find_units(space, class, chunk, &unit);
	}
	err = make_span(space, atomic_load(&space->chunks[chunk].units), chunk, unit, class, tag,
			span);
	if (err)
		return err;
	err = format_span(space, traffic, *span);
	if (err)
		drop_span(space, *span);
	return err;
}

int dh_space_take_span(struct dh_space *space, struct dh_traffic *traffic,
		       struct dh_cache *cache, unsigned class, uint16_t tag,
		       struct dh_span **span_out)
{
	struct dh_span *span;
	uint64_t chunk = 0;
	unsigned unit = 0;
	int err = 0;

	dh_lock(&space->lock);
	span = find_partial(space, class, tag);
	if (!span)
		err = find_place(space, class, tag, &chunk, &unit, &span);
	if (!err && span)
		dh_span_list_remove(&space->partial[class], span);
	else if (!err)
		err = new_span(space, traffic, chunk, unit, class, tag, &span);
	if (!err) {
		span->state = DH_SPAN_ALONE;
		atomic_store(&span->owner, cache);
		dh_span_collect(span);
		*span_out = span;
	}
	dh_unlock(&space->lock);
	return err;
}

void dh_space_give_span(struct dh_space *space, struct dh_span *span)
{
	dh_lock(&space->lock);
	atomic_store(&span->owner, NULL);
	settle_span(space, span);
	dh_unlock(&space->lock);
}

void dh_space_collect_nobodys(struct dh_space *space, struct dh_span *span)
{
	dh_lock(&space->lock);
	if (!atomic_load(&span->owner) && span->state != DH_SPAN_UNUSED) {
		if (span->state == DH_SPAN_LISTED)
			dh_span_list_remove(&space->partial[span->class], span);
		settle_span(space, span);
	}
	dh_unlock(&space->lock);
}

/* --- huge blocks --- */

/* First of @length free chunks in a row; 0: there are none. */
static int find_free_chunks(struct dh_space *space, uint64_t length, uint64_t *first)
{
	uint64_t run = 0;
	bool at_first = true;

	for (uint64_t i = space->first_free; i < space->media->chunks; i++) {
		int err = atomic_load(&space->chunks[i].loaded) ? 0 : load_and_list(space, i);

		if (err)
			return err;
		run = chunk_is_free(space, i) ? run + 1 : 0;
		if (run && at_first) {
			space->first_free = i;
			at_first = false;
		}
		if (run == length) {
			*first = i - length + 1;
			return 0;
		}
	}
	return no_space(length * DH_CHUNK_SIZE);
}

static int format_huge(struct dh_space *space, struct dh_traffic *traffic, uint64_t index,
		       uint64_t length, uint16_t tag)
{
	uint64_t *words = &space->media->table[index];

	store_word(space, &words[0], dh_chunk_payload(DH_CHUNK_HUGE_HEAD, length, tag));
	for (uint64_t i = 1; i < length; i++)
		store_word(space, &words[i], dh_chunk_payload(DH_CHUNK_HUGE_TAIL, i, tag));
	dh_flush(space->persist, traffic, words, length * sizeof(*words));
	return dh_fence(space->persist, traffic);
}

/* The chunk's units, none in use, are set aside. */
static void forget_units(struct dh_chunk *chunk)
{
	atomic_store(&chunk->last_seq, chunk_last_seq(chunk));
	atomic_store(&chunk->kind, DH_CHUNK_FREE);
	atomic_store(&chunk->units, NULL);
}

int dh_space_reserve_huge(struct dh_space *space, struct dh_traffic *traffic, uint64_t size,
			  uint16_t tag, uint64_t *offset)
{
	uint64_t length = (size + DH_CHUNK_SIZE - 1) / DH_CHUNK_SIZE, index = 0, last_seq = 0;
	int err;

	if (size > DH_SIZE_MAX)
		return no_space(size);
	dh_lock(&space->lock);
	err = find_free_chunks(space, length, &index);
	for (uint64_t i = 0; i < length && !err; i++)
		last_seq = dh_max(last_seq, chunk_last_seq(&space->chunks[index + i]));
	if (!err)
		err = wait_for_horizon(space, traffic, last_seq);
	if (!err)
		err = allocate(space, index, length);
	if (!err)
		err = format_huge(space, traffic, index, length, tag);
	if (!err) {
		for (uint64_t i = 0; i < length; i++)
			forget_units(&space->chunks[index + i]);
		set_huge(space, index, length, tag, false);
		*offset = index * DH_CHUNK_SIZE;
	}
	dh_unlock(&space->lock);
	return err;
}

void dh_space_release_huge(struct dh_space *space, uint64_t offset)
{
	struct dh_chunk *head = &space->chunks[offset / DH_CHUNK_SIZE];
	uint64_t last_seq, length;

	dh_lock(&space->lock);
	/* Given back by two at once: the second does nothing. */
	if (atomic_load(&head->kind) != DH_CHUNK_HUGE_HEAD || atomic_load(&head->live)) {
		dh_unlock(&space->lock);
		return;
	}
	last_seq = atomic_load(&head->last_seq);
	length = atomic_load(&head->length);
	for (uint64_t i = 0; i < length; i++) {
		atomic_store(&head[i].last_seq, dh_max(last_seq, atomic_load(&head[i].last_seq)));
		atomic_store(&head[i].kind, DH_CHUNK_FREE);
	}
	drop_chunk(space, offset / DH_CHUNK_SIZE);
	dh_unlock(&space->lock);
}

/* --- open, close --- */

int dh_space_open(struct dh_space *space, const struct dh_media *media,
		  struct dh_mapping *mapping, struct dh_persist *persist, struct dh_log *log)
{
	memset(space, 0, sizeof(*space));
	space->media = media;
	space->mapping = mapping;
	space->persist = persist;
	space->log = log;
	space->chunks = calloc(media->chunks, sizeof(*space->chunks));
	if (!space->chunks)
		return dh_fail(ENOMEM, "no memory to open the pool");
	dh_lock_init(&space->lock, DH_RANK_SPACE);
	dh_lock_init(&space->load_lock, DH_RANK_LOAD);
	space->first_free = media->first_chunk;
	for (unsigned class = 0; class < DH_CLASSES; class++)
		space->first_fit[class] = media->first_chunk;
	return 0;
}

void dh_space_close(struct dh_space *space)
{
	struct dh_units *units = atomic_load(&space->units);
	void **bitmaps = atomic_load(&space->bitmaps);

	while (units) {
		struct dh_units *next = units->next;

		free(units);
		units = next;
	}
	while (bitmaps) {
		void **next = bitmaps[0];

		free(bitmaps);
		bitmaps = next;
	}
	free(space->chunks);
}
