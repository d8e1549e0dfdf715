/* SPDX-License-Identifier: BSD-3-Clause */
/* What format.h promises, as functions of the bytes alone. */
#include <errno.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "error.h"
#include "format.h"

uint64_t dh_class_size(unsigned class)
{
	unsigned group;

	if (class < 4)
		return 16 * (class + 1);
	group = (class - 4) / 4;
	return (UINT64_C(64) << group) + (UINT64_C(16) << group) * ((class - 4) % 4 + 1);
}

unsigned dh_class_units(unsigned class)
{
	uint64_t size = dh_class_size(class);
	unsigned units;

	for (units = 1; units < DH_UNITS_PER_CHUNK; units++) {
		uint64_t bytes = units * DH_UNIT_SIZE;

		if (size <= bytes && bytes % size <= bytes / 8)
			break;
	}
	return units;
}

/* Unit 0 is short by the chunk's header: only spans of one unit with several blocks fit. */
#define DH_UNIT0_BLOCK_MAX 8192u

unsigned dh_span_blocks(unsigned class, unsigned unit, uint64_t *first)
{
	uint64_t size = dh_class_size(class);
	uint64_t start = unit * DH_UNIT_SIZE;
	uint64_t end = start + dh_class_units(class) * DH_UNIT_SIZE;

	if (unit == 0) {
		if (size > DH_UNIT0_BLOCK_MAX)
			return 0;
		start = DH_CHUNK_HEADER_SIZE;
	}
	if (end > DH_CHUNK_SIZE)
		return 0;
	/* Both starts are multiples of any power of two up to 8192 that divides a size. */
	*first = start;
	return (unsigned)((end - start) / size);
}

uint64_t dh_pool_seed(const struct dh_superblock *sb)
{
	return XXH3_64bits(sb->uuid, sizeof(sb->uuid));
}

uint64_t dh_superblock_checksum(const struct dh_superblock *sb)
{
	return XXH3_64bits(sb, offsetof(struct dh_superblock, checksum));
}

uint64_t dh_record_checksum(const struct dh_record *record, uint64_t seed)
{
	return XXH3_64bits_withSeed(record, offsetof(struct dh_record, checksum), seed);
}

uint64_t dh_extent_checksum(const struct dh_entry *entries, uint64_t count, uint64_t seed,
			    uint64_t seq)
{
	return XXH3_64bits_withSeed(entries, count * sizeof(*entries), seed ^ seq);
}

uint64_t dh_root_checksum(const struct dh_root *root, uint64_t offset, uint64_t seed)
{
	return XXH3_64bits_withSeed(root->name, sizeof(root->name), seed ^ offset);
}

uint64_t dh_horizon_checksum(const struct dh_horizon *horizon, uint64_t offset,
			     uint64_t seed)
{
	return XXH3_64bits_withSeed(&horizon->seq, sizeof(horizon->seq), seed ^ offset);
}

uint64_t dh_intent_checksum(const struct dh_intent *intent, uint64_t seed)
{
	return XXH3_64bits_withSeed(intent, offsetof(struct dh_intent, checksum),
				    seed ^ DH_INTENT_OFFSET);
}

void dh_table_geometry(uint64_t size, uint64_t *table_offset, uint64_t *first_chunk)
{
	uint64_t bytes = size / DH_CHUNK_SIZE * sizeof(uint64_t);

	if (bytes <= DH_COPY_OFFSET - DH_TABLE_OFFSET) {
		*table_offset = DH_TABLE_OFFSET;
		*first_chunk = 1;
	} else {
		*table_offset = DH_CHUNK_SIZE;
		*first_chunk = 1 + (bytes + DH_CHUNK_SIZE - 1) / DH_CHUNK_SIZE;
	}
}

static bool geometry_valid(const struct dh_superblock *sb)
{
	uint64_t table_offset, first_chunk;

	if (sb->size < DH_SIZE_MIN || sb->size > DH_SIZE_MAX || sb->size % DH_CHUNK_SIZE)
		return false;
	dh_table_geometry(sb->size, &table_offset, &first_chunk);
	return sb->header_size == DH_PAGE_SIZE && sb->chunk_size == DH_CHUNK_SIZE &&
	       sb->lanes >= 2 && sb->lanes <= DH_LANES_MAX && sb->ring >= DH_RING_MIN &&
	       sb->ring <= DH_RING_MAX && !(sb->ring & (sb->ring - 1)) &&
	       sb->roots == DH_ROOTS &&
	       sb->log_offset == DH_LOG_OFFSET && sb->table_offset == table_offset &&
	       sb->first_chunk == first_chunk;
}

int dh_superblock_validate(const struct dh_superblock *sb, uint64_t self)
{
	if (memcmp(sb->magic, DH_MAGIC, sizeof(sb->magic)))
		return -EMEDIUMTYPE;
	if (sb->checksum != dh_superblock_checksum(sb) || sb->self != self)
		return -EBADMSG;
	if (sb->version != DH_FORMAT_VERSION || (sb->incompat & ~DH_INCOMPAT_KNOWN))
		return -EPROTONOSUPPORT;
	return geometry_valid(sb) ? 0 : -EBADMSG;
}
