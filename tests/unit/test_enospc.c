/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file system that is really full: a tmpfs of 24 MiB, seen by a child alone (tests/guest has
 * ext4 and xfs).  The child tells by its exit status at which step it failed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap.h"
#include "pool.h"

TestSuite(enospc, .fini = pool_cleanup, .timeout = 60);

#define NO_NAMESPACE	77
#define SLOTS		16384u

static int failed(int step)
{
	fprintf(stderr, "step %d: %s\n", step, daxheap_errormsg());
	return step;
}

struct full {
	struct daxheap *heap;
	daxheap_ref *slots;
	unsigned count;			/* slots that are filled */
};

static int start(struct full *full, uint64_t size)
{
	daxheap_ref *root;
	void *block;

	if (daxheap_create(pool_path("small/pool"), size, 0, &full->heap))
		return failed(1);
	if (daxheap_root(full->heap, "t", &root) ||
	    daxheap_calloc(full->heap, SLOTS, 8, &block) ||
	    daxheap_persist(full->heap, block, SLOTS * 8) ||
	    daxheap_publish(full->heap, root, block))
		return failed(2);
	full->slots = block;
	full->count = 0;
	return 0;
}

/* Publishes blocks of @size bytes, all stored to, until none is to be had; the error. */
static int fill(struct full *full, size_t size)
{
	void *block;
	int err;

	while (full->count < SLOTS) {
		err = daxheap_alloc(full->heap, size, &block);
		if (err)
			return err;
		memset(block, (int)full->count, size);
		err = daxheap_persist(full->heap, block, size);
		if (!err)
			err = daxheap_publish(full->heap, &full->slots[full->count], block);
		if (err)
			return err;
		full->count++;
	}
	return 0;
}

static bool all_there(const struct full *full, size_t size)
{
	for (unsigned i = 0; i < full->count; i++) {
		const unsigned char *block = daxheap_ptr(full->heap, full->slots[i]);

		if (!block || block[0] != (unsigned char)i || block[size - 1] != (unsigned char)i)
			return false;
	}
	return true;
}

static uint64_t live_blocks(struct daxheap *heap)
{
	struct daxheap_stats stats;

	return daxheap_get_stats(heap, &stats) ? UINT64_MAX : stats.live_blocks;
}

/* 64 MiB of pool on 24 MiB: the file system ends first. */
static int pool_larger_than_the_space(size_t size)
{
	struct full full;
	daxheap_ref *root;
	void *block;
	int err = start(&full, 64 * MiB);

	if (err)
		return err;
	if (fill(&full, size) != -ENOSPC || !strstr(daxheap_errormsg(), "space"))
		return failed(3);
	if (full.count * size < 10 * MiB || !all_there(&full, size) ||
	    live_blocks(full.heap) != full.count + 1)
		return failed(4);
	/* Again the same, and nothing is lost by asking. */
	for (int i = 0; i < 100; i++)
		if (daxheap_alloc(full.heap, 16 * MiB, &block) != -ENOSPC)
			return failed(5);
	if (live_blocks(full.heap) != full.count + 1)
		return failed(6);
	/* All that needs no space works, and what is freed can be used again. */
	for (unsigned i = 0; i < full.count; i += 2)
		if (daxheap_free(full.heap, &full.slots[i]))
			return failed(7);
	for (unsigned i = 0; i < full.count; i += 2) {
		if (daxheap_alloc(full.heap, size, &block))
			return failed(8);
		memset(block, (int)i, size);
		if (daxheap_persist(full.heap, block, size) ||
		    daxheap_publish(full.heap, &full.slots[i], block))
			return failed(9);
	}
	daxheap_close(full.heap);
	if (daxheap_open(pool_path("small/pool"), 0, &full.heap) ||
	    daxheap_root(full.heap, "t", &root))
		return failed(10);
	full.slots = daxheap_ptr(full.heap, *root);
	if (!all_there(&full, size) || live_blocks(full.heap) != full.count + 1)
		return failed(11);
	daxheap_close(full.heap);
	if (daxheap_check(pool_path("small/pool"), 0, NULL, NULL))
		return failed(12);
	return 0;
}

