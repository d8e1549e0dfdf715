/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pool that grows and shrinks under load: several threads publish and free blocks of 64 bytes
 * to 6 MiB, more and then fewer, while space goes back by policy and by calls.
 *
 *	churn POOL run SECONDS		then all blocks are what they should be, and the file takes
 *					what the chunks in use do, to the block
 *	churn POOL load			without end; a line "THREAD SLOT GENERATION" acknowledges
 *					each change that is durable
 *	churn POOL verify ACKED		nothing that the lines of ACKED acknowledge is lost
 *
 * Each change is an action: a slot gets a block, or loses it, and its generation grows by one.  So
 * a slot with an odd generation has a block, and the block tells which.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daxheap.h"

#define MiB		(UINT64_C(1) << 20)
#define CHUNK		(2 * MiB)
#define UNIT		(MiB / 16)
#define POOL_SIZE	(512 * MiB)
#define THREADS		4u
#define SLOTS		512u
#define PHASE		1500u		/* changes until a thread turns from growing to shrinking */

struct slot {
	daxheap_ref block;
	uint64_t generation;
};

struct head {
	uint64_t thread, slot, generation, size;
	uint64_t words[];
};

static struct daxheap *heap;
static const char *pool;
static struct slot *slots[THREADS];
static atomic_bool stop;
static bool acknowledges;
static atomic_ullong changes, full, trims, late;

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	fprintf(stderr, " (%s)\n", daxheap_errormsg());
	exit(1);
}

