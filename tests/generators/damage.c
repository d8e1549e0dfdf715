/* SPDX-License-Identifier: BSD-3-Clause */
#include <err.h>

#include "block.h"
#include "damage.h"
#include "file.h"
#include "pools.h"

uint64_t seed(void)
{
	return dh_pool_seed((const struct dh_superblock *)file);
}

uint64_t *word_at(uint64_t offset)
{
	return (uint64_t *)(file + offset);
}

void flip(uint64_t offset)
{
	file[offset] ^= 0x10;
}

void put_word(uint64_t offset, uint64_t payload)
{
	*word_at(offset) = dh_word_make(payload, offset);
}

uint64_t root_at(unsigned index)
{
	return DH_ROOTS_OFFSET + index * sizeof(struct dh_root);
}

uint64_t chunk_word(uint64_t chunk)
{
	return DH_TABLE_OFFSET + chunk * 8;
}

uint64_t record_word(unsigned unit, unsigned word)
{
	return CHUNK1 + unit * sizeof(struct dh_span_record) + word * 8;
}

uint64_t copy_word(unsigned unit)
{
	return record_word(unit, offsetof(struct dh_span_record, copy) / 8);
}

uint64_t bitmap_word(unsigned unit, unsigned word)
{
	return record_word(unit, 8 + word);
}

unsigned unit_of(uint64_t size)
{
	for (unsigned unit = 0; unit < DH_UNITS_PER_CHUNK; unit++) {
		uint64_t payload = dh_word_payload(*word_at(record_word(unit, 0)));

		if ((payload & 0xf) == DH_SPAN_HEAD &&
		    (payload >> 8 & 0xff) == dh_class_of(size))
			return unit;
	}
	errx(1, "no span of %llu bytes", (unsigned long long)size);
}

unsigned free_unit(void)
{
	for (unsigned unit = DH_UNITS_PER_CHUNK - 1; unit; unit--)
		if (!dh_word_payload(*word_at(record_word(unit, 0))))
			return unit;
	errx(1, "no free unit");
}

struct dh_record *newest_record(void)
{
	struct dh_record *newest = NULL, *records = (struct dh_record *)(file + DH_LOG_OFFSET);

	for (unsigned i = 0; i < LANES * RING; i++)
		if (records[i].seq && (!newest || records[i].seq > newest->seq))
			newest = &records[i];
	return newest;
}

struct dh_record *record_before(unsigned back)
{
	struct dh_record *newest = newest_record();
	uint64_t position = dh_record_position(newest);

	return newest - position % RING + (position - back) % RING;
}

uint64_t offset_of(const void *at)
{
	return (uint64_t)((const char *)at - file);
}

void fix_record(struct dh_record *record)
{
	record->checksum = dh_record_checksum(record, seed());
}
