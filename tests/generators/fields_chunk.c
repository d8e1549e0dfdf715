/* SPDX-License-Identifier: BSD-3-Clause */
/* Words of the chunk table. */
#include <stdio.h>
#include <string.h>

#include "block.h"
#include "cases.h"
#include "damage.h"
#include "fields.h"
#include "file.h"

void chunk_words(void)
{
	for (unsigned byte = 0; byte < 8; byte++) {
		char name[80];

		snprintf(name, sizeof(name), "chunk word of spans, byte %u", byte);
		expect_flip(name, POOL_CLOSED, FIXED, chunk_word(1) + byte);
		snprintf(name, sizeof(name), "chunk word of a huge block, byte %u", byte);
		expect_flip(name, POOL_CLOSED, KEPT, chunk_word(2) + byte);
		snprintf(name, sizeof(name), "chunk word of a huge block's tail, byte %u", byte);
		expect_flip(name, POOL_CLOSED, FIXED, chunk_word(3) + byte);
		snprintf(name, sizeof(name), "chunk word of a block of one chunk, byte %u", byte);
		expect_flip(name, POOL_CLOSED, KEPT, chunk_word(4) + byte);
	}
	expect_flip("chunk word that was never written", POOL_CLOSED, KEPT, chunk_word(5));
	for (unsigned chunk = 1; chunk < 5; chunk++) {
		char name[80];

		start(POOL_CLOSED);
		*word_at(chunk_word(chunk)) = 0;
		snprintf(name, sizeof(name), "lost chunk word %u", chunk);
		expect(name, POOL_CLOSED, chunk % 2 ? FIXED : KEPT, chunk_word(chunk));
	}
	start(POOL_CLOSED);
	memset(file + chunk_word(0), 0, DH_LINE_SIZE);
	expect("lost line of chunk words", POOL_CLOSED, KEPT, chunk_word(1));
	start(POOL_CLOSED);
	put_word(chunk_word(5), 9);
	expect("chunk word of an unknown kind", POOL_CLOSED, KEPT, chunk_word(5));
	start(POOL_CLOSED);
	put_word(chunk_word(4), dh_chunk_payload(DH_CHUNK_HUGE_HEAD, 3, 0) | DH_CHUNK_LIVE);
	expect("huge block longer than the pool", POOL_CLOSED, STAYS, chunk_word(4));
	start(POOL_CLOSED);
	put_word(chunk_word(2), dh_chunk_payload(DH_CHUNK_HUGE_HEAD, 3, 0) | DH_CHUNK_LIVE);
	expect("huge block that overlaps another", POOL_CLOSED, STAYS, chunk_word(4));
	start(POOL_CLOSED);
	put_word(chunk_word(3), dh_chunk_payload(DH_CHUNK_HUGE_TAIL, 2, 0));
	expect("tail of another distance", POOL_CLOSED, FIXED, chunk_word(3));
}

/* What is left of a chunk's life as one of spans does not make it one. */
void stale_header(void)
{
	struct reached *one = &contents[POOL_CLOSED].blocks[3];
	unsigned char byte = one->byte;

	start(POOL_CLOSED);
	for (uint64_t at = 0; at < DH_CHUNK_HEADER_SIZE; at += 8)
		put_word(one->ref + at, 0);
	/* Nor does a root know better: the reference lies in a block. */
	*word_at(contents[POOL_CLOSED].blocks[0].ref + 110 * 8) = one->ref;
	*word_at(root_at(3)) = 0;
	flip(chunk_word(one->ref / DH_CHUNK_SIZE));
	one->byte = 0;
	expect("chunk word of a huge block with an old header in it", POOL_CLOSED, KEPT,
	       chunk_word(one->ref / DH_CHUNK_SIZE));
	one->byte = byte;
}
