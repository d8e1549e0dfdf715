/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "error.h"
#include "heap.h"
#include "super.h"

/* --- findings --- */

static void report(struct dh_check *check, enum daxheap_severity severity, uint64_t offset,
		   uint64_t size, const char *what)
{
	struct daxheap_finding finding = {severity, offset, size, what};

	if (severity != DAXHEAP_REPAIRED)
		check->findings++;
	if (check->report)
		if (check->report)
		check->report(check->arg, &finding);
}

void dh_check_damage(struct dh_check *check, uint64_t offset, uint64_t size,
		     const char *format, ...)
{
	char what[512];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	report(check, DAXHEAP_DAMAGE, offset, size, what);
}

void dh_check_unknown(struct dh_check *check, uint64_t offset, uint64_t size,
		      const char *format, ...)
{
	char what[512];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	report(check, DAXHEAP_UNKNOWN, offset, size, what);
}

void dh_check_fixable(struct dh_check *check, uint64_t offset, uint64_t size,
		      const char *remedy, const char *format, ...)
{
	char what[512];
	va_list args;
	int used;

	va_start(args, format);
	used = vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	if (used >= 0 && (size_t)used < sizeof(what))
		snprintf(what + used, sizeof(what) - (size_t)used, " (--repair %s)", remedy);
	report(check, check->repair && !check->err ? DAXHEAP_REPAIRED : DAXHEAP_DAMAGE, offset,
	       size, what);
}

void dh_check_put(struct dh_check *check, void *at, const void *from, size_t size)
{
	const char *bytes = from;
	uint64_t offset = dh_media_offset(&check->media, at);

	if (!check->err)
		check->err = dh_mapping_detach(&check->mapping, at, size);
	if (check->err)
		return;
	memcpy(at, from, size);
	while (check->repair && !check->err && size) {
		ssize_t put = dh_mapping_pwrite(&check->mapping, bytes, size, offset);

		if (put > 0) {
			bytes += put;
			offset += (uint64_t)put;
			size -= (size_t)put;
		} else if (errno == EIO && check->mapping.is_device) {
			check->err = dh_devdax_is_bad(check->path, "where something is rebuilt");
		} else if (errno != EINTR) {
			check->err = dh_fail_errno("%s: can't write what was rebuilt",
						   check->path);
		}
	}
}

void dh_check_put_word(struct dh_check *check, uint64_t *at, uint64_t payload)
{
	uint64_t word = dh_word_make(payload, dh_media_offset(&check->media, at));

	dh_check_put(check, at, &word, sizeof(word));
}

/* A read ends in front of what the media can't give: that comes with the next. */
static bool readable(const struct dh_check *check, uint64_t offset, size_t size)
{
	char bytes[DH_CHUNK_HEADER_SIZE];
	ssize_t got = 1;

	for (size_t done = 0; done < size && got > 0; done += (size_t)got)
		got = dh_mapping_pread(&check->mapping, bytes, size - done, offset + done);
	return got >= 0 || errno != EIO;
}

