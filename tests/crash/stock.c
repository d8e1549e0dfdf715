/* SPDX-License-Identifier: BSD-3-Clause */
#include "stock.h"
#include "work.h"

void stock_change(struct life *life, uint64_t random)
{
	void **place = &life->stock[random % STOCK], *memory = *place;

	*place = NULL;
	if (memory) {
		must(daxheap_cancel(life->heap, memory), "cancel");
		return;
	}
	if (daxheap_alloc(life->heap, 64, &memory))
		return;
	if (*place)
		must(daxheap_cancel(life->heap, memory), "cancel");
	else
		*place = memory;
}

void stock_touch_chunks(struct life *life, uint64_t random)
{
	static const size_t sizes[] = {1 << 20, 1 << 20, 1 << 20, 2 * HUGE};
	size_t size = sizes[random % 4];
	unsigned count = 0;
	void *memory[2];

	while (count < 2 && !daxheap_alloc(life->heap, size, &memory[count]))
		count++;
	while (count--)
		must(daxheap_cancel(life->heap, memory[count]), "cancel");
}

void stock_trim(struct life *life, uint64_t random)
{
	must(daxheap_trim(life->heap, random % 3 * HUGE, OPS_TRIM_LIMIT_MS, NULL), "trim");
}

void stock_fill_pool(struct daxheap *heap, uint64_t random)
{
	static const size_t sizes[] = {2 << 20, 1 << 20, 256 << 10, 64 << 10};
	unsigned keep = 2 + (unsigned)(random % 6);
	void *kept[8], *block;

	/* So much stays free, in units. */
	for (unsigned i = 0; i < keep; i++)
		if (daxheap_alloc(heap, 64 << 10, &kept[i]))
			keep = i;
	for (unsigned i = 0; i < 4; i++)
		while (!daxheap_alloc(heap, sizes[i], &block))
			;
	for (unsigned i = 0; i < keep; i++)
		must(daxheap_cancel(heap, kept[i]), "cancel");
}
