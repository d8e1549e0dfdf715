/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <stdio.h>
#include <unistd.h>

#include "format.h"
#include "media.h"
#include "random.h"
#include "report.h"

#define PAGES		(POOL_SIZE / DH_PAGE_SIZE)
#define PAGE_WORDS	(DH_PAGE_SIZE / 8)

static uint32_t touched[PAGES];		/* their numbers */
static unsigned touched_count;
static bool is_touched[PAGES];

uint64_t media_word_hash(uint32_t word, uint64_t value)
{
	return mix_two(value, word);
}

static void *new_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
			    MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		broken("no memory");
	return memory;
}

static void fill_pages(void *to, const struct template *template)
{
	for (unsigned i = 0; i < template->count; i++)
		memcpy((char *)to + template->pages[i] * (size_t)DH_PAGE_SIZE,
		       template->bytes[i], DH_PAGE_SIZE);
}

int media_file(const struct template *template, void **mapped)
{
	int fd = memfd_create("pool", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)template->length))
		broken("no memory for a pool");
	*mapped = mmap(NULL, POOL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (*mapped == MAP_FAILED)
		broken("no memory for a pool");
	fill_pages(*mapped, template);
	return fd;
}

/* Pages that were ever stored to are compared at each fence. */
static void touch(uint64_t offset, size_t size)
{
	for (uint64_t page = offset / DH_PAGE_SIZE; page <= (offset + size - 1) / DH_PAGE_SIZE;
	     page++) {
		if (is_touched[page])
			continue;
		is_touched[page] = true;
		touched[touched_count++] = (uint32_t)page;
	}
}

void media_init(struct media *media, const struct template *template, struct media *above)
{
	*media = (struct media){.above = above};
	media->persisted = new_memory(POOL_SIZE);
	media->index = new_memory(POOL_WORDS * sizeof(*media->index));
	fill_pages(media->persisted, template);
	media->length = media->image_length = template->length;
	media->image_fd = media_file(template, (void **)&media->image);
	snprintf(media->path, sizeof(media->path), "/proc/self/fd/%d", media->image_fd);
	for (unsigned i = 0; i < template->count; i++)
		touch(template->pages[i] * (uint64_t)DH_PAGE_SIZE, DH_PAGE_SIZE);
	if (above)
		above->below = media;
}

static void push_stale(struct media *media, uint32_t word)
{
	if (media->stale_count == media->stale_max) {
		media->stale_max = media->stale_max ? 2 * media->stale_max : 4096;
		media->stale = realloc(media->stale, media->stale_max * sizeof(*media->stale));
		if (!media->stale)
			broken("no memory");
	}
	media->stale[media->stale_count++] = word;
}

static void set_persisted(struct media *media, uint32_t word, uint64_t value)
{
	uint64_t old = media->persisted[word];

	if (old == value)
		return;
	media->hash ^= media_word_hash(word, old) ^ media_word_hash(word, value);
	media->persisted[word] = value;
	if (word < media->image_length / 8)
		media->image[word] = value;
	if (media->below)
		push_stale(media->below, word);
}

void media_set(struct media *media, uint32_t word, uint64_t value)
{
	set_persisted(media, word, value);
	if (media->above)
		push_stale(media, word);
}

void media_forget(struct media *media)
{
	media->length_count = 0;
	for (unsigned i = 0; i < media->count; i++)
		media->index[media->list[i].word] = 0;
	media->count = 0;
}

/* A kill ends threads; what the file system has yet to commit it still does. */
static void forget_flushes(struct unsettled *entry)
{
	memset(entry->flushed, 0, FLUSHER_FILE);
}

void media_unflush(struct media *media)
{
	for (unsigned i = 0; i < media->count; i++)
		forget_flushes(&media->list[i]);
}

int media_new_file(const struct media *media)
{
	const struct template empty = {.length = media_newest_length(media)};
	uint64_t *bytes, words = empty.length / 8;
	int fd = media_file(&empty, (void **)&bytes);

	for (unsigned i = 0; i < touched_count; i++)
		if (touched[i] * PAGE_WORDS < words)
			memcpy(bytes + touched[i] * PAGE_WORDS,
			       media->persisted + touched[i] * PAGE_WORDS, DH_PAGE_SIZE);
	for (unsigned i = 0; i < media->count; i++)
		if (media->list[i].word < words)
			bytes[media->list[i].word] =
				media->list[i].values[media->list[i].count - 1];
	return fd;
}

