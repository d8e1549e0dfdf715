/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A generator of damage for each metadata field, and the verdict that check must give.
 *
 * Each case takes a fresh copy of a pool, damages one field, and compares: what check finds
 * and where, what repair does, whether the pool opens after it, and whether each block that
 * was reachable still lives, with its size and content.  Prints TAP.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daxheap.h"
#include "heap.h"

#define POOL_SIZE	(UINT64_C(6) * DH_CHUNK_SIZE)
#define LANES		2u
#define RING		8u
#define SLOTS		120u
#define CHUNK1		DH_CHUNK_SIZE

/* --- pools --- */

/* Of the last two the newest record is to be torn: a single one, or an action. */
enum pool { POOL_CLOSED, POOL_CRASHED, POOL_TORN, POOL_ACTION, POOLS };

static char *pools[POOLS];		/* their bytes */
static char *file;			/* the case's copy, as a mapping */
static const atomic_uint_fast64_t file_length = POOL_SIZE;
static int file_fd;
static char file_path[64];
static char *crash_image;

static void must(int result, const char *what)
{
	if (result < 0)
		errx(1, "%s: %s", what, daxheap_errormsg());
}

static daxheap_ref *root(struct daxheap *heap, const char *name)
{
	daxheap_ref *slot;

	must(daxheap_root(heap, name, &slot), "root");
	return slot;
}

/* Filled with a byte that its size and slot tell, so that what is there can be judged. */
static unsigned char byte_of(daxheap_ref slot_ref)
{
	return (unsigned char)(slot_ref / 8 % 251 + 1);
}

static void *new_block(struct daxheap *heap, const daxheap_ref *slot, size_t size, uint16_t tag)
{
	void *block;

	must(daxheap_alloc_as(heap, size, 0, tag, &block), "alloc");
	memset(block, byte_of(daxheap_ref_of(heap, slot)), size);
	must(daxheap_persist(heap, block, size), "persist");
	return block;
}

static void publish(struct daxheap *heap, daxheap_ref *slot, size_t size, uint16_t tag)
{
	must(daxheap_publish(heap, slot, new_block(heap, slot, size, tag)), "publish");
}

/* Small blocks in one span of chunk 1, large ones in spans of two units; chunks 2 and 3 a huge
 * block, 4 one of a single chunk. */
static void fill(struct daxheap *heap)
{
	daxheap_ref *slots;
	void *block;

	must(daxheap_calloc(heap, SLOTS, 8, &block), "calloc");
	must(daxheap_persist(heap, block, SLOTS * 8), "persist");
	must(daxheap_publish(heap, root(heap, "slots"), block), "publish");
	slots = block;
	for (unsigned i = 0; i < 100; i++)
		publish(heap, &slots[i], 64, 7);
	publish(heap, root(heap, "large"), 100000, 8);
	publish(heap, root(heap, "huge"), 3 << 20, 9);
	publish(heap, root(heap, "one"), 2 << 20, 10);
	for (unsigned i = 0; i < 100; i += 3)
		must(daxheap_free(heap, &slots[i]), "free");
}

static void ignore(void *arg, const void *at, size_t size)
{
	(void)arg;
	(void)at;
	(void)size;
}

static void keep_image(void *arg)
{
	memcpy(crash_image, ((struct daxheap *)arg)->base, POOL_SIZE);
}

/* Records behind the horizon: single ones, an action, and one of which nothing is in place. */
static void crash(struct daxheap *heap, bool in_action)
{
	static const struct dh_persist_listener listener = {
		.store = ignore, .flush = ignore, .fence = keep_image,
	};
	daxheap_ref *slots = daxheap_ptr(heap, *root(heap, "slots"));
	struct daxheap_action *action;

	publish(heap, &slots[100], 64, 7);
	must(daxheap_replace(heap, &slots[1], new_block(heap, &slots[1], 64, 7)), "replace");
	must(daxheap_action_new(heap, &action), "action");
	for (unsigned i = 101; i < 105; i++)
		must(daxheap_action_publish(action, &slots[i],
					    new_block(heap, &slots[i], 64, 7)), "publish");
	if (in_action)
		dh_persist_listen(&listener, heap);
	must(daxheap_action_commit(action), "commit");
	daxheap_action_delete(action);
	if (in_action) {
		dh_persist_listen(NULL, NULL);
		return;
	}
	dh_persist_listen(&listener, heap);
	publish(heap, &slots[105], 64, 7);
	dh_persist_listen(NULL, NULL);
}

