/* SPDX-License-Identifier: BSD-3-Clause */
/* Each error that daxheap.h names is reached, has a message, and changes nothing. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap.h"
#include "pool.h"

TestSuite(errors, .fini = pool_cleanup);

/* What an output parameter holds before: a failing call must leave it. */
static void *const untouched = (void *)0x1234;

#define must_fail_create(err, path, size, flags)                                               \
	do {                                                                                   \
		struct daxheap *out = untouched;                                               \
		must_fail(err, daxheap_create(path, size, flags, &out));                       \
		cr_assert_eq((void *)out, untouched);                                          \
	} while (0)

#define must_fail_open(err, path, flags)                                                       \
	do {                                                                                   \
		struct daxheap *out = untouched;                                               \
		must_fail(err, daxheap_open(path, flags, &out));                               \
		cr_assert_eq((void *)out, untouched);                                          \
	} while (0)

Test(errors, create)
{
	const char *path = pool_path("pool");

	must_fail_create(EINVAL, path, DH_SIZE_MIN - 1, 0);
	must_say("8 MiB to 16 TiB");
	must_fail_create(EINVAL, path, DH_SIZE_MAX + 1, 0);
	must_fail_create(EINVAL, path, POOL_SIZE, 1 << 5);
	must_fail_create(EINVAL, path, POOL_SIZE, DAXHEAP_READ_ONLY);
	must_fail_create(ENOENT, pool_path("no/such/folder"), POOL_SIZE, 0);
	cr_assert_neq(access(path, F_OK), 0, "no file is left");
	daxheap_close(pool_create("pool", POOL_SIZE));
	must_fail_create(EEXIST, path, POOL_SIZE, 0);
	must_say(path);
	daxheap_close(pool_open("pool", 0));
}

/* An existing file is never touched, whatever it is. */
Test(errors, create_over_a_text)
{
	int fd = open(pool_path("text"), O_CREAT | O_WRONLY, 0600);

	cr_assert_eq(write(fd, "hello", 5), 5);
	close(fd);
	must_fail_create(EEXIST, pool_path("text"), POOL_SIZE, 0);
	cr_assert_eq(symlink("nowhere", pool_path("link")), 0);
	must_fail_create(EEXIST, pool_path("link"), POOL_SIZE, 0);
	pool_read("text", 0, (char[5]){0}, 5);
}

/* More than the file may be: a limit stands in for the file system's. */
Test(errors, create_beyond_a_limit_leaves_no_file)
{
	struct rlimit limit = {1 * MiB, 1 * MiB};

	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	must_fail_create(EFBIG, pool_path("pool"), POOL_SIZE, 0);
	cr_assert_neq(access(pool_path("pool"), F_OK), 0, "removed again");
}

/* It is created, and can't grow: an error of the calls that would. */
Test(errors, growth_beyond_a_limit)
{
	struct rlimit limit = {5 * MiB, 5 * MiB};
	struct daxheap *heap;
	void *block;

	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	heap = pool_create("pool", POOL_SIZE);
	pool_publish(heap, pool_root(heap, "r"), 1000, 7);
	must_fail(ENOSPC, daxheap_alloc(heap, 4 * MiB, &block));
	must_say("limit");
	pool_publish(heap, pool_root(heap, "s"), 1000, 7);
	cr_assert_eq(pool_census(heap).blocks, 2);
	heap = pool_reopen(heap, "pool");
	cr_assert_eq(pool_census(heap).blocks, 2);
	daxheap_close(heap);
}

Test(errors, open_flags)
{
	daxheap_close(pool_create("pool", POOL_SIZE));
	must_fail_open(EINVAL, pool_path("pool"), 1 << 7);
	must_fail_open(EINVAL, pool_path("pool"), DAXHEAP_READ_ONLY | DAXHEAP_REQUIRE_MAP_SYNC);
	must_fail_open(ENOENT, pool_path("none"), 0);
	must_fail_open(ENOENT, pool_path("none"), DAXHEAP_READ_ONLY);
}

