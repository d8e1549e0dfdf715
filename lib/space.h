/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which chunks, units and blocks can be reserved: the heap's state in DRAM.  A chunk's state is
 * read from the media when it is first needed; a block that is used here and not live on media
 * is a reservation.
 *
 * A span belongs to a thread's cache (cache.h), which alone takes blocks from it and gives
 * blocks back to it without a lock; or to nobody, and then it is changed under space.lock.
 *
 * What is on media in a chunk or unit may change its meaning only behind the horizon: else a
 * replay would set bits in a span that means something else.  So each keeps the greatest
 * sequence of a record that freed a block there.
 */
#ifndef DH_SPACE_H
#define DH_SPACE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block.h"
#include "lock.h"
#include "log.h"
#include "mapping.h"
#include "persist.h"

struct dh_cache;
struct dh_current;

enum dh_span_state {
	DH_SPAN_UNUSED,		/* the unit is free, or part of another span */
	DH_SPAN_CURRENT,	/* its cache takes blocks from it */
	DH_SPAN_LISTED,		/* in a list of spans with a free block */
	DH_SPAN_FULL,		/* in its cache's list of full ones; blocks may be in its remote words */
	DH_SPAN_ALONE,		/* in no list: nobody's and full, or on its way */
};

/*
 * Never freed before the heap is closed, so that a wrong pointer reads no foreign memory.  In
 * three lines: what every call reads, what the owner writes, and the rest.
 */
struct dh_span {
	/* Set when the span is made, or with its owner.  Up to `bitmap` also read by who is not sure
	 * that it is still the same span, and looks again if not: by relaxed atomic accesses. */
	_Alignas(DH_LINE_SIZE) uint64_t start;	/* offset of the first block */
	uint64_t reciprocal;		/* of the block size; see dh_span_index() */
	uint32_t size;			/* of a block */
	uint32_t blocks;
	uint64_t *bitmap;		/* on media: live blocks */
	/* A bit for each free block, 64 in a word, those behind the last block set: all ones is
	 * an empty word.  From the next line on, a bit for each block given back by others than
	 * the owner: see dh_span_remote(). */
	atomic_uint_fast64_t *free;
	struct dh_cache *_Atomic owner;	/* NULL: nobody */
	struct dh_current *current;	/* the owner's: where it takes blocks from here */
	uint16_t tag;
	uint8_t class, unit, units;
	atomic_bool has_live;		/* a block was live here since the span was made, or had I/O */
	atomic_bool had_io;		/* `io` is there; since the span was made */
	uint8_t state;			/* the owner's */

	/* The owner's. */
	_Alignas(DH_LINE_SIZE) atomic_uint_fast64_t few_free;	/* `free` of 64 blocks and less */
	bool empty;			/* counted in its cache's empty_units */
	struct dh_span *next, *prev;	/* in a list of its class */
	struct dh_span *all_next, *all_prev;	/* in its cache's list of all */
	atomic_uint_fast64_t freed_seq;	/* greatest sequence that freed a block here */

	_Alignas(DH_LINE_SIZE) atomic_uint_fast64_t few_remote;
	atomic_uint_fast64_t remote_freed_seq;
	struct dh_io *_Atomic io;	/* see underio.h */
	/* Under space.lock. */
	uint64_t chunk;
	atomic_uint_fast64_t *words;	/* `free` of more blocks: so many in all */
	uint32_t words_capacity;
	bool format_durable;		/* the descriptors on media are those of class and tag */
};

_Static_assert(sizeof(struct dh_span) == 3 * DH_LINE_SIZE, "a span is three lines");
_Static_assert(offsetof(struct dh_span, few_remote) - offsetof(struct dh_span, few_free) ==
	       DH_LINE_SIZE, "the remote word is where dh_span_remote() looks");

/* A chunk of spans.  Stays with its chunk until the heap is closed. */
struct dh_units {
	uint32_t free;				/* a bit for each unit */
	atomic_uint busy;			/* free, and being given back or given space */
	uint32_t filled;			/* all allocated by the heap, in this life */
	uint32_t holes;				/* given back, and not allocated since */
	struct dh_units *next;			/* of all */
	uint64_t last_seq[DH_UNITS_PER_CHUNK];
	struct dh_span spans[DH_UNITS_PER_CHUNK];	/* by their first unit */
};

