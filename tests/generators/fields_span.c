/* SPDX-License-Identifier: BSD-3-Clause */
/* Words of the records of spans: descriptors, their copies, bitmaps. */
#include <stdio.h>
#include <string.h>

#include "block.h"
#include "cases.h"
#include "damage.h"
#include "fields.h"
#include "file.h"

void descriptors(void)
{
	unsigned small, large, none;

	start(POOL_CLOSED);
	small = unit_of(64);
	large = unit_of(100000);
	none = free_unit();
	for (unsigned byte = 0; byte < 8; byte++) {
		char name[80];

		snprintf(name, sizeof(name), "span descriptor, byte %u", byte);
		expect_flip(name, POOL_CLOSED, FIXED, record_word(small, 0) + byte);
		snprintf(name, sizeof(name), "copy of a span descriptor, byte %u", byte);
		expect_flip(name, POOL_CLOSED, FIXED, copy_word(small) + byte);
		snprintf(name, sizeof(name), "span descriptor and copy, byte %u", byte);
		start(POOL_CLOSED);
		flip(record_word(small, 0) + byte);
		flip(copy_word(small) + byte);
		expect(name, POOL_CLOSED, STAYS, record_word(small, 0));
		snprintf(name, sizeof(name), "descriptor of a tail, byte %u", byte);
		expect_flip(name, POOL_CLOSED, FIXED, record_word(large + 1, 0) + byte);
		snprintf(name, sizeof(name), "descriptor of a free unit, byte %u", byte);
		expect_flip(name, POOL_CLOSED, FIXED, record_word(none, 0) + byte);
	}
	for (unsigned word = 1; word < 8; word++) {
		expect_flip("reserved word of a span record", POOL_CLOSED, FIXED,
			    record_word(small, word) + 2);
		start(POOL_CLOSED);
		put_word(record_word(small, word), 1);
		expect("reserved word that is not 0", POOL_CLOSED, FIXED,
		       record_word(small, word));
	}
	start(POOL_CLOSED);
	put_word(record_word(small, 0), dh_span_payload(DH_SPAN_HEAD, 200, 1, 0));
	expect("span of an unknown class", POOL_CLOSED, FIXED, record_word(small, 0));
	start(POOL_CLOSED);
	put_word(record_word(small, 0), dh_span_payload(DH_SPAN_HEAD, 200, 1, 0));
	put_word(copy_word(small), dh_span_payload(DH_SPAN_HEAD, 200, 1, 0));
	expect("span of an unknown class, also in the copy", POOL_CLOSED, STAYS,
	       record_word(small, 0));
	start(POOL_CLOSED);
	put_word(record_word(small, 0), dh_span_payload(DH_SPAN_NONE, 0, 0, 0));
	expect("live blocks without a span", POOL_CLOSED, FIXED, record_word(small, 0));
	start(POOL_CLOSED);
	put_word(copy_word(small), dh_span_payload(DH_SPAN_HEAD, dh_class_of(80), 1, 0));
	expect("copy that is another span's", POOL_CLOSED, FIXED, copy_word(small));
	start(POOL_CLOSED);
	put_word(copy_word(none), dh_span_payload(DH_SPAN_HEAD, dh_class_of(80), 1, 0));
	expect("copy of a free unit, as a crash leaves it", POOL_CLOSED, CLEAN, 0);
	expect_flip("spare word of a span record", POOL_CLOSED, FIXED, copy_word(small) - 8 + 5);
	start(POOL_CLOSED);
	put_word(record_word(large + 1, 0), dh_span_payload(DH_SPAN_NONE, 0, 0, 0));
	expect("tail that says that it is none", POOL_CLOSED, FIXED, record_word(large + 1, 0));
	start(POOL_CLOSED);
	put_word(bitmap_word(large + 1, 0), 1);
	expect("live block in a span's tail", POOL_CLOSED, STAYS, record_word(large + 1, 0));
}

void bitmaps(void)
{
	unsigned small, large, none;

	start(POOL_CLOSED);
	small = unit_of(64);
	large = unit_of(100000);
	none = free_unit();
	for (unsigned byte = 0; byte < 8; byte++) {
		char name[80];

		snprintf(name, sizeof(name), "bitmap word, byte %u", byte);
		expect_flip(name, POOL_CLOSED, KEPT, bitmap_word(small, 1) + byte);
	}
	expect_flip("bitmap word of blocks that are free", POOL_CLOSED, KEPT,
		    bitmap_word(small, 10));
	expect_flip("bitmap word of a large block", POOL_CLOSED, KEPT, bitmap_word(large, 0));
	expect_flip("bitmap word behind the last block", POOL_CLOSED, FIXED,
		    bitmap_word(small, 60));
	expect_flip("bitmap word of a tail", POOL_CLOSED, FIXED, bitmap_word(large + 1, 0));
	expect_flip("bitmap word of a free unit", POOL_CLOSED, FIXED, bitmap_word(none, 5));
	start(POOL_CLOSED);
	put_word(bitmap_word(small, 60), 1);
	expect("live bit behind the last block", POOL_CLOSED, FIXED, bitmap_word(small, 60));
	start(POOL_CLOSED);
	memset(file + bitmap_word(small, 0), 0, DH_LINE_SIZE);
	expect("lost line of a bitmap", POOL_CLOSED, KEPT, bitmap_word(small, 0));
	start(POOL_CRASHED);
	flip(bitmap_word(small, 2));
	expect("bitmap word that records behind the horizon change", POOL_CRASHED, KEPT,
	       bitmap_word(small, 2));
}
