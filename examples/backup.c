/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backup: copies a live key-value store with io_uring, as it was at one moment.
 *
 *	backup POOL COPY [SECONDS]
 *
 * One thread puts and deletes, one trims the pool, and the main thread copies the store (see
 * kvstore.c) into a pool of its own, straight from persistent memory.  The copy is the state when
 * copying began, though the store goes on changing: before a bucket changes for the first time,
 * its entries are queued for writing, and then may be replaced and freed.  The heap keeps a block
 * under I/O until its completion, and keeps trims and I/O apart.
 *
 * At the end the copy is compared with what the puts and deletes up to that moment make.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <liburing.h>

#include <daxheap-uring.h>

#include "kvstore.h"

#define POOL_SIZE	(UINT64_C(1) << 30)
#define KEYS		3000u
#define ENTRIES		64u		/* of the ring */
#define TRIM_LIMIT_MS	500u
#define SECONDS_MAX	1e6

static void die(const char *what)
{
	fprintf(stderr, "backup: %s: %s\n", what, daxheap_errormsg());
	exit(EXIT_FAILURE);
}

static void die_errno(const char *what, int err)
{
	fprintf(stderr, "backup: %s: %s\n", what, strerror(err));
	exit(EXIT_FAILURE);
}

/* Of the store, the ring, and all below. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct kv store, copy;
static uint64_t changes;		/* made so far */
static atomic_bool stop;

/* --- the copy --- */

/* An entry on its way into the copy. */
struct transfer {
	struct kv_entry *to;
	size_t size;
	struct transfer *next;
};

static struct io_uring ring;
static struct daxheap_uring *uring;
static int copy_fd;
static bool copying;
static bool captured[KV_BUCKETS];	/* as they were when copying began */
static struct transfer *transfers;
static unsigned in_flight;

static void complete_one(void)
{
	struct daxheap_uring_completion done;
	struct transfer *transfer;
	struct io_uring_cqe *cqe;
	int err;

	do {
		err = io_uring_submit_and_wait(&ring, 1);
	} while (err == -EINTR);
	if (err < 0 || (err = io_uring_peek_cqe(&ring, &cqe)))
		die_errno("io_uring", -err);
	if (daxheap_uring_complete(uring, cqe, &done) != 1)
		die("completion");
	io_uring_cqe_seen(&ring, cqe);
	transfer = done.data;
	in_flight--;
	/* To a file, a short write is one that found no more space. */
	if (done.result != (int)transfer->size)
		die_errno("can't write the copy", done.result < 0 ? -done.result : ENOSPC);
}

static void queue(void *unused, const struct kv_entry *from)
{
	struct transfer *transfer = malloc(sizeof(*transfer));
	void *to;
	int err;

	(void)unused;
	if (!transfer)
		die_errno("no memory", ENOMEM);
	transfer->size = kv_entry_size(from);
	if (daxheap_alloc(copy.heap, transfer->size, &to))
		die("no room in the copy");
	transfer->to = to;
	transfer->next = transfers;
	transfers = transfer;
	/* No entry left, or a trim waits for what is in flight: both want completions. */
	while ((err = daxheap_uring_prep_write(uring, copy_fd, from, transfer->size,
					       daxheap_ref_of(copy.heap, to), transfer,
					       NULL)) == -EAGAIN)
		if (in_flight)
			complete_one();
	if (err)
		die("can't queue an entry");
	in_flight++;
}

static void capture(struct kv *kv, unsigned bucket)
{
	int err;

	if (!copying || captured[bucket])
		return;
	captured[bucket] = true;
	kv_walk(kv, bucket, queue, NULL);
	err = io_uring_submit(&ring);
	/* Entries that it did not take now stay in the queue: complete_one() submits them, too. */
	if (err < 0 && err != -EINTR && err != -EAGAIN)
		die_errno("io_uring", -err);
}

/* Returns how many changes the copy has. */
static uint64_t take_copy(const char *path)
{
	struct transfer *transfer;
	uint64_t moment;

	if (kv_open(&copy, path, 0, POOL_SIZE))
		die("can't make the copy");
	copy_fd = open(path, O_WRONLY | O_CLOEXEC);
	if (copy_fd < 0)
		die_errno(path, errno);
	pthread_mutex_lock(&lock);
	copying = true;
	moment = changes;
	pthread_mutex_unlock(&lock);
	for (unsigned i = 0; i < KV_BUCKETS; i++) {
		pthread_mutex_lock(&lock);
		capture(&store, i);
		pthread_mutex_unlock(&lock);
	}
	pthread_mutex_lock(&lock);
	while (in_flight)
		complete_one();
	copying = false;
	pthread_mutex_unlock(&lock);

	/* What is published must be durable before. */
	if (fdatasync(copy_fd))
		die_errno("can't make the copy durable", errno);
	close(copy_fd);
	while ((transfer = transfers)) {
		transfers = transfer->next;
		if (kv_add(&copy, transfer->to))
			die("can't publish a copied entry");
		free(transfer);
	}
	return moment;
}

/* --- what goes on meanwhile: change number n puts or deletes a key, of n alone --- */

static unsigned key_of(uint64_t n)
{
	return (unsigned)(n * 7919 % KEYS);
}

static bool is_put(uint64_t n)
{
	return n % 7 != 3;
}

/* Some are large, so that chunks become free. */
static uint32_t size_of(uint64_t n)
{
	return n % 64 ? 10 + (uint32_t)(n * 104729 % 3000) : 100000 + (uint32_t)(n % 9) * 100000;
}

static char byte_of(uint64_t n)
{
	return (char)(n * 31 + 7);
}