/* Chunk kinds of the media, and these: a free one that is being given back to the file system, or
 * given space by it; and a damaged one, which is left alone. */
#define DH_CHUNK_BUSY 14
#define DH_CHUNK_DAMAGED 15

/* What the chunk has of the file system; spare.h. */
enum dh_chunk_space {
	DH_SPACE_UNKNOWN,		/* since the open */
	DH_SPACE_NONE,
	DH_SPACE_SOME,			/* all, or what an earlier life left of it */
	DH_SPACE_ALL,
};

struct dh_chunk {
	struct dh_units *_Atomic units;	/* of a loaded chunk of spans */
	struct dh_units *kept;		/* of a chunk that was one */
	atomic_uchar loaded;
	atomic_uchar kind;		/* enum dh_chunk_kind, or DH_CHUNK_DAMAGED */
	atomic_bool live;		/* of a huge head */
	uint8_t space;			/* enum dh_chunk_space; space.lock */
	uint16_t tag;
	/* By how many rings its pages are registered: while not 0, they must stay the file's. */
	atomic_ushort registered;
	atomic_uint length;		/* of a huge head, in chunks; of a tail, the distance */
	atomic_uint io;			/* of a huge head; see underio.h */
	atomic_uint_fast64_t last_seq;
};

/* A block, live or not, that a byte of the pool lies in. */
struct dh_found {
	struct dh_span *span;		/* NULL: a huge one */
	struct dh_chunk *huge;
	uint64_t index;			/* in its span */
	uint64_t offset;
};

struct dh_span_list {
	struct dh_span *first, *last;
};

/* What a thread takes space for from the file system; grow.h. */
struct dh_growth {
	uint64_t first, count;		/* chunks; 0: nobody does */
	uint64_t ahead;			/* and so many behind them, if there is enough */
	uint64_t words;			/* of the chunk table: so many from its start */
	uint32_t units;			/* not 0: these of the one chunk, and not the chunk */
};

struct dh_space {
	struct dh_lock lock;
	struct dh_lock load_lock;
	const struct dh_media *media;
	struct dh_mapping *mapping;
	struct dh_persist *persist;
	struct dh_log *log;
	struct dh_chunk *chunks;
	struct dh_span *_Atomic *spans;	/* for each unit of the pool the span that it is part of */
	/* Under the lock: */
	struct dh_span_list partial[DH_CLASSES];	/* spans of nobody with a free block */
	uint64_t first_fit[DH_CLASSES];		/* no chunk before it has room for a span */
	uint64_t first_free;				/* no chunk before it is free */
	uint64_t words_allocated;			/* of the chunk table */
	uint64_t end;				/* no chunk from it on may be used now */
	uint64_t trimming;				/* runs and units taken by spare.h, for a while */
	bool left;					/* some were, and may stay so for long */
	struct dh_growth growth;
	uint64_t spare;					/* see spare.h */
	uint64_t due_at;				/* so many are to be given back */
	atomic_bool *due;				/* told then */
	/* Memory, freed at close. */
	void *_Atomic kept;
	struct dh_units *_Atomic units;
};

/* Operations in flight on each block of a span.  Stays until the heap is closed. */
struct dh_io {
	uint32_t capacity;
	atomic_uint count[];
};

/* Set in the count of a block that was given back, and waits for the last completion. */
#define DH_IO_FREED (1u << 31)

/* span.c */
static inline uint32_t dh_units_mask(unsigned unit, unsigned count)
{
	return (uint32_t)(((UINT64_C(1) << count) - 1) << unit);
}

/* The bits of word number @word of `free` that are for blocks; the others are set. */
static inline uint64_t dh_span_word_mask(const struct dh_span *span, uint64_t word)
{
	uint64_t blocks = span->blocks - word * 64;

	return blocks < 64 ? (UINT64_C(1) << blocks) - 1 : UINT64_MAX;
}

