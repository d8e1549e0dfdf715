/* SPDX-License-Identifier: BSD-3-Clause */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "format.h"
#include "persist.h"
#include "shadow.h"

#define VALUES_MAX	8
#define UNSETTLED_MAX	65536
#define WORDS_OF_LINE	(DH_LINE_SIZE / sizeof(uint64_t))

/* A word that was stored to since its line was last persisted. */
struct unsettled {
	uint32_t word;
	unsigned flushed;		/* the first so many values are flushed, not fenced */
	unsigned count;
	uint64_t values[VALUES_MAX];
};

struct shadow {
	const char *base;
	size_t size;
	enum shadow_mistake mistake;
	unsigned seed, samples;
	bool trying;
	shadow_check *check, *at_flush;
	void *arg;
	uint64_t *persisted;
	uint32_t *index;		/* of each word in `list`, plus 1; 0: settled */
	struct unsettled *list;
	unsigned count;
};

/* Holds what is persisted in the shadow it belongs to, but while an image is tried. */
static uint64_t *image;
static const struct shadow *image_owner;
static uint64_t images;
static char image_path[64];

static void make_image(size_t size)
{
	int fd;

	if (image)
		return;
	fd = memfd_create("image", MFD_CLOEXEC);
	cr_assert(fd >= 0 && !ftruncate(fd, (off_t)size));
	image = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert_neq(image, MAP_FAILED);
	snprintf(image_path, sizeof(image_path), "/proc/self/fd/%d", fd);
}

const char *shadow_image_path(void)
{
	return image_path;
}

uint64_t shadow_images(void)
{
	return images;
}

struct shadow *shadow_new(const char *base, const void *durable, size_t size,
			  enum shadow_mistake mistake, unsigned seed)
{
	struct shadow *shadow = calloc(1, sizeof(*shadow));

	make_image(size);
	shadow->base = base;
	shadow->size = size;
	shadow->mistake = mistake;
	shadow->seed = seed;
	shadow->persisted = malloc(size);
	shadow->index = calloc(size / 8, sizeof(*shadow->index));
	shadow->list = calloc(UNSETTLED_MAX, sizeof(*shadow->list));
	memcpy(shadow->persisted, durable, size);
	return shadow;
}

struct shadow *shadow_after_kill(const struct shadow *old)
{
	struct shadow *shadow = shadow_new(NULL, old->persisted, old->size, old->mistake,
					   old->seed + 1);

	memcpy(shadow->index, old->index, old->size / 8 * sizeof(*old->index));
	memcpy(shadow->list, old->list, old->count * sizeof(*old->list));
	shadow->count = old->count;
	for (unsigned i = 0; i < shadow->count; i++)
		shadow->list[i].flushed = 0;
	return shadow;
}

void shadow_free(struct shadow *shadow)
{
	if (image_owner == shadow)
		image_owner = NULL;
	free(shadow->persisted);
	free(shadow->index);
	free(shadow->list);
	free(shadow);
}

static void note_value(struct shadow *shadow, uint32_t word, uint64_t value)
{
	struct unsettled *entry;

	if (!shadow->index[word]) {
		cr_assert_lt(shadow->count, UNSETTLED_MAX);
		shadow->list[shadow->count] = (struct unsettled){.word = word};
		shadow->index[word] = ++shadow->count;
	}
	entry = &shadow->list[shadow->index[word] - 1];
	if (entry->count == VALUES_MAX) {
		/* The oldest can't be told any more; the newest ones matter. */
		memmove(entry->values, entry->values + 1,
			(VALUES_MAX - 1) * sizeof(entry->values[0]));
		entry->count--;
		entry->flushed -= entry->flushed > 0;
	}
	entry->values[entry->count++] = value;
}

/* Persists what was flushed of one word; drops it when nothing else was stored. */
static void settle(struct shadow *shadow, unsigned i)
{
	struct unsettled *entry = &shadow->list[i];

	shadow->persisted[entry->word] = entry->values[entry->flushed - 1];
	if (image_owner == shadow)
		image[entry->word] = shadow->persisted[entry->word];
	entry->count -= entry->flushed;
	memmove(entry->values, entry->values + entry->flushed,
		entry->count * sizeof(entry->values[0]));
	entry->flushed = 0;
	if (entry->count)
		return;
	shadow->index[entry->word] = 0;
	*entry = shadow->list[--shadow->count];
	if (i < shadow->count)
		shadow->index[entry->word] = i + 1;
}