static void make_pool(enum pool kind, const char *path)
{
	struct daxheap *heap;

	pools[kind] = malloc(POOL_SIZE);
	if (!pools[kind])
		err(1, "no memory");
	must(dh_create_sized(path, POOL_SIZE, 0, LANES, RING, &heap), "create");
	fill(heap);
	crash_image = pools[kind];
	if (kind != POOL_CLOSED) {
		/* Closed and opened, so that what fill() did is behind the horizon. */
		daxheap_close(heap);
		must(daxheap_open(path, 0, &heap), "open");
		crash(heap, kind == POOL_ACTION);
	}
	daxheap_close(heap);
	if (kind == POOL_CLOSED) {
		must(daxheap_open(path, DAXHEAP_READ_ONLY, &heap), "open");
		memcpy(pools[kind], heap->base, POOL_SIZE);
		daxheap_close(heap);
	}
	unlink(path);
}

static void make_pools(void)
{
	const char *base = getenv("TMPDIR");
	char folder[256], path[300];

	if (!base)
		base = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	snprintf(folder, sizeof(folder), "%s/generators.XXXXXX", base);
	if (!mkdtemp(folder))
		err(1, "%s", folder);
	snprintf(path, sizeof(path), "%s/pool", folder);
	make_pool(POOL_CLOSED, path);
	make_pool(POOL_CRASHED, path);
	make_pool(POOL_ACTION, path);
	pools[POOL_TORN] = pools[POOL_CRASHED];
	rmdir(folder);
	file_fd = memfd_create("pool", MFD_CLOEXEC);
	if (file_fd < 0 || ftruncate(file_fd, (off_t)POOL_SIZE))
		err(1, "memfd");
	file = mmap(NULL, POOL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file_fd, 0);
	if (file == MAP_FAILED)
		err(1, "mmap");
	snprintf(file_path, sizeof(file_path), "/proc/self/fd/%d", file_fd);
}

/* Where there is nothing but zeros, the file has holes. */
static void set_file(const char *bytes)
{
	static const char zeros[DH_PAGE_SIZE];

	if (ftruncate(file_fd, 0) || ftruncate(file_fd, (off_t)POOL_SIZE))
		err(1, "ftruncate");
	for (uint64_t at = 0; at < POOL_SIZE; at += DH_PAGE_SIZE)
		if (memcmp(bytes + at, zeros, DH_PAGE_SIZE))
			memcpy(file + at, bytes + at, DH_PAGE_SIZE);
}

/* Not by the mapping, which would fill the holes. */
static void read_file(char *bytes)
{
	if (pread(file_fd, bytes, POOL_SIZE, 0) != (ssize_t)POOL_SIZE)
		err(1, "pread");
}

static bool file_is(const char *bytes)
{
	static char now[POOL_SIZE];

	read_file(now);
	return !memcmp(now, bytes, POOL_SIZE);
}

/* --- what repair writes, to cut it short (ld --wrap) --- */

struct write {
	uint64_t offset;
	size_t size;
	unsigned char bytes[DH_PAGE_SIZE];
};

#define WRITES_MAX 600u

static struct write writes[WRITES_MAX];
static unsigned write_count;

ssize_t __real_pwrite(int fd, const void *from, size_t size, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *from, size_t size, off_t offset);

