/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks as the media knows them: which block a byte of the pool belongs to, and whether it
 * lives.  Reads chunk words and span records alone, takes no lock, and believes nothing:
 * every word is checked.
 */
#ifndef DH_BLOCK_H
#define DH_BLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "format.h"
#include "persist.h"

struct dh_media {
	char *base;
	uint64_t *table;		/* the chunk table */
	uint64_t first_chunk;
	uint64_t chunks;		/* that there may be, those in front of the first included */
	const atomic_uint_fast64_t *length;	/* of the file, in bytes */
};

void dh_media_init(struct dh_media *media, char *base, const struct dh_superblock *sb,
		   const atomic_uint_fast64_t *length);

/* Whether the file has all of these chunks. */
static inline bool dh_media_has(const struct dh_media *media, uint64_t chunk, uint64_t count)
{
	uint64_t present = atomic_load_explicit(media->length, memory_order_acquire) /
			   DH_CHUNK_SIZE;

	return chunk <= present && count <= present - chunk;
}

static inline uint64_t dh_media_offset(const struct dh_media *media, const void *at)
{
	return (uint64_t)((const char *)at - media->base);
}

struct dh_block {
	uint64_t offset;
	uint64_t size;
	uint16_t tag;
	uint64_t *word;			/* that says whether it lives: one bit of it */
	uint64_t mask;
};

/* What a chunk word says. */
struct dh_chunk_word {
	enum dh_chunk_kind kind;
	bool live;
	uint16_t tag;			/* of a head */
	uint64_t length;		/* of a head, in chunks; of a tail, the distance */
};

#define DH_CHUNK_LIVE (UINT64_C(1) << 4)

uint64_t dh_chunk_payload(enum dh_chunk_kind kind, uint64_t length, uint16_t tag);
/* -EBADMSG: the word fails its check, or says that the chunk is in use, and the file ends before
 * it. */
int dh_chunk_read(const struct dh_media *media, uint64_t chunk, struct dh_chunk_word *word);
/* The same, wherever the file ends. */
int dh_chunk_read_word(const struct dh_media *media, uint64_t chunk, struct dh_chunk_word *word);

struct dh_span_word {
	enum dh_span_kind kind;
	unsigned class;
	unsigned units;			/* of a head; of a tail, the distance */
	uint16_t tag;
};

uint64_t dh_span_payload(enum dh_span_kind kind, unsigned class, unsigned units,
			 uint16_t tag);
struct dh_span_record *dh_span_record(const struct dh_media *media, uint64_t chunk,
				      unsigned unit);
/* -EBADMSG: the descriptor fails its check. */
int dh_span_read(const struct dh_media *media, uint64_t chunk, unsigned unit,
		 struct dh_span_word *word);

/* Block number @index of the span of @class at @unit of @chunk. */
void dh_span_block(const struct dh_media *media, uint64_t chunk, unsigned unit,
		   unsigned class, unsigned index, struct dh_block *block);

/*
 * The block that the byte at @offset lies in, live or not.
 * -EINVAL: in none; -EBADMSG: a word that would tell is damaged.
 */
int dh_block_at(const struct dh_media *media, uint64_t offset, struct dh_block *block);

/* The payload of a self-checking word.  -EBADMSG: it fails its check. */
int dh_word_read(const struct dh_media *media, const uint64_t *at, uint64_t *payload);

/* 1 or 0; -EBADMSG: the word that would tell is damaged. */
int dh_block_live(const struct dh_media *media, const struct dh_block *block);

/*
 * Sets or clears the bits @mask of the self-checking word at @word, which other threads may
 * change at the same time; flushes nothing.  The word is valid.
 */
static __always_inline void dh_word_set(const struct dh_media *media, uint64_t *word, uint64_t mask,
			       bool set)
{
	uint64_t offset = dh_media_offset(media, word);
	uint64_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE), payload;

	do {
		payload = dh_word_payload(set ? seen | mask : seen & ~mask);
	} while (!dh_compare_store64(word, &seen, dh_word_make(payload, offset)));
}

/* The same, where the word was not checked before.  -EBADMSG: it is damaged. */
int dh_word_check_and_set(const struct dh_media *media, uint64_t *word, uint64_t mask,
			  bool set);

#endif
