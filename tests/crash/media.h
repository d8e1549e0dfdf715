/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A shadow of the media: what is known to be persisted, and what may be.
 *
 * A word that was stored to may have any of the values that it held since its line was last
 * flushed and fenced, or the one that was persisted then; words are independent of each other,
 * also inside a line.  What a thread flushed becomes persisted with a fence of the same thread,
 * as of the time of the flush.
 *
 * The file, too, is what it was at its last sync or anything since: a length of several, and of a
 * hole each word is zero or what it was.
 *
 * Images of a media lie in a file of its own, which holds what is persisted while none is
 * tried.  The media of a recovery is made from the one whose image is recovered; it follows it
 * by the words that differ, so that no pool is ever copied.
 */
#ifndef CRASH_MEDIA_H
#define CRASH_MEDIA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mapping.h"

#define POOL_SIZE	(UINT64_C(8) << 20)
#define POOL_WORDS	(POOL_SIZE / 8)
#define WORDS_OF_LINE	8u

/* Who may flush: the actors, the main thread, one more for a foreign flush, and the file system,
 * to which holes are stores of zero. */
#define FLUSHERS	6u
#define FLUSHER_MAIN	3u
#define FLUSHER_FOREIGN	4u
#define FLUSHER_FILE	5u		/* the last */

/* Of the file since its last sync. */
#define LENGTHS_MAX	16u

/* Of more values than these the oldest are forgotten. */
#define VALUES_MAX	24u

/* A word that was stored to since its line was last persisted. */
struct unsettled {
	uint32_t word;
	uint8_t count;
	uint8_t flushed[FLUSHERS];	/* by each: so many values, and not fenced */
	uint32_t times[VALUES_MAX];	/* of the stores */
	uint64_t values[VALUES_MAX];	/* the newest last */
};

/* A pool file as its pages that are not zero. */
struct template {
	uint64_t length;
	unsigned count;
	uint32_t *pages;		/* their numbers */
	char (*bytes)[4096];
};

struct media {
	uint64_t *persisted;
	uint64_t *image;		/* the image file, mapped */
	int image_fd;
	uint64_t image_length;		/* of the image file; no more of it may be touched */
	char path[32];
	uint64_t length;		/* of the file that is persisted */
	uint64_t lengths[LENGTHS_MAX];	/* that it had since, the newest last */
	unsigned length_count;
	uint32_t *index;		/* of each word in `list`, plus 1; 0: settled */
	struct unsettled *list;
	unsigned count, max;
	uint32_t time;			/* counts stores */
	uint64_t hash;			/* of what is persisted */
	struct media *above;		/* whose images this one recovers */
	struct media *below;
	/* Words that may differ from what is persisted in `above`. */
	uint32_t *stale;
	unsigned stale_count, stale_max;
};

/* In front of all words, the hash of a pool. */
uint64_t media_word_hash(uint32_t word, uint64_t value);

/* A file of the template's pages; its descriptor, and where it is mapped. */
int media_file(const struct template *template, void **mapped);

void media_init(struct media *media, const struct template *template, struct media *above);

/* Starts as all that is persisted in `above`, with nothing unsettled. */
void media_follow(struct media *media);
/* After that: @word has @value on media. */
void media_set(struct media *media, uint32_t word, uint64_t value);
/* Or: the same words are unsettled as in `above`, flushed by nobody. */
void media_inherit(struct media *media);

/* The file has this length on media, and what lies behind is gone. */
void media_set_length(struct media *media, uint64_t length);

/* Nothing is unsettled any more: a power cut. */
void media_forget(struct media *media);
/* What is unsettled stays so, and nobody flushed it: a kill. */
void media_unflush(struct media *media);
/* What the pool holds then, in a new file; its descriptor. */
int media_new_file(const struct media *media);

/* @at is where the pool has the bytes that were stored. */
void media_store(struct media *media, uint64_t offset, size_t size, const void *at);
void media_flush(struct media *media, unsigned flusher, uint64_t offset, size_t size);
void media_fence(struct media *media, unsigned flusher);
void media_file_changed(struct media *media, enum dh_file_change change, uint64_t offset,
			uint64_t size);
static inline uint64_t media_newest_length(const struct media *media)
{
	return media->length_count ? media->lengths[media->length_count - 1] : media->length;
}
/* The image file; words of it that come to be are what is persisted. */
void media_set_image_length(struct media *media, uint64_t length);
/* It holds what is persisted again, whatever happened to it. */
void media_restore_image(struct media *media);
/* A new thread takes the place of an old one: what that one flushed it never fenced. */
void media_new_flusher(struct media *media, unsigned flusher);

/* First byte of the pool at @base that did not come by media_store(), or UINT64_MAX. */
uint64_t media_compare(const struct media *media, const char *base, bool everything);
/* The same for the image file, while no image lies in it. */
uint64_t media_compare_image(const struct media *media);

#endif
