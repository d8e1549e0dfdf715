/* SPDX-License-Identifier: BSD-3-Clause */
/* Named roots: the slots that everything else is reached from. */
#include <errno.h>
#include <string.h>

#include "error.h"
#include "heap.h"

static struct dh_root *root_at(const struct daxheap *heap, unsigned index)
{
	return (struct dh_root *)(heap->base + DH_ROOTS_OFFSET) + index;
}

static bool is_named(const struct daxheap *heap, unsigned index)
{
	const struct dh_root *root = root_at(heap, index);
	uint64_t offset = dh_media_offset(&heap->media, root);

	return root->name[0] && !root->name[DH_ROOT_NAME_SIZE - 1] && root->checksum ==
	       dh_root_checksum(root, offset, dh_pool_seed(&heap->sb));
}

static bool is_zero(const struct dh_root *root)
{
	static const struct dh_root zero;

	return !memcmp(root, &zero, sizeof(zero));
}

/* Entries are taken in order, so that only the first one behind all named can be torn. */
static unsigned count_named(const struct daxheap *heap)
{
	unsigned count = 0;

	for (unsigned i = 0; i < DH_ROOTS; i++)
		if (is_named(heap, i))
			count = i + 1;
	return count;
}

int dh_roots_check(struct daxheap *heap)
{
	unsigned named = count_named(heap);

	for (unsigned i = 0; i < DH_ROOTS; i++) {
		bool torn = i == named && !root_at(heap, i)->slot;

		if (i < named ? is_named(heap, i) : torn || is_zero(root_at(heap, i)))
			continue;
		return dh_fail(EBADMSG, "the pool is damaged: the name of root %u fails its "
			       "check: restore it from a backup", i);
	}
	atomic_store(&heap->named_roots, named);
	return 0;
}

static int make_root(struct daxheap *heap, unsigned index, const char *name)
{
	struct dh_root *root = root_at(heap, index);
	struct dh_root made = {0};

	memcpy(made.name, name, strlen(name));
	made.checksum = dh_root_checksum(&made, dh_media_offset(&heap->media, root),
					 dh_pool_seed(&heap->sb));
	dh_write(root, &made, sizeof(made));
	dh_flush(&heap->persist, &heap->traffic, root, sizeof(*root));
	return dh_fence(&heap->persist, &heap->traffic);
}

static int find_or_make(struct daxheap *heap, const char *name, daxheap_ref **slot)
{
	unsigned named = atomic_load(&heap->named_roots);
	int err = 0;

	for (unsigned i = 0; i < named; i++) {
		if (!strcmp(root_at(heap, i)->name, name)) {
			*slot = &root_at(heap, i)->slot;
			return 0;
		}
	}
	if (heap->flags & DAXHEAP_READ_ONLY)
		return dh_fail(ENOENT, "the pool has no root named '%s'", name);
	if (named == DH_ROOTS)
		return dh_fail(ENOSPC, "all %u roots of the pool are named: publish into a slot "
			       "of a block instead", DH_ROOTS);
	err = make_root(heap, named, name);
	if (err)
		return err;
	atomic_store(&heap->named_roots, named + 1);
	*slot = &root_at(heap, named)->slot;
	return 0;
}

DAXHEAP_API int daxheap_root(struct daxheap *heap, const char *name, daxheap_ref **slot)
{
	int err = dh_check_usable(heap);

	if (err)
		return err;
	if (!name[0] || strlen(name) >= DH_ROOT_NAME_SIZE)
		return dh_fail(EINVAL, "a root's name has 1 to %u bytes",
			       DH_ROOT_NAME_SIZE - 1);
	dh_lock(&heap->root_lock);
	err = find_or_make(heap, name, slot);
	dh_unlock(&heap->root_lock);
	return err;
}