/* In whole lines, since the owner stores to `free` and others to the remote words. */
static inline unsigned dh_span_words(unsigned blocks)
{
	return (blocks + 511) / 512 * 8;
}

static inline atomic_uint_fast64_t *dh_span_remote(const struct dh_span *span)
{
	return span->free + dh_span_words(span->blocks);
}

/* Zeroed memory that stays until the heap is closed, since others may look there; NULL: none. */
void *dh_space_keep(struct dh_space *space, size_t size);
/* NULL: no memory. */
struct dh_units *dh_units_new(struct dh_space *space);
/* A span with all blocks free, nobody's, in no list, and not shown yet.  -ENOMEM. */
int dh_span_make(struct dh_space *space, struct dh_units *units, uint64_t chunk, unsigned unit,
		 unsigned class, uint16_t tag, struct dh_span **span);
/* From now on dh_span_at() finds it. */
void dh_span_show(struct dh_space *space, struct dh_span *span);
/* The greatest sequence that freed a block of it. */
uint64_t dh_span_last_seq(const struct dh_span *span);
/* Makes the blocks in the remote words free; by the owner, or under space.lock. */
bool dh_span_collect(struct dh_span *span);
/* A block in the remote words is not free yet. */
bool dh_span_full(const struct dh_span *span);
bool dh_span_empty(const struct dh_span *span);
void dh_span_list_add_first(struct dh_span_list *list, struct dh_span *span);
void dh_span_list_add_last(struct dh_span_list *list, struct dh_span *span);
void dh_span_list_remove(struct dh_span_list *list, struct dh_span *span);

/* load.c */
/* Reads the chunk's state if that was not done yet.  -EBADMSG: it is damaged; -ENOMEM. */
int dh_space_load(struct dh_space *space, uint64_t chunk);
/* The chunks are those of a huge block from now on. */
void dh_space_set_huge(struct dh_space *space, uint64_t chunk, uint64_t length, uint16_t tag,
		       bool live);

/* space.c */
bool dh_chunk_is_free(struct dh_space *space, uint64_t index);
/* The chunk's units, none in use, are set aside; it is free. */
void dh_chunk_forget_units(struct dh_chunk *chunk);
void dh_space_lower_hints(struct dh_space *space, uint64_t chunk);
/* dh_space_load() under the lock: what is found can be given out.  0 for a damaged chunk. */
int dh_space_load_and_list(struct dh_space *space, uint64_t index);

int dh_space_open(struct dh_space *space, const struct dh_media *media,
		  struct dh_mapping *mapping, struct dh_persist *persist, struct dh_log *log,
		  atomic_bool *due);
void dh_space_close(struct dh_space *space);

/*
 * A span of @class and @tag with a free block, owned by @cache from now on: one of nobody's,
 * or a new one, formatted, fenced.
 */
int dh_space_take_span(struct dh_space *space, struct dh_traffic *traffic,
		       struct dh_cache *cache, unsigned class, uint16_t tag,
		       struct dh_span **span);
/* The owner gives it up; an empty span's units become free. */
void dh_space_give_span(struct dh_space *space, struct dh_span *span);

/* Reserves whole chunks. */
int dh_space_reserve_huge(struct dh_space *space, struct dh_traffic *traffic, uint64_t size,
			  uint16_t tag, uint64_t *offset);

/* Gives back a block of which the caller does not own the span. */
void dh_space_release(struct dh_space *space, const struct dh_found *found);
/* The same, of a span. */
void dh_space_release_remote(struct dh_space *space, struct dh_span *span, uint64_t index);

/*
 * The number of the block that the byte at @offset lies in, span->blocks or more if in none; and
 * whether the block starts there.  The reciprocal is 2^64 / size, rounded up by less than 1: for
 * the 2^21 bytes of a chunk the product's error stays below the reciprocal itself, so the integer
 * part is exact, and so is that only multiples of the size have a fraction below it.
 */
