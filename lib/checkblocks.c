/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What says which blocks there are, and which live: chunk words, span records, bitmaps.
 * Each word is judged alone, then by what it must agree with.
 */
#include <unistd.h>

#include "check.h"

#define HEADER_WORDS (DH_CHUNK_HEADER_SIZE / sizeof(uint64_t))

static bool word_valid(const struct dh_check *check, const uint64_t *at)
{
	return dh_word_valid(*at, dh_media_offset(&check->media, at));
}

static uint64_t payload_mask(unsigned bits)
{
	return (UINT64_C(1) << bits) - 1;
}

/* --- span records --- */

/* What one of the 32 records says; a tail's `units` is the distance. */
struct unit {
	struct dh_span_record *record;
	uint64_t offset;		/* of the unit */
	bool known;			/* the descriptor or its copy passes its check */
	struct dh_span_word span;
	unsigned last_live;		/* block of the last live bit that passes, plus 1 */
	unsigned bad_words;		/* of the bitmap */
};

static struct dh_span_word decode(uint64_t payload)
{
	return (struct dh_span_word){
		.kind = payload & 0xf,
		.class = payload >> 8 & 0xff,
		.units = payload >> 16 & 0xff,
		.tag = payload >> 24 & 0xffff,
	};
}

/* Descriptor and copy are stored under one fence before a block lives: either may stand for
 * the other. */
static void settle_descriptor(struct dh_check *check, struct unit *unit)
{
	uint64_t *descriptor = &unit->record->descriptor, *copy = &unit->record->copy;
	bool valid = word_valid(check, descriptor), copy_valid = word_valid(check, copy);

	unit->known = valid || copy_valid;
	unit->span = decode(valid ? *descriptor : *copy);
	if (valid == copy_valid)
		return;
	if (valid)
		dh_check_put_word(check, copy, dh_word_payload(*descriptor));
	else
		dh_check_put_word(check, descriptor, dh_word_payload(*copy));
	dh_check_fixable(check, dh_media_offset(&check->media, valid ? copy : descriptor),
			 sizeof(*copy), valid ? "makes it anew from the descriptor" :
						"makes it anew from its copy",
			 "%s of a span fails its check",
			 valid ? "the copy of the descriptor" : "the descriptor");
}

static void put_descriptor(struct dh_check *check, struct unit *unit, uint64_t payload)
{
	dh_check_put_word(check, &unit->record->descriptor, payload);
	dh_check_put_word(check, &unit->record->copy, payload);
	unit->known = true;
	unit->span = decode(payload);
}

/* The span is in use, so that both were stored. */
static void check_copy(struct dh_check *check, struct unit *unit)
{
	uint64_t payload = dh_word_payload(unit->record->descriptor);
	uint64_t *copy = &unit->record->copy;

	if (dh_word_payload(*copy) == payload)
		return;
	dh_check_put_word(check, copy, payload);
	dh_check_fixable(check, dh_media_offset(&check->media, copy), sizeof(*copy),
			 "makes it anew from the descriptor",
			 "the copy of a span's descriptor is another span's");
}

static void read_unit(struct dh_check *check, uint64_t chunk, unsigned index, struct unit *unit)
{
	*unit = (struct unit){
		.record = dh_span_record(&check->media, chunk, index),
		.offset = chunk * DH_CHUNK_SIZE + index * DH_UNIT_SIZE,
	};
	settle_descriptor(check, unit);
	for (unsigned i = 0; i < DH_SPAN_BITMAP_WORDS; i++) {
		const uint64_t *word = &unit->record->bitmap[i];
		uint64_t payload = dh_word_payload(*word);

		if (!word_valid(check, word))
			unit->bad_words++;
		else if (payload)
			unit->last_live = i * DH_WORD_BITS + 64 -
					  (unsigned)__builtin_clzll(payload);
	}
}

static void check_empty_word(struct dh_check *check, uint64_t *word)
{
	if (word_valid(check, word) && !dh_word_payload(*word))
		return;
	dh_check_put_word(check, word, 0);
	dh_check_fixable(check, dh_media_offset(&check->media, word), sizeof(*word),
			 "writes it anew", "a reserved word of a span record is not what all are");
}

