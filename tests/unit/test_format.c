/* SPDX-License-Identifier: BSD-3-Clause */
/* The media format as arithmetic: classes, spans, self-checking words, checksums. */
#include "block.h"
#include "pool.h"
#include "super.h"

/* splitmix64, so that each run sees the same words. */
static uint64_t random64(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

Test(format, classes_grow_and_waste_little)
{
	cr_assert_eq(dh_class_size(0), 16);
	cr_assert_eq(dh_class_size(DH_CLASSES - 1), DH_CLASS_SIZE_MAX);
	for (unsigned class = 0; class < DH_CLASSES; class++) {
		uint64_t size = dh_class_size(class);
		uint64_t below = class ? dh_class_size(class - 1) : 0;

		cr_assert_eq(size % 16, 0);
		cr_assert_gt(size, below);
		cr_assert_eq(dh_class_of(size), class, "class %u", class);
		cr_assert_eq(dh_class_of(below + 1), class, "class %u from below", class);
		/* The worst request of a class wastes under a quarter of the block. */
		if (class >= 4)
			cr_assert_lt((size - below - 1) * 4, size, "class %u", class);
	}
}

Test(format, every_size_has_the_smallest_class_that_holds_it)
{
	for (uint64_t size = 1; size <= DH_CLASS_SIZE_MAX; size++) {
		unsigned class = dh_class_of(size);

		if (class >= DH_CLASSES || dh_class_size(class) < size ||
		    (class && dh_class_size(class - 1) >= size))
			cr_assert_fail("size %llu gets class %u", (unsigned long long)size, class);
	}
}

static bool aligned_as_promised(uint64_t size, uint64_t offset)
{
	if (size % 4096 == 0)
		return offset % 4096 == 0;
	if (size % 512 == 0 && offset % 512)
		return false;
	if (size <= 4096 && !(size & (size - 1)))
		return offset % (size < 16 ? 16 : size) == 0;
	return offset % 16 == 0;
}

/* All sizes of a class times all units: no block meets the header or leaves the span. */
static void check_span(unsigned class, unsigned unit)
{
	uint64_t size = dh_class_size(class), first;
	unsigned blocks = dh_span_blocks(class, unit, &first);
	uint64_t end = (uint64_t)(unit + dh_class_units(class)) * DH_UNIT_SIZE;

	if (!blocks)
		return;
	cr_assert_geq(first, unit ? unit * DH_UNIT_SIZE : DH_CHUNK_HEADER_SIZE);
	cr_assert_leq(first + blocks * size, end, "class %u, unit %u", class, unit);
	cr_assert_leq(end, DH_CHUNK_SIZE);
	cr_assert_leq(blocks, DH_SPAN_BITMAP_WORDS * DH_WORD_BITS);
	/* Unit 0 serves blocks of one unit: open_spans() steps by the units of a span. */
	if (!unit)
		cr_assert_eq(dh_class_units(class), 1);
	for (unsigned i = 0; i < blocks; i++) {
		uint64_t offset = first + i * size;
		uint64_t asked = class ? dh_class_size(class - 1) + 1 : 1;

		for (; asked <= size; asked++)
			if (!aligned_as_promised(asked, offset))
				cr_assert_fail("%llu bytes at %#llx", (unsigned long long)asked,
					       (unsigned long long)offset);
		/* Every request of the class, for the first blocks; for the rest the block's
		 * alignment alone, which repeats. */
		if (i >= 4)
			break;
	}
	for (unsigned i = 0; i < blocks; i++)
		cr_assert(aligned_as_promised(size, first + i * size));
}

Test(format, spans_hold_their_blocks)
{
	for (unsigned class = 0; class < DH_CLASSES; class++) {
		uint64_t first;
		unsigned units = dh_class_units(class);

		cr_assert_geq(units, 1);
		cr_assert_lt(units, DH_UNITS_PER_CHUNK, "class %u fits beside a header", class);
		/* At most an eighth of a span that does not start a chunk is lost. */
		cr_assert_leq(units * DH_UNIT_SIZE % dh_class_size(class),
			      units * DH_UNIT_SIZE / 8);
		cr_assert_gt(dh_span_blocks(class, 1, &first), 0);
		for (unsigned unit = 0; unit < DH_UNITS_PER_CHUNK; unit++)
			check_span(class, unit);
	}
}

Test(format, table_geometry_up_to_16_tib)
{
	static const uint64_t sizes[] = {
		DH_SIZE_MIN, UINT64_C(1) << 30, UINT64_C(254) << 30, UINT64_C(255) << 30,
		(UINT64_C(255) << 30) + DH_CHUNK_SIZE, UINT64_C(1) << 40, DH_SIZE_MAX,
	};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t table, first, chunks = sizes[i] / DH_CHUNK_SIZE;

		dh_table_geometry(sizes[i], &table, &first);
		cr_assert_geq(table, DH_LOG_OFFSET + DH_LANES_MAX * DH_RING_MAX * DH_LINE_SIZE);
		if (table < DH_CHUNK_SIZE)
			cr_assert_leq(table + chunks * 8, DH_COPY_OFFSET);
		else
			cr_assert_leq(table + chunks * 8, first * DH_CHUNK_SIZE);
		cr_assert_geq(first, 1);
		cr_assert_lt(first, chunks);
		/* The documented limit of the small layout. */
		cr_assert_eq(first == 1, sizes[i] <= UINT64_C(255) << 30);
	}
}

