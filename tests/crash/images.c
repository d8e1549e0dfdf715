/* SPDX-License-Identifier: BSD-3-Clause */
/* Which images a crash could leave: all where they are few, else samples of several kinds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "life.h"
#include "random.h"
#include "report.h"

#define TRIED_PLACES	(1u << 18)

/* The images in trial, one of each level. */
struct trial {
	struct life *life;
	struct media *media;
	void (*try)(struct life *life, const struct image *image);
	uint8_t *choice;
	unsigned length;		/* which of the file's: 0: that persisted */
	unsigned max;
	uint64_t random;
	bool in_file;
};

static struct trial trials[LEVELS];
/* What was tried in this case: images with what they had to hold. */
static uint64_t *tried;
static unsigned tried_count;

static bool add_tried(uint64_t hash)
{
	uint64_t at = hash % TRIED_PLACES;

	if (!tried || tried_count > TRIED_PLACES / 4 * 3) {
		free(tried);
		tried = calloc(TRIED_PLACES, sizeof(*tried));
		tried_count = 0;
	}
	for (; tried[at]; at = (at + 1) % TRIED_PLACES)
		if (tried[at] == hash)
			return false;
	tried[at] = hash;
	tried_count++;
	return true;
}

static uint64_t chosen_value(const struct media *media, const uint8_t *choice, unsigned i)
{
	const struct unsettled *entry = &media->list[i];

	return choice[i] ? entry->values[choice[i] - 1] : media->persisted[entry->word];
}

static uint64_t hash_with(const struct trial *trial, uint64_t hash, unsigned i)
{
	uint32_t word = trial->media->list[i].word;

	return hash ^ media_word_hash(word, trial->media->persisted[word]) ^
	       media_word_hash(word, chosen_value(trial->media, trial->choice, i));
}

static uint64_t chosen_length(const struct trial *trial)
{
	return trial->length ? trial->media->lengths[trial->length - 1] : trial->media->length;
}

static void put(struct trial *trial, unsigned i)
{
	if (trial->media->list[i].word >= trial->media->image_length / 8)
		return;
	trial->media->image[trial->media->list[i].word] =
		chosen_value(trial->media, trial->choice, i);
}

static void take(struct trial *trial, unsigned i)
{
	uint32_t word = trial->media->list[i].word;

	if (word < trial->media->image_length / 8)
		trial->media->image[word] = trial->media->persisted[word];
}

/* One image with a single chosen word (@only), or any. */
static void try_image(struct trial *trial, unsigned only, uint64_t hash)
{
	unsigned count = trial->media->count;
	struct image image = {trial->media, trial->choice, chosen_length(trial), hash};

	image.hash = hash ^= mix_two(image.length, trial->media->length_count + 1);
	if (!add_tried(mix_two(hash, trial->life->model.hash)))
		return;
	atomic_fetch_add(&totals->images, 1);
	violated->images++;
	seen_add(hash);
	media_set_image_length(trial->media, image.length);
	if (only != UINT32_MAX)
		put(trial, only);
	for (unsigned i = 0; i < count && only == UINT32_MAX; i++)
		if (trial->choice[i])
			put(trial, i);
	trial->in_file = true;
	trial->try(trial->life, &image);
	trial->in_file = false;
	if (only != UINT32_MAX)
		take(trial, only);
	for (unsigned i = 0; i < count && only == UINT32_MAX; i++)
		if (trial->choice[i])
			take(trial, i);
}

static void try_chosen(struct trial *trial)
{
	uint64_t hash = trial->media->hash;

	for (unsigned i = 0; i < trial->media->count; i++)
		if (trial->choice[i])
			hash = hash_with(trial, hash, i);
	try_image(trial, UINT32_MAX, hash);
}

static void try_single(struct trial *trial, unsigned i, unsigned choice)
{
	trial->choice[i] = (uint8_t)choice;
	try_image(trial, i, hash_with(trial, trial->media->hash, i));
	trial->choice[i] = 0;
}

static void choose_any_length(struct trial *trial)
{
	trial->length = random_below(&trial->random, trial->media->length_count + 1);
}

static void try_singles(struct trial *trial)
{
	unsigned count = trial->media->count, max = trial->life->effort->singles_max;

	memset(trial->choice, 0, count);
	for (unsigned n = 0; n < count && n < max; n++) {
		unsigned i = count <= max ? n : random_below(&trial->random, count);
		unsigned values = trial->media->list[i].count;

		choose_any_length(trial);
		try_single(trial, i, values);
		if (values > 1)
			try_single(trial, i, 1 + random_below(&trial->random, values - 1));
	}
}