#define must(what)                                                                             \
	do {                                                                                   \
		if (!(what))                                                                   \
			fail("line %d: not so: %s", __LINE__, #what);                          \
	} while (0)

/* xorshift64* (Vigna). */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static uint64_t between(uint64_t *state, uint64_t low, uint64_t high)
{
	return low + (next_random(state) >> 16) % (high - low);
}

static size_t random_size(uint64_t *state)
{
	unsigned percent = (unsigned)between(state, 0, 100);

	if (percent < 60)
		return between(state, 64, 1024);
	if (percent < 90)
		return between(state, 4096, 65536);
	if (percent < 99)
		return between(state, 65536, 524288);
	return between(state, 2 * MiB, 6 * MiB);
}

static uint64_t word_of(const struct head *head, uint64_t i)
{
	return (head->generation << 40 ^ head->slot << 20 ^ i) * UINT64_C(0x9e3779b97f4a7c15);
}

/* Every word of a page's first line, so that the time goes into the heap. */
static bool next_word(const struct head *head, uint64_t *i)
{
	++*i;
	if (*i % 512 == 8)
		*i += 504;
	return sizeof(*head) + (*i + 1) * 8 <= head->size;
}

static struct head *new_block(unsigned thread, unsigned slot, uint64_t generation, size_t size)
{
	struct head *head;
	int err = daxheap_alloc(heap, size, (void **)&head);

	if (err == -ENOMEM || err == -ENOSPC)
		return NULL;
	must(!err);
	*head = (struct head){thread, slot, generation, size};
	for (uint64_t i = ~UINT64_C(0); next_word(head, &i);)
		head->words[i] = word_of(head, i);
	must(!daxheap_persist(heap, head, size));
	return head;
}

static void check_slot(unsigned thread, unsigned slot)
{
	const struct slot *at = &slots[thread][slot];
	const struct head *head = daxheap_ptr(heap, at->block);

	if (!head != !(at->generation % 2))
		fail("slot %u of thread %u: generation %llu %s a block", slot, thread,
		     (unsigned long long)at->generation, head ? "with" : "without");
	if (!head)
		return;
	if (head->thread != thread || head->slot != slot || head->generation != at->generation)
		fail("slot %u of thread %u has a block of another", slot, thread);
	for (uint64_t i = ~UINT64_C(0); next_word(head, &i);)
		if (head->words[i] != word_of(head, i))
			fail("slot %u of thread %u: word %llu is not what was stored", slot,
			     thread, (unsigned long long)i);
}

static bool change(struct daxheap_action *action, unsigned thread, unsigned slot, size_t size)
{
	struct slot *at = &slots[thread][slot];
	uint64_t generation = at->generation + 1;

	if (at->block) {
		check_slot(thread, slot);
		must(!daxheap_action_free(action, &at->block));
	} else {
		struct head *head = new_block(thread, slot, generation, size);

		if (!head)
			return false;
		must(!daxheap_action_publish(action, &at->block, head));
	}
	must(!daxheap_action_set(action, &at->generation, generation));
	if (daxheap_action_commit(action)) {
		/* The action's entries find no room either. */
		daxheap_action_reset(action);
		return false;
	}
	if (acknowledges) {
		char line[64];
		int length = snprintf(line, sizeof(line), "%u %u %llu\n", thread, slot,
				      (unsigned long long)generation);

		must(write(STDOUT_FILENO, line, (size_t)length) == length);
	}
	return true;
}

static void *run_thread(void *arg)
{
	unsigned thread = (unsigned)(uintptr_t)arg, count = 0;
	uint64_t state = 88172645463325252u + thread * 7919;
	struct daxheap_action *action;

	must(!daxheap_action_new(heap, &action));
	while (!stop) {
		bool grows = count++ / PHASE % 2 == 0;
		unsigned slot = (unsigned)between(&state, 0, SLOTS);

		/* Nine of ten changes go the phase's way. */
		if (!slots[thread][slot].block != grows && between(&state, 0, 10))
			continue;
		if (change(action, thread, slot, random_size(&state)))
			changes++;
		else
			full++;
	}
	daxheap_action_delete(action);
	return NULL;
}

static void open_slots(unsigned thread)
{
	char name[16];
	daxheap_ref *root;

	snprintf(name, sizeof(name), "churn%u", thread);
	must(!daxheap_root(heap, name, &root));
	if (!*root) {
		void *block;

		must(!daxheap_calloc(heap, SLOTS, sizeof(struct slot), &block));
		must(!daxheap_persist(heap, block, SLOTS * sizeof(struct slot)));
		must(!daxheap_publish(heap, root, block));
	}
	slots[thread] = daxheap_ptr(heap, *root);
}

static void open_pool(void)
{
	int err = daxheap_open(pool, 0, &heap);

	if (err == -ENOENT)
		err = daxheap_create(pool, POOL_SIZE, 0, &heap);
	must(!err);
	for (unsigned i = 0; i < THREADS; i++)
		open_slots(i);
}

static void run_threads(unsigned seconds)
{
	const struct timespec pause = {.tv_nsec = 300000000};
	time_t end = time(NULL) + seconds;
	pthread_t threads[THREADS];

	must(!daxheap_set_trim_policy(heap, 8 * MiB, 25, 200));
	for (unsigned i = 0; i < THREADS; i++)
		must(!pthread_create(&threads[i], NULL, run_thread, (void *)(uintptr_t)i));
	while (!seconds || time(NULL) < end) {
		int err = daxheap_trim(heap, 16 * MiB, 1000, NULL);

		if (err && err != -ETIMEDOUT)
			fail("trim");
		err ? late++ : trims++;
		nanosleep(&pause, NULL);
	}
	stop = true;
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

/* Bytes of the file's data, by FIEMAP; where there is none (tmpfs), as stat(2) says. */
static uint64_t data_bytes(void)
{
	struct {
		struct fiemap map;
		struct fiemap_extent extents[64];
	} ask;
	uint64_t bytes = 0, from = 0;
	int fd = open(pool, O_RDONLY);
	bool last = false;
	struct stat st;

	must(fd >= 0 && !fstat(fd, &st));
	while (!last) {
		memset(&ask, 0, sizeof(ask));
		ask.map.fm_start = from;
		ask.map.fm_length = ~UINT64_C(0) - from;
		ask.map.fm_flags = FIEMAP_FLAG_SYNC;
		ask.map.fm_extent_count = 64;
		if (ioctl(fd, FS_IOC_FIEMAP, &ask.map)) {
			must(errno == EOPNOTSUPP || errno == ENOTTY);
			bytes = (uint64_t)st.st_blocks * 512;
			break;
		}
		last = !ask.map.fm_mapped_extents;
		for (unsigned i = 0; i < ask.map.fm_mapped_extents; i++) {
			bytes += ask.extents[i].fe_length;
			from = ask.extents[i].fe_logical + ask.extents[i].fe_length;
			last = ask.extents[i].fe_flags & FIEMAP_EXTENT_LAST;
		}
	}
	close(fd);
	return bytes;
}

/* Chunks that live blocks lie in. */
static uint64_t chunks_in_use(void)
{
	bool used[POOL_SIZE / CHUNK] = {false};
	struct daxheap_block block = {0};
	uint64_t count = 0;
	int more;

	while ((more = daxheap_next(heap, &block)) > 0) {
		for (uint64_t i = block.ref / CHUNK; i <= (block.ref + block.size - 1) / CHUNK;
		     i++) {
			count += !used[i];
			used[i] = true;
		}
	}
	must(!more);
	return count;
}

static void check_all(void)
{
	struct daxheap_stats stats;
	uint64_t reached = THREADS;

	for (unsigned i = 0; i < THREADS; i++)
		for (unsigned j = 0; j < SLOTS; j++) {
			check_slot(i, j);
			reached += slots[i][j].block != 0;
		}
	must(!daxheap_get_stats(heap, &stats));
	if (stats.live_blocks != reached)
		fail("%llu live blocks, %llu reached", (unsigned long long)stats.live_blocks,
		     (unsigned long long)reached);
}

/* Units of 64 KiB that live blocks lie in, and the first of each chunk, which has its records. */
static uint64_t units_in_use(void)
{
	static bool used[POOL_SIZE / UNIT];
	struct daxheap_block block = {0};
	uint64_t count = 0;
	int more;

	memset(used, 0, sizeof(used));
	while ((more = daxheap_next(heap, &block)) > 0) {
		for (uint64_t i = block.ref / UNIT; i <= (block.ref + block.size - 1) / UNIT; i++)
			used[i] = true;
		used[block.ref / CHUNK * (CHUNK / UNIT)] = true;
	}
	must(!more);
	for (uint64_t i = 0; i < POOL_SIZE / UNIT; i++)
		count += used[i];
	return count;
}

/*
 * The file loses the data that the trim says (which on xfs counts blocks of the extent list as well,
 * less than a unit's worth); and keeps no chunk that no block lies in, and each unit that one does.
 */
static void must_be_to_the_block(uint64_t front)
{
	uint64_t before = data_bytes(), bytes, freed, chunks = chunks_in_use();

	must(!daxheap_trim(heap, 0, 20000, &freed));
	bytes = data_bytes();
	printf("%llu chunks in use: %llu KiB given back, %llu KiB of data left, %llu KiB in front\n",
	       (unsigned long long)chunks, (unsigned long long)(freed >> 10),
	       (unsigned long long)(bytes >> 10), (unsigned long long)(front >> 10));
	if (before - bytes >= freed + UNIT || freed >= before - bytes + UNIT)
		fail("the file had %llu bytes", (unsigned long long)before);
	if (bytes > front + chunks * CHUNK || bytes < front + units_in_use() * UNIT)
		fail("the file has not what its chunks take");
}

static void free_all(void)
{
	struct daxheap_action *action;

	must(!daxheap_action_new(heap, &action));
	for (unsigned i = 0; i < THREADS; i++)
		for (unsigned j = 0; j < SLOTS; j++)
			if (slots[i][j].block)
				must(change(action, i, j, 0));
	daxheap_action_delete(action);
}

static int run(unsigned seconds)
{
	struct daxheap_info info;
	uint64_t front;

	open_pool();
	/* The tables alone: in one chunk, of which the trim leaves what is in use. */
	must(!daxheap_trim(heap, 0, 20000, NULL));
	must(chunks_in_use() == 1);
	front = data_bytes() - units_in_use() * UNIT;
	run_threads(seconds);
	must(!daxheap_get_info(heap, &info));
	printf("%llu changes, %llu found no room; %llu MiB given back, %llu trims in time, %llu not\n",
	       (unsigned long long)changes, (unsigned long long)full,
	       (unsigned long long)(info.trimmed_bytes >> 20), (unsigned long long)trims,
	       (unsigned long long)late);
	must(changes > 100 && trims);
	check_all();
	must_be_to_the_block(front);
	daxheap_close(heap);
	open_pool();
	check_all();
	must_be_to_the_block(front);
	free_all();
	must_be_to_the_block(front);
	daxheap_close(heap);
	return 0;
}

static int load(void)
{
	acknowledges = true;
	open_pool();
	run_threads(0);
	return 0;
}

static int verify(const char *path)
{
	static uint64_t acked[THREADS][SLOTS];
	unsigned long long generation, count = 0;
	unsigned thread, slot;
	FILE *file = fopen(path, "r");

	if (!file) {
		perror(path);
		return 1;
	}
	while (fscanf(file, "%u %u %llu\n", &thread, &slot, &generation) == 3) {
		must(thread < THREADS && slot < SLOTS);
		acked[thread][slot] = generation;
		count++;
	}
	fclose(file);
	open_pool();
	for (unsigned i = 0; i < THREADS; i++) {
		unsigned beyond = 0;

		for (unsigned j = 0; j < SLOTS; j++) {
			uint64_t there = slots[i][j].generation;

			if (there != acked[i][j] && there != acked[i][j] + 1)
				fail("slot %u of thread %u has generation %llu, acknowledged is "
				     "%llu", j, i, (unsigned long long)there,
				     (unsigned long long)acked[i][j]);
			beyond += there != acked[i][j];
		}
		if (beyond > 1)
			fail("%u changes of thread %u were not acknowledged: it makes one at a time",
			     beyond, i);
	}
	check_all();
	printf("%llu changes acknowledged, all there\n", count);
	daxheap_close(heap);
	return 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	pool = argv[1];
	if (argc == 4 && !strcmp(argv[2], "run"))
		return run((unsigned)atoi(argv[3]));
	if (argc == 3 && !strcmp(argv[2], "load"))
		return load();
	if (argc == 4 && !strcmp(argv[2], "verify"))
		return verify(argv[3]);
	fputs("usage: churn POOL run SECONDS | load | verify ACKED\n", stderr);
	return 2;
}