static void check_reserved(struct dh_check *check, struct unit *unit)
{
	for (unsigned i = 0; i < sizeof(unit->record->reserved) / sizeof(uint64_t); i++)
		check_empty_word(check, &unit->record->reserved[i]);
	check_empty_word(check, &unit->record->spare);
}

/* The bitmap's words from @from on belong to no block that could live. */
static void clear_bad_words(struct dh_check *check, struct unit *unit, unsigned from)
{
	unsigned first = DH_SPAN_BITMAP_WORDS, end = 0;

	for (unsigned i = from; i < DH_SPAN_BITMAP_WORDS; i++) {
		if (word_valid(check, &unit->record->bitmap[i]))
			continue;
		dh_check_put_word(check, &unit->record->bitmap[i], 0);
		if (i < first)
			first = i;
		end = i + 1;
	}
	if (end)
		dh_check_fixable(check, dh_media_offset(&check->media,
							&unit->record->bitmap[first]),
				 (end - first) * sizeof(uint64_t), "writes them anew",
				 "bitmap words of a span record fail their check; no live block "
				 "depends on them");
}

static bool is_head(const struct unit *unit, unsigned index)
{
	uint64_t first;

	return unit->known && unit->span.kind == DH_SPAN_HEAD && unit->span.class < DH_CLASSES &&
	       unit->span.units == dh_class_units(unit->span.class) &&
	       dh_span_blocks(unit->span.class, index, &first);
}

static bool is_tail(const struct unit *unit, unsigned distance)
{
	return unit->known && unit->span.kind == DH_SPAN_TAIL && unit->span.units == distance;
}

/* Whether the unit may be the tail of a live span, as far as is known. */
static bool may_be_tail(const struct unit *unit, unsigned distance)
{
	return !unit->last_live && (!unit->known || is_tail(unit, distance));
}

/* As many units as a span that starts here may have. */
static unsigned reach(const struct unit *units, unsigned index)
{
	unsigned count = 1;

	while (index + count < DH_UNITS_PER_CHUNK && may_be_tail(&units[index + count], count))
		count++;
	return count;
}

static unsigned bad_words_below(const struct dh_check *check, const struct unit *unit,
				unsigned words)
{
	unsigned bad = 0;

	for (unsigned i = 0; i < words; i++)
		bad += !word_valid(check, &unit->record->bitmap[i]);
	return bad;
}

/* Bitmap words that fail in a span whose blocks are known: all that they stand for is kept. */
static void keep_bad_words(struct dh_check *check, struct unit *unit, unsigned first_block_at,
			   unsigned blocks)
{
	uint64_t size = dh_class_size(unit->span.class);
	uint64_t chunk_offset = unit->offset / DH_CHUNK_SIZE * DH_CHUNK_SIZE;

	for (unsigned i = 0; i * DH_WORD_BITS < blocks; i++) {
		uint64_t *word = &unit->record->bitmap[i];
		unsigned first = i * DH_WORD_BITS, count = blocks - first;

		if (word_valid(check, word))
			continue;
		if (count > DH_WORD_BITS)
			count = DH_WORD_BITS;
		dh_check_put_word(check, word, payload_mask(count));
		dh_check_fixable(check, dh_media_offset(&check->media, word), sizeof(*word),
				 "keeps its blocks as live", "a bitmap word fails its check");
		dh_check_unknown(check, chunk_offset + first_block_at + first * size,
				 count * size, "which of these %u blocks of %llu bytes are live "
				 "can't be known", count, (unsigned long long)size);
	}
}

