/* SPDX-License-Identifier: BSD-3-Clause */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daxheap.h"
#include "heap.h"
#include "image.h"

#define PAGES	(IMAGE_SIZE / DH_PAGE_SIZE)
#define LANES	3u
#define RING	8u

struct image {
	char *bytes;
	uint32_t pages[PAGES];		/* that are not zero */
	unsigned page_count;
	uint64_t refs[IMAGE_REFS];	/* of things that a word may refer to */
	unsigned ref_count;
};

const char *image_path;
bool image_exhausted;

static struct image images[IMAGES];
static struct image *current;
static char *file;			/* the file's bytes, shared with the library */
static int file_fd;

/* The same uuid each time, so that an input means the same pool everywhere. */
ssize_t getrandom(void *to, size_t size, unsigned flags)
{
	(void)flags;
	memset(to, 0x5a, size);
	return (ssize_t)size;
}

/* --- making them --- */

static void must(int result, const char *what)
{
	if (result < 0)
		errx(1, "%s: %s", what, daxheap_errormsg());
}

static void *publish(struct daxheap *heap, daxheap_ref *slot, size_t size, uint16_t tag)
{
	void *block;

	must(daxheap_alloc_as(heap, size, 0, tag, &block), "alloc");
	memset(block, 0, size < DH_PAGE_SIZE ? size : DH_PAGE_SIZE);
	must(daxheap_persist(heap, block, size < DH_PAGE_SIZE ? size : DH_PAGE_SIZE), "persist");
	must(daxheap_publish(heap, slot, block), "publish");
	return block;
}

static daxheap_ref *root(struct daxheap *heap, const char *name)
{
	daxheap_ref *slot;

	must(daxheap_root(heap, name, &slot), "root");
	return slot;
}

static void fill_used(struct daxheap *heap)
{
	static const unsigned sizes[] = {16, 16, 48, 100, 100, 1000, 5000, 40000, 100000, 100000};
	daxheap_ref *slots = publish(heap, root(heap, "slots"), 512, 0);

	publish(heap, root(heap, "small"), 64, 1);
	publish(heap, root(heap, "huge"), 3 << 20, 2);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		publish(heap, &slots[i], sizes[i], i % 3);
	must(daxheap_free(heap, &slots[1]), "free");
}

/* As many blocks as there is room for, first large ones. */
static void fill_full(struct daxheap *heap)
{
	static const unsigned sizes[] = {1 << 20, 128 << 10, 16 << 10, 4 << 10};
	daxheap_ref *slots = publish(heap, root(heap, "slots"), 4096, 0);
	unsigned used = 0;
	void *block;

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		while (used < 512 && !daxheap_alloc(heap, sizes[i], &block))
			must(daxheap_publish(heap, &slots[used++], block), "publish");
}

/* A crash behind the fence of an action, of which nothing is in place yet. */
static void nothing_range(void *arg, const void *at, size_t size)
{
	(void)arg;
	(void)at;
	(void)size;
}

static void take_snapshot(void *arg)
{
	struct daxheap *heap = arg;

	memcpy(images[IMAGE_PENDING].bytes, heap->base, IMAGE_SIZE);
}

static void fill_pending(struct daxheap *heap)
{
	static const struct dh_persist_listener listener = {
		.store = nothing_range, .flush = nothing_range, .fence = take_snapshot,
	};
	struct daxheap_action *action;
	daxheap_ref *slots;
	void *block;

	fill_used(heap);
	slots = daxheap_ptr(heap, *root(heap, "slots"));
	must(daxheap_replace(heap, &slots[2], (must(daxheap_alloc(heap, 300, &block), "alloc"),
					       block)), "replace");
	must(daxheap_action_new(heap, &action), "action");
	for (unsigned i = 20; i < 24; i++) {
		must(daxheap_alloc_as(heap, 100 * i, 0, 3, &block), "alloc");
		must(daxheap_action_publish(action, &slots[i], block), "publish");
	}
	must(daxheap_action_free(action, &slots[3]), "free");
	must(daxheap_action_set(action, (uint64_t *)&slots[40], 77), "set");
	dh_persist_listen(&listener, heap);
	must(daxheap_action_commit(action), "commit");
	dh_persist_listen(NULL, NULL);
	daxheap_action_delete(action);
}