Test(errors, what_is_no_pool)
{
	static const char text[] = "This is a text and no pool.\n";
	int fd;

	fd = open(pool_path("empty"), O_CREAT | O_WRONLY, 0600);
	close(fd);
	fd = open(pool_path("text"), O_CREAT | O_WRONLY, 0600);
	cr_assert_eq(write(fd, text, sizeof(text)), (ssize_t)sizeof(text));
	close(fd);
	fd = open(pool_path("zeros"), O_CREAT | O_WRONLY, 0600);
	cr_assert_eq(ftruncate(fd, 16 * MiB), 0);
	close(fd);
	cr_assert_eq(mkfifo(pool_path("fifo"), 0600), 0);
	cr_assert_eq(mkdir(pool_path("folder"), 0700), 0);
	for (unsigned flags = 0; flags <= DAXHEAP_READ_ONLY; flags += DAXHEAP_READ_ONLY) {
		must_fail_open(EMEDIUMTYPE, pool_path("empty"), flags);
		must_say("daxheap create");
		must_fail_open(EMEDIUMTYPE, pool_path("text"), flags);
		must_fail_open(EMEDIUMTYPE, pool_path("zeros"), flags);
		/* Must not wait for somebody who writes. */
		must_fail_open(EMEDIUMTYPE, pool_path("fifo"), flags);
		must_fail_open(EMEDIUMTYPE, "/dev/null", flags);
		must_fail_open(flags ? EMEDIUMTYPE : EISDIR, pool_path("folder"), flags);
	}
	for (unsigned flags = 0; flags <= DAXHEAP_CHECK_REPAIR; flags += DAXHEAP_CHECK_REPAIR) {
		must_fail(EMEDIUMTYPE, daxheap_check(pool_path("text"), flags, NULL, NULL));
		must_fail(EMEDIUMTYPE, daxheap_check(pool_path("empty"), flags, NULL, NULL));
		must_fail(EMEDIUMTYPE, daxheap_check(pool_path("fifo"), flags, NULL, NULL));
		must_fail(ENOENT, daxheap_check(pool_path("none"), flags, NULL, NULL));
	}
}

Test(errors, no_permission)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);

	pool_publish(heap, pool_root(heap, "r"), 64, 1);
	daxheap_close(heap);
	cr_assert_eq(chmod(pool_path("pool"), 0444), 0);
	if (!geteuid()) {
		cr_assert_eq(chmod(pool_path(""), 0755), 0);
		if (seteuid(65534) || faccessat(AT_FDCWD, pool_path("pool"), R_OK, AT_EACCESS))
			cr_skip_test("no unprivileged user that sees the folder");
	}
	must_fail_open(EACCES, pool_path("pool"), 0);
	must_say("for writing");
	must_fail(EACCES,
		  daxheap_check(pool_path("pool"), DAXHEAP_CHECK_REPAIR, NULL, NULL));
	heap = pool_open("pool", DAXHEAP_READ_ONLY);
	cr_assert_eq(pool_census(heap).blocks, 1);
	daxheap_close(heap);
	cr_assert(!geteuid() || !seteuid(getuid()));
}

Test(errors, open_elsewhere_in_this_process)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE), *second;

	must_fail_open(EBUSY, pool_path("pool"), 0);
	must_say("open elsewhere");
	must_fail_open(EBUSY, pool_path("pool"), DAXHEAP_READ_ONLY);
	must_fail(EBUSY, daxheap_check(pool_path("pool"), 0, NULL, NULL));
	must_fail(EBUSY,
		  daxheap_check(pool_path("pool"), DAXHEAP_CHECK_REPAIR, NULL, NULL));
	daxheap_close(heap);
	heap = pool_open("pool", DAXHEAP_READ_ONLY);
	second = pool_open("pool", DAXHEAP_READ_ONLY);
	must_fail_open(EBUSY, pool_path("pool"), 0);
	daxheap_close(heap);
	must_fail_open(EBUSY, pool_path("pool"), 0);
	daxheap_close(second);
	daxheap_close(pool_open("pool", 0));
}

