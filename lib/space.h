/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Free space: which chunks, units and blocks can be reserved.  Lives in DRAM and is rebuilt
 * from the media at open; a block that is used here and not live on media is a reservation.
 *
 * What is on media in a chunk or unit may change its meaning only behind the horizon: else a
 * replay would set bits in a span that means something else.  So each keeps the greatest
 * sequence of a record that touched it.
 */
#ifndef DH_SPACE_H
#define DH_SPACE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "block.h"
#include "log.h"
#include "persist.h"

struct dh_span;

/* A chunk of spans. */
struct dh_units {
	uint32_t free;				/* a bit for each unit */
	struct dh_span *spans[DH_UNITS_PER_CHUNK];	/* by each of their units */
	uint64_t last_seq[DH_UNITS_PER_CHUNK];
};

struct dh_chunk {
	enum dh_chunk_kind kind;
	uint32_t length;			/* of a huge head, in chunks */
	uint64_t last_seq;
	struct dh_units *units;			/* of a chunk of spans */
};

struct dh_usage {
	uint64_t used_blocks, used_bytes;	/* live and reserved */
	uint64_t live_blocks, live_bytes;
};

struct dh_space {
	pthread_mutex_t lock;
	const struct dh_media *media;
	struct dh_persist *persist;
	struct dh_log *log;
	struct dh_chunk *chunks;
	struct dh_span *partial[DH_CLASSES];	/* spans with a free block */
	struct dh_usage usage;
};

/*
 * Reads all chunk words, span records and bitmaps of the pool, after replay.
 * -EBADMSG, -ENOMEM.
 */
int dh_space_open(struct dh_space *space, const struct dh_media *media,
		  struct dh_persist *persist, struct dh_log *log);
void dh_space_close(struct dh_space *space);

/* Formats what is reserved and fences it, so that a record may name the block. */
int dh_space_reserve(struct dh_space *space, uint64_t size, uint64_t *offset);

/* Whether @block, of this place and size, is in use: reserved or live. */
bool dh_space_used(struct dh_space *space, const struct dh_block *block);

/* After the record @seq made @block live. */
void dh_space_published(struct dh_space *space, const struct dh_block *block, uint64_t seq);
/* After the record @seq freed it: it may be reserved anew. */
void dh_space_freed(struct dh_space *space, const struct dh_block *block, uint64_t seq);
/* Gives a reservation back. */
void dh_space_cancel(struct dh_space *space, const struct dh_block *block);

void dh_space_usage(struct dh_space *space, struct dh_usage *usage);

#endif