static void clear_bits_behind(struct dh_check *check, struct unit *unit, unsigned blocks)
{
	for (unsigned i = blocks / DH_WORD_BITS; i < DH_SPAN_BITMAP_WORDS; i++) {
		uint64_t *word = &unit->record->bitmap[i];
		unsigned first = i * DH_WORD_BITS;
		uint64_t payload = dh_word_payload(*word);
		uint64_t mask = first < blocks ? payload_mask(blocks - first) : 0;

		if (!word_valid(check, word) || !(payload & ~mask))
			continue;
		dh_check_put_word(check, word, payload & mask);
		dh_check_fixable(check, dh_media_offset(&check->media, word), sizeof(*word),
				 "clears its bit", "a block behind the span's last one is live");
	}
}

/* Returns how many units the span has to itself. */
static unsigned check_tails(struct dh_check *check, struct unit *units, unsigned index)
{
	unsigned count = units[index].span.units;

	for (unsigned i = 1; i < count; i++) {
		struct unit *tail = &units[index + i];
		uint64_t *descriptor = &tail->record->descriptor;
		uint64_t offset = dh_media_offset(&check->media, descriptor);

		if (tail->last_live) {
			dh_check_damage(check, offset, sizeof(*descriptor),
					"a span with live blocks overlaps the one before it; "
					"which of them is right can't be told");
			return i;
		}
		if (!is_tail(tail, i)) {
			const char *what = tail->known ? "is none" : "fails its check";

			put_descriptor(check, tail, dh_span_payload(DH_SPAN_TAIL, 0, i, 0));
			dh_check_fixable(check, offset, sizeof(*descriptor),
					 "makes it anew from the head",
					 "the descriptor of a span's tail %s", what);
		}
		check_copy(check, tail);
		clear_bad_words(check, tail, 0);
	}
	return count;
}

/* The span that starts here has live blocks, or may have. */
static unsigned check_span(struct dh_check *check, struct unit *units, unsigned index)
{
	struct unit *unit = &units[index];
	uint64_t first;
	unsigned blocks = dh_span_blocks(unit->span.class, index, &first);

	check_copy(check, unit);
	clear_bits_behind(check, unit, blocks);
	keep_bad_words(check, unit, (unsigned)first, blocks);
	clear_bad_words(check, unit, (blocks + DH_WORD_BITS - 1) / DH_WORD_BITS);
	return check_tails(check, units, index);
}

/* Whether a span of @class, were it here, would agree with all that is known of it. */
static bool class_fits(const struct dh_check *check, const struct unit *units, unsigned index,
		       unsigned class)
{
	const struct unit *unit = &units[index];
	uint64_t size = dh_class_size(class), first, start, end;
	unsigned blocks = dh_span_blocks(class, index, &first);

	if (!blocks || unit->last_live > blocks || dh_class_units(class) > reach(units, index))
		return false;
	start = unit->offset / DH_CHUNK_SIZE * DH_CHUNK_SIZE + first;
	end = unit->offset + dh_class_units(class) * DH_UNIT_SIZE;
	for (size_t i = 0; i < check->known.count; i++) {
		uint64_t ref = check->known.refs[i];

		if (ref >= unit->offset && ref < end &&
		    (ref < start || (ref - start) % size || (ref - start) / size >= blocks))
			return false;
	}
	return true;
}

/* Whether the copy of the descriptor would do where that can't be right. */
static bool copy_fits(const struct dh_check *check, const struct unit *units, unsigned index)
{
	struct unit copied = units[index];

	copied.span = decode(dh_word_payload(copied.record->copy));
	return is_head(&copied, index) && class_fits(check, units, index, copied.span.class);
}

/* A span whose descriptor is lost, and the copy too. */
static unsigned rebuild_span(struct dh_check *check, struct unit *units, unsigned index)
{
	struct unit *unit = &units[index];
	uint64_t *descriptor = &unit->record->descriptor;
	uint64_t offset = dh_media_offset(&check->media, descriptor);
	unsigned fitting = 0, found = 0, count = reach(units, index);

	for (unsigned class = 0; class < DH_CLASSES; class++) {
		if (!class_fits(check, units, index, class))
			continue;
		found = class;
		fitting++;
	}
	if (fitting != 1) {
		dh_check_damage(check, offset, sizeof(*descriptor),
				"the descriptor of a span and its copy fail their checks, and what "
				"else is known does not tell the size of its blocks");
		dh_check_unknown(check, unit->offset, count * DH_UNIT_SIZE,
				 "the live blocks here can't be told apart; their content is not "
				 "touched");
		return count;
	}
	put_descriptor(check, unit,
		       dh_span_payload(DH_SPAN_HEAD, found, dh_class_units(found), 0));
	dh_check_fixable(check, offset, sizeof(*descriptor),
			 "makes it anew, with tag 0",
			 "the descriptor of a span and its copy fail their checks; only blocks of "
			 "%llu bytes agree with what else is known",
			 (unsigned long long)dh_class_size(found));
	return check_span(check, units, index);
}