/* Holds the pool open in another process until it is killed. */
static pid_t open_in_child(const char *name, unsigned flags)
{
	int ready[2];
	char byte;
	pid_t pid;

	cr_assert_eq(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		struct daxheap *heap;

		if (!daxheap_open(pool_path(name), flags, &heap) && write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	cr_assert_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

Test(errors, open_elsewhere_in_another_process)
{
	pid_t pid;

	daxheap_close(pool_create("pool", POOL_SIZE));
	pid = open_in_child("pool", 0);
	must_fail_open(EBUSY, pool_path("pool"), 0);
	must_fail_open(EBUSY, pool_path("pool"), DAXHEAP_READ_ONLY);
	end_child(pid);
	/* A lock dies with its process. */
	daxheap_close(pool_open("pool", 0));
	pid = open_in_child("pool", DAXHEAP_READ_ONLY);
	must_fail_open(EBUSY, pool_path("pool"), 0);
	daxheap_close(pool_open("pool", DAXHEAP_READ_ONLY));
	end_child(pid);
}

/* A memfd has no DAX on any machine, wherever the other pools of these tests lie. */
Test(errors, map_sync_demanded_and_not_there)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	int fd = memfd_create("pool", MFD_CLOEXEC);
	char path[64], *bytes = malloc(POOL_SIZE);
	struct daxheap_info info;

	pool_publish(heap, pool_root(heap, "r"), 64, 1);
	must(daxheap_get_info(heap, &info));
	daxheap_close(heap);
	pool_read("pool", 0, bytes, info.length);
	cr_assert_eq(write(fd, bytes, info.length), (ssize_t)info.length);
	free(bytes);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	must_fail_open(EOPNOTSUPP, path, DAXHEAP_REQUIRE_MAP_SYNC);
	must_say("MAP_SYNC");
	must_say("/dev/pmem");
	/* Nothing is held after the refusal, and without the demand it opens. */
	must(daxheap_open(path, 0, &heap));
	must(daxheap_get_info(heap, &info));
	cr_assert_eq(info.durability, DAXHEAP_PAGE_CACHE);
	daxheap_close(heap);
	close(fd);
}

Test(errors, map_sync_demanded_at_create_leaves_no_file)
{
	char path[64];

	if (access("/dev/shm", W_OK))
		cr_skip_test("no /dev/shm");
	snprintf(path, sizeof(path), "/dev/shm/daxheap-test-%d", (int)getpid());
	must_fail_create(EOPNOTSUPP, path, POOL_SIZE, DAXHEAP_REQUIRE_MAP_SYNC);
	cr_assert_neq(access(path, F_OK), 0);
}

Test(errors, alloc)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	void *block = untouched;

	must_fail(EINVAL, daxheap_alloc(heap, 0, &block));
	must_fail(ENOMEM, daxheap_alloc(heap, 6 * MiB + 1, &block));
	must_fail(ENOMEM, daxheap_alloc(heap, (size_t)1 << 44, &block));
	must_fail(ENOMEM, daxheap_alloc(heap, ((size_t)1 << 44) + 1, &block));
	must_fail(ENOMEM, daxheap_alloc(heap, SIZE_MAX, &block));
	cr_assert_eq(block, untouched);
	must(daxheap_alloc(heap, 6 * MiB, &block));
	must_fail(ENOMEM, daxheap_alloc(heap, 1, &block));
	daxheap_close(heap);
}

/* Addresses that are no block, for the calls that take one. */
static void no_block_at(struct daxheap *heap, daxheap_ref *root, void *at)
{
	must_fail(EINVAL, daxheap_cancel(heap, at));
	must_fail(EINVAL, daxheap_usable_size(heap, at));
	must_fail(EINVAL, daxheap_publish(heap, root, at));
}

Test(errors, what_is_no_block)
{
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	daxheap_ref *root = pool_root(heap, "r");
	char *small, *huge, *gone;
	int local;

	must(daxheap_alloc(heap, 64, (void **)&small));
	must(daxheap_alloc(heap, 5 * MiB, (void **)&huge));
	must(daxheap_alloc(heap, 64, (void **)&gone));
	must(daxheap_cancel(heap, gone));
	no_block_at(heap, root, NULL);
	no_block_at(heap, root, &local);
	no_block_at(heap, root, heap->base);
	no_block_at(heap, root, heap->base + DH_LOG_OFFSET);
	no_block_at(heap, root, heap->base + 16 * MiB);
	no_block_at(heap, root, (void *)UINTPTR_MAX);
	no_block_at(heap, root, small + 16);
	no_block_at(heap, root, small + 1);
	no_block_at(heap, root, huge + DH_CHUNK_SIZE);
	no_block_at(heap, root, huge + 6 * MiB);
	no_block_at(heap, root, gone);
	/* The chunk's header, and the end of its last unit. */
	no_block_at(heap, root, (void *)((uintptr_t)small & ~(DH_CHUNK_SIZE - 1)));
	cr_assert_eq(*root, 0);
	must(daxheap_publish(heap, root, small));
	must_fail(EINVAL, daxheap_cancel(heap, small));
	must_say("live");
	daxheap_close(heap);
}

Test(errors, what_is_no_slot)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	daxheap_ref *root = pool_root(heap, "r"), *live = pool_publish(heap, root, 64, 0);
	daxheap_ref *reserved = pool_block(heap, 64, 0), local = 0;
	void *block = pool_block(heap, 64, 0);
	daxheap_ref *bad[] = {
		NULL, &local,
		(daxheap_ref *)heap->base,		/* the superblock */
		root + 1,				/* the root's name */
		root + 8,				/* an entry without a name */
		(daxheap_ref *)(heap->base + DH_LOG_OFFSET),
		(daxheap_ref *)((char *)live + 4),	/* not aligned */
		reserved,				/* not published yet */
		block,					/* its own block */
		live + 8,				/* behind the live block */
		(daxheap_ref *)(heap->base + POOL_SIZE - 8),
		(daxheap_ref *)(heap->base + POOL_SIZE),
		(daxheap_ref *)(heap->base + POOL_SIZE - 4),
		/* A chunk's header: a bitmap word is not empty, and no slot either. */
		(daxheap_ref *)((uintptr_t)live & ~(DH_CHUNK_SIZE - 1)),
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		must_fail(EINVAL, daxheap_publish(heap, bad[i], block));
		must_say("no slot");
		must_fail(EINVAL, daxheap_replace(heap, bad[i], block));
		must_fail(EINVAL, daxheap_free(heap, bad[i]));
	}
	must(daxheap_publish(heap, &live[7], block));
	cr_assert_eq(pool_census(heap).blocks, 2);
	daxheap_close(heap);
}

