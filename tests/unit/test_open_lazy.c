/* SPDX-License-Identifier: BSD-3-Clause */
/* An open takes time for the log, not for the blocks: it doesn't touch the data chunks. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "heap.h"
#include "pool.h"

TestSuite(open_lazy, .fini = pool_cleanup, .timeout = 120);

/* A closed pool with a root that leads to @count live blocks of @size bytes. */
static void make_pool(const char *name, uint64_t pool_size, unsigned count, size_t size)
{
	struct daxheap *heap = pool_create(name, pool_size);
	struct daxheap_action *action;
	daxheap_ref *slots;
	void *block;

	must(daxheap_alloc(heap, count * 8ul, (void **)&slots));
	memset(slots, 0, count * 8ul);
	must(daxheap_action_new(heap, &action));
	for (unsigned i = 0; i < count; i++) {
		must(daxheap_alloc(heap, size, &block));
		must(daxheap_action_publish(action, &slots[i], block));
	}
	must(daxheap_action_publish(action, pool_root(heap, "t"), slots));
	must(daxheap_action_commit(action));
	daxheap_action_delete(action);
	daxheap_close(heap);
}

/* Pages of @size bytes at @base that are in this process's page table. */
static unsigned long mapped_pages(const char *base, uint64_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), count = size / page;
	uint64_t *entries = malloc(count * 8);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	unsigned long present = 0;
	ssize_t got;

	cr_assert(entries);
	got = fd < 0 ? -1 : pread(fd, entries, count * 8, (off_t)((uintptr_t)base / page * 8));
	if (got != (ssize_t)(count * 8))
		cr_skip_test("no /proc/self/pagemap");
	close(fd);
	for (size_t i = 0; i < count; i++)
		present += entries[i] >> 63;
	free(entries);
	return present;
}

static unsigned long mapped_data_pages(struct daxheap *heap)
{
	return mapped_pages(heap->base + heap->sb.first_chunk * DH_CHUNK_SIZE,
			    heap->sb.size - heap->sb.first_chunk * DH_CHUNK_SIZE);
}

Test(open_lazy, no_page_of_a_data_chunk_is_touched)
{
	struct daxheap *heap;
	struct daxheap_block block = {0};

	make_pool("pool", 256 * MiB, 100000, 1000);
	for (unsigned flags = 0; flags <= DAXHEAP_READ_ONLY; flags += DAXHEAP_READ_ONLY) {
		heap = pool_open("pool", flags);
		cr_assert_eq(mapped_data_pages(heap), 0);
		pool_root(heap, "t");
		cr_assert_eq(mapped_data_pages(heap), 0);
		/* And this test would see them. */
		cr_assert_eq(daxheap_next(heap, &block), 1);
		cr_assert_gt(mapped_data_pages(heap), 0);
		cr_assert_eq(pool_census(heap).blocks, 100001);
		daxheap_close(heap);
		block = (struct daxheap_block){0};
	}
}

/* Operations load what they need: one chunk's spans, not all. */
Test(open_lazy, an_operation_loads_its_chunk_alone)
{
	struct daxheap *heap;
	unsigned long all;
	daxheap_ref *slots;

	make_pool("pool", 256 * MiB, 100000, 1000);
	heap = pool_open("pool", 0);
	slots = daxheap_ptr(heap, *pool_root(heap, "t"));
	must(daxheap_free(heap, &slots[77777]));
	pool_publish(heap, &slots[77777], 1000, 1);
	all = mapped_pages(heap->base, heap->sb.size);
	/* A header is 24 KiB; a fault may map its neighbours, 64 KiB in all. */
	cr_assert_leq(mapped_data_pages(heap), 20 * 16, "of %lu pages", all);
	pool_census(heap);
	cr_assert_gt(mapped_data_pages(heap), 50 * 6);
	daxheap_close(heap);
}

static unsigned long faults_of_open(const char *name)
{
	struct rusage before, after;
	struct daxheap *heap;

	/* Once for what a first open costs the process. */
	daxheap_close(pool_open(name, 0));
	getrusage(RUSAGE_SELF, &before);
	heap = pool_open(name, 0);
	getrusage(RUSAGE_SELF, &after);
	daxheap_close(heap);
	return (unsigned long)(after.ru_minflt + after.ru_majflt - before.ru_minflt -
			       before.ru_majflt);
}

Test(open_lazy, page_faults_do_not_grow_with_the_blocks)
{
	unsigned long few, many;

	make_pool("few", 256 * MiB, 10000, 1000);
	make_pool("many", 256 * MiB, 100000, 1000);
	few = faults_of_open("few");
	many = faults_of_open("many");
	/* 45 chunks more would be 45 faults more at the least. */
	cr_assert_leq(many, few + 20, "%lu faults with 10^4 blocks, %lu with 10^5", few, many);
}

/* What open does not read it does not judge; what reads it does. */
Test(open_lazy, damage_in_a_bitmap_is_found_when_it_is_read)
{
	struct daxheap_block block = {0};
	struct daxheap_stats stats;
	struct daxheap *heap;
	int more;

	make_pool("pool", 16 * MiB, 1000, 64);
	/* The first bitmap word of each span of the first data chunk. */
	for (unsigned unit = 0; unit < DH_UNITS_PER_CHUNK; unit++)
		pool_flip("pool", DH_CHUNK_SIZE + unit * sizeof(struct dh_span_record) +
			  DH_LINE_SIZE, 0x20);
	heap = pool_open("pool", 0);
	do {
		more = daxheap_next(heap, &block);
	} while (more > 0);
	cr_assert_eq(more, -EBADMSG);
	must_fail(EBADMSG, daxheap_get_stats(heap, &stats));
	daxheap_close(heap);
	cr_assert_gt(daxheap_check(pool_path("pool"), 0, NULL, NULL), 0);
}
