/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "error.h"
#include "grow.h"
#include "space.h"
#include "spare.h"

#define LOADS_MAX 16u		/* chunks read in search of a partial span, before a new one */

void dh_space_lower_hints(struct dh_space *space, uint64_t chunk)
{
	if (chunk < space->first_free)
		space->first_free = chunk;
	for (unsigned class = 0; class < DH_CLASSES; class++)
		if (space->first_fit[class] > chunk)
			space->first_fit[class] = chunk;
}

/* Makes an empty span's units free; it is in no list. */
static void drop_span(struct dh_space *space, struct dh_span *span)
{
	uint64_t chunk = span->chunk;
	struct dh_units *units = atomic_load(&space->chunks[chunk].units);

	for (unsigned i = 0; i < span->units; i++) {
		atomic_store(&space->spans[chunk * DH_UNITS_PER_CHUNK + span->unit + i], NULL);
		units->last_seq[span->unit + i] = dh_span_last_seq(span);
	}
	span->state = DH_SPAN_UNUSED;
	units->free |= dh_units_mask(span->unit, span->units);
	/* A chunk of free units is free for a huge block as well. */
	if (dh_chunk_is_free(space, chunk))
		dh_spare_freed(space, chunk);
	dh_space_lower_hints(space, chunk);
}

/* --- chunks --- */

