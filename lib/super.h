/* SPDX-License-Identifier: BSD-3-Clause */
/* The superblock and its copy. */
#ifndef DH_SUPER_H
#define DH_SUPER_H

#include "format.h"
#include "mapping.h"
#include "persist.h"

/* The superblock of a new pool of @size bytes; a random uuid. */
int dh_super_init(struct dh_superblock *sb, uint64_t size);

/* Writes copy and superblock to the mapped pool, in this order, and fences each. */
int dh_super_write(char *base, struct dh_persist *persist, const struct dh_superblock *sb);

/*
 * Reads the superblock of an open file, not mapped yet, and judges it by its copy, the
 * file's size and @flags.  Errors as daxheap_open().
 */
int dh_super_read(const struct dh_mapping *mapping, const char *path, unsigned flags,
		  struct dh_superblock *sb);

#endif