static void add_ref(struct image *image, uint64_t ref)
{
	if (image->ref_count < IMAGE_REFS)
		image->refs[image->ref_count++] = ref;
}

static void list_refs(struct daxheap *heap, struct image *image)
{
	struct daxheap_block block = {0};

	for (unsigned i = 0; i < 4; i++)
		add_ref(image, DH_ROOTS_OFFSET + i * sizeof(struct dh_root));
	for (uint64_t at = 0; at <= IMAGE_SIZE; at += DH_CHUNK_SIZE)
		add_ref(image, at);
	add_ref(image, DH_CHUNK_SIZE + DH_CHUNK_HEADER_SIZE);
	while (daxheap_next(heap, &block) > 0)
		add_ref(image, block.ref);
}

static void list_pages(struct image *image)
{
	static const char zeros[DH_PAGE_SIZE];

	for (uint32_t page = 0; page < PAGES; page++)
		if (memcmp(image->bytes + page * DH_PAGE_SIZE, zeros, DH_PAGE_SIZE))
			image->pages[image->page_count++] = page;
}

static void make_image(enum image_kind kind, const char *path)
{
	static void (*const fills[])(struct daxheap *heap) = {
		[IMAGE_USED] = fill_used, [IMAGE_PENDING] = fill_pending, [IMAGE_FULL] = fill_full,
	};
	struct image *image = &images[kind];
	struct daxheap *heap;

	image->bytes = malloc(IMAGE_SIZE);
	if (!image->bytes)
		err(1, "no memory");
	must(dh_create_sized(path, IMAGE_SIZE, 0, LANES, RING, &heap), "create");
	if (fills[kind])
		fills[kind](heap);
	list_refs(heap, image);
	if (kind != IMAGE_PENDING) {
		daxheap_close(heap);
		arena_release();
		must(daxheap_open(path, DAXHEAP_READ_ONLY, &heap), "open");
		memcpy(image->bytes, heap->base, IMAGE_SIZE);
	}
	daxheap_close(heap);
	arena_release();
	unlink(path);
	list_pages(image);
}

void images_make(void)
{
	static char path[64];
	char folder[256], name[300];
	const char *base = getenv("TMPDIR");

	if (!base)
		base = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	snprintf(folder, sizeof(folder), "%s/fuzz.XXXXXX", base);
	if (!mkdtemp(folder))
		err(1, "%s", folder);
	snprintf(name, sizeof(name), "%s/pool", folder);
	for (unsigned kind = 0; kind < IMAGES; kind++)
		make_image(kind, name);
	rmdir(folder);

	file_fd = memfd_create("pool", MFD_CLOEXEC);
	if (file_fd < 0 || ftruncate(file_fd, (off_t)IMAGE_SIZE))
		err(1, "memfd");
	file = mmap(NULL, IMAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file_fd, 0);
	if (file == MAP_FAILED)
		err(1, "mmap");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file_fd);
	image_path = path;
}

void image_restore(enum image_kind kind)
{
	current = &images[kind];
	image_exhausted = false;
	/* Drops all pages: those that the library touched are not known. */
	if (ftruncate(file_fd, 0) || ftruncate(file_fd, (off_t)IMAGE_SIZE))
		err(1, "ftruncate");
	for (unsigned i = 0; i < current->page_count; i++) {
		size_t at = (size_t)current->pages[i] * DH_PAGE_SIZE;

		memcpy(file + at, current->bytes + at, DH_PAGE_SIZE);
	}
}

uint64_t image_length(void)
{
	struct stat st;

	if (fstat(file_fd, &st))
		err(1, "fstat");
	return (uint64_t)st.st_size;
}

/* --- patches --- */

/* What the pool was made with: a patched superblock changes no other structure's place. */
static uint64_t seed(void)
{
	return dh_pool_seed((const struct dh_superblock *)current->bytes);
}

