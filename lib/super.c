/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "super.h"

int dh_super_init(struct dh_superblock *sb, uint64_t size, unsigned lanes, unsigned ring)
{
	struct timespec now;

	memset(sb, 0, sizeof(*sb));
	memcpy(sb->magic, DH_MAGIC, sizeof(sb->magic));
	sb->version = DH_FORMAT_VERSION;
	sb->header_size = DH_PAGE_SIZE;
	if (getrandom(sb->uuid, sizeof(sb->uuid), 0) != sizeof(sb->uuid))
		return dh_fail_errno("no random bytes for the pool's uuid");
	/* Version 4, variant 1 of RFC 4122: random. */
	sb->uuid[6] = (sb->uuid[6] & 0x0f) | 0x40;
	sb->uuid[8] = (sb->uuid[8] & 0x3f) | 0x80;
	clock_gettime(CLOCK_REALTIME, &now);
	sb->created_s = (uint64_t)now.tv_sec;
	sb->size = size;
	sb->chunk_size = DH_CHUNK_SIZE;
	sb->lanes = lanes;
	sb->ring = ring;
	sb->roots = DH_ROOTS;
	sb->log_offset = DH_LOG_OFFSET;
	dh_table_geometry(size, &sb->table_offset, &sb->first_chunk);
	return 0;
}

static void place_at(struct dh_superblock *sb, uint64_t self)
{
	sb->self = self;
	sb->checksum = dh_superblock_checksum(sb);
}

int dh_super_write(char *base, struct dh_persist *persist, struct dh_traffic *traffic,
		   const struct dh_superblock *sb)
{
	static const uint64_t places[] = {DH_COPY_OFFSET, 0};

	for (unsigned i = 0; i < 2; i++) {
		struct dh_superblock written = *sb;
		int err;

		place_at(&written, places[i]);
		dh_write(base + places[i], &written, sizeof(written));
		dh_flush(persist, traffic, base + places[i], sizeof(written));
		err = dh_fence(persist, traffic);
		if (err)
			return err;
	}
	return 0;
}

/* A short file reads as zero behind its end, and so does what the media can't give. */
static int read_at(const struct dh_mapping *mapping, const char *path, uint64_t offset,
		   struct dh_superblock *sb)
{
	char *to = (char *)sb;
	size_t done = 0;

	memset(sb, 0, sizeof(*sb));
	while (done < sizeof(*sb)) {
		ssize_t got = dh_mapping_pread(mapping, to + done, sizeof(*sb) - done,
					       offset + done);

		if (got < 0 && errno == EINTR)
			continue;
		if (!got || (got < 0 && errno == EIO))
			break;
		if (got < 0)
			return dh_fail_errno("%s: can't read the superblock", path);
		done += (size_t)got;
	}
	return 0;
}

int dh_super_read_pair(const struct dh_mapping *mapping, const char *path,
		       struct dh_super_pair *pair)
{
	int err = read_at(mapping, path, 0, &pair->primary);

	if (!err)
		err = read_at(mapping, path, DH_COPY_OFFSET, &pair->copy);
	if (err)
		return err;
	pair->primary_err = dh_superblock_validate(&pair->primary, 0);
	pair->copy_err = dh_superblock_validate(&pair->copy, DH_COPY_OFFSET);
	return 0;
}

bool dh_super_same_pool(const struct dh_super_pair *pair)
{
	struct dh_superblock moved = pair->copy;

	place_at(&moved, pair->primary.self);
	return !memcmp(&pair->primary, &moved, sizeof(moved));
}

int dh_super_explain(const char *path, const struct dh_super_pair *pair)
{
	int primary = pair->primary_err, copy = pair->copy_err;

	if (!primary || !copy)
		return dh_fail(EBADMSG, "%s: the pool's superblock %sis damaged, and %s intact: "
			       "'daxheap check --repair %s' restores it", path,
			       primary ? "" : "copy ", primary ? "its copy is" : "it is itself",
			       path);
	if (primary == -EPROTONOSUPPORT || copy == -EPROTONOSUPPORT)
		return dh_fail(EPROTONOSUPPORT, "%s: the pool has a format or a feature that this "
			       "library (%s) does not know: use a newer one", path,
			       daxheap_version());
	if (primary == -EMEDIUMTYPE && copy == -EMEDIUMTYPE)
		return dh_fail(EMEDIUMTYPE, "%s: this file is no daxheap pool (or its creation "
			       "was cut short): 'daxheap create' makes one", path);
	return dh_fail(EBADMSG, "%s: the pool's superblock and its copy are both damaged: "
		       "restore the pool from a backup", path);
}

int dh_super_read(const struct dh_mapping *mapping, const char *path, unsigned flags,
		  struct dh_superblock *sb_out)
{
	struct dh_super_pair pair;
	const struct dh_superblock *sb = &pair.primary;
	int err = dh_super_read_pair(mapping, path, &pair);

	if (err)
		return err;
	/* Truncated within the first chunk, the copy is gone and not damaged. */
	if (!pair.primary_err &&
	    atomic_load(&mapping->length) < sb->first_chunk * DH_CHUNK_SIZE)
		return dh_fail(EBADMSG, "%s: the file was truncated: it has %llu bytes, and the "
			       "pool's log and table alone %llu: restore it from a backup", path,
			       (unsigned long long)atomic_load(&mapping->length),
			       (unsigned long long)(sb->first_chunk * DH_CHUNK_SIZE));
	if (pair.primary_err || pair.copy_err)
		return dh_super_explain(path, &pair);
	if (!dh_super_same_pool(&pair))
		return dh_fail(EBADMSG, "%s: the pool's superblock and its copy contradict each "
			       "other: restore the pool from a backup", path);
	if (!(flags & DAXHEAP_READ_ONLY) && (sb->ro_compat & ~DH_RO_COMPAT_KNOWN))
		return dh_fail(EROFS, "%s: the pool has a feature that this library (%s) can't "
			       "write: open it read-only, or use a newer library", path,
			       daxheap_version());
	*sb_out = *sb;
	return 0;
}

int dh_super_restore(const struct dh_mapping *mapping, const char *path,
		     const struct dh_super_pair *pair)
{
	struct dh_superblock restored = pair->primary_err ? pair->copy : pair->primary;
	const char *from = (const char *)&restored;
	size_t done = 0;

	place_at(&restored, pair->primary_err ? 0 : DH_COPY_OFFSET);
	while (done < sizeof(restored)) {
		ssize_t put = dh_mapping_pwrite(mapping, from + done, sizeof(restored) - done,
						restored.self + done);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0 && errno == EIO && mapping->is_device)
			return dh_devdax_is_bad(path, "where its superblock is");
		if (put < 0)
			return dh_fail_errno("%s: can't write the superblock", path);
		done += (size_t)put;
	}
	return dh_mapping_fsync(mapping) ?
		       dh_fail_errno("%s: can't make the superblock durable", path) : 0;
}