ssize_t __wrap_pwrite(int fd, const void *from, size_t size, off_t offset)
{
	struct write *write = &writes[write_count];

	if (write_count == WRITES_MAX || size > sizeof(write->bytes))
		errx(1, "more is written than this test can remember");
	write_count++;
	write->offset = (uint64_t)offset;
	write->size = size;
	memcpy(write->bytes, from, size);
	return __real_pwrite(fd, from, size, offset);
}

/* The first @count of them, and half of the next. */
static void apply_writes(unsigned count)
{
	size_t half = writes[count].size / 16 * 8;

	for (unsigned i = 0; i < count; i++)
		memcpy(file + writes[i].offset, writes[i].bytes, writes[i].size);
	memcpy(file + writes[count].offset, writes[count].bytes, half);
}

/* --- media that can't be read (ld --wrap) --- */

static uint64_t poisoned;		/* a page's offset; 0: none */

ssize_t __real_pread(int fd, void *to, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *to, size_t size, off_t offset);

ssize_t __wrap_pread(int fd, void *to, size_t size, off_t offset)
{
	uint64_t at = (uint64_t)offset;

	if (poisoned && at < poisoned + DH_PAGE_SIZE && at + size > poisoned) {
		errno = EIO;
		return -1;
	}
	return __real_pread(fd, to, size, offset);
}

/* --- what there is in a pool --- */

struct reached {
	uint64_t ref, size;
	unsigned char byte;		/* its content; 0: slots */
};

struct content {
	struct reached blocks[256];
	unsigned count;
};

static void reach(struct daxheap *heap, struct content *content, daxheap_ref *slot,
		  unsigned char byte)
{
	void *block = daxheap_ptr(heap, *slot);

	if (block)
		content->blocks[content->count++] = (struct reached){
			*slot, (uint64_t)daxheap_usable_size(heap, block), byte,
		};
}

/* All that can be reached in the undamaged pool. */
static void reach_all(struct content *content)
{
	static const char *const names[] = {"slots", "large", "huge", "one"};
	struct daxheap *heap;
	daxheap_ref *slots;

	content->count = 0;
	must(daxheap_open(file_path, DAXHEAP_READ_ONLY, &heap), "open");
	slots = daxheap_ptr(heap, *root(heap, "slots"));
	for (unsigned i = 0; i < 4; i++)
		reach(heap, content, root(heap, names[i]),
		      i ? byte_of(daxheap_ref_of(heap, root(heap, names[i]))) : 0);
	for (unsigned i = 0; i < SLOTS; i++)
		reach(heap, content, &slots[i], byte_of(daxheap_ref_of(heap, &slots[i])));
	daxheap_close(heap);
}

static bool is_live(struct daxheap *heap, uint64_t ref)
{
	struct daxheap_block block = {.ref = ref - 1};

	return daxheap_next(heap, &block) > 0 && block.ref == ref;
}

/* NULL, or what is wrong. */
static const char *lost(const struct content *content)
{
	struct daxheap *heap;
	const char *what = NULL;

	if (daxheap_open(file_path, 0, &heap))
		return daxheap_errormsg();
	for (unsigned i = 0; i < content->count && !what; i++) {
		const struct reached *reached = &content->blocks[i];
		const unsigned char *block = daxheap_ptr(heap, reached->ref);

		if (!is_live(heap, reached->ref))
			what = "a reachable block does not live";
		else if (daxheap_usable_size(heap, block) != (int64_t)reached->size)
			what = "a block has another size";
		else if (reached->byte && (block[0] != reached->byte || block[60] != reached->byte))
			what = "a block has another content";
	}
	daxheap_close(heap);
	return what;
}