static void hide_page(struct dh_check *check, uint64_t offset)
{
	char *at = check->media.base + offset;

	/* A device is copied to memory in whole pieces. */
	if (check->mapping.is_device)
		check->err = dh_mapping_detach(&check->mapping, at, DH_PAGE_SIZE);
	else if (mmap(at, DH_PAGE_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		check->err = dh_fail_errno("%s: can't map a page", check->path);
	dh_check_damage(check, offset, DH_PAGE_SIZE, "the media can't give these bytes");
}

void dh_check_readable(struct dh_check *check, uint64_t offset, uint64_t size)
{
	for (uint64_t end = offset + size; offset < end; offset += DH_CHUNK_HEADER_SIZE) {
		if (readable(check, offset, DH_CHUNK_HEADER_SIZE))
			continue;
		for (uint64_t page = 0; page < DH_CHUNK_HEADER_SIZE; page += DH_PAGE_SIZE)
			if (offset + page < end && !readable(check, offset + page, DH_PAGE_SIZE))
				hide_page(check, offset + page);
	}
}

bool dh_refs_within(const struct dh_refs *refs, uint64_t start, uint64_t size)
{
	size_t low = 0, high = refs->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (refs->refs[middle] < start)
			low = middle + 1;
		else
			high = middle;
	}
	return low < refs->count && refs->refs[low] - start < size;
}

/* --- superblock --- */

/* 1: there is one that tells what else is to be checked; 0: there is none. */
static int check_super(struct dh_check *check)
{
	static const uint64_t size = sizeof(struct dh_superblock);
	uint64_t length, front;
	struct dh_super_pair pair;
	int err = dh_super_read_pair(&check->mapping, check->path, &pair);

	if (err)
		return err;
	if (pair.primary_err && pair.copy_err) {
		err = dh_super_explain(check->path, &pair);
		if (err != -EBADMSG)
			return err;
		dh_check_damage(check, 0, size, "the superblock is damaged, and so is its copy");
		return 0;
	}
	check->sb = pair.primary_err ? pair.copy : pair.primary;
	length = atomic_load(&check->mapping.length);
	front = check->sb.first_chunk * DH_CHUNK_SIZE;
	if (length < front) {
		dh_check_damage(check, length, front - length,
				"the file was truncated: these bytes are lost");
		return 0;
	}
	if (check->repair && (check->sb.ro_compat & ~DH_RO_COMPAT_KNOWN))
		return dh_fail(EROFS, "%s: the pool has a feature that this library (%s) can't "
			       "write: use a newer one", check->path, daxheap_version());
	if (pair.primary_err || pair.copy_err) {
		if (check->repair)
			err = dh_super_restore(&check->mapping, check->path, &pair);
		if (err)
			return err;
		dh_check_fixable(check, pair.primary_err ? 0 : DH_COPY_OFFSET, size,
				 pair.primary_err ? "restores it from its copy" :
						    "makes it anew from the superblock",
				 "the superblock%s is damaged", pair.primary_err ? "" : "'s copy");
	} else if (!dh_super_same_pool(&pair)) {
		dh_check_damage(check, DH_COPY_OFFSET, size,
				"the superblock and its copy contradict each other; which of "
				"them is right can't be told");
		return 0;
	}
	return 1;
}

/* --- roots --- */

static struct dh_root *root_at(const struct dh_check *check, unsigned index)
{
	return (struct dh_root *)(check->media.base + DH_ROOTS_OFFSET) + index;
}

static bool root_valid(const struct dh_check *check, const struct dh_root *root)
{
	return root->name[0] && !root->name[DH_ROOT_NAME_SIZE - 1] &&
	       root->checksum == dh_root_checksum(root, dh_media_offset(&check->media, root),
						  dh_pool_seed(&check->sb));
}

static bool root_zero(const struct dh_root *root)
{
	static const struct dh_root zero;

	return !memcmp(root, &zero, sizeof(zero));
}

/* Whether the slot refers to something, or will when the log is replayed. */
static bool slot_used(const struct dh_check *check, const struct dh_root *root,
		      const struct dh_change *changes, size_t count)
{
	uint64_t offset = dh_media_offset(&check->media, &root->slot);

	for (size_t i = 0; i < count; i++)
		if ((changes[i].entry.target & ~DH_ENTRY_KIND_MASK) == offset)
			return true;
	return root->slot != 0;
}

static bool name_taken(const struct dh_check *check, const char *name)
{
	for (unsigned i = 0; i < DH_ROOTS; i++)
		if (root_valid(check, root_at(check, i)) &&
		    !strncmp(root_at(check, i)->name, name, DH_ROOT_NAME_SIZE))
			return true;
	return false;
}

/* Names the root as it reads now, if that can be a name. */
static void rename_root(struct dh_check *check, unsigned index)
{
	struct dh_root *root = root_at(check, index), named = {0};
	uint64_t offset = dh_media_offset(&check->media, root);
	bool kept = root->name[0] && memchr(root->name, 0, sizeof(root->name)) &&
		    !name_taken(check, root->name);
	char remedy[64] = "keeps the name as it reads now";

	if (kept) {
		memcpy(named.name, root->name, strlen(root->name));
	} else {
		snprintf(named.name, sizeof(named.name), "damaged-root-%u", index);
		snprintf(remedy, sizeof(remedy), "names it %s", named.name);
	}
	named.checksum = dh_root_checksum(&named, offset, dh_pool_seed(&check->sb));
	dh_check_put(check, root->name, named.name,
		     sizeof(*root) - offsetof(struct dh_root, name));
	dh_check_fixable(check, offset, sizeof(*root), remedy,
			 "the entry of root %u fails its check", index);
	dh_check_unknown(check, offset, sizeof(*root), "the name of root %u can't be known%s",
			 index, root->slot ? "" : ", nor what it referred to");
}

static void clear_root(struct dh_check *check, unsigned index)
{
	static const struct dh_root zero;
	struct dh_root *root = root_at(check, index);

	dh_check_put(check, root, &zero, sizeof(zero));
	dh_check_fixable(check, dh_media_offset(&check->media, root), sizeof(*root),
			 "clears it", "root %u is free, and its entry is not zero", index);
}

static void check_root_names(struct dh_check *check, const struct dh_change *changes,
			     size_t count)
{
	unsigned used = 0;

	for (unsigned i = 0; i < DH_ROOTS; i++)
		if (root_valid(check, root_at(check, i)) ||
		    slot_used(check, root_at(check, i), changes, count))
			used = i + 1;
	for (unsigned i = 0; i < DH_ROOTS; i++) {
		if (i < used && !root_valid(check, root_at(check, i)))
			rename_root(check, i);
		/* The first one behind those in use may be a creation that a crash cut. */
		if (i > used && !root_zero(root_at(check, i)))
			clear_root(check, i);
	}
}

/* Each slot owns its block. */
static bool slot_shared(const struct dh_check *check, unsigned index)
{
	for (unsigned i = 0; i < index; i++)
		if (root_at(check, i)->slot == root_at(check, index)->slot)
			return true;
	return false;
}

/* 1 if it is the start of a live block, else 0; -EBADMSG: that can't be known. */
static int refers_to_block(const struct dh_check *check, uint64_t ref)
{
	struct dh_block block;
	int err = dh_block_at(&check->media, ref, &block);

	if (err)
		return err == -EBADMSG ? err : 0;
	return block.offset == ref ? dh_block_live(&check->media, &block) : 0;
}

static void check_root_slots(struct dh_check *check)
{
	for (unsigned i = 0; i < DH_ROOTS; i++) {
		const struct dh_root *root = root_at(check, i);
		uint64_t offset = dh_media_offset(&check->media, root);
		int refers = root->slot ? refers_to_block(check, root->slot) : 1;

		if (refers < 0)
			dh_check_unknown(check, offset, sizeof(root->slot),
					 "whether root %u refers to a live block can't be known",
					 i);
		else if (!refers)
			dh_check_damage(check, offset, sizeof(root->slot),
					"root %u refers to no live block", i);
		else if (root->slot && slot_shared(check, i))
			dh_check_damage(check, offset, sizeof(root->slot),
					"root %u refers to the block of another root", i);
	}
}

/* --- log --- */

static bool horizon_valid(const struct dh_check *check, unsigned index)
{
	uint64_t offset = DH_HORIZON_OFFSET + index * sizeof(struct dh_horizon);
	const struct dh_horizon *copy = (const struct dh_horizon *)(check->media.base + offset);

	return copy->checksum == dh_horizon_checksum(copy, offset, dh_pool_seed(&check->sb));
}

static void log_damaged(struct dh_check *check)
{
	if (horizon_valid(check, 0) || horizon_valid(check, 1))
		dh_check_damage(check, check->sb.log_offset,
				(uint64_t)check->sb.lanes * check->sb.ring *
					sizeof(struct dh_record), "%s", daxheap_errormsg());
	else
		dh_check_damage(check, DH_HORIZON_OFFSET, 2 * sizeof(struct dh_horizon), "%s",
				daxheap_errormsg());
}

static int by_ref(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int collect_refs(struct dh_check *check, const struct dh_change *changes, size_t count)
{
	struct dh_refs *pending = &check->pending, *known = &check->known;

	pending->refs = malloc((count + 1) * sizeof(uint64_t));
	known->refs = malloc((count + DH_ROOTS) * sizeof(uint64_t));
	if (!pending->refs || !known->refs)
		return dh_fail(ENOMEM, "no memory to check the pool");
	for (size_t i = 0; i < count; i++)
		if ((changes[i].entry.target & DH_ENTRY_KIND_MASK) == DH_ENTRY_PUBLISH)
			pending->refs[pending->count++] = changes[i].entry.value;
	memcpy(known->refs, pending->refs, pending->count * sizeof(uint64_t));
	known->count = pending->count;
	for (unsigned i = 0; i < DH_ROOTS; i++)
		if (root_at(check, i)->slot)
			known->refs[known->count++] = root_at(check, i)->slot;
	qsort(pending->refs, pending->count, sizeof(uint64_t), by_ref);
	qsort(known->refs, known->count, sizeof(uint64_t), by_ref);
	return 0;
}

/* --- the pool --- */

/* In memory; only behind it slots and bitmaps agree. */
static int check_replay(struct dh_check *check, struct daxheap *heap,
			const struct dh_change *changes, size_t count)
{
	int err = dh_roots_check(heap);

	if (!err)
		err = dh_recover(heap, changes, count);
	if (!err)
		check_root_slots(check);
	if (err != -EBADMSG)
		return err;
	log_damaged(check);
	return 0;
}

static int check_heap(struct dh_check *check, struct daxheap *heap)
{
	struct dh_change *changes = NULL;
	size_t count = 0, records;
	int err = dh_log_open(&heap->log, heap->base, atomic_load(&check->mapping.length),
			      &heap->sb, &heap->persist, &heap->traffic, &changes, &count,
			      &records);

	if (err && err != -EBADMSG)
		return err;
	check->log_readable = !err;
	if (err)
		log_damaged(check);
	err = collect_refs(check, changes, count);
	if (!err) {
		check_root_names(check, changes, count);
		dh_check_blocks(check);
		if (check->log_readable)
			err = check_replay(check, heap, changes, count);
	}
	if (check->log_readable)
		dh_log_close(&heap->log);
	free(changes);
	return err;
}

static int check_pool(struct dh_check *check)
{
	struct daxheap *heap;
	int err;

	check->mapping.size = check->sb.size;
	err = dh_mapping_map(&check->mapping, check->path, DAXHEAP_READ_ONLY);
	if (!err)
		err = dh_mapping_detach(&check->mapping, check->mapping.base,
					check->sb.first_chunk * DH_CHUNK_SIZE);
	if (err)
		return err;
	heap = aligned_alloc(_Alignof(struct daxheap), sizeof(*heap));
	if (!heap)
		return dh_fail(ENOMEM, "no memory to check the pool");
	memset(heap, 0, sizeof(*heap));
	heap->mapping = check->mapping;
	heap->base = check->mapping.base;
	heap->flags = DAXHEAP_READ_ONLY;
	heap->sb = check->sb;
	dh_persist_init(&heap->persist, check->mapping.durability);
	dh_media_init(&heap->media, heap->base, &heap->sb, &check->mapping.length);
	check->media = heap->media;
	dh_check_readable(check, DH_ROOTS_OFFSET,
			  heap->sb.first_chunk * DH_CHUNK_SIZE - DH_ROOTS_OFFSET);
	err = check_heap(check, heap);
	free(check->pending.refs);
	free(check->known.refs);
	free(heap);
	return err ? err : check->err;
}

DAXHEAP_API int daxheap_check(const char *path, unsigned flags,
			      void (*report_to)(void *arg, const struct daxheap_finding *finding),
			      void *arg)
{
	struct dh_check check = {
		.path = path,
		.repair = flags & DAXHEAP_CHECK_REPAIR,
		.report = report_to,
		.arg = arg,
	};
	int err;

	if (flags & ~(unsigned)DAXHEAP_CHECK_REPAIR)
		return dh_fail(EINVAL, "unknown flags %#x", flags);
	err = dh_mapping_open(&check.mapping, path, check.repair ? 0 : DAXHEAP_READ_ONLY);
	if (err)
		return err;
	err = check_super(&check);
	if (err > 0)
		err = check_pool(&check);
	if (!err && check.repair && dh_mapping_fsync(&check.mapping))
		err = dh_fail_errno("%s: can't make the repair durable", path);
	dh_mapping_close(&check.mapping);
	return err ? err : check.findings;
}
