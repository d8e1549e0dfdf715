/* SPDX-License-Identifier: BSD-3-Clause */
/* Space goes back to the file system: what was free, all of it, and nothing else. */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bounded.h"
#include "heap.h"
#include "pool.h"
#include "tree.h"

TestSuite(trim, .fini = pool_cleanup, .timeout = 120);

#define LIMIT_MS 60000u

static uint64_t file_bytes(void)
{
	struct stat st;

	cr_assert_eq(stat(pool_path("pool"), &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static uint64_t file_length(void)
{
	struct stat st;

	cr_assert_eq(stat(pool_path("pool"), &st), 0);
	return (uint64_t)st.st_size;
}

/* The file takes less by what the call says, to the block. */
static uint64_t trim(struct daxheap *heap, uint64_t keep)
{
	uint64_t before = file_bytes(), freed = UINT64_MAX;

	must(daxheap_trim(heap, keep, LIMIT_MS, &freed));
	cr_assert_eq(before - file_bytes(), freed, "%llu less, said to be %llu",
		     (unsigned long long)(before - file_bytes()), (unsigned long long)freed);
	return freed;
}

static bool is_hole(uint64_t chunk)
{
	int fd = open(pool_path("pool"), O_RDONLY | O_CLOEXEC);
	off_t start = (off_t)(chunk * DH_CHUNK_SIZE), data = lseek(fd, start, SEEK_DATA);

	close(fd);
	return data < 0 || data >= start + (off_t)DH_CHUNK_SIZE;
}

static void check_clean(void)
{
	cr_assert_eq(daxheap_check(pool_path("pool"), 0, NULL, NULL), 0, "%s",
		     daxheap_errormsg());
}

static bool all_is(const void *block, size_t size, unsigned char byte)
{
	const unsigned char *bytes = block;

	for (size_t i = 0; i < size; i++)
		if (bytes[i] != byte)
			return false;
	return true;
}

Test(trim, of_a_new_pool)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);

	cr_assert_eq(trim(heap, 0), 0);
	cr_assert_eq(file_length(), 2 * MiB);
	daxheap_close(heap);
}

Test(trim, what_is_free_and_nothing_else)
{
	static const char *const names[] = {"a", "b", "c", "d", "e"};
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	struct daxheap_info info;

	for (unsigned i = 0; i < 5; i++)
		pool_publish(heap, pool_root(heap, names[i]), 4 * MiB, (int)i + 1);
	cr_assert_eq(file_length(), 22 * MiB);
	cr_assert_eq(trim(heap, 0), 0);
	must(daxheap_free(heap, pool_root(heap, "b")));
	must(daxheap_free(heap, pool_root(heap, "d")));
	must(daxheap_free(heap, pool_root(heap, "e")));
	/* A hole, and a tail. */
	cr_assert_eq(trim(heap, 0), 12 * MiB);
	cr_assert_eq(file_length(), 14 * MiB);
	cr_assert(is_hole(3) && is_hole(4) && !is_hole(5));
	cr_assert_eq(trim(heap, 0), 0, "once is enough");
	must(daxheap_get_info(heap, &info));
	cr_assert_eq(info.length, 14 * MiB);
	cr_assert_eq(info.trimmed_bytes, 12 * MiB);
	cr_assert(all_is(daxheap_ptr(heap, *pool_root(heap, "a")), 4 * MiB, 1));
	cr_assert(all_is(daxheap_ptr(heap, *pool_root(heap, "c")), 4 * MiB, 3));
	/* And all of it can be used again. */
	pool_publish(heap, pool_root(heap, "b"), 4 * MiB, 7);
	pool_publish(heap, pool_root(heap, "d"), 30 * MiB, 8);
	heap = pool_reopen(heap, "pool");
	cr_assert_eq(pool_census(heap).blocks, 4);
	cr_assert(all_is(daxheap_ptr(heap, *pool_root(heap, "b")), 4 * MiB, 7));
	cr_assert(all_is(daxheap_ptr(heap, *pool_root(heap, "d")), 30 * MiB, 8));
	daxheap_close(heap);
	check_clean();
}

/* Empty spans of the calling thread go too, and its full ones that became empty. */
Test(trim, spans_that_are_empty)
{
	struct daxheap *heap = pool_create("pool", 128 * MiB);
	daxheap_ref *slots = pool_publish(heap, pool_root(heap, "t"), 100000 * 8, 0);
	uint64_t full, empty = file_bytes();

	for (unsigned i = 0; i < 50000; i++)
		pool_publish(heap, &slots[i], 1000, 1);
	full = file_bytes();
	cr_assert_gt(full - empty, 45 * MiB);
	for (unsigned i = 0; i < 50000; i++)
		if (i % 1000)
			must(daxheap_free(heap, &slots[i]));
	/* Each chunk has some blocks. */
	trim(heap, 0);
	cr_assert_eq(pool_census(heap).blocks, 51);
	for (unsigned i = 0; i < 50000; i += 1000)
		must(daxheap_free(heap, &slots[i]));
	trim(heap, 0);
	cr_assert_leq(file_bytes(), empty + 2 * MiB);
	cr_assert_eq(pool_census(heap).blocks, 1);
	daxheap_close(heap);
	check_clean();
}

/* 64 KiB each, so that every block has a unit to itself. */
enum { UNITS = 62 };

static uint64_t free_units(struct daxheap *heap, daxheap_ref *slots, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		must(daxheap_free(heap, &slots[i]));
	return (to - from) * DH_UNIT_SIZE;
}

static void check_units(struct daxheap *heap, daxheap_ref *slots)
{
	for (unsigned i = 0; i < UNITS; i++)
		if (slots[i])
			cr_assert(all_is(daxheap_ptr(heap, slots[i]), DH_UNIT_SIZE,
					 (unsigned char)(i + 1)), "block %u", i);
}

Test(trim, units_of_chunks_that_are_not_half_used)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	daxheap_ref *slots = pool_publish(heap, pool_root(heap, "t"), UNITS * 8, 0);
	uint64_t freed;
	void *block;

	for (unsigned i = 0; i < UNITS; i++)
		pool_publish(heap, &slots[i], DH_UNIT_SIZE, (int)i + 1);
	cr_assert_eq(trim(heap, 0), 0);
	/* Of 31 in the first chunk 10. */
	free_units(heap, slots, 1, 11);
	cr_assert_eq(trim(heap, 0), 0, "more than half is used");
	freed = 10 * DH_UNIT_SIZE + free_units(heap, slots, 15, 25);
	cr_assert_eq(trim(heap, freed), 0);
	cr_assert_eq(trim(heap, freed - 1), 0, "what keeps its space has room for that");
	cr_assert_eq(trim(heap, freed - 5 * DH_UNIT_SIZE), 5 * DH_UNIT_SIZE);
	cr_assert_eq(trim(heap, 0), freed - 5 * DH_UNIT_SIZE);
	cr_assert_eq(trim(heap, 0), 0, "once is enough");
	check_units(heap, slots);
	/* They get space again before they are given out, also in another life. */
	for (unsigned life = 0; life < 2; life++) {
		uint64_t before = file_bytes();

		for (unsigned i = 0; i < 10; i++)
			must(daxheap_alloc(heap, DH_UNIT_SIZE, &block));
		cr_assert_eq(file_bytes(), before + (life ? 0 : 10 * DH_UNIT_SIZE));
		heap = pool_reopen(heap, "pool");
		slots = daxheap_ptr(heap, *pool_root(heap, "t"));
		check_units(heap, slots);
	}
	cr_assert_eq(trim(heap, 0), 10 * DH_UNIT_SIZE);
	/* A huge block where units were given back. */
	free_units(heap, slots, 0, 1);
	free_units(heap, slots, 11, 15);
	free_units(heap, slots, 25, UNITS);
	must(daxheap_free(heap, pool_root(heap, "t")));
	must(daxheap_alloc(heap, 4 * MiB, &block));
	cr_assert_eq(daxheap_ref_of(heap, block), 2 * MiB);
	cr_assert(!is_hole(1) || file_bytes() >= 4 * MiB);
	cr_assert_geq(file_bytes(), 4 * MiB);
	daxheap_close(heap);
	check_clean();
}

