/* SPDX-License-Identifier: BSD-3-Clause */
/* A generator of damage for each metadata field. */
#ifndef GENERATORS_FIELDS_H
#define GENERATORS_FIELDS_H

#include <stdint.h>

struct field {
	const char *name;
	uint64_t offset;
};

void superblocks(void);
void roots(void);

void horizons(void);
void records(void);
void extents(void);

void chunk_words(void);
void stale_header(void);

void descriptors(void);
void bitmaps(void);

#endif
