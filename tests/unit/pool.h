/* SPDX-License-Identifier: BSD-3-Clause */
/* Pools for tests: files in a folder of the test's own, and looks into them. */
#ifndef TEST_POOL_H
#define TEST_POOL_H

#include <criterion/criterion.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "daxheap.h"
#include "error.h"
#include "format.h"

#define MiB (UINT64_C(1) << 20)
#define POOL_SIZE (8 * MiB)

/* The call returns 0, or the test fails with the library's message. */
#define must(call)                                                                             \
	do {                                                                                   \
		int must_err = (call);                                                         \
		cr_assert_eq(must_err, 0, "%s: %d, %s", #call, must_err, daxheap_errormsg());  \
	} while (0)

/* The call fails with -@err and a message of its own. */
#define must_fail(err, call)                                                                   \
	do {                                                                                   \
		dh_fail(0, "%s", "");                                                          \
		long long fail_err = (call);                                                   \
		cr_assert_eq(fail_err, -(err), "%s: %lld, not %s: %s", #call, fail_err, #err,  \
			     daxheap_errormsg());                                              \
		cr_assert_gt(strlen(daxheap_errormsg()), 9, "%s: no message", #call);          \
	} while (0)

/* The message of the last failing call has @part in it. */
#define must_say(part)                                                                         \
	cr_assert(strstr(daxheap_errormsg(), part), "'%s' is not in '%s'", part,               \
		  daxheap_errormsg())

/* For TestSuite(): removes the folder. */
void pool_cleanup(void);

/* The path of the file @name in the test's folder; static, four at a time. */
const char *pool_path(const char *name);

struct daxheap *pool_create(const char *name, uint64_t size);
/* The same with few lanes of the log, and short ones. */
struct daxheap *pool_create_small(const char *name, uint64_t size, unsigned lanes, unsigned ring);
struct daxheap *pool_open(const char *name, unsigned flags);
/* Closes and opens again. */
struct daxheap *pool_reopen(struct daxheap *heap, const char *name);
daxheap_ref *pool_root(struct daxheap *heap, const char *name);

/* A reserved block of @size bytes, all @byte, durable. */
void *pool_block(struct daxheap *heap, size_t size, int byte);
/* The same, published into @slot. */
void *pool_publish(struct daxheap *heap, daxheap_ref *slot, size_t size, int byte);

struct census {
	uint64_t blocks, bytes;
};

/* What daxheap_next() steps through, compared with what daxheap_get_stats() counts. */
struct census pool_census(struct daxheap *heap);
struct daxheap_stats pool_stats(struct daxheap *heap);
/* Of all bytes of the open pool: what a refused call must leave. */
uint64_t pool_sum(struct daxheap *heap);

/* The file as bytes. */
void pool_read(const char *name, uint64_t offset, void *to, size_t size);
void pool_write(const char *name, uint64_t offset, const void *from, size_t size);
void pool_flip(const char *name, uint64_t offset, unsigned char bits);
uint64_t pool_hash(const char *name);
void pool_copy(const char *from, const char *to);

/* Changes the superblock and its copy alike, checksums made right. */
void pool_edit_super(const char *name, void (*edit)(struct dh_superblock *sb));

/* Another one for each run, printed; DAXHEAP_TEST_SEED repeats one. */
unsigned test_seed(void);

/*
 * In a child, as only a process of one thread may make a user namespace: mounts a tmpfs of
 * @size bytes at @path, seen by the child alone.  False: this user may not.
 */
bool mount_small(const char *path, uint64_t size);

#endif
