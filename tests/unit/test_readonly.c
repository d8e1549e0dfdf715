/* SPDX-License-Identifier: BSD-3-Clause */
/* Read-only opens: all is seen, nothing is written, not even what must be replayed. */
#include "heap.h"
#include "pool.h"

TestSuite(readonly, .fini = pool_cleanup);

Test(readonly, writes_are_refused)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	daxheap_ref *root = pool_root(heap, "r"), *slot = (void *)1;
	void *block = (void *)1;
	struct daxheap_info info;
	uint64_t hash;

	pool_publish(heap, root, 64, 1);
	daxheap_close(heap);
	hash = pool_hash("pool");
	heap = pool_open("pool", DAXHEAP_READ_ONLY);
	root = pool_root(heap, "r");
	must_fail(EROFS, daxheap_alloc(heap, 64, &block));
	cr_assert_eq(block, (void *)1);
	block = daxheap_ptr(heap, *root);
	must_fail(EROFS, daxheap_cancel(heap, block));
	must_fail(EROFS, daxheap_publish(heap, root, block));
	must_fail(EROFS, daxheap_replace(heap, root, block));
	must_fail(EROFS, daxheap_free(heap, root));
	must_fail(EROFS, daxheap_realloc(heap, root, 128));
	must_fail(EROFS, daxheap_calloc(heap, 1, 64, &block));
	must_fail(EROFS, daxheap_alloc_as(heap, 64, 0, 1, &block));
	must_fail(EROFS, daxheap_persist(heap, block, 64));
	must_fail(EROFS, daxheap_flush(heap, block, 64));
	must_fail(EROFS, daxheap_fence(heap));
	must_fail(ENOENT, daxheap_root(heap, "new", &slot));
	cr_assert_eq((void *)slot, (void *)1);
	must(daxheap_get_info(heap, &info));
	cr_assert_eq(info.durability, DAXHEAP_NOTHING_WRITTEN);
	cr_assert_eq(daxheap_usable_size(heap, block), 64);
	cr_assert_eq(pool_census(heap).blocks, 1);
	daxheap_close(heap);
	cr_assert_eq(pool_hash("pool"), hash);
}

Test(readonly, a_log_is_replayed_in_memory_alone)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	daxheap_ref *table = pool_publish(heap, pool_root(heap, "r"), 800, 0);
	static const char zeros[DH_PAGE_SIZE];
	struct daxheap_info info;
	uint64_t hash;

	for (int i = 0; i < 100; i++)
		pool_publish(heap, &table[i], 100, i + 1);
	for (int i = 0; i < 100; i += 4)
		must(daxheap_free(heap, &table[i]));
	pool_copy("pool", "copy");
	/* As if none of the in-place stores to the table had reached the media. */
	pool_write("copy", daxheap_ref_of(heap, table), zeros, 800);
	daxheap_close(heap);

	hash = pool_hash("copy");
	for (int i = 0; i < 2; i++) {
		heap = pool_open("copy", DAXHEAP_READ_ONLY);
		must(daxheap_get_info(heap, &info));
		cr_assert_eq(info.replayed, 126);
		cr_assert_eq(pool_census(heap).blocks, 76);
		table = daxheap_ptr(heap, *pool_root(heap, "r"));
		for (int j = 0; j < 100; j++)
			cr_assert_eq(table[j] != 0, j % 4 != 0);
		cr_assert_eq(*(char *)daxheap_ptr(heap, table[99]), 100);
		daxheap_close(heap);
		cr_assert_eq(pool_hash("copy"), hash, "no byte of the file is changed");
	}
	heap = pool_open("copy", 0);
	cr_assert_eq(pool_census(heap).blocks, 76);
	daxheap_close(heap);
	cr_assert_neq(pool_hash("copy"), hash);
	heap = pool_open("copy", 0);
	must(daxheap_get_info(heap, &info));
	cr_assert_eq(info.replayed, 0, "once is enough");
	daxheap_close(heap);
}