/* Free all and use the space again: what was repaired must serve, not only look well. */
static const char *use_up(void)
{
	static const char *const names[] = {"large", "huge", "one"};
	struct daxheap *heap;
	daxheap_ref *slots;

	if (daxheap_open(file_path, 0, &heap))
		return daxheap_errormsg();
	slots = daxheap_ptr(heap, *root(heap, "slots"));
	for (unsigned i = 0; i < SLOTS; i++)
		if (slots[i] && daxheap_free(heap, &slots[i]))
			return daxheap_errormsg();
	for (unsigned i = 0; i < 3; i++)
		if (*root(heap, names[i]) && daxheap_free(heap, root(heap, names[i])))
			return daxheap_errormsg();
	for (unsigned i = 0; i < SLOTS; i++)
		publish(heap, &slots[i], i % 2 ? 64 : 20000, (uint16_t)i % 3);
	daxheap_close(heap);
	return NULL;
}

/* --- damage --- */

static uint64_t seed(void)
{
	return dh_pool_seed((const struct dh_superblock *)file);
}

static uint64_t *word_at(uint64_t offset)
{
	return (uint64_t *)(file + offset);
}

static void flip(uint64_t offset)
{
	file[offset] ^= 0x10;
}

static void put_word(uint64_t offset, uint64_t payload)
{
	*word_at(offset) = dh_word_make(payload, offset);
}

static uint64_t chunk_word(uint64_t chunk)
{
	return DH_TABLE_OFFSET + chunk * 8;
}

static uint64_t record_word(unsigned unit, unsigned word)
{
	return CHUNK1 + unit * sizeof(struct dh_span_record) + word * 8;
}

static uint64_t copy_word(unsigned unit)
{
	return record_word(unit, offsetof(struct dh_span_record, copy) / 8);
}

static uint64_t bitmap_word(unsigned unit, unsigned word)
{
	return record_word(unit, 8 + word);
}

/* The unit of chunk 1 where the span of blocks of @size starts. */
static unsigned unit_of(uint64_t size)
{
	for (unsigned unit = 0; unit < DH_UNITS_PER_CHUNK; unit++) {
		uint64_t payload = dh_word_payload(*word_at(record_word(unit, 0)));

		if ((payload & 0xf) == DH_SPAN_HEAD &&
		    (payload >> 8 & 0xff) == dh_class_of(size))
			return unit;
	}
	errx(1, "no span of %llu bytes", (unsigned long long)size);
}

static unsigned free_unit(void)
{
	for (unsigned unit = DH_UNITS_PER_CHUNK - 1; unit; unit--)
		if (!dh_word_payload(*word_at(record_word(unit, 0))))
			return unit;
	errx(1, "no free unit");
}

static struct dh_record *newest_record(void)
{
	struct dh_record *newest = NULL, *records = (struct dh_record *)(file + DH_LOG_OFFSET);

	for (unsigned i = 0; i < LANES * RING; i++)
		if (records[i].seq && (!newest || records[i].seq > newest->seq))
			newest = &records[i];
	return newest;
}

/* That of the lane of the newest record, @back positions before it. */
static struct dh_record *record_before(unsigned back)
{
	struct dh_record *newest = newest_record();
	uint64_t position = dh_record_position(newest);

	return newest - position % RING + (position - back) % RING;
}

static uint64_t offset_of(const void *at)
{
	return (uint64_t)((const char *)at - file);
}

static void fix_record(struct dh_record *record)
{
	record->checksum = dh_record_checksum(record, seed());
}

/* --- cases --- */

enum verdict {
	CLEAN,		/* harmless: check finds nothing */
	FIXED,		/* damage; repair puts it right, and the next check finds nothing */
	KEPT,		/* the same, and repair says what it can't know */
	STAYS,		/* damage that repair leaves as it is */
	REFUSED,	/* no findings, but an error */
};

struct outcome {
	struct daxheap_finding findings[64];
	char first[512];
	unsigned count, counts[4];
	int result;
};

static void found(void *arg, const struct daxheap_finding *finding)
{
	struct outcome *outcome = arg;

	if (!outcome->count)
		snprintf(outcome->first, sizeof(outcome->first), "%s", finding->what);
	if (outcome->count < 64)
		outcome->findings[outcome->count++] = *finding;
	outcome->counts[finding->severity]++;
}

