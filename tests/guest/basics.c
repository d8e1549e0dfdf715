/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the heap can do, once, on whatever persistent memory a guest has: basics POOL MODE.
 * 0 if all went well, the pool is in that mode, and lines are flushed in those modes alone that
 * need it.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daxheap.h"

#define SLOTS		512u
#define POOL_SIZE	(64u << 20)
#define HUGE_SIZE	((size_t)5 << 20)

static const struct mode {
	const char *name;
	enum daxheap_durability durability;
	bool flushes;
} modes[] = {
	{"map-sync", DAXHEAP_MAP_SYNC, true},
	{"eadr", DAXHEAP_MAP_SYNC, false},
	{"dax-msync", DAXHEAP_DAX_MSYNC, true},
};

#define must(what)                                                                             \
	do {                                                                                   \
		if (!(what)) {                                                                 \
			printf("line %d: not so: %s: %s\n", __LINE__, #what,                   \
			       daxheap_errormsg());                                            \
			exit(1);                                                               \
		}                                                                              \
	} while (0)

static struct daxheap *heap;
static daxheap_ref *slots;

static size_t size_of(unsigned slot)
{
	return slot ? 16 + slot * 37 % 5000 : HUGE_SIZE;
}

static void fill(char *block, unsigned slot)
{
	memset(block, (int)(slot % 250 + 1), size_of(slot));
}

static bool has_content(unsigned slot)
{
	const char *block = daxheap_ptr(heap, slots[slot]);

	for (size_t i = 0; block && i < size_of(slot); i++)
		if (block[i] != (char)(slot % 250 + 1))
			return false;
	return block;
}

static void publish(unsigned slot)
{
	void *block;

	must(!daxheap_alloc(heap, size_of(slot), &block));
	fill(block, slot);
	must(!daxheap_persist(heap, block, size_of(slot)));
	must(!daxheap_publish(heap, &slots[slot], block));
}

static void find_slots(void)
{
	daxheap_ref *root;

	must(!daxheap_root(heap, "basics", &root));
	if (!*root) {
		void *block;

		must(!daxheap_calloc(heap, SLOTS + 1, sizeof(*slots), &block));
		must(!daxheap_persist(heap, block, (SLOTS + 1) * sizeof(*slots)));
		must(!daxheap_publish(heap, root, block));
	}
	slots = daxheap_ptr(heap, *root);
}

/* Every third block goes, all at once, and the word behind the slots counts how many. */
static void free_some(void)
{
	struct daxheap_action *action;

	must(!daxheap_action_new(heap, &action));
	for (unsigned i = 3; i < SLOTS; i += 3)
		must(!daxheap_action_free(action, &slots[i]));
	must(!daxheap_action_set(action, &slots[SLOTS], SLOTS / 3));
	must(!daxheap_action_commit(action));
	daxheap_action_delete(action);
}

static void verify(void)
{
	struct daxheap_stats stats;
	uint64_t live = 1;

	for (unsigned i = 0; i < SLOTS; i++) {
		bool gone = i && i % 3 == 0;

		must(gone ? !slots[i] : has_content(i));
		live += !gone;
	}
	must(slots[SLOTS] == SLOTS / 3);
	must(!daxheap_get_stats(heap, &stats) && stats.live_blocks == live);
}

static void show(void *arg, const struct daxheap_finding *finding)
{
	(void)arg;
	printf("check: %llu bytes at %#llx: %s\n", (unsigned long long)finding->size,
	       (unsigned long long)finding->offset, finding->what);
}

static void must_be_in(const struct mode *mode)
{
	struct daxheap_info info;

	must(!daxheap_get_info(heap, &info));
	printf("%s; %llu fences, %llu flushed lines\n", daxheap_durability_name(info.durability),
	       (unsigned long long)info.fences, (unsigned long long)info.flushed_lines);
	must(info.durability == mode->durability);
	must(info.fences >= SLOTS);
	must(mode->flushes ? info.flushed_lines >= SLOTS : !info.flushed_lines);
}

static void run(const char *path, const struct mode *mode)
{
	must(!daxheap_create(path, POOL_SIZE, 0, &heap));
	find_slots();
	for (unsigned i = 0; i < SLOTS; i++)
		publish(i);
	free_some();
	verify();
	must_be_in(mode);
	daxheap_close(heap);
	must(!daxheap_check(path, 0, show, NULL));
	must(!daxheap_open(path, DAXHEAP_READ_ONLY, &heap));
	find_slots();
	verify();
	daxheap_close(heap);
	must(!daxheap_open(path, 0, &heap));
	find_slots();
	verify();
	for (unsigned i = 0; i < SLOTS; i++)
		if (slots[i])
			must(!daxheap_free(heap, &slots[i]));
	daxheap_close(heap);
	must(!daxheap_check(path, 0, show, NULL));
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned i = 0; argc == 3 && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (!strcmp(argv[2], modes[i].name)) {
			run(argv[1], &modes[i]);
			return 0;
		}
	fputs("usage: basics POOL map-sync|eadr|dax-msync\n", stderr);
	return 2;
}