/* Returns how many units were judged. */
static unsigned check_unit(struct dh_check *check, struct unit *units, unsigned index)
{
	struct unit *unit = &units[index];
	uint64_t *descriptor = &unit->record->descriptor;

	if (is_head(unit, index)) {
		uint64_t first;
		unsigned blocks = dh_span_blocks(unit->span.class, index, &first);
		bool may_live = reach(units, index) >= unit->span.units &&
				bad_words_below(check, unit,
						(blocks + DH_WORD_BITS - 1) / DH_WORD_BITS);

		if (unit->last_live || may_live ||
		    dh_refs_within(&check->pending, unit->offset, unit->span.units * DH_UNIT_SIZE))
			return check_span(check, units, index);
		clear_bad_words(check, unit, 0);
		return 1;
	}
	if (unit->known) {
		if (unit->last_live && copy_fits(check, units, index)) {
			put_descriptor(check, unit, dh_word_payload(unit->record->copy));
			dh_check_fixable(check, dh_media_offset(&check->media, descriptor),
					 sizeof(*descriptor), "makes it anew from its copy",
					 "a span has live blocks, and its descriptor is not that "
					 "of a span");
			return check_span(check, units, index);
		}
		if (unit->last_live)
			dh_check_damage(check, dh_media_offset(&check->media, descriptor),
					sizeof(*descriptor),
					"a span has live blocks, and its descriptor is not that "
					"of a span");
		else
			clear_bad_words(check, unit, 0);
		return 1;
	}
	if (unit->last_live || unit->bad_words || !check->log_readable ||
	    dh_refs_within(&check->known, unit->offset, reach(units, index) * DH_UNIT_SIZE))
		return rebuild_span(check, units, index);
	put_descriptor(check, unit, 0);
	dh_check_fixable(check, dh_media_offset(&check->media, descriptor), sizeof(*descriptor),
			 "makes it free", "the descriptor of a span without a live block fails "
			 "its check, and so does its copy");
	return 1;
}

static void check_spans(struct dh_check *check, uint64_t chunk)
{
	struct unit units[DH_UNITS_PER_CHUNK];
	unsigned index;

	for (index = 0; index < DH_UNITS_PER_CHUNK; index++) {
		read_unit(check, chunk, index, &units[index]);
		check_reserved(check, &units[index]);
	}
	for (index = 0; index < DH_UNITS_PER_CHUNK;)
		index += check_unit(check, units, index);
}

/* --- chunk words --- */

/*
 * Whether the chunk is one of spans with blocks.  An intact header alone does not tell: it may
 * have been left behind in what is now a huge block.
 */
static bool has_spans(const struct dh_check *check, uint64_t chunk)
{
	const struct dh_span_record *records = dh_span_record(&check->media, chunk, 0);
	const uint64_t *words = &records->descriptor;
	unsigned valid = 0;

	for (unsigned i = 0; i < HEADER_WORDS; i++)
		valid += word_valid(check, &words[i]);
	if (valid <= HEADER_WORDS / 2)
		return false;
	for (unsigned unit = 0; unit < DH_UNITS_PER_CHUNK; unit++)
		for (unsigned i = 0; i < DH_SPAN_BITMAP_WORDS; i++)
			if (word_valid(check, &records[unit].bitmap[i]) &&
			    dh_word_payload(records[unit].bitmap[i]))
				return true;
	/* No block of a span starts where the chunk does. */
	return dh_refs_within(&check->pending, chunk * DH_CHUNK_SIZE + 1, DH_CHUNK_SIZE - 1);
}