/* In how many units of the pool's copy that were given back an open stores to a word. */
static unsigned units_stored_to(daxheap_ref *freed, unsigned count)
{
	struct daxheap *heap = pool_open("copy", 0);
	struct daxheap_info info;
	unsigned words = 0;

	must(daxheap_get_info(heap, &info));
	cr_assert_gt(info.replayed, 0);
	for (unsigned i = 0; i < count; i++)
		words += !all_is(heap->base + freed[i], DH_UNIT_SIZE, 0);
	daxheap_close(heap);
	return words;
}

/* Of units, unlike chunks, the log may still tell what was there: nothing that is not void. */
Test(trim, units_that_the_log_tells_of)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	daxheap_ref *slots = pool_publish(heap, pool_root(heap, "t"), UNITS * 8, 0), freed[10];

	for (unsigned i = 0; i < UNITS; i++)
		pool_publish(heap, &slots[i], DH_UNIT_SIZE, 0);
	free_units(heap, slots, 20, 31);
	for (unsigned i = 0; i < 10; i++) {
		freed[i] = slots[i];
		pool_publish(heap, daxheap_ptr(heap, slots[i]), 100, 0);
		must(daxheap_free(heap, &slots[i]));
	}
	cr_assert_geq(trim(heap, 0), 10 * DH_UNIT_SIZE);
	pool_copy("pool", "copy");
	cr_assert_eq(units_stored_to(freed, 10), 0);
	/* The negative control. */
	pool_copy("pool", "copy");
	dh_fault = DH_FAULT_NO_FREED_RULE;
	cr_assert_gt(units_stored_to(freed, 10), 0);
	dh_fault = DH_FAULT_NONE;
	daxheap_close(heap);
	check_clean();
}

Test(trim, keeps_what_it_is_told_to)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	void *block;

	pool_publish(heap, pool_root(heap, "a"), 2 * MiB, 1);
	must(daxheap_alloc(heap, 40 * MiB, &block));
	must(daxheap_cancel(heap, block));
	cr_assert_eq(trim(heap, UINT64_MAX), 0);
	cr_assert_eq(trim(heap, 30 * MiB + 1), 8 * MiB);
	cr_assert_eq(file_length(), 36 * MiB);
	cr_assert_eq(trim(heap, 10 * MiB), 22 * MiB);
	cr_assert_eq(file_length(), 14 * MiB);
	cr_assert_eq(trim(heap, 0), 10 * MiB);
	cr_assert_eq(file_length(), 4 * MiB);
	daxheap_close(heap);
	check_clean();
}

/* Chunks that were freed in an earlier life, and not looked at in this one. */
Test(trim, what_an_earlier_life_freed)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	daxheap_ref *slots = pool_publish(heap, pool_root(heap, "t"), 10000 * 8, 0);

	for (unsigned i = 0; i < 20; i++)
		pool_publish(heap, &slots[i], MiB, (int)i);
	pool_publish(heap, pool_root(heap, "huge"), 5 * MiB, 1);
	pool_publish(heap, pool_root(heap, "last"), 3 * MiB, 2);
	must(daxheap_free(heap, pool_root(heap, "huge")));
	for (unsigned i = 0; i < 20; i++)
		must(daxheap_free(heap, &slots[i]));
	heap = pool_reopen(heap, "pool");
	trim(heap, 0);
	cr_assert_leq(file_bytes(), (2 + 2 + 4) * MiB);
	cr_assert(all_is(daxheap_ptr(heap, *pool_root(heap, "last")), 3 * MiB, 2));
	cr_assert_eq(pool_census(heap).blocks, 2);
	daxheap_close(heap);
	check_clean();
}