bool dh_chunk_is_free(struct dh_space *space, uint64_t index)
{
	struct dh_chunk *chunk = &space->chunks[index];
	struct dh_units *units = atomic_load(&chunk->units);
	unsigned kind = atomic_load(&chunk->kind);

	return kind == DH_CHUNK_FREE ||
	       (kind == DH_CHUNK_SPANS && units && units->free == UINT32_MAX &&
		!atomic_load(&units->busy));
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

static int no_space(uint64_t size)
{
	return dh_fail(ENOMEM, "no free space for a block of %llu bytes: free some, or move to "
		       "a larger pool", (unsigned long long)size);
}

/* Some comes back when the kernel is done with it. */
static int no_space_yet(uint64_t size)
{
	return dh_fail(ENOMEM, "no free space for a block of %llu bytes while the kernel is still "
		       "at what a trim had to leave to it: try again later, or free some",
		       (unsigned long long)size);
}

/* -EAGAIN: what is being given back can be used again soon, and so can the end of the file; and
 * what is being given space. */
static int no_space_now(const struct dh_space *space, uint64_t size)
{
	if (space->trimming || space->growth.count)
		return -EAGAIN;
	return space->left ? no_space_yet(size) : no_space(size);
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
	err = dh_grow_chunks(space, index, 1);
	if (!err)
		err = wait_for_horizon(space, traffic, chunk_last_seq(chunk));
	if (err)
		return err;
	if (!units)
		units = chunk->kept = dh_units_new(space);
	if (!units)
		return -ENOMEM;
	for (unsigned i = 0; i < DH_UNITS_PER_CHUNK; i++) {
		units->spans[i].format_durable = false;
		units->last_seq[i] = 0;
	}
	units->filled = UINT32_MAX;
	units->holes = 0;
	err = format_spans(space, traffic, index);
	if (err)
		return err;
	atomic_store(&chunk->kind, DH_CHUNK_SPANS);
	atomic_store_explicit(&chunk->units, units, memory_order_release);
	return 0;
}

/* Puts a span of nobody, in no list, where it belongs by what is used. */
static void settle_span(struct dh_space *space, struct dh_span *span)
{
	dh_span_collect(span);
	if (dh_span_empty(span)) {
		drop_span(space, span);
	} else if (dh_span_full(span)) {
		span->state = DH_SPAN_ALONE;
	} else {
		dh_span_list_add_first(&space->partial[span->class], span);
		span->state = DH_SPAN_LISTED;
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

int dh_space_load_and_list(struct dh_space *space, uint64_t index)
{
	int err = dh_space_load(space, index);

	if (!err)
		list_loaded(space, index);
	/* A damaged chunk is left alone: there are others. */
	return err == -EBADMSG ? 0 : err;
}

/* --- taking spans --- */

static struct dh_span *find_partial(struct dh_space *space, unsigned class, uint16_t tag)
{
	struct dh_span *span = space->partial[class].first;

	while (span && span->tag != tag)
		span = span->next;
	return span;
}

/* While a growth is under way, a place that needs one as well is none: see no_space_now(). */
static bool is_place(struct dh_space *space, uint64_t chunk)
{
	return dh_chunk_is_free(space, chunk) &&
	       (!space->growth.count || space->chunks[chunk].space == DH_SPACE_ALL);
}

static uint64_t end_of_places(const struct dh_space *space)
{
	uint64_t had = atomic_load(&space->mapping->length) / DH_CHUNK_SIZE;

	return space->growth.count && had < space->end ? had : space->end;
}

static bool find_units(struct dh_space *space, unsigned class, uint64_t chunk,
		       unsigned *unit_out)
{
	const struct dh_units *units = atomic_load(&space->chunks[chunk].units);
	uint32_t usable = units->free & ~atomic_load(&units->busy);
	unsigned count = dh_class_units(class);
	uint64_t first;

	if (space->growth.count)
		usable &= units->filled;
	for (unsigned unit = 0; unit + count <= DH_UNITS_PER_CHUNK; unit++) {
		uint32_t mask = dh_units_mask(unit, count);

		if ((usable & mask) == mask && dh_span_blocks(class, unit, &first)) {
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
	err = wait_for_horizon(space, traffic, dh_span_last_seq(span));
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

/*
 * A chunk that was never used, or is known to be free, without reading what is in those before; 0:
 * none seen.
 */
static uint64_t find_untouched(struct dh_space *space, uint64_t from)
{
	for (uint64_t i = from; i < space->end; i++)
		if ((atomic_load(&space->chunks[i].loaded) ||
		     !__atomic_load_n(&space->media->table[i], __ATOMIC_ACQUIRE)) &&
		    !dh_space_load(space, i) && dh_chunk_is_free(space, i))
			return i;
	return 0;
}

/*
 * Where a new span fits, or a span with a free block in a chunk that was not read before.
 * *unit is DH_UNITS_PER_CHUNK for a chunk to be formatted.
 */
static int find_place(struct dh_space *space, unsigned class, uint16_t tag, uint64_t *chunk_out,
		      unsigned *unit, struct dh_span **partial)
{
	const uint64_t end = end_of_places(space);
	uint64_t chunk = space->first_fit[class];
	unsigned loads = 0;

	for (; chunk < end; chunk++) {
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
			err = dh_space_load_and_list(space, chunk);
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
			if (!is_place(space, chunk))
				continue;
			*unit = DH_UNITS_PER_CHUNK;
		}
		if (!space->growth.count)
			space->first_fit[class] = chunk;
		*chunk_out = chunk;
		return 0;
	}
	if (!space->growth.count)
		space->first_fit[class] = chunk;
	return no_space_now(space, dh_class_size(class));
}

static int new_span(struct dh_space *space, struct dh_traffic *traffic, uint64_t chunk,
		    unsigned unit, unsigned class, uint16_t tag, struct dh_span **span)
{
	bool was_free;
	int err;

	if (unit == DH_UNITS_PER_CHUNK) {
		err = add_chunk(space, traffic, chunk);
		if (err)
			return err;
		find_units(space, class, chunk, &unit);
	}
	/* They may have been given back, or in an earlier life. */
	err = dh_grow_units(space, chunk, dh_units_mask(unit, dh_class_units(class)));
	if (err)
		return err;
	was_free = dh_chunk_is_free(space, chunk);
	err = dh_span_make(space, atomic_load(&space->chunks[chunk].units), chunk, unit, class, tag,
			span);
	if (err)
		return err;
	dh_span_show(space, *span);
	if (was_free)
		dh_spare_used(space, chunk);
	err = format_span(space, traffic, *span);
	if (err)
		drop_span(space, *span);
	return err;
}

static int take_span(struct dh_space *space, struct dh_traffic *traffic, struct dh_cache *cache,
		     unsigned class, uint16_t tag, struct dh_span **span_out)
{
	struct dh_span *span = find_partial(space, class, tag);
	uint64_t chunk = 0;
	unsigned unit = 0;
	int err = 0;

	if (!span)
		err = find_place(space, class, tag, &chunk, &unit, &span);
	if (!err && span)
		dh_span_list_remove(&space->partial[class], span);
	else if (!err)
		err = new_span(space, traffic, chunk, unit, class, tag, &span);
	if (err)
		return err;
	span->state = DH_SPAN_ALONE;
	atomic_store(&span->owner, cache);
	dh_span_collect(span);
	*span_out = span;
	return 0;
}

int dh_space_take_span(struct dh_space *space, struct dh_traffic *traffic,
		       struct dh_cache *cache, unsigned class, uint16_t tag,
		       struct dh_span **span)
{
	unsigned round = 0;
	int err;

	dh_lock(&space->lock);
	do {
		err = take_span(space, traffic, cache, class, tag, span);
	} while (dh_grow_or_wait(space, &err, &round));
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

/* After a block was put into the remote words of a span that was nobody's then. */
static void collect_nobodys(struct dh_space *space, struct dh_span *span)
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
	const uint64_t end = end_of_places(space);
	bool at_first = !space->growth.count;
	uint64_t run = 0;

	for (uint64_t i = space->first_free; i < end; i++) {
		int err = atomic_load(&space->chunks[i].loaded) ? 0 :
			  dh_space_load_and_list(space, i);

		if (err)
			return err;
		run = is_place(space, i) ? run + 1 : 0;
		if (run && at_first) {
			space->first_free = i;
			at_first = false;
		}
		if (run == length) {
			*first = i - length + 1;
			return 0;
		}
	}
	return no_space_now(space, length * DH_CHUNK_SIZE);
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

void dh_chunk_forget_units(struct dh_chunk *chunk)
{
	atomic_store(&chunk->last_seq, chunk_last_seq(chunk));
	atomic_store(&chunk->kind, DH_CHUNK_FREE);
	atomic_store(&chunk->units, NULL);
}

static int reserve_huge(struct dh_space *space, struct dh_traffic *traffic, uint64_t length,
			uint16_t tag, uint64_t *offset)
{
	uint64_t index = 0, last_seq = 0;
	int err = find_free_chunks(space, length, &index);

	if (!err)
		err = dh_grow_chunks(space, index, length);
	for (uint64_t i = 0; i < length && !err; i++)
		last_seq = dh_max(last_seq, chunk_last_seq(&space->chunks[index + i]));
	if (!err)
		err = wait_for_horizon(space, traffic, last_seq);
	if (!err)
		err = format_huge(space, traffic, index, length, tag);
	if (err)
		return err;
	for (uint64_t i = 0; i < length; i++) {
		dh_spare_used(space, index + i);
		dh_chunk_forget_units(&space->chunks[index + i]);
	}
	dh_space_set_huge(space, index, length, tag, false);
	*offset = index * DH_CHUNK_SIZE;
	return 0;
}

int dh_space_reserve_huge(struct dh_space *space, struct dh_traffic *traffic, uint64_t size,
			  uint16_t tag, uint64_t *offset)
{
	uint64_t length = (size + DH_CHUNK_SIZE - 1) / DH_CHUNK_SIZE;
	unsigned round = 0;
	int err;

	if (size > DH_SIZE_MAX || length > space->media->chunks - space->media->first_chunk)
		return no_space(size);
	dh_lock(&space->lock);
	do {
		err = reserve_huge(space, traffic, length, tag, offset);
	} while (dh_grow_or_wait(space, &err, &round));
	dh_unlock(&space->lock);
	return err;
}

static void release_huge(struct dh_space *space, uint64_t offset)
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
		dh_spare_freed(space, offset / DH_CHUNK_SIZE + i);
	}
	dh_space_lower_hints(space, offset / DH_CHUNK_SIZE);
	dh_unlock(&space->lock);
}

void dh_space_release_remote(struct dh_space *space, struct dh_span *span, uint64_t index)
{
	atomic_fetch_or(&dh_span_remote(span)[index / 64], UINT64_C(1) << index % 64);
	/* The owner may have given the span up at the same time. */
	if (!atomic_load(&span->owner))
		collect_nobodys(space, span);
}

void dh_space_release(struct dh_space *space, const struct dh_found *found)
{
	if (found->span)
		dh_space_release_remote(space, found->span, found->index);
	else
		release_huge(space, found->offset);
}

/* --- open, close --- */

/* Zero; takes memory only where it is written to. */
static void *sparse_array(size_t size)
{
	void *array = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return array == MAP_FAILED ? NULL : array;
}

static void free_arrays(struct dh_space *space)
{
	uint64_t chunks = space->media->chunks;

	if (space->chunks)
		munmap(space->chunks, chunks * sizeof(*space->chunks));
	if (space->spans)
		munmap(space->spans, chunks * DH_UNITS_PER_CHUNK * sizeof(*space->spans));
}

int dh_space_open(struct dh_space *space, const struct dh_media *media,
		  struct dh_mapping *mapping, struct dh_persist *persist, struct dh_log *log,
		  atomic_bool *due)
{
	memset(space, 0, sizeof(*space));
	space->media = media;
	space->mapping = mapping;
	space->persist = persist;
	space->log = log;
	space->chunks = sparse_array(media->chunks * sizeof(*space->chunks));
	space->spans = sparse_array(media->chunks * DH_UNITS_PER_CHUNK * sizeof(*space->spans));
	if (!space->chunks || !space->spans) {
		free_arrays(space);
		return dh_fail(ENOMEM, "no memory to open the pool");
	}
	dh_lock_init(&space->lock, DH_RANK_SPACE);
	dh_lock_init(&space->load_lock, DH_RANK_LOAD);
	space->first_free = media->first_chunk;
	space->end = media->chunks;
	space->due_at = UINT64_MAX;
	space->due = due;
	for (unsigned class = 0; class < DH_CLASSES; class++)
		space->first_fit[class] = media->first_chunk;
	return 0;
}

void dh_space_close(struct dh_space *space)
{
	struct dh_units *units = atomic_load(&space->units);
	void **kept = atomic_load(&space->kept);

	while (units) {
		struct dh_units *next = units->next;

		free(units);
		units = next;
	}
	while (kept) {
		void **next = kept[0];

		free(kept);
		kept = next;
	}
	free_arrays(space);
}
