/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench space: bytes that the pool's file takes from the file system, over those of the
 * live blocks.  The array of slots that lead to the blocks is counted on neither side, and
 * of a peer that takes space for the whole pool, what was never written to is not.
 *
 * Fill: blocks of one size, published by actions.
 *
 * Churn: blocks of 64 to 512 bytes (each size as likely) are published until 128 MB live.  Then
 * 2 million times a random one is freed and another of random size published in its place.  Then
 * each block, in random order, is freed, and blocks of 256 to 2048 bytes are published for as
 * long as no more than 128 MB live.  And then a trim, where there is such a thing.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "peer.h"

#define POOL_SIZE	(UINT64_C(2) << 30)
#define FILL_BYTES	(UINT64_C(256) << 20)
#define BATCH		256u
#define CHURN_BYTES	UINT64_C(128000000)
#define CHURN_SLOTS	500000u
#define REPLACEMENTS	2000000u

struct subject {
	const struct peer *peer;
	char *path;
	struct pool *pool;
	unsigned slots;
};

/* What the file has and nothing was written to does not count. */
static void give_back_zeros(const char *path)
{
	static const char zeros[65536];
	static char bytes[sizeof(zeros)];
	int fd = open(path, O_RDWR);
	off_t at = 0;

	if (fd < 0)
		die("%s can't be opened", path);
	for (ssize_t n; (n = pread(fd, bytes, sizeof(bytes), at)) > 0; at += n)
		if (!memcmp(bytes, zeros, (size_t)n) &&
		    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, n))
			die("%s: no holes can be punched", path);
	close(fd);
}

static struct subject create_subject(const struct peer *peer, const char *dir, unsigned slots)
{
	struct subject subject = {peer, temporary_path(dir, peer->name), NULL, slots};

	subject.pool = peer->create(peer, subject.path, POOL_SIZE, slots);
	if (peer->allocates_all)
		give_back_zeros(subject.path);
	return subject;
}

static void delete_subject(struct subject *subject)
{
	subject->peer->close(subject->pool);
	unlink(subject->path);
	free(subject->path);
}

static double file_over(const struct subject *subject, uint64_t live)
{
	struct stat st;
	double bytes;

	if (stat(subject->path, &st))
		die("%s can't be looked at", subject->path);
	bytes = (double)st.st_blocks * 512 - (double)(subject->slots * subject->peer->slot_size);
	return bytes / (double)live;
}

/* @goal: at most so much, for daxheap; 0: there is none. */
static void add_row(struct json_object *list, bool table, const struct peer *peer,
		    const char *what, double ratio, double goal)
{
	struct json_object *row = json_object_new_object();

	report_add_string(row, "peer", peer->name);
	report_add_string(row, "content", what);
	report_add_number(row, "file_over_live", ratio);
	json_object_array_add(list, row);
	if (!table)
		return;
	printf("%-15s %-32s %6.3f", peer->name, what, ratio);
	if (goal > 0 && peer == &daxheap_peer)
		printf("   at most %.2f: %s", goal, verdict(ratio, goal));
	putchar('\n');
}

static void fill(const struct peer *peer, const char *dir, unsigned block_size, bool table,
		 struct json_object *list)
{
	unsigned blocks = (unsigned)(FILL_BYTES / block_size);
	struct subject subject = create_subject(peer, dir, blocks);
	const struct slots none = {0, 0};
	char what[32];

	for (unsigned i = 0; i < blocks; i += BATCH)
		peer->action(subject.pool, 0, (struct slots){i, BATCH}, none, block_size);
	snprintf(what, sizeof(what), "%u B", block_size);
	add_row(list, table, peer, what, file_over(&subject, FILL_BYTES), 1.02);
	delete_subject(&subject);
}

struct churn {
	struct subject subject;
	uint64_t random;
	uint64_t live;			/* bytes */
	unsigned count;			/* slots 0 to count - 1 have been used */
	uint16_t sizes[CHURN_SLOTS];	/* 0: empty */
};

static void publish_random_size(struct churn *churn, unsigned slot, unsigned min, unsigned max)
{
	unsigned size = min + random_below(&churn->random, max - min + 1);

	churn->subject.peer->publish(churn->subject.pool, slot, size, false);
	churn->sizes[slot] = (uint16_t)size;
	churn->live += size;
}

static void unpublish(struct churn *churn, unsigned slot)
{
	churn->subject.peer->unpublish(churn->subject.pool, slot);
	churn->live -= churn->sizes[slot];
	churn->sizes[slot] = 0;
}

static void replace_at_random(struct churn *churn)
{
	for (unsigned i = 0; i < REPLACEMENTS; i++) {
		unsigned slot = random_below(&churn->random, churn->count);

		unpublish(churn, slot);
		publish_random_size(churn, slot, 64, 512);
	}
}

/* The slots up to churn->count in random order. */
static unsigned *shuffled(struct churn *churn)
{
	unsigned *order = calloc(churn->count, sizeof(*order));

	if (!order)
		die("out of memory");
	for (unsigned i = 0; i < churn->count; i++) {
		unsigned j = random_below(&churn->random, i + 1);

		order[i] = order[j];
		order[j] = i;
	}
	return order;
}

static void shift_sizes(struct churn *churn)
{
	unsigned *order = shuffled(churn), used = 0;

	for (unsigned i = 0; i < churn->count; i++) {
		unpublish(churn, order[i]);
		/* At most as many are published as were freed, since they are larger. */
		while (used <= i && churn->live + 2048 <= CHURN_BYTES)
			publish_random_size(churn, order[used++], 256, 2048);
	}
	free(order);
}

static void churn_peer(const struct peer *peer, const char *dir, bool table,
		       struct json_object *list)
{
	struct churn *churn = calloc(1, sizeof(*churn));

	if (!churn)
		die("out of memory");
	churn->subject = create_subject(peer, dir, CHURN_SLOTS);
	churn->random = 1;
	while (churn->live + 512 <= CHURN_BYTES)
		publish_random_size(churn, churn->count++, 64, 512);
	add_row(list, table, peer, "128 MB of 64-512 B", file_over(&churn->subject, churn->live),
		0);
	replace_at_random(churn);
	add_row(list, table, peer, "after 2 million replacements",
		file_over(&churn->subject, churn->live), 0);
	shift_sizes(churn);
	add_row(list, table, peer, "after the shift to 256-2048 B",
		file_over(&churn->subject, churn->live), peer->trim ? 0 : 1.5);
	if (peer->trim) {
		peer->trim(churn->subject.pool);
		add_row(list, table, peer, "and a trim", file_over(&churn->subject, churn->live),
			1.5);
	}
	delete_subject(&churn->subject);
	free(churn);
}

int bench_space(const struct options *options)
{
	static const struct peer *const contestants[] = {
		&daxheap_peer,
#ifdef HAVE_PMEMOBJ
		&pmemobj_action_peer,
#endif
	};
	struct json_object *report = report_new(options, "space");
	struct json_object *list = json_object_new_array();
	bool table = prints_table(options);

	if (table)
		puts("Bytes of the file over those of the live blocks\n");
	for (unsigned i = 0; i < sizeof(contestants) / sizeof(contestants[0]); i++) {
		const struct peer *peer = contestants[i];

		if (!listed(options->peers, peer->name))
			continue;
		for (unsigned size = 64; size <= 4096; size = size == 64 ? 256 : size * 16)
			fill(peer, options->dir, size, table, list);
		churn_peer(peer, options->dir, table, list);
	}
	json_object_object_add(report, "space", list);
	report_write(options, report);
	return EXIT_SUCCESS;
}
