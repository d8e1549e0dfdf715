/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Check and repair.  The file is mapped privately, and what can be rebuilt is rebuilt in this
 * mapping, also without DAXHEAP_CHECK_REPAIR, so that one wrong word hides nothing behind it;
 * with it, each word goes to the file at once.  A word is rebuilt from valid ones alone, and to
 * the same value whenever that is done: a repair that is cut short is done again.
 */
#ifndef DH_CHECK_H
#define DH_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block.h"
#include "daxheap.h"
#include "mapping.h"

/* Starts of blocks, in order. */
struct dh_refs {
	uint64_t *refs;
	size_t count;
};

struct dh_check {
	const char *path;
	bool repair;
	void (*report)(void *arg, const struct daxheap_finding *finding);
	void *arg;
	int findings;			/* that are damage or unknown */
	int err;			/* of the first write that failed */
	struct dh_mapping mapping;
	struct dh_superblock sb;
	struct dh_media media;
	/* What records behind the horizon publish; and with it what roots refer to. */
	struct dh_refs pending, known;
	bool log_readable;		/* else more may be pending */
};

/* Something is wrong that can't be put right. */
__attribute__((format(printf, 4, 5))) void dh_check_damage(struct dh_check *check,
							   uint64_t offset, uint64_t size,
							   const char *format, ...);
__attribute__((format(printf, 4, 5))) void dh_check_unknown(struct dh_check *check,
							    uint64_t offset, uint64_t size,
							    const char *format, ...);
/* @remedy: what repair does about it. */
__attribute__((format(printf, 5, 6))) void dh_check_fixable(struct dh_check *check,
							    uint64_t offset, uint64_t size,
							    const char *remedy,
							    const char *format, ...);

/* Into the private mapping, and for repair into the file. */
void dh_check_put(struct dh_check *check, void *at, const void *from, size_t size);
void dh_check_put_word(struct dh_check *check, uint64_t *at, uint64_t payload);

/* Metadata that the media can't give (poison) is a finding, and reads as zeros behind this. */
void dh_check_readable(struct dh_check *check, uint64_t offset, uint64_t size);

/* Whether one of the blocks starts in these bytes. */
bool dh_refs_within(const struct dh_refs *refs, uint64_t start, uint64_t size);

/* checkblocks.c: chunk words, span records, bitmaps. */
void dh_check_blocks(struct dh_check *check);

#endif
