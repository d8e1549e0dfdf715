/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A shadow of the media: what a power cut could leave of a pool.
 *
 * It listens at the persist layer.  A word stored to may have any of the values that it held
 * since its line was last flushed and fenced, or the one that was persisted then; words are
 * independent of each other, also inside a line.  What a thread flushed becomes persisted with
 * a fence of the same thread.  An image is one choice for each such word.
 */
#ifndef TEST_SHADOW_H
#define TEST_SHADOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shadow;

/* Deliberate mistakes: what the shadow pretends that the heap had not done. */
enum shadow_mistake {
	SHADOW_HONEST,
	SHADOW_NO_RECORD_FLUSH,		/* of lines of the log */
	SHADOW_NO_CONTENT_FLUSH,	/* of lines of blocks, by daxheap_persist() */
	SHADOW_NO_WRITE_BACK,		/* of slots and bitmaps, when the horizon advances */
	SHADOW_NO_FENCE,
	SHADOW_NO_RECOVERY_FLUSH,	/* of the log, when it is opened */
};

/*
 * Called with each image while it lies in the file behind shadow_image_path().  It may let
 * another shadow listen meanwhile; if it writes to the image, it says so.  It runs in a thread
 * of its own, while the thread that flushed or fenced waits.
 */
typedef void shadow_check(void *arg);

/*
 * A shadow of the mapped pool of @size bytes at @base, all of which is durable now; @base may
 * be NULL: then the first flush tells it, which an open makes for the root table.
 */
struct shadow *shadow_new(const char *base, const void *durable, size_t size,
			  enum shadow_mistake mistake, unsigned seed);
/* After kill -9: the same media with the same stores not yet settled, to be opened anew. */
struct shadow *shadow_after_kill(const struct shadow *shadow);
void shadow_free(struct shadow *shadow);

/*
 * Listens from now on, and calls @check with images after each flush and fence: with nothing
 * of what is not settled, with all of it, and with @samples random choices.  After each flush
 * it calls @at_flush, if not NULL, which may let another shadow listen meanwhile.
 */
void shadow_listen(struct shadow *shadow, unsigned samples, shadow_check *check,
		   shadow_check *at_flush, void *arg);
void shadow_stop(void);
/* Without a base: the first store or flush is at this offset, else a flush of the roots. */
void shadow_starts_at(struct shadow *shadow, size_t offset);
/* Tells a store that did not go through the persist layer: content. */
void shadow_stored(const void *at, size_t size);
/* Offset of the last flush: where the heap is. */
size_t shadow_last_flush(const struct shadow *shadow);
/* Forms images now. */
void shadow_try(struct shadow *shadow);

const char *shadow_image_path(void);
/* The image's bytes, to be read. */
const void *shadow_image(void);
/* By a check: it wrote to the image. */
void shadow_image_spoiled(void);
uint64_t shadow_images(void);

#endif
