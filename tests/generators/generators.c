/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A generator of damage for each metadata field, and the verdict that check must give.
 *
 * Each case takes a fresh copy of a pool, damages one field, and compares: what check finds
 * and where, what repair does, whether the pool opens after it, and whether each block that
 * was reachable still lives, with its size and content.  Prints TAP.
 */
#include <string.h>

#include "block.h"
#include "cases.h"
#include "damage.h"
#include "fields.h"
#include "file.h"
#include "wrap.h"

/* The mapping still has the bytes, and check must not use them. */
static void poison(void)
{
	static const struct field pages[] = {
		{"poisoned superblock copy", DH_COPY_OFFSET}, {"poisoned roots", DH_ROOTS_OFFSET},
		{"poisoned horizon", DH_HORIZON_OFFSET}, {"poisoned log", DH_LOG_OFFSET},
		{"poisoned chunk table", DH_TABLE_OFFSET}, {"poisoned spans", CHUNK1},
		{"poisoned spans, second page", CHUNK1 + DH_PAGE_SIZE},
	};

	for (unsigned i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		start(POOL_CLOSED);
		poisoned = pages[i].offset;
		expect_found(pages[i].name, pages[i].offset);
		poisoned = 0;
	}
}

/* A case must fail by damage that it can see but check cannot, or its passing means nothing. */
static void controls(void)
{
	static const atomic_uint_fast64_t file_length = POOL_SIZE;
	const struct reached *last = &contents[POOL_CLOSED].blocks[60];
	struct dh_media media;
	struct dh_block block;
	uint64_t word;

	start(POOL_CLOSED);
	dh_media_init(&media, file, (struct dh_superblock *)file, &file_length);
	must(dh_block_at(&media, last->ref, &block), "block");
	word = offset_of(block.word);
	put_word(word, dh_word_payload(*word_at(word)) & ~block.mask);
	expect_noticed("control: a lost block is noticed", "a reachable block does not live");
	start(POOL_CLOSED);
	flip(last->ref);
	expect_noticed("control: lost content is noticed", "a block has another content");
}

/* What was not damaged is clean; and what must live on there. */
static void undamaged(void)
{
	static const char *const names[] = {
		"a closed pool", "a crashed pool", "a pool of which the newest record is lost",
		"a pool of which the newest action is lost",
	};

	for (unsigned kind = 0; kind < POOLS; kind++) {
		start(kind);
		if (kind >= POOL_TORN)
			memset(newest_record(), 0, sizeof(struct dh_record));
		content_reach(&contents[kind]);
		expect(names[kind], kind, CLEAN, 0);
	}
}

int main(void)
{
	pools_make();
	file_make();
	undamaged();
	superblocks();
	roots();
	horizons();
	records();
	extents();
	chunk_words();
	stale_header();
	descriptors();
	bitmaps();
	poison();
	controls();
	return cases_end();
}