static void try_all_words(struct trial *trial)
{
	unsigned i;

	memset(trial->choice, 0, trial->media->count);
	do {
		try_chosen(trial);
		for (i = 0; i < trial->media->count; i++) {
			if (trial->choice[i]++ < trial->media->list[i].count)
				break;
			trial->choice[i] = 0;
		}
	} while (i < trial->media->count);
}

static void try_all_subsets(struct trial *trial)
{
	for (trial->length = 0; trial->length <= trial->media->length_count; trial->length++)
		try_all_words(trial);
}

/* --- samples: each chooses for all words --- */

static void choose_all(struct trial *trial)
{
	for (unsigned i = 0; i < trial->media->count; i++)
		trial->choice[i] = trial->media->list[i].count;
}

static void choose_any(struct trial *trial)
{
	for (unsigned i = 0; i < trial->media->count; i++)
		trial->choice[i] = (uint8_t)random_below(&trial->random,
							 trial->media->list[i].count + 1u);
}

static void choose_newest_or_none(struct trial *trial)
{
	for (unsigned i = 0; i < trial->media->count; i++)
		trial->choice[i] = random_one_in(&trial->random, 2) ?
					   trial->media->list[i].count : 0;
}

static void choose_lines(struct trial *trial)
{
	uint64_t salt = random_next(&trial->random);

	for (unsigned i = 0; i < trial->media->count; i++) {
		const struct unsettled *entry = &trial->media->list[i];

		trial->choice[i] = mix_two(salt, entry->word / WORDS_OF_LINE) % 2 ?
					   entry->count : 0;
	}
}

static unsigned values_until(const struct unsettled *entry, uint32_t time)
{
	unsigned count = 0;

	while (count < entry->count && entry->times[count] <= time)
		count++;
	return count;
}

static uint32_t oldest_time(const struct media *media)
{
	uint32_t oldest = media->time;

	for (unsigned i = 0; i < media->count; i++)
		if (media->list[i].times[0] < oldest)
			oldest = media->list[i].times[0];
	return oldest;
}

/* As x86 does it: of each line, what was stored up to some time, one for each line. */
static void choose_prefix_of_lines(struct trial *trial)
{
	uint64_t salt = random_next(&trial->random);
	uint32_t oldest = oldest_time(trial->media);
	uint32_t span = trial->media->time - oldest + 2;

	for (unsigned i = 0; i < trial->media->count; i++) {
		const struct unsettled *entry = &trial->media->list[i];
		uint64_t line = entry->word / WORDS_OF_LINE;

		trial->choice[i] = (uint8_t)values_until(entry, oldest - 1 +
						(uint32_t)(mix_two(salt, line) % span));
	}
}

/* All up to some time, of all lines but some. */
static void choose_prefix_of_all(struct trial *trial)
{
	uint32_t oldest = oldest_time(trial->media);
	uint32_t time = oldest + random_below(&trial->random, trial->media->time - oldest + 1);
	uint64_t salt = random_next(&trial->random);

	for (unsigned i = 0; i < trial->media->count; i++) {
		const struct unsettled *entry = &trial->media->list[i];

		trial->choice[i] = mix_two(salt, entry->word / WORDS_OF_LINE) % 8 ?
					   (uint8_t)values_until(entry, time) : 0;
	}
}

static void choose_all_but_one(struct trial *trial)
{
	unsigned i = random_below(&trial->random, trial->media->count);

	choose_all(trial);
	trial->choice[i] = (uint8_t)random_below(&trial->random, trial->media->list[i].count);
}

static bool in_log(uint32_t word)
{
	return word >= DH_LOG_OFFSET / 8 && word < DH_TABLE_OFFSET / 8;
}

/* All of the log but one word, so one record is torn; of the rest some lines. */
static void choose_torn_record(struct trial *trial)
{
	unsigned count = trial->media->count, torn = random_below(&trial->random, count);

	choose_lines(trial);
	for (unsigned i = 0; i < count; i++)
		if (in_log(trial->media->list[i].word))
			trial->choice[i] = trial->media->list[i].count;
	for (unsigned i = 0; i < count; i++, torn = (torn + 1) % count)
		if (in_log(trial->media->list[torn].word)) {
			trial->choice[torn] = 0;
			return;
		}
}

