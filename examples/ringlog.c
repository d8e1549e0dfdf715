/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ringlog: a durable queue of records that gives its space back behind the reader.
 *
 *	ringlog POOL append | read [N] | stat | run SECONDS
 *
 * Records lie one behind the other in segments of 2 MiB, each a block of its own.  The root "log"
 * refers to a ring of slots for them, and two words tell where the oldest record is.  2 MiB are a
 * chunk, the unit in which a pool gives space back: what the reader has passed is free at once,
 * and the file shrinks with it.
 *
 *	append		the record is made durable behind the segment's end, then the end moves
 *			over it: daxheap_action_set(), so that no half of a record is ever seen
 *	a new segment	one action publishes it, and counts it
 *	read		the place of the oldest record moves: daxheap_action_set()
 *	a segment read	one action frees it, and moves the place to the next
 *
 * One writer and one reader may be at work at the same time; `run` shows it.
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <daxheap.h>

#define POOL_SIZE	(UINT64_C(1) << 30)
#define SEGMENTS	480u
#define SEGMENT_SIZE	(UINT64_C(2) << 20)
#define RECORD_MAX	65536u
#define KEEP_FREE	(4 * SEGMENT_SIZE)	/* space for the next segments */
#define TRIM_LIMIT_MS	100u

struct segment {
	uint64_t end;			/* of the last record, in bytes[] */
	char bytes[];
};
#define SEGMENT_BYTES	(SEGMENT_SIZE - sizeof(struct segment))

struct ring {
	daxheap_ref segments[SEGMENTS];
	uint64_t first, next;		/* segments are first, first + 1, … next - 1 */
	uint64_t read;			/* bytes of the first that were read */
};

struct record {
	uint32_t size;
	char bytes[];
};

static struct daxheap *heap;
static const char *pool;

static void die(const char *what)
{
	fprintf(stderr, "ringlog: %s: %s\n", what, daxheap_errormsg());
	exit(EXIT_FAILURE);
}

static struct daxheap_action *new_action(void)
{
	struct daxheap_action *action;

	if (daxheap_action_new(heap, &action))
		die("action");
	return action;
}

static void set(struct daxheap_action *action, uint64_t *word, uint64_t value)
{
	if (daxheap_action_set(action, word, value))
		die("set");
}

/* What the other thread may change meanwhile. */
static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static uint64_t record_space(uint32_t size)
{
	return (sizeof(struct record) + size + 7) & ~UINT64_C(7);
}

static daxheap_ref *slot_of(struct ring *ring, uint64_t segment)
{
	return &ring->segments[segment % SEGMENTS];
}

static struct segment *segment_of(struct ring *ring, uint64_t segment)
{
	return daxheap_ptr(heap, load(slot_of(ring, segment)));
}

/* --- the writer --- */

/* -EAGAIN: the reader is SEGMENTS behind. */
static int add_segment(struct ring *ring, struct daxheap_action *action)
{
	void *segment;
	int err;

	if (ring->next - load(&ring->first) == SEGMENTS)
		return -EAGAIN;
	err = daxheap_alloc(heap, SEGMENT_SIZE, &segment);
	if (err)
		return err;
	((struct segment *)segment)->end = 0;
	if (daxheap_persist(heap, segment, sizeof(struct segment)) ||
	    daxheap_action_publish(action, slot_of(ring, ring->next), segment))
		die("new segment");
	set(action, &ring->next, ring->next + 1);
	if (daxheap_action_commit(action))
		die("new segment");
	return 0;
}

/* Durable when it returns 0.  -EAGAIN: see add_segment(). */
static int append(struct ring *ring, struct daxheap_action *action, const void *bytes,
		  uint32_t size)
{
	uint64_t space = record_space(size);
	struct segment *segment = NULL;
	struct record *record;

	if (ring->next > load(&ring->first))
		segment = segment_of(ring, ring->next - 1);
	if (!segment || segment->end + space > SEGMENT_BYTES) {
		int err = add_segment(ring, action);

		if (err)
			return err;
		segment = segment_of(ring, ring->next - 1);
	}
	record = (struct record *)(segment->bytes + segment->end);
	record->size = size;
	memcpy(record->bytes, bytes, size);
	if (daxheap_persist(heap, record, sizeof(*record) + size))
		die("persist");
	set(action, &segment->end, segment->end + space);
	if (daxheap_action_commit(action))
		die("append");
	return 0;
}