static void try_image(struct shadow *shadow, int how)
{
	for (unsigned i = 0; i < shadow->count; i++) {
		struct unsettled *entry = &shadow->list[i];
		unsigned choice = how == 0 ? 0 : how == 1 ? entry->count :
				  (unsigned)rand_r(&shadow->seed) % (entry->count + 1);

		if (choice)
			image[entry->word] = entry->values[choice - 1];
	}
	images++;
	shadow->check(shadow->arg);
	for (unsigned i = 0; i < shadow->count; i++)
		image[shadow->list[i].word] = shadow->persisted[shadow->list[i].word];
}

void shadow_try(struct shadow *shadow)
{
	if (shadow->trying)
		return;
	shadow->trying = true;
	if (image_owner != shadow)
		memcpy(image, shadow->persisted, shadow->size);
	image_owner = shadow;
	for (unsigned i = 0; i < shadow->samples + 2; i++)
		try_image(shadow, (int)i);
	shadow->trying = false;
}

/* --- listening --- */

static void on_store(void *arg, const void *at, size_t size)
{
	struct shadow *shadow = arg;
	size_t offset = (size_t)((const char *)at - shadow->base);

	if (shadow->trying)
		return;
	for (size_t i = 0; i < size / 8; i++)
		note_value(shadow, (uint32_t)(offset / 8 + i), ((const uint64_t *)at)[i]);
}

static bool in_log(size_t offset)
{
	return offset >= DH_LOG_OFFSET && offset < DH_TABLE_OFFSET;
}

static bool is_descriptor(size_t offset)
{
	size_t in_chunk = offset % DH_CHUNK_SIZE;

	return in_chunk < DH_CHUNK_HEADER_SIZE && in_chunk % sizeof(struct dh_span_record) == 0;
}

static bool is_forgotten(struct shadow *shadow, size_t offset, size_t size)
{
	switch (shadow->mistake) {
	case SHADOW_NO_RECORD_FLUSH:
		return in_log(offset) && size == DH_LINE_SIZE;
	case SHADOW_NO_CONTENT_FLUSH:
		/* Content is what is flushed of a chunk in more than a word. */
		return offset >= DH_CHUNK_SIZE && size > 8 && size < DH_PAGE_SIZE;
	case SHADOW_NO_WRITE_BACK:
		return size == 8 && offset >= DH_CHUNK_SIZE && !is_descriptor(offset);
	case SHADOW_NO_RECOVERY_FLUSH:
		return in_log(offset) && size > DH_LINE_SIZE;
	default:
		return false;
	}
}

static const struct dh_persist_listener listener;

static void on_flush(void *arg, const void *at, size_t size)
{
	struct shadow *shadow = arg;
	size_t offset, first, last;

	if (shadow->trying)
		return;
	if (!shadow->base)
		shadow->base = (const char *)at - DH_ROOTS_OFFSET;
	offset = (size_t)((const char *)at - shadow->base);
	if (is_forgotten(shadow, offset, size))
		return;
	first = offset / DH_LINE_SIZE * WORDS_OF_LINE;
	last = ((offset + size - 1) / DH_LINE_SIZE + 1) * WORDS_OF_LINE;
	for (size_t word = first; word < last; word++) {
		struct unsettled *entry;

		if (!shadow->index[word])
			continue;
		entry = &shadow->list[shadow->index[word] - 1];
		entry->flushed = entry->count;
	}
	shadow_try(shadow);
	if (shadow->at_flush) {
		shadow->at_flush(shadow->arg);
		dh_persist_listen(&listener, shadow);
	}
}

static void on_fence(void *arg)
{
	struct shadow *shadow = arg;

	if (shadow->trying || shadow->mistake == SHADOW_NO_FENCE)
		return;
	for (unsigned i = 0; i < shadow->count;) {
		unsigned before = shadow->count;

		if (shadow->list[i].flushed)
			settle(shadow, i);
		i += shadow->count == before;
	}
	shadow_try(shadow);
}

static const struct dh_persist_listener listener = {on_store, on_flush, on_fence};

void shadow_listen(struct shadow *shadow, unsigned samples, shadow_check *check,
		   shadow_check *at_flush, void *arg)
{
	shadow->samples = samples;
	shadow->check = check;
	shadow->at_flush = at_flush;
	shadow->arg = arg;
	dh_persist_listen(&listener, shadow);
}

void shadow_stop(void)
{
	dh_persist_listen(NULL, NULL);
}
