/* SPDX-License-Identifier: BSD-3-Clause */
/* Damage to the superblock and its copy, truncation, versions, features. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heap.h"
#include "pool.h"

TestSuite(super, .fini = pool_cleanup);

/* A pool with content, closed. */
static void make_pool(void)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);

	pool_publish(heap, pool_root(heap, "r"), 1000, 0x5a);
	daxheap_close(heap);
}

static void check_content(unsigned flags)
{
	struct daxheap *heap = pool_open("pool", flags);
	const unsigned char *block = daxheap_ptr(heap, *pool_root(heap, "r"));

	cr_assert_eq(pool_census(heap).blocks, 1);
	for (int i = 0; i < 1000; i++)
		cr_assert_eq(block[i], 0x5a);
	daxheap_close(heap);
}

/* What daxheap_check() found. */
static int findings[4];

static void found(void *arg, const struct daxheap_finding *finding)
{
	(void)arg;
	findings[finding->severity]++;
}

static int check(unsigned flags)
{
	memset(findings, 0, sizeof(findings));
	return daxheap_check(pool_path("pool"), flags, found, NULL);
}

#define must_not_open(err, flags)                                                              \
	do {                                                                                   \
		struct daxheap *out = (void *)1;                                               \
		must_fail(err, daxheap_open(pool_path("pool"), flags, &out));                  \
		cr_assert_eq((void *)out, (void *)1);                                          \
	} while (0)

/* The 4096 bytes at @place, one after the other, each with one bit and with all wrong. */
static void each_byte(uint64_t place)
{
	uint64_t hash;

	make_pool();
	hash = pool_hash("pool");
	for (uint64_t i = 0; i < DH_PAGE_SIZE; i++) {
		pool_flip("pool", place + i, i % 3 ? 0xff : 1 << i % 8);
		must_not_open(EBADMSG, i % 2 ? DAXHEAP_READ_ONLY : 0);
		must_say("daxheap check --repair");
		must_say(place ? "superblock copy" : "its copy is intact");
		cr_assert_eq(check(0), 1, "byte %llu", (unsigned long long)i);
		cr_assert_eq(check(DAXHEAP_CHECK_REPAIR), 0, "byte %llu", (unsigned long long)i);
		cr_assert_eq(findings[DAXHEAP_REPAIRED], 1);
		cr_assert_eq(check(0), 0);
		/* The whole file is hashed now and then, what was repaired each time. */
		if (i % 512 == 0)
			cr_assert_eq(pool_hash("pool"), hash, "as it was");
		if (i % 64 == 0)
			check_content(0);
	}
	cr_assert_eq(pool_hash("pool"), hash, "as it was");
	check_content(0);
}

Test(super, each_byte_of_the_superblock)
{
	each_byte(0);
}

Test(super, each_byte_of_the_copy)
{
	each_byte(DH_COPY_OFFSET);
}

Test(super, both_damaged)
{
	uint64_t hash;

	make_pool();
	pool_flip("pool", 100, 1);
	pool_flip("pool", DH_COPY_OFFSET + 200, 1);
	hash = pool_hash("pool");
	must_not_open(EBADMSG, 0);
	must_say("both damaged");
	must_not_open(EBADMSG, DAXHEAP_READ_ONLY);
	cr_assert_eq(check(DAXHEAP_CHECK_REPAIR), 1);
	cr_assert_eq(findings[DAXHEAP_DAMAGE], 1);
	cr_assert_eq(pool_hash("pool"), hash, "a refused repair changes nothing");
}

/* Each is a valid superblock, and they are not of one pool. */
Test(super, superblock_and_copy_of_two_pools)
{
	struct dh_superblock sb;

	make_pool();
	daxheap_close(pool_create("other", POOL_SIZE));
	pool_read("other", DH_COPY_OFFSET, &sb, sizeof(sb));
	pool_write("pool", DH_COPY_OFFSET, &sb, sizeof(sb));
	must_not_open(EBADMSG, 0);
	must_say("contradict");
}

Test(super, truncated)
{
	static const uint64_t lengths[] = {8, 4095, 4096, 8192, DH_LOG_OFFSET, MiB,
		DH_COPY_OFFSET, DH_CHUNK_SIZE - 1};

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		make_pool();
		cr_assert_eq(truncate(pool_path("pool"), (off_t)lengths[i]), 0);
		must_not_open(EBADMSG, 0);
		must_not_open(EBADMSG, DAXHEAP_READ_ONLY);
		if (lengths[i] >= 4096)
			must_say("truncated");
		/* The copy alone is beyond help when the rest is gone. */
		if (lengths[i] == DH_COPY_OFFSET)
			cr_assert_eq(check(DAXHEAP_CHECK_REPAIR), 1);
		unlink(pool_path("pool"));
	}
}

Test(super, a_longer_file_is_the_same_pool)
{
	make_pool();
	cr_assert_eq(truncate(pool_path("pool"), (off_t)POOL_SIZE + 12345), 0);
	check_content(0);
}

/* Too short to tell what it was. */
Test(super, truncated_to_nothing)
{
	make_pool();
	cr_assert_eq(truncate(pool_path("pool"), 7), 0);
	must_not_open(EMEDIUMTYPE, 0);
}

static void set_version(struct dh_superblock *sb)
{
	sb->version = DH_FORMAT_VERSION + 1;
}

static void set_incompat(struct dh_superblock *sb)
{
	sb->incompat = UINT64_C(1) << 63;
}

static void set_ro_compat(struct dh_superblock *sb)
{
	sb->ro_compat = 1;
}

static void set_compat(struct dh_superblock *sb)
{
	sb->compat = UINT64_MAX;
}

Test(super, another_version)
{
	make_pool();
	pool_edit_super("pool", set_version);
	must_not_open(EPROTONOSUPPORT, 0);
	must_say("newer");
	must_not_open(EPROTONOSUPPORT, DAXHEAP_READ_ONLY);
	must_fail(EPROTONOSUPPORT, check(DAXHEAP_CHECK_REPAIR));
}

Test(super, unknown_incompatible_feature)
{
	make_pool();
	pool_edit_super("pool", set_incompat);
	must_not_open(EPROTONOSUPPORT, 0);
	must_not_open(EPROTONOSUPPORT, DAXHEAP_READ_ONLY);
}

Test(super, unknown_read_only_compatible_feature)
{
	struct daxheap_info info;
	struct daxheap *heap;

	make_pool();
	pool_edit_super("pool", set_ro_compat);
	must_not_open(EROFS, 0);
	must_say("read-only");
	check_content(DAXHEAP_READ_ONLY);
	heap = pool_open("pool", DAXHEAP_READ_ONLY);
	must(daxheap_get_info(heap, &info));
	cr_assert_eq(info.ro_compat, 1);
	daxheap_close(heap);
}

Test(super, unknown_compatible_feature)
{
	struct daxheap_info info;
	struct daxheap *heap;

	make_pool();
	pool_edit_super("pool", set_compat);
	check_content(0);
	heap = pool_open("pool", 0);
	must(daxheap_get_info(heap, &info));
	cr_assert_eq(info.compat, UINT64_MAX);
	daxheap_close(heap);
}

/* What a crash in the middle of create leaves: no superblock yet, or the copy alone. */
Test(super, creation_cut_short)
{
	static const char zeros[DH_PAGE_SIZE];

	make_pool();
	pool_write("pool", 0, zeros, sizeof(zeros));
	must_not_open(EBADMSG, 0);
	pool_write("pool", DH_COPY_OFFSET, zeros, sizeof(zeros));
	must_not_open(EMEDIUMTYPE, 0);
	must_say("cut short");
}
