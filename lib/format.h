/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The media: every byte of a pool file, format version 3.
 *
 * All integers are little endian and naturally aligned.  A reference is the offset of a
 * byte from the start of the file; 0 refers to nothing.  The file is cut into chunks of
 * 2 MiB, so that file offset, address and extent can be congruent and faults huge.
 *
 *	offset		what
 *	0		superblock
 *	4 KiB		root table: 64 entries of one line each
 *	8 KiB		horizon: two copies, one line each; then the trim's intent, one line
 *	12 KiB		log: a ring of records for each lane, one line each
 *	table		chunk table: one word for each chunk that there may be
 *	2 MiB - 4 KiB	copy of the superblock
 *	first_chunk	data chunks, up to the end of the file
 *
 * The chunk table lies at 1 MiB and first_chunk is 1 when its words fit in front of the
 * superblock's copy (pools of up to 255 GiB); else it starts with chunk 1 and first_chunk is
 * the chunk after it.
 *
 * The file may end anywhere between the last chunk in use and the superblock's `size`, its
 * limit; the chunks in front of first_chunk are always there.  It is sparse: chunks get space
 * from the file system before they are first used, and until then read as zero; free ones, and
 * free units of others, may have given it back.  It is made longer, durably, before a word
 * anywhere tells of what is new, and an open for writing makes durable the length that it
 * finds.  So a chunk behind the end is free, or the file was truncated by somebody else; a part
 * of a chunk counts as none of it.
 *
 * On device DAX create makes zero what is zero in a new file: all in front of first_chunk, and the
 * header of each chunk.
 *
 * What the media is trusted with: an aligned store of 8 bytes is atomic, and nothing
 * else is.  A line may be torn between its words, and any store that was not flushed and
 * fenced may or may not be there.  Each structure below can therefore be judged alone:
 *
 * Superblock.  Written last at create and never again.  Valid when magic, own offset and
 * checksum (XXH3 over the 4088 bytes before it, seed 0) are right.  The copy differs in
 * its own offset and checksum alone.
 *
 * Feature flags are judged as ext2 does: an unknown bit in `compat` is ignored; one in
 * `ro_compat` allows read-only opens alone; one in `incompat` forbids every open.
 *
 * Root entry.  All zero: free.  Else name and checksum (XXH3 over the name, seeded by the
 * pool and the entry's offset) must match.  A name is written once, fenced before the slot
 * is used, and never removed.  An invalid entry whose slot is 0 and behind which no entry
 * is in use is a creation that a crash cut: it is free.  The slot changes by the log alone
 * and is not covered.
 *
 * Self-checking word.  48 bits of payload below 16 bits of check, which depend on the
 * payload and on the word's own offset.  Changed by a single store, so never torn.
 *
 * Chunk word.  A self-checking word, or 0, which means free: kind, for a huge block whether
 * it is live, and for a huge block's head its length in chunks and its tag, for its tail the
 * distance to the head (and the tag, for repair alone).  A head that is not live, and a tail
 * without a live head, mean free.  It becomes 0 when no block lives in the chunk, durably: a 0
 * of a chunk of spans with live ones, or in the midst of a live huge block, is a word that was
 * lost.
 *
 * Chunk of spans.  32 units of 64 KiB.  Its first 24 KiB hold 32 span records, one for
 * each unit, of 12 lines each; what is left of unit 0 serves blocks.  A span is a run of
 * units that holds blocks of one size class and one tag; its record is the one of its first
 * unit, the others say that they are tails.  The record's words are self-checking: a
 * descriptor, from the second line on the bitmap of live blocks, 48 in a word, and in the
 * last line a copy of the descriptor, for repair alone.  A span without a live block is free,
 * whatever its descriptor says, and so is a tail without such a span.  All words of all 32 records
 * are valid and fenced before the chunk word says that this is a chunk of spans.
 *
 * Log record.  One line.  Valid when its checksum (XXH3 over the 56 bytes before it, seeded
 * by the pool) is right, its lane is the one it lies in and its position modulo the ring's
 * length is the place it lies at.  The positions of a lane count up from 0 without a gap, and
 * its sequences grow with them.  Only the record at the lane's newest position may be invalid
 * (torn by a crash); an invalid one before it is damage.  Recovery clears a torn record before
 * anything is written there: the next one has the same `where`, and if torn as well could
 * complete it.
 *
 * A record has entries, each of which changes one word: `target` is the word's offset, whose
 * low three bits are the entry's kind, and `value`
 *
 *	publish		the block that becomes live, and the word's new value
 *	free		the block that becomes free; the word becomes 0
 *	set		the word's new value
 *
 * Up to two entries lie in the record itself.  A record with more (an action) has its entries
 * in an extent instead: a reserved block of the pool, which stays as it is until the horizon
 * has passed the record.  The extent has a checksum of its own (XXH3 over its entries, seeded
 * by the pool and the record's sequence), since it becomes durable under the same fence as the
 * record: the newest record of a lane whose extent fails its checksum is torn, and counts as
 * invalid; one before it is damage.  Behind the horizon extents mean nothing.
 *
 * Sequences order what depends on each other, and nothing else: they are Lamport's clocks.
 * A record's sequence is greater than that of each earlier record that changed the same word,
 * or a word inside a block that this one frees, or that freed the block that this one
 * publishes or has its word in; and greater than any horizon that was durable when it was
 * drawn.  Records of different lanes may have the same sequence; then neither depends on the
 * other, and the lane breaks the tie.
 *
 * Horizon.  All effects of all records up to the horizon's sequence are on media.  The two
 * copies are written in turn; the greater valid one counts.  A record carries the horizon
 * that was durable when it was written, so the loss of the newer copy can't go unnoticed:
 * no horizon may be smaller than the one that any record names.
 *
 * Intent.  The chunks that a trim is about to give back to the file system: a run of them, each
 * free.  Valid when its checksum (XXH3 over first and count, seeded by the pool and the line's
 * offset) is right; anything else is no intent.  It becomes durable before the first of their
 * words is 0, and these before the hole is punched or the file cut, which happens when the horizon
 * has passed all records that tell of blocks in them; when that is durable in turn, the intent is
 * cleared.  So after a crash the chunks of an intent that are free may have space that nobody
 * misses: an open for writing gives back what it finds.  It is a hint and proves nothing: one that
 * is stale, or lost, does no harm.
 *
 * Replay applies the records behind the horizon in the order of sequence and lane, each entry
 * in turn, except changes of a word inside a block that the same or a later record frees.
 * Records name blocks, never images of words, so replay may be cut and repeated at any point.
 */
#ifndef DH_FORMAT_H
#define DH_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the pool format is little endian; this host would have to swap each access"
#endif

#define DH_MAGIC		"DAXHEAP\n"
#define DH_FORMAT_VERSION	3u

#define DH_LINE_SIZE		64u
#define DH_PAGE_SIZE		4096u
#define DH_CHUNK_SIZE		(UINT64_C(2) << 20)
#define DH_UNIT_SIZE		(UINT64_C(64) << 10)
#define DH_UNITS_PER_CHUNK	32u
#define DH_SPAN_LINES		12u
#define DH_CHUNK_HEADER_SIZE	(DH_UNITS_PER_CHUNK * DH_SPAN_LINES * DH_LINE_SIZE)

#define DH_ROOTS_OFFSET		UINT64_C(4096)
#define DH_HORIZON_OFFSET	UINT64_C(8192)
#define DH_INTENT_OFFSET	(DH_HORIZON_OFFSET + 128)
#define DH_LOG_OFFSET		UINT64_C(12288)
#define DH_TABLE_OFFSET		(UINT64_C(1) << 20)
#define DH_COPY_OFFSET		(DH_CHUNK_SIZE - DH_PAGE_SIZE)

#define DH_ROOTS		64u
#define DH_ROOT_NAME_SIZE	48u
#define DH_LANES_MAX		32u
#define DH_RING_MIN		8u
#define DH_RING_MAX		256u	/* records; a power of two */

#define DH_SIZE_MIN		(UINT64_C(8) << 20)
#define DH_SIZE_MAX		(UINT64_C(1) << 44)

/* The feature bits that this library knows: none yet. */
#define DH_COMPAT_KNOWN		UINT64_C(0)
#define DH_RO_COMPAT_KNOWN	UINT64_C(0)
#define DH_INCOMPAT_KNOWN	UINT64_C(0)

struct dh_superblock {
	char magic[8];
	uint32_t version;
	uint32_t header_size;		/* of this structure: DH_PAGE_SIZE */
	uint64_t self;			/* own offset: 0, or DH_COPY_OFFSET */
	uint64_t compat;
	uint64_t ro_compat;
	uint64_t incompat;
	uint8_t uuid[16];
	uint64_t size;			/* that the file may grow to, a multiple of the chunk size */
	uint64_t created_s;		/* seconds since the epoch */
	uint32_t chunk_size;
	uint32_t lanes;			/* 2 to DH_LANES_MAX */
	uint32_t ring;			/* records of a lane, a power of two */
	uint32_t roots;
	uint64_t log_offset;
	uint64_t table_offset;
	uint64_t first_chunk;		/* index of the first data chunk */
	uint8_t reserved[3968];		/* zero */
	uint64_t checksum;
};
_Static_assert(sizeof(struct dh_superblock) == DH_PAGE_SIZE, "superblock is a page");
_Static_assert(offsetof(struct dh_superblock, size) == 64, "no padding in front");
_Static_assert(offsetof(struct dh_superblock, checksum) == DH_PAGE_SIZE - 8,
	       "the checksum is last");

struct dh_root {
	uint64_t slot;
	char name[DH_ROOT_NAME_SIZE];	/* ends with a zero byte, and zero to the end */
	uint64_t checksum;
};
_Static_assert(sizeof(struct dh_root) == DH_LINE_SIZE, "a root is a line");

struct dh_horizon {
	uint64_t seq;
	uint64_t checksum;		/* XXH3 over seq, seeded by pool and own offset */
	uint64_t reserved[6];
};
_Static_assert(sizeof(struct dh_horizon) == DH_LINE_SIZE, "a horizon is a line");

/* More than a pool can use up; what is greater is damage. */
#define DH_SEQ_MAX		(UINT64_C(1) << 62)

struct dh_intent {
	uint64_t first, count;		/* chunks */
	uint64_t checksum;
	uint64_t reserved[5];
};
_Static_assert(sizeof(struct dh_intent) == DH_LINE_SIZE, "an intent is a line");

enum dh_entry_kind {
	DH_ENTRY_NONE = 0,
	DH_ENTRY_PUBLISH = 1,
	DH_ENTRY_FREE = 2,
	DH_ENTRY_SET = 3,
};
#define DH_ENTRY_KIND_MASK UINT64_C(7)

struct dh_entry {
	uint64_t target;		/* offset of the word | enum dh_entry_kind */
	uint64_t value;
};

/* In a record: so many entries at most.  `count` in `where` of one with an extent. */
#define DH_RECORD_ENTRIES	2u
#define DH_RECORD_EXTENT	255u

struct dh_record {
	uint64_t seq;			/* from 1 */
	uint64_t where;			/* position << 16 | lane << 8 | count of entries */
	uint64_t horizon;		/* durable when this was written */
	union {
		struct dh_entry entries[DH_RECORD_ENTRIES];	/* unused ones are zero */
		struct {
			uint64_t offset;	/* of the entries */
			uint64_t count;
			uint64_t checksum;
			uint64_t reserved;	/* zero */
		} extent;
	};
	uint64_t checksum;
};
_Static_assert(sizeof(struct dh_record) == DH_LINE_SIZE, "a record is a line");
_Static_assert(offsetof(struct dh_record, checksum) == 56, "the checksum is last");
_Static_assert(DH_LOG_OFFSET + DH_LANES_MAX * DH_RING_MAX * DH_LINE_SIZE <= DH_TABLE_OFFSET,
	       "the log ends before the chunk table");

static inline uint64_t dh_record_where(uint64_t position, unsigned lane, unsigned count)
{
	return position << 16 | lane << 8 | count;
}

static inline uint64_t dh_record_position(const struct dh_record *record)
{
	return record->where >> 16;
}

static inline unsigned dh_record_lane(const struct dh_record *record)
{
	return record->where >> 8 & 0xff;
}

static inline unsigned dh_record_count(const struct dh_record *record)
{
	return record->where & 0xff;
}

/* Payload of a chunk word: bits 0-3 kind, 4 live, 8-31 length or distance, 32-47 tag. */
enum dh_chunk_kind {
	DH_CHUNK_FREE = 0,
	DH_CHUNK_SPANS = 1,
	DH_CHUNK_HUGE_HEAD = 2,
	DH_CHUNK_HUGE_TAIL = 3,
};

/* Payload of a span descriptor: bits 0-3 kind, 8-15 class, 16-23 units or distance, 24-39 tag. */
enum dh_span_kind {
	DH_SPAN_NONE = 0,
	DH_SPAN_HEAD = 1,
	DH_SPAN_TAIL = 2,
};

#define DH_WORD_BITS		48u
#define DH_SPAN_BITMAP_WORDS	86

struct dh_span_record {
	uint64_t descriptor;
	uint64_t reserved[7];		/* self-checking, payload 0 */
	uint64_t bitmap[DH_SPAN_BITMAP_WORDS];
	uint64_t spare;			/* self-checking, payload 0 */
	uint64_t copy;			/* of the descriptor's payload */
};
_Static_assert(sizeof(struct dh_span_record) == DH_SPAN_LINES * DH_LINE_SIZE,
	       "a span record is 12 lines");
_Static_assert(DH_SPAN_BITMAP_WORDS * DH_WORD_BITS >= DH_UNIT_SIZE / 16,
	       "the bitmap covers a unit of the smallest blocks");

/*
 * The residue of payload and place modulo a prime, plus 1.  Any one or two wrong bits of the
 * payload change it, and so does another place less than 65521 words or 65521 chunks away;
 * that is certain, not likely, as the prime divides neither 2^a, nor 2^a + 2^b or 2^a - 2^b
 * (a, b < 48).  A word that is all zero, as of a lost line, or all one is never valid.
 */
static inline uint64_t dh_word_check(uint64_t payload, uint64_t offset)
{
	return ((payload + offset / sizeof(uint64_t)) % 65521 + 1) << DH_WORD_BITS;
}

static inline uint64_t dh_word_payload(uint64_t word)
{
	return word & ((UINT64_C(1) << DH_WORD_BITS) - 1);
}

/* @offset is that of the word itself in the file. */
static inline uint64_t dh_word_make(uint64_t payload, uint64_t offset)
{
	return payload | dh_word_check(payload, offset);
}

static inline bool dh_word_valid(uint64_t word, uint64_t offset)
{
	return word == dh_word_make(dh_word_payload(word), offset);
}

/*
 * Size classes, part of the format: 16, 32, 48, 64, then four to a doubling up to 1 MiB.
 * Larger blocks are huge: runs of whole chunks.
 */
#define DH_CLASSES		60u
#define DH_CLASS_SIZE_MAX	(UINT64_C(1) << 20)

uint64_t dh_class_size(unsigned class);

/* Smallest class of at least @size bytes, which must be 1 to DH_CLASS_SIZE_MAX. */
static inline unsigned dh_class_of(uint64_t size)
{
	uint64_t last = size - 1;
	/* Without a branch, which sizes at random would mispredict: from the class of 64 B down
	 * the steps are those of the doubling above it. */
	unsigned doubling = 63 ^ (unsigned)__builtin_clzll(last | 64);

	return 4 * (doubling - 6) + (unsigned)(last >> (doubling - 2));
}

/* Units in a span of the class: the fewest that waste at most an eighth. */
unsigned dh_class_units(unsigned class);
/*
 * Where the blocks of a span lie that starts at @unit of a chunk, as bytes from the start
 * of the chunk, and how many there are (0: the class can't start at this unit).
 */
unsigned dh_span_blocks(unsigned class, unsigned unit, uint64_t *first);

uint64_t dh_pool_seed(const struct dh_superblock *sb);
uint64_t dh_superblock_checksum(const struct dh_superblock *sb);
uint64_t dh_record_checksum(const struct dh_record *record, uint64_t seed);
uint64_t dh_extent_checksum(const struct dh_entry *entries, uint64_t count, uint64_t seed,
			    uint64_t seq);
uint64_t dh_root_checksum(const struct dh_root *root, uint64_t offset, uint64_t seed);
uint64_t dh_horizon_checksum(const struct dh_horizon *horizon, uint64_t offset,
			     uint64_t seed);

uint64_t dh_intent_checksum(const struct dh_intent *intent, uint64_t seed);

/* Where the chunk table of a pool of @size bytes lies, and its first data chunk. */
void dh_table_geometry(uint64_t size, uint64_t *table_offset, uint64_t *first_chunk);

/*
 * 0, or -EMEDIUMTYPE (no daxheap superblock), -EBADMSG (damaged), -EPROTONOSUPPORT (made
 * by a newer library).  Judges @sb alone; a valid one describes a layout that is safe to
 * use for a file of up to sb->size bytes.
 */
int dh_superblock_validate(const struct dh_superblock *sb, uint64_t self);

#endif
