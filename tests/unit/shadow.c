/* SPDX-License-Identifier: BSD-3-Clause */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
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
#define THREADS_MAX	4
#define WORDS_OF_LINE	(DH_LINE_SIZE / sizeof(uint64_t))

/* Which of what is not settled an image has. */
enum { NOTHING, EVERYTHING, FIRST_RANDOM };

/* A word that was stored to since its line was last persisted. */
struct unsettled {
	uint32_t word;
	unsigned flushed[THREADS_MAX];	/* by each thread: so many values, and not fenced */
	unsigned count;
	uint64_t values[VALUES_MAX];
};

struct shadow {
	const char *base;
	size_t starts_at;		/* without a base: offset of the first event */
	size_t size;
	enum shadow_mistake mistake;
	unsigned seed, samples;
	bool trying;
	bool recovering;		/* after a kill, until the first fence */
	shadow_check *check, *at_flush;
	void *arg;
	uint64_t *persisted;
	uint32_t *index;		/* of each word in `list`, plus 1; 0: settled */
	struct unsettled *list;
	unsigned count;
	size_t last_flush;
};

/* Holds what is persisted in the shadow it belongs to, but while an image is tried. */
static uint64_t *image;
static const struct shadow *image_owner;
static uint64_t images;
static char image_path[64];
static struct shadow *listening;

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

const void *shadow_image(void)
{
	return image;
}

void shadow_image_spoiled(void)
{
	image_owner = NULL;
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
	shadow->starts_at = DH_ROOTS_OFFSET;
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
		memset(shadow->list[i].flushed, 0, sizeof(shadow->list[i].flushed));
	shadow->recovering = true;
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

/* Threads that come and go take turns; at no time may more than THREADS_MAX be inside. */
static unsigned this_thread(void)
{
	static atomic_uint threads;
	static __thread unsigned number;

	if (!number)
		number = atomic_fetch_add(&threads, 1) % THREADS_MAX + 1;
	return number - 1;
}

struct aside {
	shadow_check *check;
	void *arg;
};

static void *call_check(void *arg)
{
	const struct aside *aside = arg;

	aside->check(aside->arg);
	return NULL;
}

/* In a thread of its own: this one is inside a call of the heap, and holds its locks. */
static void run_aside(shadow_check *check, void *arg)
{
	struct aside aside = {check, arg};
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, call_check, &aside), 0);
	pthread_join(thread, NULL);
}

/* Takes the first @count values of a word away. */
static void drop_values(struct unsettled *entry, unsigned count)
{
	entry->count -= count;
	memmove(entry->values, entry->values + count, entry->count * sizeof(entry->values[0]));
	for (unsigned i = 0; i < THREADS_MAX; i++)
		entry->flushed[i] -= entry->flushed[i] < count ? entry->flushed[i] : count;
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
	/* The oldest can't be told any more; the newest ones matter. */
	if (entry->count == VALUES_MAX)
		drop_values(entry, 1);
	entry->values[entry->count++] = value;
}

/* Persists what this thread flushed of one word; drops it when nothing else was stored. */
static void settle(struct shadow *shadow, unsigned i)
{
	struct unsettled *entry = &shadow->list[i];
	unsigned count = entry->flushed[this_thread()];

	shadow->persisted[entry->word] = entry->values[count - 1];
	if (image_owner == shadow)
		image[entry->word] = shadow->persisted[entry->word];
	drop_values(entry, count);
	if (entry->count)
		return;
	shadow->index[entry->word] = 0;
	*entry = shadow->list[--shadow->count];
	if (i < shadow->count)
		shadow->index[entry->word] = i + 1;
}

static const struct dh_persist_listener listener;

/* The check, or a hook, may have let another shadow listen. */
static void listen_again(struct shadow *shadow)
{
	listening = shadow;
	dh_persist_listen(&listener, shadow);
}

/*
 * How many values of the word the image takes.  Of the random images every other decides for
 * each line as a whole: two lines of which one is there and the other not are likely then.
 */
