/* SPDX-License-Identifier: BSD-3-Clause */
/* Damage to roots, chunk words, descriptors and bitmaps: told with a place, never a crash. */
#include <stdio.h>
#include <string.h>

#include "heap.h"
#include "pool.h"
#include "tree.h"

TestSuite(damage, .fini = pool_cleanup);

#define CHUNK1 DH_CHUNK_SIZE

/* Chunk 1 of spans, chunks 2 and 3 a huge block; closed, and as "copy" again. */
static void make_pool(void)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);

	pool_publish(heap, pool_root(heap, "small"), 100, 1);
	pool_publish(heap, pool_root(heap, "large"), 100000, 2);
	pool_publish(heap, pool_root(heap, "huge"), 3 * MiB, 3);
	daxheap_close(heap);
	pool_copy("pool", "copy");
}

#define must_not_open(part)                                                                    \
	do {                                                                                   \
		struct daxheap *out = (void *)1;                                               \
		must_fail(EBADMSG, daxheap_open(pool_path("copy"), 0, &out));                  \
		must_say(part);                                                                \
		must_fail(EBADMSG, daxheap_open(pool_path("copy"), DAXHEAP_READ_ONLY, &out));  \
		cr_assert_eq((void *)out, (void *)1);                                          \
	} while (0)

Test(damage, chunk_words)
{
	char part[32];

	make_pool();
	for (unsigned chunk = 1; chunk < 4; chunk++) {
		for (unsigned byte = 0; byte < 8; byte++) {
			uint64_t at = DH_TABLE_OFFSET + chunk * 8 + byte;

			pool_flip("copy", at, 1 << byte);
			snprintf(part, sizeof(part), "chunk word %u", chunk);
			must_not_open(part);
			pool_flip("copy", at, 1 << byte);
		}
	}
	daxheap_close(pool_open("copy", 0));
}

/* Every word of all 32 span records: descriptor, reserved, bitmap. */
Test(damage, span_records)
{
	make_pool();
	for (uint64_t word = 0; word < DH_CHUNK_HEADER_SIZE / 8; word += word % 96 ? 5 : 1) {
		char part[64];

		pool_flip("copy", CHUNK1 + word * 8 + word % 8, 0x20);
		snprintf(part, sizeof(part), "span %u of chunk 1", (unsigned)(word / 96));
		must_not_open(part);
		pool_flip("copy", CHUNK1 + word * 8 + word % 8, 0x20);
	}
	daxheap_close(pool_open("copy", 0));
}

/* A lost line reads as zeros; a lost page too. */
Test(damage, lost_lines_of_a_chunk_header)
{
	static const char zeros[DH_PAGE_SIZE];

	make_pool();
	for (uint64_t at = CHUNK1; at < CHUNK1 + DH_CHUNK_HEADER_SIZE; at += DH_PAGE_SIZE) {
		pool_write("copy", at, zeros, sizeof(zeros));
		must_not_open("chunk 1");
		pool_copy("pool", "copy");
		pool_write("copy", at + 64, zeros, DH_LINE_SIZE);
		must_not_open("chunk 1");
		pool_copy("pool", "copy");
	}
}

Test(damage, root_names)
{
	make_pool();
	for (unsigned byte = 8; byte < 64; byte++) {
		pool_flip("copy", DH_ROOTS_OFFSET + byte, 1);
		must_not_open("root 0");
		pool_flip("copy", DH_ROOTS_OFFSET + byte, 1);
	}
	/* The last one, with a slot in use: no cut creation. */
	pool_flip("copy", DH_ROOTS_OFFSET + 2 * 64 + 8, 1);
	must_not_open("root 2");
	pool_copy("pool", "copy");
	pool_flip("copy", DH_ROOTS_OFFSET + 10 * 64 + 20, 1);
	must_not_open("root 10");
}

/* A name that a crash cut: the entry is free, and used again. */
Test(damage, root_creation_cut_short)
{
	struct daxheap *heap;

	make_pool();
	pool_flip("copy", DH_ROOTS_OFFSET + 3 * 64 + 8, 0x41);
	heap = pool_open("copy", DAXHEAP_READ_ONLY);
	cr_assert_eq(pool_census(heap).blocks, 3);
	daxheap_close(heap);
	heap = pool_open("copy", 0);
	cr_assert_eq(*pool_root(heap, "new"), 0);
	pool_publish(heap, pool_root(heap, "new"), 64, 4);
	heap = pool_reopen(heap, "copy");
	cr_assert_neq(*pool_root(heap, "new"), 0);
	daxheap_close(heap);
}

static void write_word(uint64_t at, uint64_t payload)
{
	uint64_t word = dh_word_make(payload, at);

	pool_write("copy", at, &word, sizeof(word));
}