static uint64_t changed(uint64_t old, unsigned how, uint64_t value)
{
	switch (how % 8) {
	case 0:
		return value;
	case 1:
		return old ^ UINT64_C(1) << value % 64;
	case 2:
		return old + (uint64_t)(int8_t)value;
	case 3:
		return current->refs[value % current->ref_count];
	case 4:
		return current->refs[value % current->ref_count] + (value >> 8) % 8192;
	case 5:
		return value & 0xff;
	case 6:
		return old ^ value;
	default:
		return UINT64_MAX >> value % 64;
	}
}

/* A word somewhere in what is not content. */
static uint64_t metadata_offset(unsigned where)
{
	static const struct {
		uint64_t offset, size;
	} areas[] = {
		{0, 256}, {DH_PAGE_SIZE - 64, 64}, {DH_COPY_OFFSET, 256},
		{DH_ROOTS_OFFSET, DH_PAGE_SIZE}, {DH_HORIZON_OFFSET, 192},
		{DH_LOG_OFFSET, LANES * RING * DH_LINE_SIZE},
		{DH_TABLE_OFFSET, IMAGE_SIZE / DH_CHUNK_SIZE * 8},
		{DH_CHUNK_SIZE, DH_CHUNK_HEADER_SIZE}, {2 * DH_CHUNK_SIZE, DH_CHUNK_HEADER_SIZE},
		{4 * DH_CHUNK_SIZE, DH_CHUNK_HEADER_SIZE},
	};
	unsigned area = where % (sizeof(areas) / sizeof(areas[0]));

	return areas[area].offset + where / 10 * 8 % areas[area].size;
}

static void patch_superblock(unsigned where, unsigned how, uint64_t value)
{
	static const uint64_t places[] = {0, DH_COPY_OFFSET};

	/* Mostly the fields, seldom what is reserved. */
	where %= where % 16 ? 16 : sizeof(struct dh_superblock) / 8 - 1;
	for (unsigned i = 0; i < 2; i++) {
		struct dh_superblock *sb = (struct dh_superblock *)(file + places[i]);
		uint64_t *word = (uint64_t *)sb + where;

		*word = changed(*word, how, value);
		if (!(how & PATCH_LEAVE_DAMAGED))
			sb->checksum = dh_superblock_checksum(sb);
		else if (value % 3 == i)
			break;
	}
}

static void patch_root(unsigned where, unsigned how, uint64_t value)
{
	uint64_t offset = DH_ROOTS_OFFSET +
			  where % (where % 8 ? 5 : DH_ROOTS) * sizeof(struct dh_root);
	struct dh_root *root_entry = (struct dh_root *)(file + offset);
	uint64_t *word = (uint64_t *)root_entry + (where >> 8) % 8;

	*word = changed(*word, how, value);
	if (!(how & PATCH_LEAVE_DAMAGED))
		root_entry->checksum = dh_root_checksum(root_entry, offset, seed());
}

static void patch_horizon(unsigned where, unsigned how, uint64_t value)
{
	uint64_t offset = DH_HORIZON_OFFSET + where % 2 * sizeof(struct dh_horizon);
	struct dh_horizon *horizon = (struct dh_horizon *)(file + offset);

	horizon->seq = changed(horizon->seq, how, value);
	image_exhausted |= horizon->seq > DH_SEQ_MAX / 2;
	if (!(how & PATCH_LEAVE_DAMAGED))
		horizon->checksum = dh_horizon_checksum(horizon, offset, seed());
}

/* Names chunks from the start, the middle or behind the end, mostly one or two. */
static void patch_intent(unsigned where, unsigned how, uint64_t value)
{
	struct dh_intent *intent = (struct dh_intent *)(file + DH_INTENT_OFFSET);

	intent->first = where % (2 * IMAGE_SIZE / DH_CHUNK_SIZE);
	intent->count = changed(1, how, value);
	if (!(how & PATCH_LEAVE_DAMAGED))
		intent->checksum = dh_intent_checksum(intent, seed());
}

static void fix_record(struct dh_record *record)
{
	image_exhausted |= record->seq > DH_SEQ_MAX / 2 ||
			   dh_record_position(record) > UINT64_C(1) << 40;
	record->checksum = dh_record_checksum(record, seed());
}

static struct dh_record *record_at(unsigned index)
{
	return (struct dh_record *)(file + DH_LOG_OFFSET) + index % (LANES * RING);
}