Test(trim, a_pool_of_many_runs)
{
	enum { COUNT = 300 };
	struct daxheap *heap = pool_create("pool", UINT64_C(1) << 30);
	daxheap_ref *slots = pool_publish(heap, pool_root(heap, "t"), COUNT * 8, 0);
	uint64_t random = test_seed(), chunks = 0;
	void *block;

	for (unsigned i = 0; i < COUNT; i++) {
		must(daxheap_alloc(heap, 2 * MiB, &block));
		*(uint64_t *)block = i;
		must(daxheap_persist(heap, block, 8));
		must(daxheap_publish(heap, &slots[i], block));
	}
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < COUNT; i++)
			if (slots[i] && tree_random(&random) % 3 == 0) {
				must(daxheap_free(heap, &slots[i]));
				chunks++;
			}
		if (round % 2)
			heap = pool_reopen(heap, "pool");
		slots = daxheap_ptr(heap, *pool_root(heap, "t"));
		/* And, once, what is free in the chunk of the slots. */
		cr_assert_eq(trim(heap, 0) / DH_CHUNK_SIZE, chunks);
		chunks = 0;
		for (unsigned i = 0; i < COUNT; i++)
			if (slots[i])
				cr_assert_eq(*(uint64_t *)daxheap_ptr(heap, slots[i]), i);
	}
	daxheap_close(heap);
	check_clean();
}

/* What the log still has to replay when the pool is opened names no block that is gone. */
Test(trim, then_a_crash)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);

	for (unsigned i = 0; i < 10; i++) {
		pool_publish(heap, pool_root(heap, "a"), 1000, 1);
		pool_publish(heap, pool_root(heap, "b"), 3 * MiB, 1);
		must(daxheap_free(heap, pool_root(heap, "a")));
		must(daxheap_free(heap, pool_root(heap, "b")));
		cr_assert_gt(trim(heap, 0), 0);
		pool_copy("pool", "copy");
		cr_assert_eq(daxheap_check(pool_path("copy"), 0, NULL, NULL), 0);
		daxheap_close(pool_open("copy", 0));
	}
	daxheap_close(heap);
}

Test(trim, errors)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	uint64_t freed = 5;
	int status;
	pid_t pid;

	must_fail(EINVAL, daxheap_trim(heap, 0, 0, &freed));
	must_fail(EINVAL, daxheap_set_trim_policy(heap, 0, 0, 0));
	must(daxheap_trim(heap, 0, 1000, NULL));
	pid = fork();
	if (!pid)
		_exit(daxheap_trim(heap, 0, 1000, &freed) == -EPERM &&
		      daxheap_set_trim_policy(heap, 0, 0, 1) == -EPERM ? 0 : 1);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	daxheap_close(heap);
	heap = pool_open("pool", DAXHEAP_READ_ONLY);
	must_fail(EROFS, daxheap_trim(heap, 0, 1000, &freed));
	must_fail(EROFS, daxheap_set_trim_policy(heap, 0, 0, 1));
	cr_assert_eq(freed, 5);
	daxheap_close(heap);
}

/* It needs one of its own for as long as the system call takes. */
Test(trim, no_file_descriptor)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	struct rlimit limit, was;
	void *block;

	must(daxheap_alloc(heap, 4 * MiB, &block));
	must(daxheap_cancel(heap, block));
	cr_assert(!getrlimit(RLIMIT_NOFILE, &was));
	/* The pool's was the lowest that was free. */
	limit = (struct rlimit){(rlim_t)heap->mapping.fd + 1, was.rlim_max};
	cr_assert(!setrlimit(RLIMIT_NOFILE, &limit));
	must_fail(EMFILE, daxheap_trim(heap, 0, 1000, NULL));
	must_say("file descriptor");
	cr_assert(!setrlimit(RLIMIT_NOFILE, &was));
	cr_assert_eq(trim(heap, 0), 4 * MiB);
	daxheap_close(heap);
	check_clean();
}

/* --- the time limit: what waits here stands for the kernel that waits for a pin --- */

static sem_t waits, go_on;

__attribute__((no_sanitize_address)) static void wait_in_kernel(void)
{
	sem_post(&waits);
	while (sem_wait(&go_on))
		;
}

