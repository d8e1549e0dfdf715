/* SPDX-License-Identifier: BSD-3-Clause */
#include "content.h"
#include "file.h"

static void reach(struct daxheap *heap, struct content *content, daxheap_ref *slot,
		  unsigned char byte)
{
	void *block = daxheap_ptr(heap, *slot);

	if (block)
		content->blocks[content->count++] = (struct reached){
			*slot, (uint64_t)daxheap_usable_size(heap, block), byte,
		};
}

void content_reach(struct content *content)
{
	static const char *const names[] = {"slots", "large", "huge", "one"};
	struct daxheap *heap;
	daxheap_ref *slots;

	content->count = 0;
	must(daxheap_open(file_path, DAXHEAP_READ_ONLY, &heap), "open");
	slots = daxheap_ptr(heap, *root(heap, "slots"));
	for (unsigned i = 0; i < 4; i++)
		reach(heap, content, root(heap, names[i]),
		      i ? byte_of(daxheap_ref_of(heap, root(heap, names[i]))) : 0);
	for (unsigned i = 0; i < SLOTS; i++)
		reach(heap, content, &slots[i], byte_of(daxheap_ref_of(heap, &slots[i])));
	daxheap_close(heap);
}

static bool is_live(struct daxheap *heap, uint64_t ref)
{
	struct daxheap_block block = {.ref = ref - 1};

	return daxheap_next(heap, &block) > 0 && block.ref == ref;
}

const char *content_lost(const struct content *content)
{
	struct daxheap *heap;
	const char *what = NULL;

	if (daxheap_open(file_path, 0, &heap))
		return daxheap_errormsg();
	for (unsigned i = 0; i < content->count && !what; i++) {
		const struct reached *reached = &content->blocks[i];
		const unsigned char *block = daxheap_ptr(heap, reached->ref);

		if (!is_live(heap, reached->ref))
			what = "a reachable block does not live";
		else if (daxheap_usable_size(heap, block) != (int64_t)reached->size)
			what = "a block has another size";
		else if (reached->byte && (block[0] != reached->byte || block[60] != reached->byte))
			what = "a block has another content";
	}
	daxheap_close(heap);
	return what;
}

const char *content_use_up(void)
{
	static const char *const names[] = {"large", "huge", "one"};
	struct daxheap *heap;
	daxheap_ref *slots;

	if (daxheap_open(file_path, 0, &heap))
		return daxheap_errormsg();
	slots = daxheap_ptr(heap, *root(heap, "slots"));
	for (unsigned i = 0; i < SLOTS; i++)
		if (slots[i] && daxheap_free(heap, &slots[i]))
			return daxheap_errormsg();
	for (unsigned i = 0; i < 3; i++)
		if (*root(heap, names[i]) && daxheap_free(heap, root(heap, names[i])))
			return daxheap_errormsg();
	for (unsigned i = 0; i < SLOTS; i++)
		publish(heap, &slots[i], i % 2 ? 64 : 20000, (uint16_t)i % 3);
	daxheap_close(heap);
	return NULL;
}