void media_follow(struct media *media)
{
	media_forget(media);
	media->length = media->above->length;
	media_set_image_length(media, media->length);
	for (unsigned i = 0; i < media->stale_count; i++)
		set_persisted(media, media->stale[i], media->above->persisted[media->stale[i]]);
	media->stale_count = 0;
}

static struct unsettled *new_unsettled(struct media *media, uint32_t word)
{
	if (media->count == media->max) {
		media->max = media->max ? 2 * media->max : 1024;
		media->list = realloc(media->list, media->max * sizeof(*media->list));
		if (!media->list)
			broken("no memory");
	}
	media->list[media->count].word = word;
	media->list[media->count].count = 0;
	memset(media->list[media->count].flushed, 0, FLUSHERS);
	media->index[word] = ++media->count;
	return &media->list[media->count - 1];
}

void media_inherit(struct media *media)
{
	media->time = media->above->time;
	media->length_count = media->above->length_count;
	memcpy(media->lengths, media->above->lengths, sizeof(media->lengths));
	for (unsigned i = 0; i < media->above->count; i++) {
		const struct unsettled *theirs = &media->above->list[i];
		struct unsettled *entry = new_unsettled(media, theirs->word);

		*entry = *theirs;
		forget_flushes(entry);
	}
}

/* Takes the first @count values of a word away. */
static void drop_values(struct unsettled *entry, unsigned count)
{
	entry->count = (uint8_t)(entry->count - count);
	memmove(entry->values, entry->values + count, entry->count * sizeof(entry->values[0]));
	memmove(entry->times, entry->times + count, entry->count * sizeof(entry->times[0]));
	for (unsigned i = 0; i < FLUSHERS; i++)
		entry->flushed[i] = (uint8_t)(entry->flushed[i] -
					      (entry->flushed[i] < count ? entry->flushed[i] :
					       count));
}

static void note_value(struct media *media, uint32_t word, uint64_t value)
{
	struct unsettled *entry;

	if (!media->index[word]) {
		if (media->persisted[word] == value)
			return;
		entry = new_unsettled(media, word);
	} else {
		entry = &media->list[media->index[word] - 1];
		if (entry->values[entry->count - 1] == value)
			return;
	}
	if (entry->count == VALUES_MAX)
		drop_values(entry, 1);
	entry->times[entry->count] = media->time;
	entry->values[entry->count++] = value;
}

void media_store(struct media *media, uint64_t offset, size_t size, const void *at)
{
	media->time++;
	touch(offset, size);
	for (size_t i = 0; i < size / 8; i++)
		note_value(media, (uint32_t)(offset / 8 + i), ((const uint64_t *)at)[i]);
}

static void flush_word(struct unsettled *entry, unsigned flusher)
{
	entry->flushed[flusher] = entry->count;
}

void media_flush(struct media *media, unsigned flusher, uint64_t offset, size_t size)
{
	uint64_t first = offset / DH_LINE_SIZE * WORDS_OF_LINE;
	uint64_t last = ((offset + size - 1) / DH_LINE_SIZE + 1) * WORDS_OF_LINE;

	if (last - first > media->count) {
		for (unsigned i = 0; i < media->count; i++)
			if (media->list[i].word >= first && media->list[i].word < last)
				flush_word(&media->list[i], flusher);
		return;
	}
	for (uint64_t word = first; word < last; word++)
		if (media->index[word])
			flush_word(&media->list[media->index[word] - 1], flusher);
}

/* Persists what the flusher flushed of one word; true if that was all. */
static bool settle(struct media *media, unsigned i, unsigned flusher)
{
	struct unsettled *entry = &media->list[i];
	unsigned count = entry->flushed[flusher];

	media_set(media, entry->word, entry->values[count - 1]);
	drop_values(entry, count);
	if (entry->count)
		return false;
	media->index[entry->word] = 0;
	*entry = media->list[--media->count];
	if (i < media->count)
		media->index[entry->word] = i + 1;
	return true;
}

void media_fence(struct media *media, unsigned flusher)
{
	for (unsigned i = 0; i < media->count;)
		if (!media->list[i].flushed[flusher] || !settle(media, i, flusher))
			i++;
}

void media_new_flusher(struct media *media, unsigned flusher)
{
	for (unsigned i = 0; i < media->count; i++)
		media->list[i].flushed[flusher] = 0;
}

/* --- the file --- */