static int many_small(void)
{
	return pool_larger_than_the_space(2500);
}

static int some_large(void)
{
	return pool_larger_than_the_space(300000);
}

static int some_huge(void)
{
	return pool_larger_than_the_space(3 * MiB);
}

/* A file beside the pool that takes all space there is. */
static int take_all_space(void)
{
	static const char bytes[65536];
	int fd = open(pool_path("small/ballast"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	while (write(fd, bytes, sizeof(bytes)) > 0)
		;
	return close(fd);
}

static int reserve_all(struct full *full, size_t size)
{
	void *block;
	int err;

	do {
		err = daxheap_alloc(full->heap, size, &block);
	} while (!err);
	return err;
}

/* Another's file fills the file system below an open pool, and goes again. */
static int space_comes_and_goes(void)
{
	struct daxheap_action *action;
	daxheap_ref *root;
	struct full full;
	void *block;
	int err = start(&full, 20 * MiB);

	if (err)
		return err;
	take_all_space();
	if (reserve_all(&full, 100000) != -ENOSPC)
		return failed(20);
	if (daxheap_alloc(full.heap, 5 * MiB, &block) != -ENOSPC)
		return failed(21);
	if (daxheap_root(full.heap, "another", &root))
		return failed(22);
	/* In the chunk that the pool has there is room for small ones, or there is none. */
	err = daxheap_alloc(full.heap, 64, &block);
	if (err && err != -ENOSPC)
		return failed(23);
	if (!err && daxheap_publish(full.heap, root, block))
		return failed(24);
	err = daxheap_action_new(full.heap, &action);
	for (unsigned i = 0; i < 100 && !err; i++)
		err = daxheap_action_set(action, &full.slots[1000 + i], i);
	if (err)
		return failed(25);
	err = daxheap_action_commit(action);
	if (err && err != -ENOSPC)
		return failed(26);
	daxheap_action_delete(action);
	if (unlink(pool_path("small/ballast")))
		return failed(27);
	if (daxheap_alloc(full.heap, 5 * MiB, &block))
		return failed(28);
	memset(block, 1, 5 * MiB);
	if (daxheap_free(full.heap, pool_root(full.heap, "t")))
		return failed(29);
	daxheap_close(full.heap);
	if (daxheap_open(pool_path("small/pool"), 0, &full.heap))
		return failed(30);
	daxheap_close(full.heap);
	return daxheap_check(pool_path("small/pool"), 0, NULL, NULL) ? failed(31) : 0;
}

/* What was trimmed is another's now: it is not given out, instead of a SIGBUS at the store. */
static int trimmed_space_is_taken(void)
{
	const size_t size = 64 << 10;
	struct full full;
	uint64_t freed;
	unsigned all;
	int err = start(&full, 20 * MiB);

	if (err)
		return err;
	if (fill(&full, size) != -ENOMEM)
		return failed(60);
	all = full.count;
	/* Of some chunks all, of some more than half. */
	while (full.count > 60)
		if (daxheap_free(full.heap, &full.slots[--full.count]))
			return failed(61);
	for (unsigned i = 5; i < 55; i++)
		if (daxheap_free(full.heap, &full.slots[i]))
			return failed(62);
	if (daxheap_trim(full.heap, 0, 60000, &freed) || freed < 10 * MiB)
		return failed(63);
	take_all_space();
	if (reserve_all(&full, size) != -ENOSPC || reserve_all(&full, 2 * MiB) != -ENOSPC)
		return failed(64);
	daxheap_close(full.heap);
	if (daxheap_open(pool_path("small/pool"), 0, &full.heap))
		return failed(65);
	full.slots = daxheap_ptr(full.heap, *pool_root(full.heap, "t"));
	if (fill(&full, size) != -ENOSPC)
		return failed(66);
	if (unlink(pool_path("small/ballast")) || fill(&full, size) != -ENOMEM ||
	    full.count != all + 50)
		return failed(67);
	daxheap_close(full.heap);
	return daxheap_check(pool_path("small/pool"), 0, NULL, NULL) ? failed(68) : 0;
}

static uint64_t space_of_pool(void)
{
	struct stat st;

	return stat(pool_path("small/pool"), &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

/*
 * On DAX space is taken ahead of use, by writing: when the file system ends in the middle, what was
 * got goes back with the next trim.
 */
static int space_ahead_of_use(void)
{
	struct full full;
	uint64_t before;
	struct stat st;
	void *block, *ahead;
	int err = start(&full, 20 * MiB);

	if (err)
		return err;
	full.heap->mapping.is_dax = true;
	if (daxheap_alloc(full.heap, 14 * MiB, &ahead) ||
	    daxheap_alloc(full.heap, 2 * MiB, &block) || daxheap_cancel(full.heap, ahead) ||
	    daxheap_trim(full.heap, 0, 60000, NULL))
		return failed(70);
	before = space_of_pool();
	take_all_space();
	if (stat(pool_path("small/ballast"), &st) ||
	    truncate(pool_path("small/ballast"), st.st_size - (off_t)(5 * MiB)))
		return failed(71);
	if (daxheap_alloc(full.heap, 2 * MiB, &block) || space_of_pool() != before + 5 * MiB)
		return failed(72);
	if (daxheap_cancel(full.heap, block) || daxheap_trim(full.heap, 0, 60000, NULL))
		return failed(73);
	if (space_of_pool() != before)
		return failed(74);
	daxheap_close(full.heap);
	return daxheap_check(pool_path("small/pool"), 0, NULL, NULL) ? failed(75) : 0;
}

/* Growing a block: the old one stays. */
static int realloc_without_space(void)
{
	struct full full;
	int err = start(&full, 64 * MiB);
	daxheap_ref ref;

	if (err)
		return err;
	if (fill(&full, 3 * MiB) != -ENOSPC)
		return failed(40);
	ref = full.slots[0];
	if (daxheap_realloc(full.heap, &full.slots[0], 9 * MiB) != -ENOSPC)
		return failed(41);
	if (full.slots[0] != ref || !all_there(&full, 3 * MiB))
		return failed(42);
	daxheap_close(full.heap);
	return 0;
}

/* What can't be made at all leaves no file. */
static int create_without_space(void)
{
	struct daxheap *heap = (void *)1;

	take_all_space();
	if (daxheap_create(pool_path("small/pool"), 8 * MiB, 0, &heap) != -ENOSPC)
		return failed(50);
	if ((void *)heap != (void *)1 || !strstr(daxheap_errormsg(), "space"))
		return failed(51);
	return access(pool_path("small/pool"), F_OK) ? 0 : failed(52);
}

static void in_small_space(int (*steps)(void))
{
	const char *path = pool_path("small");
	int status;
	pid_t pid;

	cr_assert_eq(mkdir(path, 0700), 0);
	pid = fork();
	if (!pid)
		_exit(mount_small(path, 24 * MiB) ? steps() : NO_NAMESPACE);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(!WIFSIGNALED(status), "killed by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status) == NO_NAMESPACE)
		cr_skip_test("no mount namespace for this user");
	cr_assert_eq(WEXITSTATUS(status), 0, "step %d", WEXITSTATUS(status));
}

Test(enospc, filled_by_small_blocks)
{
	in_small_space(many_small);
}

Test(enospc, filled_by_large_blocks)
{
	in_small_space(some_large);
}

Test(enospc, filled_by_huge_blocks)
{
	in_small_space(some_huge);
}

Test(enospc, filled_by_another_file)
{
	in_small_space(space_comes_and_goes);
}

Test(enospc, space_ahead_of_use)
{
	in_small_space(space_ahead_of_use);
}

Test(enospc, trimmed_space_is_taken)
{
	in_small_space(trimmed_space_is_taken);
}

Test(enospc, realloc)
{
	in_small_space(realloc_without_space);
}

Test(enospc, create)
{
	in_small_space(create_without_space);
}