/* --- the reader --- */

/* The writer never touches a segment again that has another behind it. */
static void drop_first(struct ring *ring, struct daxheap_action *action)
{
	if (daxheap_action_free(action, slot_of(ring, ring->first)))
		die("free");
	set(action, &ring->first, ring->first + 1);
	set(action, &ring->read, 0);
	if (daxheap_action_commit(action))
		die("free a segment");
}

/* The oldest record; NULL: there is none. */
static const struct record *oldest(struct ring *ring, struct daxheap_action *action)
{
	while (ring->first < load(&ring->next)) {
		const struct segment *segment = segment_of(ring, ring->first);
		/* Before the end: a segment with another behind it grows no more. */
		bool last = ring->first + 1 == load(&ring->next);

		if (ring->read < load(&segment->end))
			return (const struct record *)(segment->bytes + ring->read);
		if (last)
			return NULL;
		drop_first(ring, action);
	}
	return NULL;
}

/* Durable when it returns: the record is not seen again. */
static void consume(struct ring *ring, struct daxheap_action *action,
		    const struct record *record)
{
	set(action, &ring->read, ring->read + record_space(record->size));
	if (daxheap_action_commit(action))
		die("read");
}

/* --- the verbs --- */

static struct ring *open_ring(void)
{
	daxheap_ref *root;
	void *ring;

	if (daxheap_root(heap, "log", &root))
		die("root");
	if (*root)
		return daxheap_ptr(heap, *root);
	if (daxheap_calloc(heap, 1, sizeof(struct ring), &ring) ||
	    daxheap_persist(heap, ring, sizeof(struct ring)) ||
	    daxheap_publish(heap, root, ring))
		die("new log");
	return ring;
}

static int run_append(struct ring *ring, unsigned long long unused)
{
	struct daxheap_action *action = new_action();
	char line[RECORD_MAX];

	(void)unused;
	while (fgets(line, sizeof(line), stdin)) {
		size_t size = strcspn(line, "\n");
		int err = append(ring, action, line, (uint32_t)size);

		if (err == -EAGAIN) {
			fprintf(stderr, "ringlog: the log is full: read some of it first\n");
			return EXIT_FAILURE;
		}
		if (err)
			die("append");
	}
	daxheap_action_delete(action);
	return EXIT_SUCCESS;
}

static int run_read(struct ring *ring, unsigned long long left)
{
	struct daxheap_action *action = new_action();
	const struct record *record;

	while (left-- && (record = oldest(ring, action))) {
		/* What nobody got stays: a record may be seen twice, but not never. */
		if (printf("%.*s\n", (int)record->size, record->bytes) < 0 || fflush(stdout)) {
			perror("ringlog: can't print a record, which stays in the log");
			return EXIT_FAILURE;
		}
		consume(ring, action, record);
	}
	daxheap_action_delete(action);
	return EXIT_SUCCESS;
}

static int run_stat(struct ring *ring, unsigned long long unused)
{
	uint64_t bytes = 0;
	struct stat st;

	(void)unused;
	for (uint64_t i = ring->first; i < ring->next; i++)
		bytes += segment_of(ring, i)->end;
	if (stat(pool, &st)) {
		perror(pool);
		return EXIT_FAILURE;
	}
	printf("%llu bytes to be read, in %llu segments; the file takes %llu KiB\n",
	       (unsigned long long)(bytes - ring->read),
	       (unsigned long long)(ring->next - ring->first),
	       (unsigned long long)st.st_blocks / 2);
	return EXIT_SUCCESS;
}

/* --- a writer and a reader at the same time --- */

static atomic_bool stop;
static atomic_ullong written;

/* Numbered records of 100 to 4000 bytes. */
static void *write_records(void *arg)
{
	struct daxheap_action *action = new_action();
	struct ring *ring = arg;
	uint64_t words[500];

	for (uint64_t i = 0; !stop; i++) {
		uint32_t size = 100 + (uint32_t)(i * 7919 % 3900);
		int err;

		for (unsigned j = 0; j < sizeof(words) / sizeof(words[0]); j++)
			words[j] = i;
		/* The reader makes room, in the ring and in the file system. */
		while (((err = append(ring, action, words, size)) == -EAGAIN || err == -ENOSPC) &&
		       !stop)
			sched_yield();
		if (err && err != -EAGAIN && err != -ENOSPC)
			die("append");
		if (!err)
			written = i + 1;
	}
	daxheap_action_delete(action);
	return NULL;
}

