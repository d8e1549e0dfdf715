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

struct dh_units *dh_units_new(struct dh_space *space)
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
int dh_span_make(struct dh_space *space, struct dh_units *units, uint64_t chunk,
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
	units->free &= ~dh_units_mask(unit, span->units);
	*span_out = span;
	return 0;
}

uint64_t dh_span_last_seq(const struct dh_span *span)
{
	return dh_max(atomic_load(&span->freed_seq), atomic_load(&span->remote_freed_seq));
}