Test(errors, publish_replace_free)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	daxheap_ref *root = pool_root(heap, "r"), *live;
	void *block = pool_block(heap, 64, 0), *other = pool_block(heap, 64, 0);

	must_fail(EINVAL, daxheap_publish(heap, root, NULL));
	must_fail(EINVAL, daxheap_replace(heap, root, NULL));
	must_fail(ENOENT, daxheap_free(heap, root));
	must_fail(ENOENT, daxheap_replace(heap, root, block));
	must(daxheap_publish(heap, root, block));
	must_fail(EEXIST, daxheap_publish(heap, root, other));
	/* A live block is not published twice, nor in its own place. */
	must_fail(EINVAL, daxheap_publish(heap, pool_root(heap, "s"), block));
	must_fail(EINVAL, daxheap_replace(heap, root, block));
	live = block;
	must(daxheap_publish(heap, &live[1], other));
	other = pool_block(heap, 64, 0);
	must_fail(EINVAL, daxheap_publish(heap, &live[2], live));
	/* The slot would vanish with the block that it lies in. */
	must_fail(EINVAL, daxheap_publish(heap, (daxheap_ref *)other + 1, other));
	cr_assert_eq(pool_census(heap).blocks, 2);
	daxheap_close(heap);
}

/* Words that the application stored into a slot against the rules do no harm. */
Test(errors, slots_that_hold_no_reference)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	daxheap_ref *live = pool_publish(heap, pool_root(heap, "r"), 64, 0);
	void *reserved = pool_block(heap, 64, 0);
	daxheap_ref bad[] = {1, 8, POOL_SIZE, POOL_SIZE - 1, UINT64_MAX, DH_LOG_OFFSET,
			     daxheap_ref_of(heap, live) + 16, daxheap_ref_of(heap, reserved)};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		live[2] = bad[i];
		must_fail(EINVAL, daxheap_free(heap, &live[2]));
		must_fail(EINVAL, daxheap_replace(heap, &live[2], reserved));
		cr_assert_eq(live[2], bad[i], "nothing is changed");
	}
	/* One that refers to its own block: it can't be replaced, as it would vanish. */
	live[2] = daxheap_ref_of(heap, live);
	must_fail(EINVAL, daxheap_replace(heap, &live[2], reserved));
	must(daxheap_cancel(heap, reserved));
	cr_assert_eq(pool_census(heap).blocks, 1);
	daxheap_close(heap);
}