/* Valid words that contradict each other. */
Test(damage, contradictions)
{
	make_pool();
	write_word(DH_TABLE_OFFSET + 2 * 8, dh_chunk_payload(DH_CHUNK_HUGE_HEAD, 3) | 16);
	must_not_open("longer than the pool");
	pool_copy("pool", "copy");
	write_word(DH_TABLE_OFFSET + 2 * 8, dh_chunk_payload(DH_CHUNK_HUGE_HEAD, 0) | 16);
	must_not_open("chunk 2");
	pool_copy("pool", "copy");
	write_word(DH_TABLE_OFFSET + 3 * 8, dh_chunk_payload(DH_CHUNK_HUGE_TAIL, 2));
	must_not_open("chunk 3");
	pool_copy("pool", "copy");
	write_word(DH_TABLE_OFFSET + 1 * 8, dh_chunk_payload(9, 0));
	must_not_open("chunk word 1");
	pool_copy("pool", "copy");
	/* A live bit in a span without a descriptor, and one behind the last block. */
	write_word(CHUNK1 + 31 * 768 + 64, 1);
	must_not_open("span 31");
	pool_copy("pool", "copy");
	write_word(CHUNK1 + 87 * 8 + 64, UINT64_C(1) << 47);
	must_not_open("span 0");
	pool_copy("pool", "copy");
	/* The large block's span: a class that can't be. */
	write_word(CHUNK1 + 768, dh_span_payload(DH_SPAN_HEAD, 200, 2));
	must_not_open("span 1");
	pool_copy("pool", "copy");
	write_word(CHUNK1 + 768, dh_span_payload(DH_SPAN_HEAD, dh_class_of(100000), 32));
	must_not_open("span 1");
	pool_copy("pool", "copy");
	write_word(CHUNK1 + 2 * 768, dh_span_payload(DH_SPAN_NONE, 0, 0));
	must_not_open("overlaps");
}

/* Random words with right checks, as a hostile maker of pools would write them. */
static void hostile_word(uint64_t *random)
{
	static const unsigned kinds[] = {0, 1, 2, 3, 4, 15, 16, 17, 18, 19};
	uint64_t payload = tree_random(random), at;

	switch (tree_random(random) % 3) {
	case 0:
		at = DH_TABLE_OFFSET + 8 * (1 + tree_random(random) % 3);
		payload = kinds[payload % 10] | (payload >> 40) % 5 << 8 |
			  (payload % 7 ? 0 : payload & 0xffffffff0000);
		break;
	case 1:
		at = CHUNK1 + 768 * (tree_random(random) % 32);
		payload = payload % 3 | (payload >> 8) % 64 << 8 | (payload >> 20) % 34 << 16;
		break;
	default:
		at = CHUNK1 + 8 * (tree_random(random) % (DH_CHUNK_HEADER_SIZE / 8));
		payload &= (payload >> 7) & (payload >> 13);
	}
	write_word(at, dh_word_payload(payload));
}

static void hostile_record(uint64_t *random, uint64_t seed)
{
	uint64_t places[] = {DH_ROOTS_OFFSET, DH_ROOTS_OFFSET + 64, CHUNK1 + DH_CHUNK_HEADER_SIZE,
			     CHUNK1 + DH_UNIT_SIZE, CHUNK1 + 2 * DH_UNIT_SIZE + 65536, 2 * CHUNK1,
			     3 * CHUNK1, CHUNK1 + 8 * (tree_random(random) % 100000), 0};
	unsigned lane = (unsigned)(tree_random(random) % DH_LANES);
	struct dh_record record = {
		.seq = tree_random(random) >> tree_random(random) % 63,
		.position = tree_random(random) % 2 ? tree_random(random) % 4 :
						      tree_random(random),
		.lane = (uint16_t)lane,
		.horizon = tree_random(random) % 3,
		.slot = places[tree_random(random) % 9],
		.value = places[tree_random(random) % 9],
		.freed = places[tree_random(random) % 9],
	};

	record.checksum = dh_record_checksum(&record, seed);
	pool_write("copy", DH_LOG_OFFSET + (lane * DH_RING + record.position % DH_RING) * 64,
		   &record, sizeof(record));
}

/* Uses what opened, as far as it lets us: anything but a crash or a hang is right. */
static void use(struct daxheap *heap, uint64_t *random)
{
	struct daxheap_block block = {0};
	daxheap_ref *root;
	void *new_block;

	for (int i = 0; i < 5000 && daxheap_next(heap, &block) > 0; i++)
		daxheap_usable_size(heap, daxheap_ptr(heap, block.ref));
	for (int i = 0; i < 20; i++) {
		static const char *const names[] = {"small", "large", "huge"};

		if (daxheap_root(heap, names[i % 3], &root))
			continue;
		daxheap_free(heap, root);
		if (daxheap_alloc(heap, tree_random(random) % (3 * MiB), &new_block))
			continue;
		if (daxheap_publish(heap, root, new_block))
			daxheap_cancel(heap, new_block);
	}
}

Test(damage, hostile_metadata)
{
	uint64_t random = 20240607, opened = 0;
	struct dh_superblock sb;

	make_pool();
	pool_read("pool", 0, &sb, sizeof(sb));
	for (int i = 0; i < 500; i++) {
		struct daxheap *heap;
		int err;

		pool_copy("pool", "copy");
		for (uint64_t n = tree_random(&random) % 4; n < 4; n++)
			hostile_word(&random);
		for (uint64_t n = tree_random(&random) % 4; n < 3; n++)
			hostile_record(&random, dh_pool_seed(&sb));
		err = daxheap_open(pool_path("copy"), i % 2 ? DAXHEAP_READ_ONLY : 0, &heap);
		cr_assert(!err || err == -EBADMSG, "%d: %s", err, daxheap_errormsg());
		if (err)
			continue;
		opened++;
		use(heap, &random);
		daxheap_close(heap);
	}
	cr_assert_gt(opened, 20, "some are good enough to open");
}
