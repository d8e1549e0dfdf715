/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the fields are in the file, and ways to damage them. */
#ifndef GENERATORS_DAMAGE_H
#define GENERATORS_DAMAGE_H

#include "format.h"

#define CHUNK1		DH_CHUNK_SIZE

uint64_t seed(void);
uint64_t *word_at(uint64_t offset);
uint64_t offset_of(const void *at);
/* One bit of the byte. */
void flip(uint64_t offset);
/* With a checksum that is right. */
void put_word(uint64_t offset, uint64_t payload);

/* Offsets in the file; units are those of chunk 1. */
uint64_t root_at(unsigned index);
uint64_t chunk_word(uint64_t chunk);
uint64_t record_word(unsigned unit, unsigned word);
uint64_t copy_word(unsigned unit);
uint64_t bitmap_word(unsigned unit, unsigned word);

/* The unit of chunk 1 where the span of blocks of @size starts. */
unsigned unit_of(uint64_t size);
unsigned free_unit(void);

struct dh_record *newest_record(void);
/* That of the lane of the newest record, @back positions before it. */
struct dh_record *record_before(unsigned back);
/* Makes its checksum right. */
void fix_record(struct dh_record *record);

#endif