static void check(unsigned flags, struct outcome *outcome)
{
	memset(outcome, 0, sizeof(*outcome));
	outcome->result = daxheap_check(file_path, flags, found, outcome);
}

static bool found_at(const struct outcome *outcome, enum daxheap_severity severity,
		     uint64_t offset)
{
	for (unsigned i = 0; i < outcome->count; i++)
		if (outcome->findings[i].severity == severity &&
		    offset >= outcome->findings[i].offset &&
		    offset < outcome->findings[i].offset + outcome->findings[i].size)
			return true;
	return false;
}

static unsigned cases, failed;
static char *damaged, *mended;		/* the file's bytes before check and after repair */

static void result(const char *field, const char *problem, const struct outcome *outcome)
{
	cases++;
	if (!problem) {
		printf("ok %u - %s\n", cases, field);
		return;
	}
	failed++;
	printf("not ok %u - %s: %s\n", cases, field, problem);
	for (unsigned i = 0; i < outcome->count; i++)
		printf("#   severity %d, %#llx + %llu\n", (int)outcome->findings[i].severity,
		       (unsigned long long)outcome->findings[i].offset,
		       (unsigned long long)outcome->findings[i].size);
	printf("#   %d: %s\n", outcome->result, outcome->first);
}

/* A repair that a crash cut, anywhere: the next one must do as well. */
static const char *cut_repair(const struct content *content)
{
	struct outcome again;
	unsigned count = write_count, step = count / 16 + 1;

	for (unsigned cut = 0; cut < count; cut += step) {
		const char *what;

		set_file(damaged);
		apply_writes(cut);
		write_count = count;	/* and behind these what it writes now */
		check(DAXHEAP_CHECK_REPAIR, &again);
		if (again.counts[DAXHEAP_DAMAGE])
			return "a repair that was cut short can't be done again";
		what = lost(content);
		if (what)
			return what;
	}
	return NULL;
}

static const char *judge(const struct content *content, enum verdict verdict, uint64_t offset,
			 struct outcome *outcome)
{
	struct outcome repaired, after;
	const char *what;

	check(0, outcome);
	if (!file_is(damaged))
		return "check changed the file";
	if (verdict == REFUSED)
		return outcome->result < 0 ? NULL : "not refused";
	if (verdict == CLEAN) {
		if (outcome->result)
			return "harmless, and reported";
		return lost(content);
	}
	if (outcome->result <= 0)
		return "not found";
	if (!found_at(outcome, DAXHEAP_DAMAGE, offset))
		return "not found where it is";
	write_count = 0;
	check(DAXHEAP_CHECK_REPAIR, &repaired);
	if (verdict == STAYS) {
		if (repaired.result != outcome->result || repaired.counts[DAXHEAP_REPAIRED])
			return "repaired, against expectation";
		return file_is(damaged) ? NULL : "repair changed the file";
	}
	if (!found_at(&repaired, DAXHEAP_REPAIRED, offset))
		return "not repaired";
	if (repaired.counts[DAXHEAP_DAMAGE])
		return "repaired in part";
	if ((verdict == KEPT) != (repaired.counts[DAXHEAP_UNKNOWN] > 0))
		return "wrong about what can't be known";
	check(DAXHEAP_CHECK_REPAIR, &after);
	if (after.result || after.count)
		return "not clean after repair";
	read_file(mended);
	what = cut_repair(content);
	if (what)
		return what;
	set_file(mended);
	what = lost(content);
	if (!what)
		what = use_up();
	check(0, &after);
	return what ? what : after.result ? "not clean after use" : NULL;
}

static struct content contents[POOLS];

static void start(enum pool kind)
{
	set_file(pools[kind]);
}

/* The file was damaged since start(). */
static void expect(const char *field, enum pool kind, enum verdict verdict, uint64_t offset)
{
	struct outcome outcome;

	read_file(damaged);
	result(field, judge(&contents[kind], verdict, offset, &outcome), &outcome);
}