static void restore_page(struct media *media, uint32_t page)
{
	uint64_t *to = media->image + page * PAGE_WORDS;
	const uint64_t *from = media->persisted + page * PAGE_WORDS;

	if (page * PAGE_WORDS < media->image_length / 8 && memcmp(to, from, DH_PAGE_SIZE))
		memcpy(to, from, DH_PAGE_SIZE);
}

void media_set_image_length(struct media *media, uint64_t length)
{
	uint64_t before = media->image_length;

	if (length == before)
		return;
	if (ftruncate(media->image_fd, (off_t)length))
		broken("no memory for an image");
	media->image_length = length;
	for (unsigned i = 0; i < touched_count && length > before; i++)
		if (touched[i] >= before / DH_PAGE_SIZE)
			restore_page(media, touched[i]);
}

void media_restore_image(struct media *media)
{
	struct stat st;

	if (fstat(media->image_fd, &st))
		broken("an image is gone");
	if ((uint64_t)st.st_size < media->image_length)
		media->image_length = (uint64_t)st.st_size;
	media_set_image_length(media, media->length);
	if (ftruncate(media->image_fd, (off_t)media->length))
		broken("no memory for an image");
	for (unsigned i = 0; i < touched_count; i++)
		restore_page(media, touched[i]);
}

void media_set_length(struct media *media, uint64_t length)
{
	for (unsigned i = 0; i < touched_count; i++) {
		uint32_t first = touched[i] * (uint32_t)PAGE_WORDS;

		for (uint32_t word = first; first >= length / 8 && word < first + PAGE_WORDS;
		     word++)
			if (media->persisted[word])
				media_set(media, word, 0);
	}
	media->length = length;
	media->length_count = 0;
	media_set_image_length(media, length);
}

static uint64_t expected(const struct media *media, uint32_t word);

/* The words that are not zero become so, flushed by the file system. */
static void make_hole(struct media *media, uint64_t offset, uint64_t size)
{
	for (unsigned i = 0; i < touched_count; i++) {
		uint32_t first = touched[i] * (uint32_t)PAGE_WORDS;

		if (first < offset / 8 || first >= (offset + size) / 8)
			continue;
		for (uint32_t word = first; word < first + PAGE_WORDS; word++) {
			if (expected(media, word))
				note_value(media, word, 0);
			if (media->index[word])
				flush_word(&media->list[media->index[word] - 1], FLUSHER_FILE);
		}
	}
}

static void add_length(struct media *media, uint64_t length)
{
	if (media->length_count == LENGTHS_MAX)
		broken("the file is never synced");
	media->lengths[media->length_count++] = length;
}

void media_file_changed(struct media *media, enum dh_file_change change, uint64_t offset,
			uint64_t size)
{
	media->time++;
	switch (change) {
	case DH_FILE_GREW:
		add_length(media, offset);
		break;
	case DH_FILE_CUT:
		add_length(media, offset);
		make_hole(media, offset, POOL_SIZE - offset);
		break;
	case DH_FILE_PUNCHED:
		make_hole(media, offset, size);
		break;
	case DH_FILE_SYNCED:
		media->length = media_newest_length(media);
		media->length_count = 0;
		media_fence(media, FLUSHER_FILE);
		break;
	}
}

/* --- what did not come by the door --- */

static uint64_t expected(const struct media *media, uint32_t word)
{
	const struct unsettled *entry;

	if (!media->index[word])
		return media->persisted[word];
	entry = &media->list[media->index[word] - 1];
	return entry->values[entry->count - 1];
}

static uint64_t compare_page(const struct media *media, const char *base, uint32_t page)
{
	const uint64_t *words = (const uint64_t *)base;
	uint32_t first = page * PAGE_WORDS;

	if (!memcmp(words + first, media->persisted + first, DH_PAGE_SIZE))
		return UINT64_MAX;
	for (uint32_t word = first; word < first + PAGE_WORDS; word++)
		if (words[word] != expected(media, word))
			return word * UINT64_C(8);
	return UINT64_MAX;
}

uint64_t media_compare(const struct media *media, const char *base, bool everything)
{
	unsigned count = everything ? PAGES : touched_count;

	for (unsigned i = 0; i < count; i++) {
		uint64_t bad = compare_page(media, base, everything ? i : touched[i]);

		if (bad != UINT64_MAX)
			return bad;
	}
	return UINT64_MAX;
}

uint64_t media_compare_image(const struct media *media)
{
	for (uint32_t word = 0; word < media->image_length / 8; word += PAGE_WORDS)
		if (memcmp(media->image + word, media->persisted + word, DH_PAGE_SIZE))
			return word * UINT64_C(8);
	return UINT64_MAX;
}