/* The parts of a pool, each wholly or not at all. */
static unsigned region_of(uint32_t word)
{
	uint64_t offset = word * UINT64_C(8);

	if (offset >= DH_CHUNK_SIZE)
		return offset % DH_CHUNK_SIZE < DH_CHUNK_HEADER_SIZE ? 0 : 1;
	if (offset >= DH_TABLE_OFFSET)
		return 2;
	return offset >= DH_LOG_OFFSET ? 3 : offset >= DH_HORIZON_OFFSET ? 4 : 5;
}

static void choose_regions(struct trial *trial)
{
	uint64_t random = random_next(&trial->random);

	for (unsigned i = 0; i < trial->media->count; i++) {
		const struct unsettled *entry = &trial->media->list[i];

		trial->choice[i] = random >> region_of(entry->word) & 1 ? entry->count : 0;
	}
}

static void choose_sample(struct trial *trial)
{
	static void (*const choose[])(struct trial *trial) = {
		choose_any, choose_newest_or_none, choose_lines, choose_prefix_of_lines,
		choose_prefix_of_all, choose_all_but_one, choose_regions, choose_torn_record,
	};

	choose_any_length(trial);
	choose[random_below(&trial->random, sizeof(choose) / sizeof(choose[0]))](trial);
}

static void try_samples(struct trial *trial)
{
	for (unsigned i = 0; i < trial->life->effort->samples; i++) {
		choose_sample(trial);
		try_chosen(trial);
	}
}

static bool are_few(const struct media *media, unsigned max)
{
	uint64_t subsets = media->length_count + 1;

	for (unsigned i = 0; i < media->count && subsets <= max; i++)
		subsets *= media->list[i].count + 1u;
	return subsets <= max;
}

static struct trial *begin_trial(struct life *life)
{
	struct trial *trial = &trials[life->level];

	trial->life = life;
	trial->media = life->media;
	trial->random = random_next(&life->random);
	trial->length = 0;
	if (trial->max <= life->media->count) {
		trial->max = life->media->count + 1024;
		trial->choice = realloc(trial->choice, trial->max);
		if (!trial->choice)
			broken("no memory");
	}
	memset(trial->choice, 0, trial->max);
	return trial;
}

void images_form(struct life *life, void (*try)(struct life *life, const struct image *image))
{
	struct trial *trial = begin_trial(life);

	trial->try = try;
	if (are_few(life->media, life->effort->subsets_max)) {
		try_all_subsets(trial);
		return;
	}
	try_chosen(trial);
	choose_all(trial);
	trial->length = trial->media->length_count;
	try_chosen(trial);
	try_singles(trial);
	try_samples(trial);
}

void images_happen(struct life *life)
{
	struct trial *trial = begin_trial(life);

	if (life->media->count)
		choose_sample(trial);
	else
		choose_any_length(trial);
	for (unsigned i = 0; i < life->media->count; i++)
		if (trial->choice[i])
			media_set(life->media, life->media->list[i].word,
				  chosen_value(life->media, trial->choice, i));
	media_set_length(life->media, chosen_length(trial));
	media_forget(life->media);
}

/* --- for people --- */

void images_name_word(uint32_t word, char *text, size_t size)
{
	static const char *const regions[] = {"span record", "block", "chunk table", "log",
					      "horizon", "roots"};

	snprintf(text, size, "%s %#llx", regions[region_of(word)], word * 8ull);
}

static size_t describe(const struct trial *trial, char *text, size_t size)
{
	const struct media *media = trial->media;
	size_t used = 0;

	used += (size_t)snprintf(text, size, "\n  crash of level %u, of %u unsettled words, the file "
				 "%llu KiB long:", trial->life->level, media->count,
				 (unsigned long long)(chosen_length(trial) >> 10));
	for (unsigned i = 0; i < media->count && used + 100 < size; i++) {
		uint32_t word = media->list[i].word;
		char name[64];

		if (!trial->choice[i])
			continue;
		images_name_word(word, name, sizeof(name));
		used += (size_t)snprintf(text + used, size - used, "\n    %s: %#llx, was %#llx",
					 name,
					 (unsigned long long)chosen_value(media, trial->choice, i),
					 (unsigned long long)media->persisted[word]);
	}
	return used;
}

void images_describe(char *text, size_t size)
{
	size_t used = 0;

	for (unsigned i = 0; i < LEVELS && used + 200 < size; i++)
		if (trials[i].in_file)
			used += describe(&trials[i], text + used, size - used);
}