/* A cancelled thread leaves its frames without a return, which ASan takes for damage. */
__attribute__((no_sanitize_address)) static void wait_without_end(void)
{
	int was;

	/* As in a wait that no signal ends. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
	wait_in_kernel();
	pthread_setcancelstate(was, &was);
}

static struct daxheap *pool_with_free_space(void)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	void *block;

	pool_publish(heap, pool_root(heap, "a"), 2 * MiB, 1);
	must(daxheap_alloc(heap, 10 * MiB, &block));
	pool_publish(heap, pool_root(heap, "b"), 2 * MiB, 2);
	must(daxheap_cancel(heap, block));
	sem_init(&waits, 0, 0);
	sem_init(&go_on, 0, 0);
	return heap;
}

static void use_all(struct daxheap *heap)
{
	pool_publish(heap, pool_root(heap, "c"), 10 * MiB, 3);
	pool_publish(heap, pool_root(heap, "d"), 40 * MiB, 4);
	cr_assert(all_is(daxheap_ptr(heap, *pool_root(heap, "a")), 2 * MiB, 1));
	cr_assert(all_is(daxheap_ptr(heap, *pool_root(heap, "b")), 2 * MiB, 2));
	cr_assert(all_is(daxheap_ptr(heap, *pool_root(heap, "c")), 10 * MiB, 3));
	cr_assert(all_is(daxheap_ptr(heap, *pool_root(heap, "d")), 40 * MiB, 4));
}

static void on_signal(int number)
{
	(void)number;
}

Test(trim, the_wait_ends_at_the_limit)
{
	struct daxheap *heap = pool_with_free_space();
	uint64_t freed = 5;

	/* The application's signals are not what ends it. */
	signal(SIGALRM, on_signal);
	alarm(1);
	for (unsigned tail = 0; tail < 2; tail++) {
		dh_bounded_wait = wait_in_kernel;
		must_fail(ETIMEDOUT, daxheap_trim(heap, 0, 100, &freed));
		must_say("pinned");
		cr_assert_eq(freed, 5);
		dh_bounded_wait = NULL;
		cr_assert_eq(trim(heap, 0), (tail ? 12 : 10) * MiB);
		if (tail)
			break;
		pool_publish(heap, pool_root(heap, "c"), 10 * MiB, 3);
		must(daxheap_free(heap, pool_root(heap, "c")));
		must(daxheap_free(heap, pool_root(heap, "b")));
	}
	pool_publish(heap, pool_root(heap, "b"), 2 * MiB, 2);
	use_all(heap);
	daxheap_close(heap);
	check_clean();
}

/* A call that can't be ended keeps its chunks out of use until it is over. */
Test(trim, a_wait_that_nothing_ends)
{
	struct daxheap *heap = pool_with_free_space();
	uint64_t live = pool_census(heap).blocks, freed;
	void *block;

	dh_bounded_wait = wait_without_end;
	must_fail(ETIMEDOUT, daxheap_trim(heap, 0, 100, &freed));
	dh_bounded_wait = NULL;
	must_fail(ETIMEDOUT, daxheap_trim(heap, 0, 100, &freed));
	must_say("earlier");
	/* Not where the hole may yet be punched. */
	must(daxheap_alloc(heap, 4 * MiB, &block));
	cr_assert_geq(daxheap_ref_of(heap, block), 16 * MiB);
	must(daxheap_cancel(heap, block));
	must_fail(ENOMEM, daxheap_alloc(heap, 50 * MiB, &block));
	must_say("kernel");
	must_fail(ENOMEM, daxheap_alloc(heap, 64 * MiB, &block));
	must_say("larger pool");
	cr_assert_eq(pool_census(heap).blocks, live);
	sem_post(&go_on);
	while (daxheap_trim(heap, 0, LIMIT_MS, &freed))
		usleep(1000);
	must_fail(ENOMEM, daxheap_alloc(heap, 60 * MiB, &block));
	must_say("larger pool");
	cr_assert(is_hole(2) && is_hole(6));
	use_all(heap);
	daxheap_close(heap);
	check_clean();
}

/* When it is over, who needs the chunks gets them, though nobody trims any more. */
Test(trim, what_was_left_can_be_used_again)
{
	struct daxheap *heap = pool_with_free_space();
	void *block;

	dh_bounded_wait = wait_without_end;
	must_fail(ETIMEDOUT, daxheap_trim(heap, 0, 100, NULL));
	dh_bounded_wait = NULL;
	pool_publish(heap, pool_root(heap, "d"), 48 * MiB, 4);
	must_fail(ENOMEM, daxheap_alloc(heap, 10 * MiB, &block));
	must_fail(ENOMEM, daxheap_alloc(heap, MiB, &block));
	must_say("kernel");
	sem_post(&go_on);
	while (daxheap_alloc(heap, MiB, &block))
		usleep(1000);
	must(daxheap_cancel(heap, block));
	must(daxheap_alloc(heap, 10 * MiB, &block));
	must(daxheap_cancel(heap, block));
	must(daxheap_free(heap, pool_root(heap, "d")));
	use_all(heap);
	daxheap_close(heap);
	check_clean();
}

/* The same at the end of the file, where the pool can't grow meanwhile. */
Test(trim, a_cut_that_nothing_ends)
{
	struct daxheap *heap = pool_with_free_space();
	struct daxheap_info info;
	void *block;

	must(daxheap_free(heap, pool_root(heap, "b")));
	dh_bounded_wait = wait_without_end;
	must_fail(ETIMEDOUT, daxheap_trim(heap, 0, 100, NULL));
	dh_bounded_wait = NULL;
	must(daxheap_get_info(heap, &info));
	cr_assert_eq(info.length, 4 * MiB);
	must_fail(ENOMEM, daxheap_alloc(heap, 2 * MiB, &block));
	sem_post(&go_on);
	while (daxheap_alloc(heap, 2 * MiB, &block))
		usleep(1000);
	must(daxheap_cancel(heap, block));
	pool_publish(heap, pool_root(heap, "b"), 2 * MiB, 2);
	use_all(heap);
	daxheap_close(heap);
	check_clean();
}

/* Then the pool stays locked when it is closed, as what is to come would hit another's data. */
Test(trim, a_wait_that_outlives_the_heap)
{
	struct daxheap *heap = pool_with_free_space(), *other;
	uint64_t freed;

	dh_bounded_wait = wait_without_end;
	must_fail(ETIMEDOUT, daxheap_trim(heap, 0, 100, &freed));
	dh_bounded_wait = NULL;
	daxheap_close(heap);
	must_fail(EBUSY, daxheap_open(pool_path("pool"), 0, &other));
	sem_post(&go_on);
	while (daxheap_open(pool_path("pool"), 0, &other))
		usleep(1000);
	cr_assert(is_hole(2) && is_hole(6));
	use_all(other);
	daxheap_close(other);
}

/* --- threads --- */

struct shared {
	struct daxheap *heap;
	daxheap_ref *slots;
	atomic_bool done;
};

enum { THREADS = 4, SLOTS = 200 };

