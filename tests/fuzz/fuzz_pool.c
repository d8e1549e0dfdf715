/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One hostile pool: an image, patches to it, and calls on it.
 *
 * Besides what sanitizers and guards find, a pool that check calls clean must open, and be
 * clean after whatever was done with it; and repair must leave what it said it would, lose no
 * live block, and have nothing to do the second time.
 *
 * Input: image, mode, number of patches, patches, then calls of three bytes each.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daxheap.h"
#include "fuzz.h"
#include "image.h"

#define SLOTS		16u
#define ROOTS		4u
#define RESERVED	8u
#define BLOCKS_MAX	8192u

enum { MODE_REPAIR = 1, MODE_READ_ONLY = 2 };

#define require(condition, ...)                                                                \
	do {                                                                                   \
		if (!(condition)) {                                                            \
			fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);        \
			fprintf(stderr, __VA_ARGS__);                                          \
			fprintf(stderr, "\n");                                                 \
			abort();                                                               \
		}                                                                              \
	} while (0)

/* --- check --- */

struct findings {
	unsigned counts[4];
	char last[256];			/* that counts as damage */
};

static void found(void *arg, const struct daxheap_finding *finding)
{
	struct findings *findings = arg;

	require(finding->severity >= DAXHEAP_DAMAGE && finding->severity <= DAXHEAP_UNKNOWN,
		"%d", finding->severity);
	require((finding->size && finding->offset + finding->size <= image_length()) ||
			strstr(finding->what, "truncated"),
		"%llx + %llx: %s", (unsigned long long)finding->offset,
		(unsigned long long)finding->size, finding->what);
	findings->counts[finding->severity]++;
	if (finding->severity != DAXHEAP_REPAIRED)
		snprintf(findings->last, sizeof(findings->last), "%s", finding->what);
}

static int check(unsigned flags, struct findings *findings)
{
	int result;

	memset(findings, 0, sizeof(*findings));
	result = daxheap_check(image_path, flags, found, findings);
	arena_release();
	require(result < 0 || (unsigned)result == findings->counts[DAXHEAP_DAMAGE] +
						   findings->counts[DAXHEAP_UNKNOWN], "%d", result);
	return result;
}

static int open_pool(unsigned flags, struct daxheap **heap)
{
	int err = daxheap_open(image_path, flags, heap);

	if (err)
		arena_release();
	return err;
}

static void close_pool(struct daxheap *heap)
{
	daxheap_close(heap);
	arena_release();
}

/* --- repair --- */

static uint64_t blocks[BLOCKS_MAX];

/* What lives in a pool that opens, as far as it tells. */
static unsigned live_blocks(void)
{
	struct daxheap_block block = {0};
	struct daxheap *heap;
	unsigned count = 0;

	if (open_pool(DAXHEAP_READ_ONLY, &heap))
		return 0;
	while (count < BLOCKS_MAX && daxheap_next(heap, &block) > 0)
		blocks[count++] = block.ref;
	close_pool(heap);
	return count;
}

static void require_live(unsigned count)
{
	struct daxheap_block block = {0};
	struct daxheap *heap;
	unsigned next = 0;

	require(!open_pool(DAXHEAP_READ_ONLY, &heap), "%s", daxheap_errormsg());
	while (next < count && daxheap_next(heap, &block) > 0) {
		require(block.ref <= blocks[next], "repair lost block %llx",
			(unsigned long long)blocks[next]);
		next += block.ref == blocks[next];
	}
	require(next == count, "repair lost block %llx", (unsigned long long)blocks[next]);
	close_pool(heap);
}

static void repair(void)
{
	struct findings first, second, third;
	unsigned count = live_blocks();
	int before = check(DAXHEAP_CHECK_REPAIR, &first), after;

	after = check(0, &second);
	if (before < 0) {
		/* A feature that allows reading alone, or nothing to judge. */
		require(after == before || before == -EROFS, "%d, then %d", before, after);
		return;
	}
	require(after >= 0 && after <= before, "%d, then %d: %s", before, after, second.last);
	if (!first.counts[DAXHEAP_DAMAGE] && !after)
		require_live(count);
	require(check(DAXHEAP_CHECK_REPAIR, &third) == after, "%s", third.last);
	require(!third.counts[DAXHEAP_REPAIRED], "repaired again");
}

/* --- calls --- */

struct play {
	struct daxheap *heap;
	daxheap_ref *slots[SLOTS];	/* roots, then in a block of this run */
	void *reserved[RESERVED];
	struct daxheap_action *action;
};

static void find_slots(struct play *play)
{
	static const char *const names[ROOTS] = {"slots", "small", "huge", "new"};
	struct daxheap *heap = play->heap;
	void *block;

	for (unsigned i = 0; i < ROOTS; i++)
		if (daxheap_root(heap, names[i], &play->slots[i]))
			play->slots[i] = NULL;
	if (!play->slots[3] || *play->slots[3] || daxheap_calloc(heap, SLOTS, 8, &block))
		return;
	daxheap_persist(heap, block, SLOTS * 8);
	if (daxheap_publish(heap, play->slots[3], block)) {
		daxheap_cancel(heap, block);
		return;
	}
	for (unsigned i = ROOTS; i < SLOTS; i++)
		play->slots[i] = (daxheap_ref *)block + i;
	play->slots[3] = NULL;
}

static size_t size_of(unsigned arg)
{
	static const size_t bases[] = {1, 16, 100, 1000, 4096, 30000, 200000, 1 << 20, 3 << 20,
				       6 << 20};

	return bases[arg % 10] + arg / 10 % 3;
}

