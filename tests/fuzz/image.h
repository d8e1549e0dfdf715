/* SPDX-License-Identifier: BSD-3-Clause */
/* Pool images for the fuzzer: a few good ones, made by the library, and patches to them. */
#ifndef FUZZ_IMAGE_H
#define FUZZ_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format.h"

#define IMAGE_SIZE	(UINT64_C(5) * DH_CHUNK_SIZE)
#define IMAGE_REFS	64u
#define ARENA_SIZE	(IMAGE_SIZE + 2 * DH_CHUNK_SIZE)

enum image_kind { IMAGE_FRESH, IMAGE_USED, IMAGE_PENDING, IMAGE_FULL, IMAGES };

/* The file that the library opens, in memory. */
extern const char *image_path;

/* Makes the images; exits if that fails. */
void images_make(void);

/* Gives the file the content of an image. */
void image_restore(enum image_kind kind);

/* Bytes that the file has now: a pool grows, up to the limit that its superblock tells. */
uint64_t image_length(void);

/*
 * A patch changes one 8-byte word of a structure, and makes the structure's checksums right
 * again, unless FUZZ_LEAVE_DAMAGED.
 */
enum patch_kind {
	PATCH_RAW,		/* any word of metadata */
	PATCH_SUPERBLOCK,	/* and its copy */
	PATCH_ROOT,
	PATCH_HORIZON,
	PATCH_RECORD,
	PATCH_CHUNK_WORD,
	PATCH_DESCRIPTOR,
	PATCH_HEADER_WORD,	/* of a chunk of spans */
	PATCH_EXTENT,		/* an entry of a record's extent */
	PATCH_CONTENT,		/* of a live block */
	PATCH_LOST_LINE,	/* reads as zeros */
	PATCH_LOST_PAGE,
	PATCH_INTENT,		/* of a trim, to whatever chunks */
	PATCHES,
};

#define PATCH_LEAVE_DAMAGED	0x80u
#define PATCH_BYTES		12u

/* @patch: kind, where (two bytes), how, value (eight bytes). */
void image_patch(const uint8_t *patch);

/* A patch gave a record a sequence or position so great that no other can follow. */
extern bool image_exhausted;

/* arena.c: the pool that was open is closed. */
void arena_release(void);

#endif