/* Reads all there is; returns the number of records. */
static uint64_t read_records(struct ring *ring, struct daxheap_action *action, uint64_t next)
{
	const struct record *record;

	while ((record = oldest(ring, action))) {
		uint64_t number;

		memcpy(&number, record->bytes, sizeof(number));
		if (number != next ||
		    memcmp(record->bytes, record->bytes + sizeof(number),
			   record->size - sizeof(number) - record->size % sizeof(number))) {
			fprintf(stderr, "ringlog: record %llu is not what was written\n",
				(unsigned long long)next);
			exit(EXIT_FAILURE);
		}
		consume(ring, action, record);
		next++;
	}
	return next;
}

static int run_run(struct ring *ring, unsigned long long seconds)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	time_t begin = time(NULL);
	struct daxheap_action *action = new_action();
	struct daxheap_info info;
	pthread_t writer;
	uint64_t next = 0;

	if (oldest(ring, action)) {
		fprintf(stderr, "ringlog: the log is not empty: read it first\n");
		return EXIT_FAILURE;
	}
	if (pthread_create(&writer, NULL, write_records, ring)) {
		fprintf(stderr, "ringlog: no thread\n");
		return EXIT_FAILURE;
	}
	while ((unsigned long long)(time(NULL) - begin) < seconds) {
		next = read_records(ring, action, next);
		nanosleep(&pause, NULL);
	}
	stop = true;
	pthread_join(writer, NULL);
	next = read_records(ring, action, next);
	if (daxheap_get_info(heap, &info))
		die("info");
	printf("%llu records written, %llu read, %llu MiB given back\n", (unsigned long long)written,
	       (unsigned long long)next, (unsigned long long)info.trimmed_bytes >> 20);
	daxheap_action_delete(action);
	return next == written ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int usage(FILE *to, int status)
{
	fputs("Usage: ringlog POOL append | read [N] | stat | run SECONDS\n"
	      "A durable log in a daxheap pool, made (up to 1 GiB) when it is first used.\n"
	      "\n"
	      "  append   each line of standard input becomes a record; one of 64 KiB or more,\n"
	      "           several\n"
	      "  read     print the N oldest records (all), and drop them\n"
	      "  stat     what is in the log, and what the file takes\n"
	      "  run      write and read at the same time, and compare\n"
	      "\n"
	      "Exit: 0, 1 (an error that is printed), 2 (usage).\n", to);
	return status;
}

static bool parse_number(const char *text, unsigned long long *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 10);
	return isdigit((unsigned char)*text) && !*end && !errno;
}

static void open_pool(const char *path)
{
	int err = daxheap_open(path, 0, &heap);

	pool = path;
	if (err == -ENOENT)
		err = daxheap_create(path, POOL_SIZE, 0, &heap);
	if (err)
		die("can't open the pool");
	err = daxheap_set_trim_policy(heap, KEEP_FREE, 0, TRIM_LIMIT_MS);
	/* Device DAX has no file system to give space back to. */
	if (err && err != -EOPNOTSUPP)
		die("trim policy");
}

/* What could not be printed is an error. */
static int finish_output(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	perror("ringlog: can't print");
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	static const struct verb {
		const char *name;
		int (*run)(struct ring *ring, unsigned long long number);
		int args;
		unsigned long long number;	/* if none is given */
	} verbs[] = {
		{"append", run_append, 0, 0},
		{"read", run_read, 1, ULLONG_MAX},
		{"stat", run_stat, 0, 0},
		{"run", run_run, 1, 1},
	};

	if (argc == 2 && !strcmp(argv[1], "--help"))
		return usage(stdout, EXIT_SUCCESS);
	for (size_t i = 0; argc > 2 && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		unsigned long long number = verbs[i].number;
		int status;

		if (strcmp(argv[2], verbs[i].name) || argc - 3 > verbs[i].args)
			continue;
		if (argc > 3 && !parse_number(argv[3], &number)) {
			fprintf(stderr, "ringlog: '%s' is no number\n", argv[3]);
			return usage(stderr, 2);
		}
		open_pool(argv[1]);
		status = verbs[i].run(open_ring(), number);
		daxheap_close(heap);
		return finish_output(status);
	}
	return usage(stderr, 2);
}
