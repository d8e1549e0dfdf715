/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daxheap.h"
#include "format.h"
#include "forest.h"
#include "life.h"
#include "ops.h"
#include "persist.h"
#include "random.h"
#include "report.h"

#define WAITS_MAX	1000000u	/* of a recovery, for nobody */
#define OPS_OF_A_LIFE	3u
#define COMPARE_EACH	16u		/* fences, between two comparisons of all bytes */

__thread struct listener *listening;
enum mistake mistake;
struct media medias[LEVELS];
unsigned events;

static struct life children[LEVELS];	/* those of the images of each level */

/* --- threads that try images --- */

struct tryer {
	pthread_t thread;
	sem_t go, done;
	void (*function)(struct life *life);
	struct life *life;
	bool there;
};

static struct tryer tryers[LEVELS];

static void *try_for_ever(void *arg)
{
	struct tryer *tryer = arg;

	for (;;) {
		sem_wait(&tryer->go);
		tryer->function(tryer->life);
		sem_post(&tryer->done);
	}
	return NULL;
}

void life_try_in(unsigned level, void (*function)(struct life *life), struct life *life)
{
	struct tryer *tryer = &tryers[level];

	if (!tryer->there) {
		sem_init(&tryer->go, 0, 0);
		sem_init(&tryer->done, 0, 0);
		if (pthread_create(&tryer->thread, NULL, try_for_ever, tryer))
			broken("no thread");
		tryer->there = true;
	}
	tryer->function = function;
	tryer->life = life;
	sem_post(&tryer->go);
	sem_wait(&tryer->done);
}

/* --- listening --- */

/* An image is mapped wherever there is room, but where its chunks are congruent, and the
 * first event of an open lies in chunk 0. */
static uint64_t offset_of(struct life *life, const void *at, size_t size)
{
	uint64_t offset;

	if (!life->base)
		life->base = (const char *)((uintptr_t)at & ~(uintptr_t)(DH_CHUNK_SIZE - 1));
	offset = (uint64_t)((const char *)at - life->base);
	if (offset >= POOL_SIZE || offset + size > POOL_SIZE)
		violation("a store or flush of %zu bytes outside the pool, at %#llx", size,
			  (unsigned long long)offset);
	return offset;
}

/* Remembers what the heap stored to an image. */
static void note_store(struct life *life, uint64_t offset, size_t size)
{
	if (life->store_count == life->store_max) {
		life->store_max = life->store_max ? 2 * life->store_max : 1024;
		life->stores = realloc(life->stores, life->store_max * sizeof(*life->stores));
		if (!life->stores)
			broken("no memory");
	}
	life->stores[life->store_count++] =
		(struct store){(uint32_t)(offset / 8), (uint32_t)(size / 8)};
}

static void tell_store(const char *at, uint64_t offset, size_t size)
{
	const struct dh_record *record = (const struct dh_record *)at;

	if (size == sizeof(uint64_t))
		printf(": %#llx", *(const unsigned long long *)at);
	else
		printf(", %zu bytes", size);
	if (offset >= DH_HORIZON_OFFSET && offset < DH_LOG_OFFSET)
		printf(": %llu", *(const unsigned long long *)at);
	else if (offset >= DH_LOG_OFFSET && offset < DH_TABLE_OFFSET)
		printf(": lane %u, position %llu, sequence %llu, horizon %llu",
		    dh_record_lane(record), (unsigned long long)dh_record_position(record),
		    (unsigned long long)record->seq, (unsigned long long)record->horizon);
}

static void tell(const struct listener *who, const char *what, uint64_t offset, size_t size)
{
	char place[64] = "";

	if (telling < TELL_EVENTS || who->life->level)
		return;
	if (size)
		images_name_word((uint32_t)(offset / 8), place, sizeof(place));
	printf("#     %5u thread %u: %s %s", events, who->flusher, what, place);
	if (*what == 's')
		tell_store(who->life->base + offset, offset, size);
	else if (size)
		printf(", %zu bytes", size);
	printf("\n");
}

static void happened(struct listener *who)
{
	who->life->waits = 0;
	if (!who->life->level)
		events++;
	if (who->happened)
		who->happened();
}

static void on_store(void *arg, const void *at, size_t size)
{
	struct listener *who = listening;
	uintptr_t end = (uintptr_t)at + size;
	uint64_t offset;

	(void)arg;
	if (!who)
		return;
	/* Content may have any size; a word is persisted or not as a whole all the same. */
	at = (const void *)((uintptr_t)at & ~(uintptr_t)7);
	size = (end - (uintptr_t)at + 7) / 8 * 8;
	offset = offset_of(who->life, at, size);
	tell(who, "store", offset, size);
	if (who->life->level)
		note_store(who->life, offset, size);
	if (who->life->media)
		media_store(who->life->media, offset, size, at);
	happened(who);
}

void life_stored(const void *at, size_t size)
{
	on_store(NULL, at, size);
}