static void call_action(struct play *play, unsigned slot, unsigned arg)
{
	daxheap_ref *at = play->slots[slot];
	void **block = &play->reserved[arg % RESERVED];

	if (!play->action && daxheap_action_new(play->heap, &play->action))
		return;
	switch (arg / 8 % 5) {
	case 0:
		if (at && *block)
			daxheap_action_publish(play->action, at, *block);
		break;
	case 1:
		if (at && *block)
			daxheap_action_replace(play->action, at, *block);
		break;
	case 2:
		if (at)
			daxheap_action_free(play->action, at);
		break;
	case 3:
		daxheap_action_reset(play->action);
		break;
	default:
		/* What was published is no reservation any more; what was not, stays. */
		if (!daxheap_action_commit(play->action))
			memset(play->reserved, 0, sizeof(play->reserved));
	}
}

static void look_around(struct play *play, unsigned arg)
{
	struct daxheap_block block = {0};
	struct daxheap_stats stats;
	struct daxheap_class_stats classes[64];
	struct daxheap_info info;
	daxheap_ref last = 0;

	daxheap_get_info(play->heap, &info);
	for (unsigned i = 0; i < BLOCKS_MAX; i++) {
		if ((arg & 1 ? daxheap_next(play->heap, &block) :
			       daxheap_next_tagged(play->heap, arg >> 1, &block)) <= 0)
			break;
		require(block.ref > last && block.ref + block.size <= info.length, "%llx",
			(unsigned long long)block.ref);
		last = block.ref;
		daxheap_usable_size(play->heap, daxheap_ptr(play->heap, block.ref));
	}
	if (arg & 0x40)
		daxheap_get_stats(play->heap, &stats);
	if (arg & 0x80)
		daxheap_get_class_stats(play->heap, classes, 64);
}

static void call(struct play *play, const uint8_t *code)
{
	struct daxheap *heap = play->heap;
	daxheap_ref *slot = play->slots[code[1] % SLOTS];
	void **block = &play->reserved[code[2] % RESERVED];

	switch (code[0] % 10) {
	case 0:
	case 1:
		if (!*block && daxheap_alloc_as(heap, size_of(code[1]), code[2] & 8 ? 4096 : 0,
						code[2] >> 4, block))
			*block = NULL;
		break;
	case 2:
		if (*block && slot && !daxheap_publish(heap, slot, *block))
			*block = NULL;
		break;
	case 3:
		if (slot)
			daxheap_free(heap, slot);
		break;
	case 4:
		if (*block && slot && !daxheap_replace(heap, slot, *block))
			*block = NULL;
		break;
	case 5:
		if (slot)
			daxheap_realloc(heap, slot, size_of(code[2]));
		break;
	case 6:
		if (*block && !daxheap_cancel(heap, *block))
			*block = NULL;
		break;
	case 7:
		call_action(play, code[1] % SLOTS, code[2]);
		break;
	case 8:
		look_around(play, code[1]);
		break;
	default:
		if (code[2] & 0x80) {
			daxheap_trim(heap, (uint64_t)code[1] << 16, 10000, NULL);
			break;
		}
		/* Addresses that are no block's. */
		daxheap_usable_size(heap, *(char **)heap + (code[1] << 16 | code[2] << 4));
		daxheap_cancel(heap, *(char **)heap + (code[1] << 16 | code[2] << 4));
	}
}

/* Mistakes that must be found, so that it is known that they would be. */
static void make_mistake(struct daxheap *heap)
{
	const char *mistake = getenv("FUZZ_CONTROL");
	volatile char *base = *(char **)heap;
	volatile uint64_t *word = (uint64_t *)(base + DH_TABLE_OFFSET) + 4;

	if (!mistake)
		return;
	if (!strcmp(mistake, "guard"))
		(void)base[IMAGE_SIZE];
	if (!strcmp(mistake, "front"))
		(void)base[-1];
	if (!strcmp(mistake, "bit"))
		*word = dh_word_make(dh_word_payload(*word) ^ 1, DH_TABLE_OFFSET + 4 * 8) ^ 1;
	while (!strcmp(mistake, "hang"))
		;
}

static void play_calls(const uint8_t *codes, size_t size, unsigned mode)
{
	unsigned flags = mode & MODE_READ_ONLY ? DAXHEAP_READ_ONLY : 0;
	struct play play = {0};
	struct findings findings;
	bool clean = check(0, &findings) == 0;
	int err = open_pool(flags, &play.heap);

	require(!err || !clean || err == -EROFS, "clean, and does not open: %s",
		daxheap_errormsg());
	if (err)
		return;
	find_slots(&play);
	for (size_t i = 0; i + 3 <= size; i += 3)
		call(&play, codes + i);
	look_around(&play, 0xc1);
	daxheap_action_delete(play.action);
	make_mistake(play.heap);
	close_pool(play.heap);
	if (clean && !image_exhausted)
		require(check(0, &findings) == 0, "was clean: %s, %s", findings.last,
			daxheap_errormsg());
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	/* An msync at each fence would be most of the time. */
	setenv("PMEM_IS_PMEM_FORCE", "1", 1);
	images_make();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned mode;

	if (size < 3)
		return 0;
	image_restore(data[0] % IMAGES);
	mode = data[1];
	for (unsigned left = data[2] % 8, at = 3;; left--, at += PATCH_BYTES) {
		if (left && size - at >= PATCH_BYTES) {
			image_patch(data + at);
			continue;
		}
		data += at;
		size -= at;
		break;
	}
	if (mode & MODE_REPAIR)
		repair();
	else
		play_calls(data, size, mode);
	return 0;
}