static void *churn(void *arg)
{
	struct shared *shared = arg;
	static atomic_uint next;
	unsigned me = atomic_fetch_add(&next, 1) % THREADS;
	uint64_t random = me + 1;

	for (unsigned i = 0; i < 6000; i++) {
		daxheap_ref *slot = &shared->slots[me * SLOTS + tree_random(&random) % SLOTS];
		size_t size = tree_random(&random) % 50 ? 1 + tree_random(&random) % 60000 :
							  2 * MiB + tree_random(&random) % (4 * MiB);
		unsigned char *block;

		if (*slot) {
			block = daxheap_ptr(shared->heap, *slot);
			cr_assert_eq(block[0], (unsigned char)(*slot / 16));
			must(daxheap_free(shared->heap, slot));
			continue;
		}
		must(daxheap_alloc(shared->heap, size, (void **)&block));
		block[0] = block[size - 1] = (unsigned char)(daxheap_ref_of(shared->heap, block) / 16);
		must(daxheap_persist(shared->heap, block, 1));
		must(daxheap_publish(shared->heap, slot, block));
	}
	return NULL;
}

static void *trim_again_and_again(void *arg)
{
	struct shared *shared = arg;

	while (!atomic_load(&shared->done))
		must(daxheap_trim(shared->heap, 0, LIMIT_MS, NULL));
	return NULL;
}

static void run_threads(bool by_policy)
{
	struct shared shared = {.heap = pool_create("pool", UINT64_C(1) << 30)};
	struct daxheap_info info;
	pthread_t threads[THREADS], trimmers[2];
	struct census census;

	shared.slots = pool_publish(shared.heap, pool_root(shared.heap, "t"),
				    THREADS * SLOTS * 8, 0);
	if (by_policy)
		must(daxheap_set_trim_policy(shared.heap, 8 * MiB, 10, LIMIT_MS));
	for (unsigned i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, churn, &shared);
	for (unsigned i = 0; i < 2 && !by_policy; i++)
		pthread_create(&trimmers[i], NULL, trim_again_and_again, &shared);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&shared.done, true);
	for (unsigned i = 0; i < 2 && !by_policy; i++)
		pthread_join(trimmers[i], NULL);
	must(daxheap_get_info(shared.heap, &info));
	cr_assert_gt(info.trimmed_bytes, 0);
	for (unsigned i = 0; i < THREADS * SLOTS; i++)
		if (shared.slots[i])
			cr_assert_eq(*(unsigned char *)daxheap_ptr(shared.heap, shared.slots[i]),
				     (unsigned char)(shared.slots[i] / 16));
	census = pool_census(shared.heap);
	shared.heap = pool_reopen(shared.heap, "pool");
	cr_assert_eq(pool_census(shared.heap).blocks, census.blocks);
	trim(shared.heap, 0);
	daxheap_close(shared.heap);
	check_clean();
}

Test(trim, while_threads_are_at_work)
{
	run_threads(false);
}

Test(trim, by_policy_while_threads_are_at_work)
{
	run_threads(true);
}

/* One that finds no other space waits for what is being given back. */
static void *alloc_all(void *arg)
{
	void *block;

	must(daxheap_alloc(arg, 10 * MiB, &block));
	return block;
}

static void *trim_once(void *arg)
{
	must(daxheap_trim(arg, 0, LIMIT_MS, NULL));
	return NULL;
}

Test(trim, who_needs_the_space_waits)
{
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	pthread_t trimmer, other;
	void *block;

	must(daxheap_alloc(heap, 10 * MiB, &block));
	pool_publish(heap, pool_root(heap, "a"), 4 * MiB, 1);
	must(daxheap_cancel(heap, block));
	sem_init(&waits, 0, 0);
	sem_init(&go_on, 0, 0);
	dh_bounded_wait = wait_in_kernel;
	pthread_create(&trimmer, NULL, trim_once, heap);
	while (sem_wait(&waits))
		;
	pthread_create(&other, NULL, alloc_all, heap);
	sem_post(&go_on);
	pthread_join(trimmer, NULL);
	pthread_join(other, &block);
	cr_assert_eq(daxheap_ref_of(heap, block), 2 * MiB);
	memset(block, 1, 10 * MiB);
	daxheap_close(heap);
}

/* Also when no chunk is, but what the file has behind the last one. */
Test(trim, who_needs_the_end_of_the_file_waits)
{
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	pthread_t trimmer, other;
	void *block;

	pool_publish(heap, pool_root(heap, "a"), 4 * MiB, 1);
	cr_assert_eq(truncate(pool_path("pool"), 7 * MiB), 0);
	sem_init(&waits, 0, 0);
	sem_init(&go_on, 0, 0);
	dh_bounded_wait = wait_in_kernel;
	pthread_create(&trimmer, NULL, trim_once, heap);
	while (sem_wait(&waits))
		;
	pthread_create(&other, NULL, alloc_all, heap);
	/* So that it finds none now. */
	usleep(100000);
	sem_post(&go_on);
	pthread_join(trimmer, NULL);
	pthread_join(other, &block);
	cr_assert_eq(daxheap_ref_of(heap, block), 6 * MiB);
	memset(block, 1, 10 * MiB);
	daxheap_close(heap);
}

/* --- a growth that the kernel lets wait, as it does while it punches --- */

static sem_t grows, give_space;

static void wait_for_space(void)
{
	dh_mapping_wait = NULL;
	sem_post(&grows);
	while (sem_wait(&give_space))
		;
}

static void *publish_8_mib(void *arg)
{
	return pool_publish(arg, pool_root(arg, "grown"), 8 * MiB, 5);
}