static unsigned choose(struct shadow *shadow, const struct unsettled *entry, int how,
		       unsigned salt)
{
	if (how == NOTHING)
		return 0;
	if (how == EVERYTHING)
		return entry->count;
	if (how % 2)
		return (unsigned)rand_r(&shadow->seed) % (entry->count + 1);
	salt ^= entry->word / WORDS_OF_LINE * 2654435761u;
	return rand_r(&salt) % 2 ? entry->count : 0;
}

static void try_image(struct shadow *shadow, int how)
{
	unsigned salt = (unsigned)rand_r(&shadow->seed);

	if (image_owner != shadow)
		memcpy(image, shadow->persisted, shadow->size);
	image_owner = shadow;
	for (unsigned i = 0; i < shadow->count; i++) {
		struct unsettled *entry = &shadow->list[i];
		unsigned choice = choose(shadow, entry, how, salt);

		if (choice)
			image[entry->word] = entry->values[choice - 1];
	}
	images++;
	run_aside(shadow->check, shadow->arg);
	if (listening != shadow)
		listen_again(shadow);
	for (unsigned i = 0; i < shadow->count; i++)
		image[shadow->list[i].word] = shadow->persisted[shadow->list[i].word];
}

void shadow_try(struct shadow *shadow)
{
	if (shadow->trying)
		return;
	shadow->trying = true;
	for (int how = NOTHING; how < FIRST_RANDOM + (int)shadow->samples; how++)
		try_image(shadow, how);
	shadow->trying = false;
}

/* --- listening --- */

static size_t offset_of(struct shadow *shadow, const void *at)
{
	if (!shadow->base)
		shadow->base = (const char *)at - shadow->starts_at;
	return (size_t)((const char *)at - shadow->base);
}

static void on_store(void *arg, const void *at, size_t size)
{
	struct shadow *shadow = arg;
	size_t offset;

	if (shadow->trying)
		return;
	offset = offset_of(shadow, at);
	for (size_t i = 0; i < size / 8; i++)
		note_value(shadow, (uint32_t)(offset / 8 + i), ((const uint64_t *)at)[i]);
}

void shadow_stored(const void *at, size_t size)
{
	if (listening)
		on_store(listening, at, size);
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
		return in_log(offset) && shadow->recovering;
	default:
		return false;
	}
}

static void on_flush(void *arg, const void *at, size_t size)
{
	struct shadow *shadow = arg;
	size_t offset, first, last;

	if (shadow->trying)
		return;
	offset = offset_of(shadow, at);
	shadow->last_flush = offset;
	if (is_forgotten(shadow, offset, size))
		return;
	first = offset / DH_LINE_SIZE * WORDS_OF_LINE;
	last = ((offset + size - 1) / DH_LINE_SIZE + 1) * WORDS_OF_LINE;
	for (size_t word = first; word < last; word++) {
		struct unsettled *entry;

		if (!shadow->index[word])
			continue;
		entry = &shadow->list[shadow->index[word] - 1];
		entry->flushed[this_thread()] = entry->count;
	}
	shadow_try(shadow);
	if (shadow->at_flush) {
		run_aside(shadow->at_flush, shadow->arg);
		listen_again(shadow);
	}
}

static void on_fence(void *arg)
{
	struct shadow *shadow = arg;

	if (shadow->trying || shadow->mistake == SHADOW_NO_FENCE)
		return;
	shadow->recovering = false;
	for (unsigned i = 0; i < shadow->count;) {
		unsigned before = shadow->count;

		if (shadow->list[i].flushed[this_thread()])
			settle(shadow, i);
		i += shadow->count == before;
	}
	shadow_try(shadow);
}

static const struct dh_persist_listener listener = {on_store, on_flush, on_fence, NULL};

void shadow_listen(struct shadow *shadow, unsigned samples, shadow_check *check,
		   shadow_check *at_flush, void *arg)
{
	shadow->samples = samples;
	shadow->check = check;
	shadow->at_flush = at_flush;
	shadow->arg = arg;
	listen_again(shadow);
}

size_t shadow_last_flush(const struct shadow *shadow)
{
	return shadow->last_flush;
}

void shadow_starts_at(struct shadow *shadow, size_t offset)
{
	shadow->starts_at = offset;
}

void shadow_stop(void)
{
	listening = NULL;
	dh_persist_listen(NULL, NULL);
}