/* As has_spans(), of a huge block. */
static bool has_huge(const struct dh_refs *refs, uint64_t chunk)
{
	return dh_refs_within(refs, chunk * DH_CHUNK_SIZE, 1);
}

/* Whether there is more in the chunk than a hole of the file; a device has no holes. */
static bool has_data(const struct dh_check *check, uint64_t chunk)
{
	off_t start = (off_t)(chunk * DH_CHUNK_SIZE);
	off_t data = check->mapping.is_device ? start :
						lseek(check->mapping.fd, start, SEEK_DATA);

	return data >= start && data < start + (off_t)DH_CHUNK_SIZE;
}

/*
 * How many chunks a huge block has whose head is lost, and the tag that its tails carry.  Where
 * their words are lost as well, as with a line, what has data and is nobody else's is kept.
 */
static uint64_t lost_huge(const struct dh_check *check, uint64_t chunk, uint16_t *tag)
{
	uint64_t length = 1;

	*tag = 0;
	for (uint64_t next = chunk + 1; next < check->media.chunks; next++, length++) {
		struct dh_chunk_word word;
		int err = dh_chunk_read(&check->media, next, &word);

		if (!err && word.kind == DH_CHUNK_HUGE_TAIL && word.length == length)
			*tag = word.tag;
		else if ((!err && check->media.table[next]) || !has_data(check, next) ||
			 has_spans(check, next) || has_huge(&check->known, next))
			break;
	}
	return length;
}

static void keep_as_huge(struct dh_check *check, uint64_t chunk, const char *what)
{
	uint64_t *at = &check->media.table[chunk];
	uint16_t tag;
	uint64_t length = lost_huge(check, chunk, &tag);

	dh_check_put_word(check, at, dh_chunk_payload(DH_CHUNK_HUGE_HEAD, length, tag) |
					     DH_CHUNK_LIVE);
	dh_check_fixable(check, dh_media_offset(&check->media, at), sizeof(*at),
			 "keeps the chunk as a live huge block", "%s", what);
	dh_check_unknown(check, chunk * DH_CHUNK_SIZE, length * DH_CHUNK_SIZE,
			 "whether a huge block lives here, and with which tag (now %u), can't be "
			 "known", tag);
}

/* Its word says nothing: the chunk itself must tell. */
static void rebuild_chunk(struct dh_check *check, uint64_t chunk)
{
	static const char what[] = "a chunk word fails its check";
	uint64_t *at = &check->media.table[chunk];

	if (has_huge(&check->known, chunk) || !has_spans(check, chunk)) {
		keep_as_huge(check, chunk, what);
		return;
	}
	dh_check_put_word(check, at, dh_chunk_payload(DH_CHUNK_SPANS, 0, 0));
	dh_check_fixable(check, dh_media_offset(&check->media, at), sizeof(*at),
			 "makes it anew: the chunk is one of spans", "%s", what);
}

/* A word that is 0 is one that was never written, or one that was lost with its line. */
static void check_zero(struct dh_check *check, uint64_t chunk)
{
	uint64_t *at = &check->media.table[chunk];

	if (has_huge(&check->known, chunk)) {
		keep_as_huge(check, chunk, "a chunk word is lost: a huge block that starts here is "
			     "known otherwise");
		return;
	}
	if (!has_data(check, chunk) || !has_spans(check, chunk))
		return;
	dh_check_put_word(check, at, dh_chunk_payload(DH_CHUNK_SPANS, 0, 0));
	dh_check_fixable(check, dh_media_offset(&check->media, at), sizeof(*at),
			 "makes it anew: the chunk is one of spans",
			 "a chunk word is lost: the chunk has spans with live blocks");
}

