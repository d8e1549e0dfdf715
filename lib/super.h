/* SPDX-License-Identifier: BSD-3-Clause */
/* The superblock and its copy. */
#ifndef DH_SUPER_H
#define DH_SUPER_H

#include "format.h"
#include "mapping.h"
#include "persist.h"

/* The superblock of a new pool of @size bytes; a random uuid. */
int dh_super_init(struct dh_superblock *sb, uint64_t size, unsigned lanes, unsigned ring);

/* Writes copy and superblock to the mapped pool, in this order, and fences each. */
int dh_super_write(char *base, struct dh_persist *persist, struct dh_traffic *traffic,
		   const struct dh_superblock *sb);

/*
 * Reads the superblock of an open file, not mapped yet, and judges it by its copy, the
 * file's size and @flags.  Errors as daxheap_open().
 */
int dh_super_read(const struct dh_mapping *mapping, const char *path, unsigned flags,
		  struct dh_superblock *sb);

/* The superblock and its copy, each with its own verdict: dh_superblock_validate(). */
struct dh_super_pair {
	struct dh_superblock primary, copy;
	int primary_err, copy_err;
};

/* What the open file has; a short file reads as zero behind its end. */
int dh_super_read_pair(const struct dh_mapping *mapping, const char *path,
		       struct dh_super_pair *pair);

/* Whether both, which are valid, describe one pool. */
bool dh_super_same_pool(const struct dh_super_pair *pair);

/* The message and -errno for a pair of which at least one fails. */
int dh_super_explain(const char *path, const struct dh_super_pair *pair);

/* Writes the one that is valid in the place of the other, and makes it durable. */
int dh_super_restore(const struct dh_mapping *mapping, const char *path,
		     const struct dh_super_pair *pair);

#endif