static bool is_forgotten(const struct life *life, uint64_t offset, size_t size)
{
	return !life->level && mistake == NO_RECORD_FLUSH && size == DH_LINE_SIZE &&
	       offset >= DH_LOG_OFFSET && offset < DH_TABLE_OFFSET;
}

static void on_flush(void *arg, const void *at, size_t size)
{
	struct listener *who = listening;
	uint64_t offset;

	(void)arg;
	if (!who)
		return;
	offset = offset_of(who->life, at, size);
	tell(who, "flush", offset, size);
	if (who->life->media && !is_forgotten(who->life, offset, size)) {
		media_flush(who->life->media, who->flusher, offset, size);
		life_crash(who->life);
	}
	happened(who);
}

static void compare(struct life *life)
{
	static unsigned fences;
	uint64_t bad = media_compare(life->media, life->base, ++fences % COMPARE_EACH == 0);

	if (bad != UINT64_MAX)
		violation("the word at %#llx was stored to past the persist layer",
			  (unsigned long long)bad);
}

static void on_fence(void *arg)
{
	struct listener *who = listening;

	(void)arg;
	if (!who)
		return;
	tell(who, "fence", 0, 0);
	if (who->life->media) {
		if (who->life->level || mistake != NO_FENCE)
			media_fence(who->life->media, who->flusher);
		if (who->life->base)
			compare(who->life);
		life_crash(who->life);
	}
	happened(who);
}

static void on_wait(void *arg)
{
	struct listener *who = listening;

	(void)arg;
	if (!who)
		return;
	if (who->wait)
		who->wait();
	else if (++who->life->waits > WAITS_MAX)
		violation("a thread that is alone waits for ever");
}

static void on_file(enum dh_file_change change, uint64_t offset, uint64_t size)
{
	static const char *const names[] = {"file grows to", "file is cut at", "hole at",
					    "file is synced"};
	struct listener *who = listening;

	if (!who)
		return;
	tell(who, names[change], offset, change == DH_FILE_SYNCED ? 0 : size + 1);
	if (who->life->level)
		who->life->file_changed = true;
	if (who->life->media) {
		media_file_changed(who->life->media, change, offset, size);
		life_crash(who->life);
	}
	who->life->growing = change == DH_FILE_GREW;
	/* Of several holes that were made at once all are told first. */
	if (change != DH_FILE_PUNCHED)
		happened(who);
}

void life_start_listening(void)
{
	static const struct dh_persist_listener listener = {on_store, on_flush, on_fence,
							    on_wait};

	dh_persist_listen(&listener, NULL);
	dh_file_listener = on_file;
}

/* --- images --- */

static void mismatch(const struct model *model, const struct world *worlds, unsigned count,
		     const struct found *found)
{
	char text[1024];

	forest_differences(model, &worlds[0], found, text, sizeof(text));
	violation("what the pool holds is none of %u possible worlds; compared with the "
		  "first:%s", count, text);
}

void life_check(struct life *life)
{
	struct daxheap_stats stats;
	struct found found;

	forest_read(life->heap, &life->model, &found);
	forest_check_live(life->heap, &found);
	if (!model_keep(&life->model, forest_matches, &found))
		mismatch(&life->model, life->model.worlds, life->model.world_count, &found);
	if (daxheap_get_stats(life->heap, &stats))
		violation("no statistics: %s", daxheap_errormsg());
	if (stats.live_blocks != found.count)
		violation("the statistics tell of %llu live blocks, there are %u",
			  (unsigned long long)stats.live_blocks, found.count);
}

static void check_possible(const struct life *life, struct daxheap *heap)
{
	struct found found;

	forest_read(heap, &life->model, &found);
	forest_walk_live(*(char *const *)heap, &found);
	for (unsigned i = 0; i < life->model.possible_count; i++)
		if (forest_matches(&life->model, &life->model.possible[i], &found))
			return;
	mismatch(&life->model, life->model.possible, life->model.possible_count, &found);
}

static void on_finding(void *arg, const struct daxheap_finding *finding)
{
	(void)arg;
	violation("check: at %#llx: %s", (unsigned long long)finding->offset, finding->what);
}

static void check_whole(const char *path)
{
	int findings = daxheap_check(path, 0, on_finding, NULL);

	atomic_fetch_add(&totals->checks, 1);
	if (findings)
		violation("check says %d: %s", findings, daxheap_errormsg());
}

void life_open(struct life *life, const char *path)
{
	struct daxheap *heap;

	life->heap = NULL;
	life->base = NULL;
	if (daxheap_open(path, 0, &heap))
		violation("the pool does not open: %s", daxheap_errormsg());
	life->heap = heap;
	life->base = *(char *const *)heap;
	if (ops_policy && daxheap_set_trim_policy(heap, 0, 0, OPS_TRIM_LIMIT_MS))
		violation("no policy: %s", daxheap_errormsg());
}

void life_close(struct life *life)
{
	daxheap_close(life->heap);
	life->heap = NULL;
}