/* Returns when the thread, which makes the file longer, waits. */
static pthread_t start_growth(struct daxheap *heap)
{
	pthread_t thread;

	sem_init(&grows, 0, 0);
	sem_init(&give_space, 0, 0);
	dh_mapping_wait = wait_for_space;
	pthread_create(&thread, NULL, publish_8_mib, heap);
	while (sem_wait(&grows))
		;
	return thread;
}

static void end_growth(struct daxheap *heap, pthread_t thread)
{
	void *block;

	sem_post(&give_space);
	pthread_join(thread, &block);
	cr_assert(all_is(daxheap_ptr(heap, *pool_root(heap, "grown")), 8 * MiB, 5));
}

/* Two free chunks that have space, between "a" and "b"; nothing behind. */
static struct daxheap *pool_with_two_free_chunks(void)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	void *block;

	pool_publish(heap, pool_root(heap, "a"), 2 * MiB, 1);
	must(daxheap_alloc(heap, 4 * MiB, &block));
	pool_publish(heap, pool_root(heap, "b"), 2 * MiB, 2);
	must(daxheap_cancel(heap, block));
	cr_assert_eq(file_length(), 10 * MiB);
	pool_root(heap, "grown");
	return heap;
}

Test(trim, who_needs_no_more_space_goes_on_beside_a_growth)
{
	struct daxheap *heap = pool_with_two_free_chunks();
	pthread_t thread = start_growth(heap);
	void *blocks[3];

	must(daxheap_alloc(heap, 100, &blocks[0]));
	must(daxheap_alloc(heap, MiB, &blocks[1]));
	must(daxheap_alloc(heap, 2 * MiB, &blocks[2]));
	for (unsigned i = 0; i < 3; i++)
		cr_assert_lt(daxheap_ref_of(heap, blocks[i]), 8 * MiB);
	cr_assert_eq(pool_census(heap).blocks, 2);
	end_growth(heap, thread);
	daxheap_close(heap);
	check_clean();
}

static unsigned kernel_waits;

static void count_waits(void)
{
	kernel_waits++;
}

/* Who looks at a chunk for the first time has the lock of the space, too. */
Test(trim, no_look_at_a_chunk_waits_in_the_kernel)
{
	struct daxheap *heap = pool_with_two_free_chunks();
	struct daxheap_stats stats;

	/* So that their words are 0. */
	cr_assert_eq(trim(heap, 0), 4 * MiB);
	heap = pool_reopen(heap, "pool");
	heap->mapping.is_dax = true;
	dh_mapping_wait = count_waits;
	must(daxheap_get_stats(heap, &stats));
	dh_mapping_wait = NULL;
	cr_assert_eq(kernel_waits, 0);
	daxheap_close(heap);
}

/* Holes in front are passed over. */
Test(trim, who_needs_space_beside_a_growth_finds_it_behind_holes)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	void *hole, *blocks[4];
	pthread_t thread;

	pool_root(heap, "grown");
	pool_publish(heap, pool_root(heap, "t"), 100, 1);
	must(daxheap_alloc(heap, 2 * MiB, &hole));
	must(daxheap_alloc(heap, 2 * MiB, &blocks[0]));
	must(daxheap_alloc(heap, 4 * MiB, &blocks[1]));
	must(daxheap_alloc(heap, 2 * MiB, &blocks[2]));
	must(daxheap_cancel(heap, hole));
	cr_assert_gt(trim(heap, 0), 3 * MiB);
	cr_assert(is_hole(2));
	must(daxheap_cancel(heap, blocks[1]));
	thread = start_growth(heap);
	must(daxheap_alloc(heap, MiB, &blocks[1]));
	must(daxheap_alloc(heap, 2 * MiB, &blocks[3]));
	cr_assert_eq(daxheap_ref_of(heap, blocks[1]) / DH_CHUNK_SIZE, 4);
	cr_assert_eq(daxheap_ref_of(heap, blocks[3]), 10 * MiB);
	end_growth(heap, thread);
	/* And are used again when it is over. */
	must(daxheap_alloc(heap, 2 * MiB, &blocks[0]));
	cr_assert_eq(daxheap_ref_of(heap, blocks[0]), 4 * MiB);
	must(daxheap_alloc(heap, MiB, &blocks[0]));
	cr_assert_eq(daxheap_ref_of(heap, blocks[0]) / DH_CHUNK_SIZE, 1);
	daxheap_close(heap);
	check_clean();
}

/* Also when what the trim began can't be ended. */
Test(trim, its_time_limit_holds_beside_a_growth)
{
	struct daxheap *heap = pool_with_two_free_chunks();
	pthread_t thread = start_growth(heap);
	uint64_t freed;

	sem_init(&waits, 0, 0);
	sem_init(&go_on, 0, 0);
	dh_bounded_wait = wait_without_end;
	must_fail(ETIMEDOUT, daxheap_trim(heap, 0, 100, &freed));
	dh_bounded_wait = NULL;
	sem_post(&go_on);
	while (daxheap_trim(heap, 0, LIMIT_MS, &freed))
		usleep(1000);
	end_growth(heap, thread);
	cr_assert(is_hole(2) && is_hole(3));
	daxheap_close(heap);
	check_clean();
}

static void *alloc_another(void *arg)
{
	void *block;

	must(daxheap_alloc(arg, 4 * MiB, &block));
	return block;
}

/* One growth at a time: then there may be space without another. */
Test(trim, who_needs_more_space_waits_for_a_growth)
{
	struct daxheap *heap = pool_with_two_free_chunks();
	pthread_t thread, other;
	void *block, *others;

	must(daxheap_alloc(heap, 4 * MiB, &block));
	thread = start_growth(heap);
	pthread_create(&other, NULL, alloc_another, heap);
	/* So that it finds none now. */
	usleep(100000);
	end_growth(heap, thread);
	pthread_join(other, &others);
	cr_assert_eq(daxheap_ref_of(heap, others), 18 * MiB);
	memset(others, 6, 4 * MiB);
	cr_assert(all_is(daxheap_ptr(heap, *pool_root(heap, "grown")), 8 * MiB, 5));
	daxheap_close(heap);
	check_clean();
}