/* One wrong bit of the byte at @offset. */
static void expect_flip(const char *field, enum pool kind, enum verdict verdict, uint64_t offset)
{
	start(kind);
	flip(offset);
	expect(field, kind, verdict, offset);
}

struct field {
	const char *name;
	uint64_t offset;
};

#define SUPER(field) {"superblock " #field, offsetof(struct dh_superblock, field)}

static const struct field super_fields[] = {
	SUPER(magic), SUPER(version), SUPER(header_size), SUPER(self), SUPER(compat),
	SUPER(ro_compat), SUPER(incompat), SUPER(uuid), SUPER(size), SUPER(created_s),
	SUPER(chunk_size), SUPER(lanes), SUPER(ring), SUPER(roots), SUPER(log_offset),
	SUPER(table_offset), SUPER(first_chunk), SUPER(reserved), SUPER(checksum),
};
#define SUPER_FIELDS (sizeof(super_fields) / sizeof(super_fields[0]))

/* The field in both, with checksums that are right. */
static void set_both(uint64_t field, unsigned size, uint64_t value)
{
	static const uint64_t places[] = {0, DH_COPY_OFFSET};

	for (unsigned i = 0; i < 2; i++) {
		struct dh_superblock *sb = (struct dh_superblock *)(file + places[i]);

		memcpy((char *)sb + field, &value, size);
		sb->checksum = dh_superblock_checksum(sb);
	}
}

