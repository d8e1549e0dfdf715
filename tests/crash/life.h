/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A life: a pool that is open, what it must hold, and what of it is persisted.
 *
 * The first life is that of the pool under test.  Each image that a crash of it could leave is
 * opened and begins a life of its own; that of a sample of them is listened to in turn, so that
 * recovery is crashed too.  Each life's images are tried by a thread of their own, since what
 * the heap keeps for a thread must not meet the crash.
 */
#ifndef CRASH_LIFE_H
#define CRASH_LIFE_H

#include <pthread.h>
#include <semaphore.h>

#include "claims.h"
#include "media.h"
#include "model.h"

#define LEVELS 3u

/* Deliberate mistakes of the program or of the media; those of the heap are in fault.h. */
enum mistake {
	HONEST,
	NO_FENCE,			/* fences do nothing */
	NO_RECORD_FLUSH,		/* flushes of log records do nothing */
	CONTENT_NOT_FENCED,		/* content is flushed before the publish, not fenced */
	CONTENT_FLUSHED_BY_OTHER,	/* and by another thread */
};

/* How hard images are tried. */
struct effort {
	unsigned subsets_max;		/* all subsets are tried if there are no more */
	unsigned samples;		/* random ones otherwise */
	unsigned singles_max;		/* with more words, so many of them are tried alone */
	unsigned recover_each;		/* of so many images one is crashed in its recovery */
	unsigned work_each;		/* on one of so many the heap works on */
	unsigned check_each;		/* one of so many goes through daxheap_check() */
};

#define STOCK 6u

struct store {
	uint32_t word, count;
};

struct life {
	unsigned level;			/* 0: the pool under test */
	struct daxheap *heap;		/* NULL while it is being opened */
	const char *base;
	struct media *media;		/* NULL: not listened to */
	struct model model;
	struct claims claims;
	void *stock[STOCK];		/* reserved blocks of 64 bytes */
	const struct effort *effort;	/* NULL: no images */
	/* Of an image: the heap's stores to it, to be taken back. */
	struct store *stores;
	unsigned store_count, store_max;
	bool file_changed;		/* what it did to the file, too */
	unsigned waits;			/* since something happened */
	bool growing;			/* the file is longer, and not synced */
	unsigned sets;			/* values that were set count up */
	uint64_t random;
};

/* Which life the thread works for; NULL: nobody listens. */
struct listener {
	struct life *life;
	unsigned flusher;
	/* After each event: may give the baton away.  And instead of waiting.  May be NULL. */
	void (*happened)(void);
	void (*wait)(void);
};
extern __thread struct listener *listening;

extern enum mistake mistake;

/* The media of each level; the first is of the pool under test. */
extern struct media medias[LEVELS];
/* Where in the case a life is, for messages. */
extern unsigned events;

void life_start_listening(void);
/* The program's own store. */
void life_stored(const void *at, size_t size);

/* Calls @function in the thread that tries the images of @level. */
void life_try_in(unsigned level, void (*function)(struct life *life), struct life *life);

void life_open(struct life *life, const char *path);
void life_close(struct life *life);

/* Forms the images that a crash could leave now, and tries each. */
void life_crash(struct life *life);
/* Compares the open heap, with nothing in flight, with the model. */
void life_check(struct life *life);

/* images.c */
struct image {
	const struct media *media;
	const uint8_t *choice;		/* of each unsettled word: so many of its values */
	uint64_t length;		/* of the file */
	uint64_t hash;
};
/* Calls @try for each image while it lies in the media's file. */
void images_form(struct life *life, void (*try)(struct life *life, const struct image *image));
/* One of them, a random one, happens: the power is cut. */
void images_happen(struct life *life);
/* What lies there in a pool. */
void images_name_word(uint32_t word, char *text, size_t size);
/* The words that the images in trial have and the persisted media has not. */
void images_describe(char *text, size_t size);

#endif