static __always_inline uint64_t dh_span_index(const struct dh_span *span, uint64_t offset,
					      bool *starts)
{
	uint64_t start = __atomic_load_n(&span->start, __ATOMIC_RELAXED);
	uint64_t reciprocal = __atomic_load_n(&span->reciprocal, __ATOMIC_RELAXED);
	unsigned __int128 product = (unsigned __int128)(offset - start) * reciprocal;

	*starts = (uint64_t)product < reciprocal;
	return (uint64_t)(product >> 64);
}

static inline uint64_t dh_span_offset(const struct dh_span *span, uint64_t index)
{
	return __atomic_load_n(&span->start, __ATOMIC_RELAXED) +
	       index * __atomic_load_n(&span->size, __ATOMIC_RELAXED);
}

static inline bool dh_span_live(const struct dh_span *span, uint64_t index)
{
	const uint64_t *bitmap = __atomic_load_n(&span->bitmap, __ATOMIC_RELAXED);

	return __atomic_load_n(&bitmap[index / DH_WORD_BITS], __ATOMIC_ACQUIRE) >>
		       index % DH_WORD_BITS & 1;
}

static inline bool dh_bit(const atomic_uint_fast64_t *words, uint64_t index)
{
	return atomic_load_explicit(&words[index / 64], memory_order_relaxed) >> index % 64 & 1;
}

/* The span that the byte at @offset, inside the pool, lies in; NULL: none that is loaded. */
static __always_inline struct dh_span *dh_span_at(const struct dh_space *space, uint64_t offset)
{
	return atomic_load_explicit(&space->spans[offset / DH_UNIT_SIZE], memory_order_acquire);
}

/* Everything but the common case: 0, -EINVAL (in no block; no message), -EBADMSG. */
int dh_find_slow(struct dh_space *space, uint64_t offset, struct dh_found *found);

/* @offset is inside the pool. */
static __always_inline int dh_find(struct dh_space *space, uint64_t offset, struct dh_found *found)
{
	struct dh_span *span = dh_span_at(space, offset);
	bool starts;

	if (__builtin_expect(!span, 0))
		return dh_find_slow(space, offset, found);
	found->span = span;
	found->index = dh_span_index(span, offset, &starts);
	if (__builtin_expect(found->index >= __atomic_load_n(&span->blocks, __ATOMIC_RELAXED), 0))
		return -EINVAL;
	found->offset = dh_span_offset(span, found->index);
	return 0;
}

static inline uint64_t dh_found_size(const struct dh_found *found)
{
	return found->span ? __atomic_load_n(&found->span->size, __ATOMIC_RELAXED) :
			     atomic_load(&found->huge->length) * DH_CHUNK_SIZE;
}

static inline uint16_t dh_found_tag(const struct dh_found *found)
{
	return found->span ? found->span->tag : found->huge->tag;
}

static __always_inline bool dh_found_live(const struct dh_found *found)
{
	if (__builtin_expect(!found->span, 0))
		return atomic_load_explicit(&found->huge->live, memory_order_acquire);
	return dh_span_live(found->span, found->index);
}

/* Whether the block, of a span that had I/O or a huge one, waits for a completion, given back. */
bool dh_found_waits(const struct dh_found *found);

/* In use by somebody: reserved or live. */
static __always_inline bool dh_found_used(const struct dh_found *found)
{
	struct dh_span *span = found->span;

	if (__builtin_expect(!span, 0))
		return !dh_found_waits(found);
	if (dh_bit(span->free, found->index) || dh_bit(dh_span_remote(span), found->index))
		return false;
	return __builtin_expect(!atomic_load_explicit(&span->had_io, memory_order_relaxed), 1) ||
	       !dh_found_waits(found);
}

/* The greatest sequence that freed a block of the span or chunk; see format.h. */
static __always_inline uint64_t dh_found_freed_seq(const struct dh_found *found)
{
	if (__builtin_expect(!found->span, 0))
		return atomic_load_explicit(&found->huge->last_seq, memory_order_relaxed);
	return dh_max(atomic_load_explicit(&found->span->freed_seq, memory_order_relaxed),
		      atomic_load_explicit(&found->span->remote_freed_seq,
					   memory_order_relaxed));
}

#endif