#define expect_super(field, value, verdict)                                                    \
	do {                                                                                   \
		start(POOL_CLOSED);                                                            \
		set_both(offsetof(struct dh_superblock, field),                                \
			 sizeof(((struct dh_superblock *)0)->field), value);                   \
		expect("superblock and copy: " #field " is " #value, POOL_CLOSED, verdict, 0); \
	} while (0)

static void superblocks(void)
{
	char name[80];

	for (unsigned i = 0; i < SUPER_FIELDS; i++) {
		uint64_t at = super_fields[i].offset;

		expect_flip(super_fields[i].name, POOL_CLOSED, FIXED, at);
		snprintf(name, sizeof(name), "%s, of the copy", super_fields[i].name);
		expect_flip(name, POOL_CLOSED, FIXED, DH_COPY_OFFSET + at);
		start(POOL_CLOSED);
		flip(at);
		flip(DH_COPY_OFFSET + at);
		snprintf(name, sizeof(name), "%s, of both", super_fields[i].name);
		expect(name, POOL_CLOSED, at ? STAYS : REFUSED, at);
	}
	expect_super(version, DH_FORMAT_VERSION + 1, REFUSED);
	expect_super(incompat, 1, REFUSED);
	expect_super(compat, 1, CLEAN);
	expect_super(lanes, 0, STAYS);
	expect_super(lanes, DH_LANES_MAX + 1, STAYS);
	expect_super(ring, RING + 1, STAYS);
	expect_super(log_offset, DH_LOG_OFFSET + 64, STAYS);
	expect_super(table_offset, 0, STAYS);
	expect_super(first_chunk, 0, STAYS);
	expect_super(chunk_size, 4096, STAYS);
	expect_super(roots, 65, STAYS);
	start(POOL_CLOSED);
	set_both(offsetof(struct dh_superblock, size), 8, POOL_SIZE + DH_CHUNK_SIZE);
	expect("superblock and copy: a limit above the file's length", POOL_CLOSED, CLEAN, 0);
	start(POOL_CLOSED);
	set_both(offsetof(struct dh_superblock, size), 8, DH_SIZE_MAX);
	set_both(offsetof(struct dh_superblock, table_offset), 8, DH_CHUNK_SIZE);
	set_both(offsetof(struct dh_superblock, first_chunk), 8,
		 1 + DH_SIZE_MAX / DH_CHUNK_SIZE * 8 / DH_CHUNK_SIZE);
	expect("superblock and copy: a chunk table longer than the file", POOL_CLOSED, STAYS,
	       POOL_SIZE);
	start(POOL_CLOSED);
	flip(offsetof(struct dh_superblock, uuid));
	((struct dh_superblock *)file)->checksum =
		dh_superblock_checksum((struct dh_superblock *)file);
	expect("superblock and copy of two pools", POOL_CLOSED, STAYS, DH_COPY_OFFSET);
}

static uint64_t root_at(unsigned index)
{
	return DH_ROOTS_OFFSET + index * sizeof(struct dh_root);
}

static void roots(void)
{
	expect_flip("root name", POOL_CLOSED, KEPT, root_at(1) + offsetof(struct dh_root, name));
	expect_flip("root name, behind its end", POOL_CLOSED, KEPT,
		    root_at(1) + offsetof(struct dh_root, name) + 20);
	expect_flip("root checksum", POOL_CLOSED, KEPT,
		    root_at(3) + offsetof(struct dh_root, checksum));
	expect_flip("root slot", POOL_CLOSED, STAYS, root_at(1) + 1);
	start(POOL_CLOSED);
	*word_at(root_at(1)) = POOL_SIZE + 64;
	expect("root slot behind the pool", POOL_CLOSED, STAYS, root_at(1));
	start(POOL_CLOSED);
	*word_at(root_at(1)) = *word_at(root_at(2));
	expect("two roots of one block", POOL_CLOSED, STAYS, root_at(2));
	expect_flip("root creation that was cut", POOL_CLOSED, CLEAN, root_at(4) + 8);
	expect_flip("root entry that is free", POOL_CLOSED, FIXED, root_at(9) + 8);
	start(POOL_CLOSED);
	*word_at(root_at(9)) = *word_at(root_at(1));
	*word_at(root_at(1)) = 0;
	expect("slot of a root that is free", POOL_CLOSED, KEPT, root_at(9));
}

static void horizons(void)
{
	const uint64_t first = DH_HORIZON_OFFSET, second = first + sizeof(struct dh_horizon);
	struct dh_horizon *copies;

	/* The older one counts then, and there is more to replay. */
	expect_flip("horizon, first copy", POOL_CLOSED, CLEAN, first);
	expect_flip("horizon, second copy", POOL_CLOSED, CLEAN, second);
	/* Records name what only the newer copy says. */
	start(POOL_CRASHED);
	copies = (struct dh_horizon *)(file + first);
	flip((copies[0].seq > copies[1].seq ? first : second) +
	     offsetof(struct dh_horizon, checksum));
	expect("horizon checksum, newer copy", POOL_CRASHED, STAYS, DH_LOG_OFFSET);
	expect_flip("horizon reserved", POOL_CRASHED, CLEAN, first + 16);
	start(POOL_CLOSED);
	flip(first);
	flip(second);
	expect("horizon, both copies", POOL_CLOSED, STAYS, first);
	start(POOL_CRASHED);
	copies = (struct dh_horizon *)(file + first);
	for (unsigned i = 0; i < 2; i++) {
		copies[i].seq = 0;
		copies[i].checksum = dh_horizon_checksum(&copies[i],
							 first + i * sizeof(*copies), seed());
	}
	expect("horizon that went back", POOL_CRASHED, STAYS, DH_LOG_OFFSET);
}

#define RECORD(field) {"record " #field, offsetof(struct dh_record, field)}

/* What becomes of a field's damage says whose record it is. */
static void damage_record(const struct field *field, enum pool kind, enum verdict verdict,
			  unsigned back, const char *whose)
{
	char name[120];

	snprintf(name, sizeof(name), "%s, %s", field->name, whose);
	start(kind);
	expect_flip(name, kind, verdict, offset_of(record_before(back)) + field->offset);
}

static void records(void)
{
	static const struct field fields[] = {
		RECORD(seq), RECORD(where), RECORD(horizon), RECORD(entries[0].target),
		RECORD(entries[0].value), RECORD(entries[1].target), RECORD(entries[1].value),
		RECORD(checksum),
	};
	struct dh_record *record;

	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		damage_record(&fields[i], POOL_CRASHED, STAYS, 2, "of a pending record");
		damage_record(&fields[i], POOL_TORN, CLEAN, 0, "of the newest: torn");
		damage_record(&fields[i], POOL_CLOSED, CLEAN, 1, "behind the horizon");
	}
	start(POOL_CRASHED);
	record = record_before(2);
	record->entries[0].value += 16;
	fix_record(record);
	expect("record that names no block", POOL_CRASHED, STAYS, DH_LOG_OFFSET);
	start(POOL_CRASHED);
	record = record_before(2);
	record->entries[0].target = (POOL_SIZE + 64) | DH_ENTRY_PUBLISH;
	fix_record(record);
	expect("record that names no slot", POOL_CRASHED, STAYS, DH_LOG_OFFSET);
}