/* A live huge block; returns how many chunks it has to itself. */
static uint64_t check_huge(struct dh_check *check, uint64_t chunk,
			   const struct dh_chunk_word *head)
{
	uint64_t *table = check->media.table, length = head->length;

	if (!length || length > check->media.chunks - chunk) {
		dh_check_damage(check, dh_media_offset(&check->media, &table[chunk]),
				sizeof(*table), "a huge block has %llu chunks, which can't be",
				(unsigned long long)length);
		return 1;
	}
	for (uint64_t i = 1; i < length; i++) {
		uint64_t *at = &table[chunk + i], offset = dh_media_offset(&check->media, at);
		struct dh_chunk_word word = {0};
		bool known = !dh_chunk_read(&check->media, chunk + i, &word);

		if (known && word.kind == DH_CHUNK_HUGE_TAIL && word.length == i)
			continue;
		if (known && (word.kind == DH_CHUNK_SPANS ? has_spans(check, chunk + i) :
			      word.kind == DH_CHUNK_HUGE_HEAD && word.live)) {
			dh_check_damage(check, offset, sizeof(*at),
					"a chunk with live blocks overlaps the huge block before "
					"it; which of them is right can't be told");
			return i;
		}
		dh_check_put_word(check, at, dh_chunk_payload(DH_CHUNK_HUGE_TAIL, i, head->tag));
		dh_check_fixable(check, offset, sizeof(*at), "makes it anew from the head",
				 "the chunk word of a huge block's tail %s",
				 known ? "is none" : "fails its check");
	}
	return length;
}

/* The file ends before it does, or within it. */
static void check_cut(struct dh_check *check, uint64_t chunk, const struct dh_chunk_word *word)
{
	bool is_huge = word->kind == DH_CHUNK_HUGE_HEAD;

	if (word->kind == DH_CHUNK_SPANS || (is_huge && word->live))
		dh_check_damage(check, chunk * DH_CHUNK_SIZE,
				(is_huge ? word->length : 1) * DH_CHUNK_SIZE,
				"the file was truncated: %s that is in use lies behind its end",
				is_huge ? "a huge block" : "a chunk");
}

/* Of a chunk behind the end of the file there is no more than its word. */
static void check_word_behind(struct dh_check *check, uint64_t chunk)
{
	uint64_t *at = &check->media.table[chunk];
	struct dh_chunk_word word = {0};

	if (!dh_chunk_read_word(&check->media, chunk, &word)) {
		check_cut(check, chunk, &word);
		return;
	}
	dh_check_put_word(check, at, 0);
	dh_check_fixable(check, dh_media_offset(&check->media, at), sizeof(*at), "makes it free",
			 "a chunk word fails its check; the chunk lies behind the file's end");
}

/* Returns how many chunks were judged. */
static uint64_t check_chunk(struct dh_check *check, uint64_t chunk)
{
	struct dh_chunk_word word = {0};
	int err;

	if (!dh_media_has(&check->media, chunk, 1)) {
		check_word_behind(check, chunk);
		return 1;
	}
	err = dh_chunk_read_word(&check->media, chunk, &word);
	if (!err && word.length <= check->media.chunks - chunk &&
	    dh_chunk_read(&check->media, chunk, &word)) {
		check_cut(check, chunk, &word);
		return 1;
	}
	/* All but a huge block's, of which no byte is metadata. */
	if (err || word.kind == DH_CHUNK_SPANS || (!word.kind && has_data(check, chunk)))
		dh_check_readable(check, chunk * DH_CHUNK_SIZE, DH_CHUNK_HEADER_SIZE);
	if (err || word.kind > DH_CHUNK_HUGE_TAIL)
		rebuild_chunk(check, chunk);
	else if (!check->media.table[chunk])
		check_zero(check, chunk);
	dh_chunk_read(&check->media, chunk, &word);
	if (word.kind == DH_CHUNK_SPANS)
		check_spans(check, chunk);
	if (word.kind == DH_CHUNK_HUGE_HEAD && (word.live || has_huge(&check->pending, chunk)))
		return check_huge(check, chunk, &word);
	return 1;
}

void dh_check_blocks(struct dh_check *check)
{
	uint64_t chunk = check->media.first_chunk;

	while (chunk < check->media.chunks)
		chunk += check_chunk(check, chunk);
}