static void patch_record(unsigned where, unsigned how, uint64_t value)
{
	struct dh_record *record = record_at(where);
	uint64_t *word = (uint64_t *)record + (where >> 8) % 7;

	*word = changed(*word, how, value);
	/* An entry's target: with one of the kinds. */
	if ((where >> 8) % 7 == 3 || (where >> 8) % 7 == 5)
		*word = (*word & ~DH_ENTRY_KIND_MASK) | value >> 60 % 4;
	if (!(how & PATCH_LEAVE_DAMAGED))
		fix_record(record);
}

static void patch_extent(unsigned where, unsigned how, uint64_t value)
{
	for (unsigned i = 0; i < LANES * RING; i++) {
		struct dh_record *record = record_at(where + i);
		uint64_t offset = record->extent.offset, count = record->extent.count;
		uint64_t *word;

		if (dh_record_count(record) != DH_RECORD_EXTENT || !count || offset % 16 ||
		    offset >= IMAGE_SIZE || count > (IMAGE_SIZE - offset) / 16)
			continue;
		word = (uint64_t *)(file + offset) + (where >> 8) % (2 * count);
		*word = changed(*word, how, value);
		if (how & PATCH_LEAVE_DAMAGED)
			return;
		record->extent.checksum =
			dh_extent_checksum((const struct dh_entry *)(file + offset), count, seed(),
					   record->seq);
		fix_record(record);
		return;
	}
}

static void patch_word(uint64_t offset, unsigned how, uint64_t value)
{
	uint64_t *word = (uint64_t *)(file + offset);
	uint64_t payload = changed(dh_word_payload(*word), how, value);

	if (how & PATCH_LEAVE_DAMAGED)
		*word = changed(*word, how, value);
	else
		*word = dh_word_make(dh_word_payload(payload), offset);
}

static uint64_t header_offset(unsigned where)
{
	/* Chunks 1 and 4 have spans, if any has. */
	return (where % 2 ? 1 : 4) * DH_CHUNK_SIZE;
}

void image_patch(const uint8_t *patch)
{
	unsigned where = patch[1] | patch[2] << 8, how = patch[3];
	uint64_t value, offset;

	memcpy(&value, patch + 4, sizeof(value));
	switch (patch[0] % PATCHES) {
	case PATCH_RAW:
		offset = metadata_offset(where);
		*(uint64_t *)(file + offset) = changed(*(uint64_t *)(file + offset), how, value);
		break;
	case PATCH_SUPERBLOCK:
		patch_superblock(where, how, value);
		break;
	case PATCH_ROOT:
		patch_root(where, how, value);
		break;
	case PATCH_HORIZON:
		patch_horizon(where, how, value);
		break;
	case PATCH_INTENT:
		patch_intent(where, how, value);
		break;
	case PATCH_RECORD:
		patch_record(where, how, value);
		break;
	case PATCH_CHUNK_WORD:
		patch_word(DH_TABLE_OFFSET + where % (IMAGE_SIZE / DH_CHUNK_SIZE) * 8, how,
			   value);
		break;
	case PATCH_DESCRIPTOR:
		patch_word(header_offset(where) +
				   (where >> 1) % DH_UNITS_PER_CHUNK * sizeof(struct dh_span_record),
			   how, value);
		break;
	case PATCH_HEADER_WORD:
		patch_word(header_offset(where) + (where >> 1) * 8 % DH_CHUNK_HEADER_SIZE, how,
			   value);
		break;
	case PATCH_EXTENT:
		patch_extent(where, how, value);
		break;
	case PATCH_CONTENT:
		offset = current->refs[where % current->ref_count] + (where >> 8) * 8;
		if (offset < DH_CHUNK_SIZE || offset > IMAGE_SIZE - 8)
			break;
		*(uint64_t *)(file + offset) = changed(*(uint64_t *)(file + offset), how, value);
		break;
	case PATCH_LOST_LINE:
		memset(file + metadata_offset(where) / 64 * 64, how % 2 ? 0xff : 0, 64);
		break;
	case PATCH_LOST_PAGE:
		offset = metadata_offset(where) / DH_PAGE_SIZE * DH_PAGE_SIZE;
		memset(file + offset, how % 2 ? 0xff : 0, DH_PAGE_SIZE);
		break;
	}
}