static void extents(void)
{
	static const struct field fields[] = {
		RECORD(extent.offset), RECORD(extent.count), RECORD(extent.checksum),
		RECORD(extent.reserved),
	};
	struct dh_record *record;

	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		damage_record(&fields[i], POOL_CRASHED, STAYS, 1, "of a pending action");
	start(POOL_CRASHED);
	record = record_before(1);
	flip(record->extent.offset);
	expect("entry of a pending action", POOL_CRASHED, STAYS, DH_LOG_OFFSET);
	start(POOL_CRASHED);
	record = record_before(1);
	record->extent.offset = POOL_SIZE - 16;
	fix_record(record);
	expect("entries that end behind the pool", POOL_CRASHED, STAYS, DH_LOG_OFFSET);
	start(POOL_ACTION);
	flip(newest_record()->extent.offset + 20);
	expect("entry of the newest action: torn", POOL_ACTION, CLEAN, 0);
}

static void chunk_words(void)
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
static void stale_header(void)
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

static void descriptors(void)
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

static void bitmaps(void)
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
		struct outcome outcome;

		start(POOL_CLOSED);
		poisoned = pages[i].offset;
		check(0, &outcome);
		poisoned = 0;
		result(pages[i].name, found_at(&outcome, DAXHEAP_DAMAGE, pages[i].offset) ?
					      NULL : "not found", &outcome);
	}
}

/* Damage that no check can see: the case must fail, or its passing would mean nothing. */
static void control(const char *name, const char *problem)
{
	struct outcome outcome;
	const char *what;

	read_file(damaged);
	what = judge(&contents[POOL_CLOSED], CLEAN, 0, &outcome);
	result(name, what && !strcmp(what, problem) ? NULL : "not noticed", &outcome);
}

static void controls(void)
{
	const struct reached *last = &contents[POOL_CLOSED].blocks[60];
	struct dh_media media;
	struct dh_block block;
	uint64_t word;

	start(POOL_CLOSED);
	dh_media_init(&media, file, (struct dh_superblock *)file, &file_length);
	must(dh_block_at(&media, last->ref, &block), "block");
	word = offset_of(block.word);
	put_word(word, dh_word_payload(*word_at(word)) & ~block.mask);
	control("control: a lost block is noticed", "a reachable block does not live");
	start(POOL_CLOSED);
	flip(last->ref);
	control("control: lost content is noticed", "a block has another content");
}

int main(void)
{
	static const char *const names[] = {
		"a closed pool", "a crashed pool", "a pool of which the newest record is lost",
		"a pool of which the newest action is lost",
	};

	make_pools();
	damaged = malloc(POOL_SIZE);
	mended = malloc(POOL_SIZE);
	if (!damaged || !mended)
		err(1, "no memory");
	for (unsigned kind = 0; kind < POOLS; kind++) {
		start(kind);
		if (kind >= POOL_TORN)
			memset(newest_record(), 0, sizeof(struct dh_record));
		reach_all(&contents[kind]);
		expect(names[kind], kind, CLEAN, 0);
	}
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
	printf("1..%u\n", cases);
	return failed > 0;
}