/* A wrong word shows with certainty, not with a good chance: the code guarantees it. */
Test(format, flipped_bits_of_a_word_show)
{
	uint64_t seed = 1;

	for (int i = 0; i < 100000; i++) {
		uint64_t payload = dh_word_payload(random64(&seed));
		uint64_t offset = random64(&seed) % DH_SIZE_MAX & ~UINT64_C(7);
		uint64_t word = dh_word_make(i % 4 ? payload : payload & 0xff, offset);

		cr_assert(dh_word_valid(word, offset));
		for (int bit = 0; bit < 64; bit++)
			if (dh_word_valid(word ^ UINT64_C(1) << bit, offset))
				cr_assert_fail("bit %d of %#llx at %#llx", bit,
					       (unsigned long long)word,
					       (unsigned long long)offset);
	}
}

Test(format, two_flipped_payload_bits_show)
{
	uint64_t seed = 2;

	for (int i = 0; i < 2000; i++) {
		uint64_t offset = random64(&seed) % DH_SIZE_MAX & ~UINT64_C(7);
		uint64_t word = dh_word_make(dh_word_payload(random64(&seed)), offset);

		for (int a = 0; a < 48; a++)
			for (int b = 0; b < a; b++)
				if (dh_word_valid(word ^ UINT64_C(1) << a ^ UINT64_C(1) << b,
						  offset))
					cr_assert_fail("bits %d and %d", a, b);
	}
}

/* A lost line reads as zeros or ones, a misplaced one as words of elsewhere. */
Test(format, lost_and_misplaced_words_show)
{
	uint64_t seed = 3;

	for (uint64_t offset = 0; offset < 64 * MiB; offset += 8) {
		if (dh_word_valid(0, offset) || dh_word_valid(UINT64_MAX, offset))
			cr_assert_fail("all zero or all one at %#llx", (unsigned long long)offset);
	}
	for (int i = 0; i < 20000; i++) {
		uint64_t offset = random64(&seed) % DH_SIZE_MAX & ~UINT64_C(7);
		uint64_t word = dh_word_make(dh_word_payload(random64(&seed)), offset);

		for (uint64_t distance = 8; distance <= 4096; distance += 8)
			if (dh_word_valid(word, offset + distance))
				cr_assert_fail("valid %llu further",
					       (unsigned long long)distance);
		/* The same place in other chunks. */
		for (uint64_t chunk = 1; chunk < 100; chunk++)
			if (dh_word_valid(word, offset + chunk * DH_CHUNK_SIZE))
				cr_assert_fail("valid %llu chunks further",
					       (unsigned long long)chunk);
	}
}