/* What a growth makes longer is not cut by a trim that began before the growth was over. */
Test(trim, no_tail_is_cut_while_the_file_gets_longer)
{
	struct daxheap *heap = pool_with_two_free_chunks();
	pthread_t thread = start_growth(heap), trimmer;

	must(daxheap_free(heap, pool_root(heap, "b")));
	sem_init(&waits, 0, 0);
	sem_init(&go_on, 0, 0);
	dh_bounded_wait = wait_in_kernel;
	pthread_create(&trimmer, NULL, trim_once, heap);
	while (sem_wait(&waits))
		;
	end_growth(heap, thread);
	dh_bounded_wait = NULL;
	sem_post(&go_on);
	pthread_join(trimmer, NULL);
	cr_assert_eq(file_length(), 18 * MiB);
	cr_assert(is_hole(2) && is_hole(3) && is_hole(4));
	cr_assert(all_is(daxheap_ptr(heap, *pool_root(heap, "grown")), 8 * MiB, 5));
	daxheap_close(heap);
	check_clean();
}

/* --- a length that may not be durable --- */

static enum dh_file_change last_change;

static void note_change(enum dh_file_change change, uint64_t offset, uint64_t size)
{
	(void)offset;
	(void)size;
	last_change = change;
}

/*
 * What lies behind the end as the heap knows it, since a growth failed half way, may be gone after
 * a power cut.  When it could not be cut either it is the pool's: from then on durably.
 */
Test(trim, what_could_not_be_cut_is_durable)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	struct daxheap_info info;

	pool_publish(heap, pool_root(heap, "a"), 2 * MiB, 1);
	cr_assert_eq(truncate(pool_path("pool"), 10 * MiB), 0);
	sem_init(&waits, 0, 0);
	sem_init(&go_on, 0, 0);
	dh_bounded_wait = wait_in_kernel;
	dh_file_listener = note_change;
	last_change = DH_FILE_GREW;
	must_fail(ETIMEDOUT, daxheap_trim(heap, 0, 10, NULL));
	dh_bounded_wait = NULL;
	must(daxheap_get_info(heap, &info));
	cr_assert_eq(info.length, 10 * MiB);
	cr_assert_eq(last_change, DH_FILE_SYNCED);
	dh_file_listener = NULL;
	cr_assert_eq(trim(heap, 0), 0);
	cr_assert_eq(file_length(), 4 * MiB);
	daxheap_close(heap);
}

/* --- space that may not be durable --- */

static unsigned syncs;

static void count_syncs(enum dh_file_change change, uint64_t offset, uint64_t size)
{
	(void)offset;
	(void)size;
	syncs += change == DH_FILE_SYNCED;
}

static unsigned syncs_of_alloc(struct daxheap *heap, size_t size, void **block)
{
	syncs = 0;
	dh_file_listener = count_syncs;
	must(daxheap_alloc(heap, size, block));
	dh_file_listener = NULL;
	return syncs;
}

/*
 * As on DAX, where a fence commits nothing of the file system: what fills a hole is made durable
 * before it is given out, since a block that nobody stores to needs its space as well.
 */
Test(trim, what_fills_a_hole_is_durable)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	daxheap_ref *slots = pool_publish(heap, pool_root(heap, "t"), UNITS * 8, 0);
	void *huge, *unit;

	heap->mapping.is_dax = true;
	must(daxheap_alloc(heap, 4 * MiB, &huge));
	/* The tail stays. */
	for (unsigned i = 0; i < UNITS; i++)
		pool_publish(heap, &slots[i], DH_UNIT_SIZE, (int)i + 1);
	must(daxheap_cancel(heap, huge));
	cr_assert_eq(syncs_of_alloc(heap, 4 * MiB, &huge), 0, "it has its space");
	must(daxheap_cancel(heap, huge));
	free_units(heap, slots, 1, 20);
	trim(heap, 0);
	cr_assert_eq(syncs_of_alloc(heap, 4 * MiB, &huge), 1);
	cr_assert_eq(syncs_of_alloc(heap, DH_UNIT_SIZE, &unit), 1);
	check_units(heap, slots);
	daxheap_close(heap);
	check_clean();
}

/* Also what was filled before there was no more space. */
Test(trim, what_fills_a_hole_in_part_is_durable)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	struct rlimit limit, was;
	void *blocks[2];

	heap->mapping.is_dax = true;
	must(daxheap_alloc(heap, 4 * MiB, &blocks[0]));
	must(daxheap_alloc(heap, 16 * MiB, &blocks[1]));
	must(daxheap_cancel(heap, blocks[0]));
	trim(heap, 0);
	must(daxheap_cancel(heap, blocks[1]));
	/* In the hole, and not all of what follows. */
	signal(SIGXFSZ, SIG_IGN);
	cr_assert(!getrlimit(RLIMIT_FSIZE, &was));
	limit = (struct rlimit){file_length() + MiB, was.rlim_max};
	cr_assert(!setrlimit(RLIMIT_FSIZE, &limit));
	must_fail(ENOSPC, daxheap_alloc(heap, 60 * MiB, &blocks[0]));
	cr_assert(!setrlimit(RLIMIT_FSIZE, &was));
	cr_assert(!is_hole(1) && !is_hole(2));
	cr_assert_eq(syncs_of_alloc(heap, 4 * MiB, &blocks[0]), 1);
	daxheap_close(heap);
	check_clean();
}