Test(errors, root)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	char name[DH_ROOT_NAME_SIZE + 1];
	daxheap_ref *slot = untouched;

	memset(name, 'n', sizeof(name));
	name[DH_ROOT_NAME_SIZE] = '\0';
	must_fail(EINVAL, daxheap_root(heap, "", &slot));
	must_fail(EINVAL, daxheap_root(heap, name, &slot));
	cr_assert_eq((void *)slot, untouched);
	name[DH_ROOT_NAME_SIZE - 1] = '\0';
	must(daxheap_root(heap, name, &slot));
	daxheap_close(heap);
}

Test(errors, next_and_ranges)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	struct daxheap_block block = {.ref = UINT64_MAX};

	must_fail(EINVAL, daxheap_next(heap, &block));
	block = (struct daxheap_block){.size = UINT64_MAX};
	must_fail(EINVAL, daxheap_next(heap, &block));
	/* A stale one is not dangerous. */
	for (uint64_t at = 1; at < POOL_SIZE; at += 4093) {
		block = (struct daxheap_block){.ref = at, .size = at};
		cr_assert_eq(daxheap_next(heap, &block), 0);
		cr_assert_eq(block.ref, at, "untouched at the end");
	}
	must_fail(EINVAL, daxheap_persist(heap, &block, 8));
	must_fail(EINVAL, daxheap_flush(heap, heap->base + POOL_SIZE - 8, 9));
	must_fail(EINVAL, daxheap_flush(heap, heap->base, SIZE_MAX));
	must(daxheap_flush(heap, heap->base + POOL_SIZE - 8, 8));
	daxheap_close(heap);
}

Test(errors, place)
{
	struct daxheap_place place = {.dax = 77};

	must_fail(ENOENT, daxheap_get_place(pool_path("none"), &place));
	cr_assert_eq(place.dax, 77);
}

/* After a failed fence nothing is promised any more, and nothing more is written. */
Test(errors, no_operation_after_the_system_refused)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	daxheap_ref *root = pool_root(heap, "r"), *live = pool_publish(heap, root, 64, 0);
	void *block = pool_block(heap, 64, 1);
	uint64_t hash;

	atomic_store(&heap->persist.failed, true);
	hash = pool_hash("pool");
	must_fail(EIO, daxheap_publish(heap, &live[1], block));
	must_say("open it again");
	must_fail(EIO, daxheap_free(heap, root));
	must_fail(EIO, daxheap_fence(heap));
	cr_assert_eq(pool_hash("pool"), hash, "the log's newest record stays");
	heap = pool_reopen(heap, "pool");
	cr_assert_eq(pool_census(heap).blocks, 1, "what was acknowledged before is safe");
	daxheap_close(heap);
}