Test(format, each_checksum_covers_what_it_should)
{
	struct dh_superblock sb = {0};
	struct dh_record record = {.seq = 1};
	struct dh_entry entries[3] = {{8 | DH_ENTRY_SET, 1}};
	struct dh_root root = {.slot = 1, .name = "x"};
	struct dh_horizon horizon = {.seq = 1};
	uint64_t seed, sum;

	must(dh_super_init(&sb, DH_SIZE_MIN, 4, 64));
	seed = dh_pool_seed(&sb);
	sum = dh_record_checksum(&record, seed);
	for (size_t i = 0; i < 56; i++) {
		((char *)&record)[i] ^= 1;
		cr_assert_neq(dh_record_checksum(&record, seed), sum, "byte %zu", i);
		((char *)&record)[i] ^= 1;
	}
	cr_assert_neq(dh_record_checksum(&record, seed + 1), sum, "another pool's record");

	sum = dh_extent_checksum(entries, 3, seed, 7);
	for (size_t i = 0; i < sizeof(entries); i++) {
		((char *)entries)[i] ^= 1;
		cr_assert_neq(dh_extent_checksum(entries, 3, seed, 7), sum, "byte %zu", i);
		((char *)entries)[i] ^= 1;
	}
	cr_assert_neq(dh_extent_checksum(entries, 2, seed, 7), sum, "a part of it");
	cr_assert_neq(dh_extent_checksum(entries, 3, seed, 8), sum, "another record's");
	cr_assert_neq(dh_extent_checksum(entries, 3, seed + 1, 7), sum, "another pool's");

	sum = dh_root_checksum(&root, 4096, seed);
	root.slot = 2;
	cr_assert_eq(dh_root_checksum(&root, 4096, seed), sum, "the slot changes by itself");
	cr_assert_neq(dh_root_checksum(&root, 4160, seed), sum, "moved to another entry");
	root.name[46] = 'y';
	cr_assert_neq(dh_root_checksum(&root, 4096, seed), sum);

	sum = dh_horizon_checksum(&horizon, 8192, seed);
	cr_assert_neq(dh_horizon_checksum(&horizon, 8256, seed), sum, "the other copy");
	horizon.seq = 2;
	cr_assert_neq(dh_horizon_checksum(&horizon, 8192, seed), sum);
}

static int validate(struct dh_superblock *sb)
{
	sb->checksum = dh_superblock_checksum(sb);
	return dh_superblock_validate(sb, sb->self);
}

#define bad_field(field, value)                                                                \
	do {                                                                                   \
		struct dh_superblock bad = good;                                               \
		bad.field = (value);                                                           \
		cr_assert_eq(validate(&bad), -EBADMSG, "%s", #field);                          \
	} while (0)

/* A right checksum makes no layout right: each field is judged. */
Test(format, superblock_with_a_wrong_layout)
{
	struct dh_superblock good;

	must(dh_super_init(&good, DH_SIZE_MIN, 4, 64));
	cr_assert_eq(validate(&good), 0);
	bad_field(header_size, 8192);
	bad_field(size, DH_SIZE_MIN - DH_CHUNK_SIZE);
	bad_field(size, DH_SIZE_MIN + 1);
	bad_field(size, DH_SIZE_MAX + DH_CHUNK_SIZE);
	bad_field(size, UINT64_C(1) << 40);	/* the table would lie elsewhere */
	bad_field(chunk_size, 4096);
	bad_field(lanes, 1);
	bad_field(lanes, DH_LANES_MAX + 1);
	bad_field(ring, 0);
	bad_field(ring, DH_RING_MIN / 2);
	bad_field(ring, DH_RING_MIN + 1);
	bad_field(ring, DH_RING_MAX * 2);
	bad_field(roots, DH_ROOTS + 1);
	bad_field(log_offset, 0);
	bad_field(table_offset, 0);
	bad_field(first_chunk, 0);
	bad_field(first_chunk, UINT64_MAX);
	cr_assert_eq(dh_superblock_validate(&good, DH_COPY_OFFSET), -EBADMSG);
}