/* A word that was lost says free, too: what the chunk itself tells of live blocks comes first. */
Test(trim, a_chunk_whose_word_is_lost)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	daxheap_ref *slots = pool_publish(heap, pool_root(heap, "t"), UNITS * 8, 0), second;
	uint64_t zero = 0;
	void *block;

	for (unsigned i = 0; i < UNITS; i++)
		pool_publish(heap, &slots[i], DH_UNIT_SIZE, (int)i + 1);
	second = slots[UNITS - 1];
	cr_assert_eq(second / DH_CHUNK_SIZE, 2);
	daxheap_close(heap);
	pool_write("pool", DH_TABLE_OFFSET + 2 * sizeof(zero), &zero, sizeof(zero));
	heap = pool_open("pool", 0);
	cr_assert_eq(trim(heap, 0), 0);
	must(daxheap_alloc(heap, 4 * MiB, &block));
	cr_assert_gt(daxheap_ref_of(heap, block), second);
	daxheap_close(heap);
	cr_assert_geq(daxheap_check(pool_path("pool"), DAXHEAP_CHECK_REPAIR, NULL, NULL), 0);
	heap = pool_open("pool", 0);
	check_units(heap, daxheap_ptr(heap, *pool_root(heap, "t")));
	daxheap_close(heap);
}

/* --- what an open finds --- */

static void write_intent(struct daxheap *heap, uint64_t first, uint64_t count)
{
	struct dh_intent *intent = (void *)(heap->base + DH_INTENT_OFFSET);

	*intent = (struct dh_intent){.first = first, .count = count};
	intent->checksum = dh_intent_checksum(intent, heap->log.seed);
}

static struct daxheap *pool_with_an_intent(void)
{
	struct daxheap *heap = pool_create("pool", 64 * MiB);
	void *block;

	pool_publish(heap, pool_root(heap, "a"), 2 * MiB, 1);
	must(daxheap_alloc(heap, 10 * MiB, &block));
	must(daxheap_cancel(heap, block));
	write_intent(heap, 2, 5);
	return heap;
}

/* As of a pool that was copied there from a file: a device has nothing to be cut. */
Test(trim, an_intent_on_a_device)
{
	struct daxheap *heap = pool_with_an_intent();

	heap->mapping.is_device = true;
	must(dh_trim_finish(heap));
	heap->mapping.is_device = false;
	cr_assert_eq(atomic_load(&heap->mapping.length), 14 * MiB);
	must(dh_trim_finish(heap));
	cr_assert_eq(atomic_load(&heap->mapping.length), 4 * MiB);
	daxheap_close(heap);
}

static unsigned count_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned count = 0;
	int c;

	while ((c = fgetc(maps)) != EOF)
		count += c == '\n';
	fclose(maps);
	return count;
}

/* In place of the pool's file, where the heap has it open: one that can't be made durable. */
__attribute__((no_sanitize_address)) static void fail_the_sync(void)
{
	char target[PATH_MAX] = "";
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), fd = 0;

	for (; !strstr(target, "/pool"); fd++) {
		char link[32];

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		target[0] = '\0';
		if (readlink(link, target, sizeof(target) - 1) < 0)
			continue;
	}
	dup2(null, fd - 1);
	close(null);
}

Test(trim, an_open_that_fails_to_finish_leaves_nothing)
{
	struct daxheap *heap = pool_with_an_intent();
	unsigned before;

	daxheap_close(heap);
	/* What a thread leaves behind, once. */
	pool_copy("pool", "copy");
	daxheap_close(pool_open("copy", 0));
	before = count_mappings();
	dh_bounded_wait = fail_the_sync;
	must_fail(EIO, daxheap_open(pool_path("pool"), 0, &heap));
	dh_bounded_wait = NULL;
	cr_assert_eq(count_mappings(), before);
	daxheap_close(pool_open("pool", 0));
}

/* --- the policy --- */

Test(trim, by_policy)
{
	struct daxheap *heap = pool_create("pool", 256 * MiB);
	daxheap_ref *slots = pool_publish(heap, pool_root(heap, "t"), 1000, 0);
	struct daxheap_info info;

	for (unsigned i = 0; i < 50; i++)
		pool_publish(heap, &slots[i], 2 * MiB, 1);
	must(daxheap_set_trim_policy(heap, 20 * MiB, 0, LIMIT_MS));
	for (unsigned i = 0; i < 50; i++)
		must(daxheap_free(heap, &slots[i]));
	/* Ten in reserve, and one that is not worth a trim yet. */
	cr_assert_leq(file_bytes(), (2 + 2 + 20 + 4) * MiB);
	cr_assert_geq(file_bytes(), (2 + 20) * MiB);
	must(daxheap_get_info(heap, &info));
	cr_assert_geq(info.trimmed_bytes, 76 * MiB);
	must(daxheap_set_trim_policy(heap, DAXHEAP_KEEP_ALL, 0, LIMIT_MS));
	for (unsigned i = 0; i < 50; i++)
		pool_publish(heap, &slots[i], 2 * MiB, 1);
	for (unsigned i = 0; i < 50; i++)
		must(daxheap_free(heap, &slots[i]));
	cr_assert_geq(file_bytes(), 100 * MiB);
	/* A share: of 80 MiB in use 25 percent. */
	for (unsigned i = 0; i < 50; i++)
		pool_publish(heap, &slots[i], 2 * MiB, 1);
	must(daxheap_set_trim_policy(heap, 0, 25, LIMIT_MS));
	for (unsigned i = 49; i >= 40; i--)
		must(daxheap_free(heap, &slots[i]));
	cr_assert_geq(file_bytes(), 100 * MiB);
	for (unsigned i = 39; i >= 20; i--)
		must(daxheap_free(heap, &slots[i]));
	cr_assert_leq(file_bytes(), (2 + 2 + 40 + 10 + 4) * MiB);
	daxheap_close(heap);
	check_clean();
}