/* As if all of the machine lost its power: the image is what is persisted. */
static void follow_cut(struct media *media, const struct image *image)
{
	media_follow(media);
	for (unsigned i = 0; i < image->media->count; i++) {
		const struct unsettled *entry = &image->media->list[i];

		if (image->choice[i])
			media_set(media, entry->word, entry->values[image->choice[i] - 1]);
	}
	media_set_length(media, image->length);
}

static bool has_everything(const struct image *image)
{
	for (unsigned i = 0; i < image->media->count; i++)
		if (image->choice[i] != image->media->list[i].count)
			return false;
	return image->media->count && image->length == media_newest_length(image->media);
}

/*
 * The image that has everything may also be what a kill left: then all of it is in the
 * CPU's cache, and no more is persisted than before.
 */
static void begin_listening(struct life *child, const struct image *image, uint64_t random)
{
	struct media *media = &medias[child->level];

	if (has_everything(image) && random % 4) {
		media_follow(media);
		media_inherit(media);
	} else {
		follow_cut(media, image);
	}
	child->media = media;
	atomic_fetch_add(&totals->recoveries, 1);
}

static void take_back(struct life *child, struct media *media)
{
	if (child->file_changed)
		media_restore_image(media);
	child->file_changed = false;
	for (unsigned i = 0; i < child->store_count; i++) {
		struct store *store = &child->stores[i];

		if (store->word + store->count <= media->image_length / 8)
			memcpy(media->image + store->word, media->persisted + store->word,
			       store->count * sizeof(uint64_t));
	}
	child->store_count = 0;
}

/* The heap goes on: a few operations, and they are there when it is opened again. */
static void work_on(struct life *child, const char *path)
{
	for (unsigned i = 0; i < OPS_OF_A_LIFE; i++)
		ops_run(child, 0, ops_random_kind(&child->random), random_next(&child->random));
	life_check(child);
	/* Its reservations end with it. */
	memset(child->stock, 0, sizeof(child->stock));
	life_close(child);
	child->media = NULL;
	life_open(child, path);
	life_check(child);
}

/* The chunks of the intent that an image has, if there is one. */
static struct dh_intent find_intent(const uint64_t *words)
{
	const struct dh_superblock *sb = (const struct dh_superblock *)words;
	struct dh_intent intent;

	memcpy(&intent, words + DH_INTENT_OFFSET / 8, sizeof(intent));
	if (intent.checksum != dh_intent_checksum(&intent, dh_pool_seed(sb)))
		intent.count = 0;
	return intent;
}

/* What an open found to be given back is gone, unless the intent still stands. */
static void check_finished(const struct life *child, const struct dh_intent *intent)
{
	const uint64_t *words = (const uint64_t *)child->base;
	const uint64_t *table = words + DH_TABLE_OFFSET / 8;

	if (!intent->count || find_intent(words).count)
		return;
	for (uint64_t chunk = intent->first; chunk < intent->first + intent->count; chunk++)
		for (uint64_t i = 0; !table[chunk] && i < DH_CHUNK_SIZE / 8; i++)
			if (words[chunk * DH_CHUNK_SIZE / 8 + i])
				violation("the open did not give back chunk %llu",
					  (unsigned long long)chunk);
}

static void try_image(struct life *life, const struct image *image)
{
	struct dh_intent intent = find_intent(life->media->image);
	uint64_t random = mix_two(image->hash, life->random);
	unsigned each = life->effort->recover_each / (has_everything(image) ? 8 : 1);
	bool listens = life->level + 1 < LEVELS && random % each == 0;
	bool works = random / 1024 % life->effort->work_each == 0;
	bool is_checked = (random >> 32) % life->effort->check_each == 0;
	struct life *child = &children[life->level];
	const char *path = life->media->path;
	struct listener listener = {.life = child};

	child->level = life->level + 1;
	child->effort = life->effort + 1;
	child->random = random;
	child->media = NULL;
	child->base = NULL;
	child->waits = 0;
	if (works || listens)
		model_crash(&child->model, &life->model);
	if (listens)
		begin_listening(child, image, random >> 40);
	if (is_checked)
		check_whole(path);
	listening = &listener;
	life_open(child, path);
	check_finished(child, &intent);
	if (listens)
		life_crash(child);
	if (works || listens)
		life_check(child);
	else
		check_possible(life, child->heap);
	if (works)
		work_on(child, path);
	life_close(child);
	listening = NULL;
	if (is_checked)
		check_whole(path);
	take_back(child, life->media);
}

static void form_images(struct life *life)
{
	static unsigned formed;
	uint64_t bad;

	if (++formed % 64 == 0) {
		bad = media_compare_image(life->media);
		if (bad != UINT64_MAX)
			violation("recovery stored to %#llx past the persist layer",
				  (unsigned long long)bad);
	}
	images_form(life, try_image);
}

void life_crash(struct life *life)
{
	if (life->effort && life->media)
		life_try_in(life->level, form_images, life);
}