static void name_key(char name[16], unsigned key)
{
	snprintf(name, 16, "key%04u", key);
}

static void *change(void *unused)
{
	static char value[1000000];

	(void)unused;
	for (uint64_t n = 0; !stop; n++) {
		char name[16];
		int err;

		name_key(name, key_of(n));
		memset(value, byte_of(n), size_of(n));
		pthread_mutex_lock(&lock);
		err = is_put(n) ? kv_put(&store, name, value, size_of(n)) : kv_del(&store, name);
		changes = n + 1;
		pthread_mutex_unlock(&lock);
		if (err && err != -ENOENT)
			die("change");
	}
	return NULL;
}

static uint64_t trims, late, longest_us;

static void *trim(void *unused)
{
	const struct timespec pause = {.tv_nsec = 20000000};

	(void)unused;
	while (!stop) {
		struct timespec begin, end;
		uint64_t us;
		int err;

		clock_gettime(CLOCK_MONOTONIC, &begin);
		err = daxheap_trim(store.heap, 0, TRIM_LIMIT_MS, NULL);
		clock_gettime(CLOCK_MONOTONIC, &end);
		if (err && err != -ETIMEDOUT)
			die("trim");
		us = (uint64_t)(end.tv_sec - begin.tv_sec) * 1000000 +
		     (uint64_t)(end.tv_nsec / 1000) - (uint64_t)(begin.tv_nsec / 1000);
		longest_us = us > longest_us ? us : longest_us;
		err ? late++ : trims++;
		nanosleep(&pause, NULL);
	}
	return NULL;
}

/* --- the comparison --- */

static unsigned compare_key(unsigned key, bool is_there, uint64_t n)
{
	const struct kv_entry *entry;
	char name[16];

	name_key(name, key);
	entry = kv_get(&copy, name);
	if (!entry != !is_there || (entry && entry->value_size != size_of(n))) {
		fprintf(stderr, "backup: %s is not as change %llu left it\n", name,
			(unsigned long long)n);
		return 1;
	}
	for (uint32_t i = 0; entry && i < entry->value_size; i++)
		if (entry->bytes[entry->key_size + i] != byte_of(n)) {
			fprintf(stderr, "backup: %s has not the value of change %llu\n", name,
				(unsigned long long)n);
			return 1;
		}
	return 0;
}

/* The copy has the first @moment changes, and nothing else. */
static unsigned compare(uint64_t moment)
{
	static uint64_t last[KEYS];
	unsigned wrong = 0;

	for (uint64_t n = 0; n < moment; n++)
		last[key_of(n)] = n + 1;
	for (unsigned key = 0; key < KEYS; key++)
		wrong += compare_key(key, last[key] && is_put(last[key] - 1), last[key] - 1);
	return wrong;
}

/* --- the program --- */

static bool parse_seconds(const char *text, double *seconds)
{
	char *end;

	*seconds = strtod(text, &end);
	return end != text && !*end && *seconds >= 0 && *seconds <= SECONDS_MAX;
}

static void sleep_s(double seconds)
{
	const struct timespec pause = {.tv_sec = (time_t)seconds,
				       .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};

	nanosleep(&pause, NULL);
}

static int usage(FILE *to, int status)
{
	fputs("Usage: backup POOL COPY [SECONDS]\n"
	      "Makes two daxheap pools: POOL, a key-value store that changes and is trimmed for\n"
	      "SECONDS (2), and COPY, what it was half way, copied meanwhile with io_uring.\n"
	      "Exit: 0, 1 (an error, or a difference, that is printed), 2 (usage).\n", to);
	return status;
}

int main(int argc, char **argv)
{
	pthread_t threads[2];
	uint64_t moment;
	double seconds;
	unsigned wrong;
	int err;

	if (argc == 2 && !strcmp(argv[1], "--help"))
		return usage(stdout, EXIT_SUCCESS);
	if (argc < 3 || argc > 4)
		return usage(stderr, 2);
	if (!parse_seconds(argc > 3 ? argv[3] : "2", &seconds)) {
		fprintf(stderr, "backup: '%s' is no number of seconds\n", argv[3]);
		return usage(stderr, 2);
	}
	if (access(argv[1], F_OK) == 0 || access(argv[2], F_OK) == 0) {
		fputs("backup: POOL or COPY is there already: choose other names\n", stderr);
		return EXIT_FAILURE;
	}
	err = io_uring_queue_init(ENTRIES, &ring, 0);
	if (err)
		die_errno("no io_uring", -err);
	if (kv_open(&store, argv[1], 0, POOL_SIZE) ||
	    daxheap_uring_attach(store.heap, &ring, 0, 0, &uring))
		die("can't make the pool");
	store.before_change = capture;
	if (pthread_create(&threads[0], NULL, change, NULL) ||
	    pthread_create(&threads[1], NULL, trim, NULL))
		die_errno("no thread", EAGAIN);
	sleep_s(seconds / 2);
	moment = take_copy(argv[2]);
	sleep_s(seconds / 2);
	stop = true;
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	if (daxheap_uring_detach(uring))
		die("detach");
	io_uring_queue_exit(&ring);
	wrong = compare(moment);
	printf("copied after %llu of %llu changes: %u of %u keys are wrong; %llu trims in time, "
	       "%llu not, the longest took %.1f ms\n", (unsigned long long)moment,
	       (unsigned long long)changes, wrong, KEYS, (unsigned long long)trims,
	       (unsigned long long)late, (double)longest_us / 1000);
	if (fflush(stdout) || ferror(stdout))
		die_errno("can't print", errno);
	kv_close(&copy);
	kv_close(&store);
	return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}
