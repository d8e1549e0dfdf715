/* SPDX-License-Identifier: BSD-3-Clause */
/* Spans: their lists, their bitmaps in DRAM. */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "space.h"

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
	atomic_uint_fast64_t *remote = dh_span_remote(span);
	bool any = false;

	for (unsigned i = 0; i * 64 < span->blocks; i++) {
		uint64_t free, back;

		if (!atomic_load(&remote[i]))
			continue;
		free = atomic_load_explicit(&span->free[i], memory_order_relaxed);
		/* What is free already was given back twice by an erring application. */
		back = atomic_exchange(&remote[i], 0) & ~free;
		atomic_store_explicit(&span->free[i], free | back, memory_order_relaxed);
		any |= back != 0;
	}
	return any;
}

bool dh_span_full(const struct dh_span *span)
{
	for (unsigned i = 0; i * 64 < span->blocks; i++)
		if (atomic_load_explicit(&span->free[i], memory_order_relaxed) &
		    dh_span_word_mask(span, i))
			return false;
	return true;
}

bool dh_span_empty(const struct dh_span *span)
{
	for (unsigned i = 0; i * 64 < span->blocks; i++)
		if (atomic_load_explicit(&span->free[i], memory_order_relaxed) != UINT64_MAX)
			return false;
	return true;
}

void *dh_space_keep(struct dh_space *space, size_t size)
{
	/* A line in front for the list of all. */
	void **memory = aligned_alloc(DH_LINE_SIZE,
				      (2 * DH_LINE_SIZE - 1 + size) & ~(size_t)(DH_LINE_SIZE - 1));

	if (!memory)
		return NULL;
	memset(memory, 0, DH_LINE_SIZE + size);
	memory[0] = atomic_load(&space->kept);
	while (!atomic_compare_exchange_weak(&space->kept, &memory[0], memory))
		;
	return (char *)memory + DH_LINE_SIZE;
}

/* Room for the bitmaps in DRAM.  Outgrown ones stay, as somebody may still look there. */
static int give_words(struct dh_space *space, struct dh_span *span, unsigned blocks)
{
	const unsigned words = dh_span_words(blocks);

	if (blocks > 64 && 2 * words > span->words_capacity) {
		atomic_uint_fast64_t *memory =
			dh_space_keep(space, 2 * words * sizeof(*memory));

		if (!memory)
			return dh_fail(ENOMEM, "no memory");
		span->words = memory;
		span->words_capacity = 2 * words;
	}
	span->free = blocks > 64 ? span->words : &span->few_free;
	__atomic_store_n(&span->blocks, blocks, __ATOMIC_RELAXED);
	for (unsigned i = 0; i * 64 < blocks; i++) {
		atomic_store(&span->free[i], UINT64_MAX);
		atomic_store(&dh_span_remote(span)[i], 0);
	}
	return 0;
}

/* All counts are 0, as no block is under I/O. */
static void forget_io(struct dh_span *span, unsigned blocks)
{
	const struct dh_io *io = atomic_load(&span->io);

	atomic_store(&span->had_io, false);
	if (io && io->capacity < blocks)
		atomic_store(&span->io, NULL);
}

struct dh_units *dh_units_new(struct dh_space *space)
{
	struct dh_units *units = aligned_alloc(DH_LINE_SIZE, sizeof(*units));

	if (!units) {
		dh_fail(ENOMEM, "no memory");
		return NULL;
	}
	memset(units, 0, sizeof(*units));
	units->free = UINT32_MAX;
	units->next = atomic_load(&space->units);
	while (!atomic_compare_exchange_weak(&space->units, &units->next, units))
		;
	return units;
}

int dh_span_make(struct dh_space *space, struct dh_units *units, uint64_t chunk,
		     unsigned unit, unsigned class, uint16_t tag, struct dh_span **span_out)
{
	struct dh_span *span = &units->spans[unit];
	uint64_t first = 0, size = dh_class_size(class);
	unsigned blocks = dh_span_blocks(class, unit, &first);

	if (give_words(space, span, blocks))
		return -ENOMEM;
	forget_io(span, blocks);
	__atomic_store_n(&span->start, chunk * DH_CHUNK_SIZE + first, __ATOMIC_RELAXED);
	__atomic_store_n(&span->size, (uint32_t)size, __ATOMIC_RELAXED);
	__atomic_store_n(&span->reciprocal, UINT64_MAX / size + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&span->bitmap, dh_span_record(space->media, chunk, unit)->bitmap,
			 __ATOMIC_RELAXED);
	span->format_durable &= span->class == class && span->tag == tag;
	span->chunk = chunk;
	span->class = (uint8_t)class;
	span->unit = (uint8_t)unit;
	span->units = (uint8_t)dh_class_units(class);
	span->tag = tag;
	span->empty = false;
	atomic_store(&span->has_live, false);
	span->state = DH_SPAN_ALONE;
	atomic_store(&span->owner, NULL);
	atomic_store(&span->freed_seq, 0);
	atomic_store(&span->remote_freed_seq, 0);
	/* It has seen what its units saw. */
	for (unsigned i = 0; i < span->units; i++)
		atomic_store(&span->freed_seq, dh_max(atomic_load(&span->freed_seq),
						      units->last_seq[unit + i]));
	units->free &= ~dh_units_mask(unit, span->units);
	*span_out = span;
	return 0;
}

void dh_span_show(struct dh_space *space, struct dh_span *span)
{
	for (unsigned i = 0; i < span->units; i++)
		atomic_store_explicit(&space->spans[span->chunk * DH_UNITS_PER_CHUNK +
						    span->unit + i], span, memory_order_release);
}

uint64_t dh_span_last_seq(const struct dh_span *span)
{
	return dh_max(atomic_load(&span->freed_seq), atomic_load(&span->remote_freed_seq));
}
