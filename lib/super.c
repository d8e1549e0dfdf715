/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "super.h"

int dh_super_init(struct dh_superblock *sb, uint64_t size)
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
	sb->lanes = DH_LANES;
	sb->ring = DH_RING;
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

int dh_super_write(char *base, struct dh_persist *persist, const struct dh_superblock *sb)
{
	static const uint64_t places[] = {DH_COPY_OFFSET, 0};

	for (unsigned i = 0; i < 2; i++) {
		struct dh_superblock written = *sb;
		int err;

		place_at(&written, places[i]);
		dh_write(base + places[i], &written, sizeof(written));
		dh_flush(persist, base + places[i], sizeof(written));
		err = dh_fence(persist);
		if (err)
			return err;
	}
	return 0;
}

/* A short file reads as zero behind its end. */
static int read_at(int fd, const char *path, uint64_t offset, struct dh_superblock *sb)
{
	char *to = (char *)sb;
	size_t done = 0;

	memset(sb, 0, sizeof(*sb));
	while (done < sizeof(*sb)) {
		ssize_t got = pread(fd, to + done, sizeof(*sb) - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return dh_fail_errno("%s: can't read the superblock", path);
		if (!got)
			break;
		done += (size_t)got;
	}
	return 0;
}

/* The superblock and its copy, each with its own verdict. */
struct both {
	struct dh_superblock primary, copy;
	int primary_err, copy_err;
};

static int read_both(const struct dh_mapping *mapping, const char *path, struct both *both)
{
	int err = read_at(mapping->fd, path, 0, &both->primary);

	if (!err)
		err = read_at(mapping->fd, path, DH_COPY_OFFSET, &both->copy);
	if (err)
		return err;
	both->primary_err = dh_superblock_validate(&both->primary, 0);
	both->copy_err = dh_superblock_validate(&both->copy, DH_COPY_OFFSET);
	return 0;
}

static bool same_pool(const struct dh_superblock *a, const struct dh_superblock *b)
{
	struct dh_superblock moved = *b;

	place_at(&moved, a->self);
	return !memcmp(a, &moved, sizeof(moved));
}

static int explain_bad(const char *path, int primary, int copy)
{
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
	struct both both;
	const struct dh_superblock *sb = &both.primary;
	int err = read_both(mapping, path, &both);

	if (err)
		return err;
	/* Truncated within the first chunk, the copy is gone and not damaged. */
	if (!both.primary_err && mapping->size < sb->size)
		return dh_fail(EBADMSG, "%s: the file was truncated: it has %llu bytes of the "
			       "pool's %llu: restore it from a backup", path,
			       (unsigned long long)mapping->size,
			       (unsigned long long)sb->size);
	if (both.primary_err || both.copy_err)
		return explain_bad(path, both.primary_err, both.copy_err);
	if (!same_pool(sb, &both.copy))
		return dh_fail(EBADMSG, "%s: the pool's superblock and its copy contradict each "
			       "other: restore the pool from a backup", path);
	if (!(flags & DAXHEAP_READ_ONLY) && (sb->ro_compat & ~DH_RO_COMPAT_KNOWN))
		return dh_fail(EROFS, "%s: the pool has a feature that this library (%s) can't "
			       "write: open it read-only, or use a newer library", path,
			       daxheap_version());
	*sb_out = *sb;
	return 0;
}

static int write_at(int fd, const char *path, const struct dh_superblock *sb)
{
	const char *from = (const char *)sb;
	size_t done = 0;

	while (done < sizeof(*sb)) {
		ssize_t put = pwrite(fd, from + done, sizeof(*sb) - done,
				     (off_t)(sb->self + done));

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return dh_fail_errno("%s: can't write the superblock", path);
		done += (size_t)put;
	}
	return fsync(fd) ? dh_fail_errno("%s: can't make the superblock durable", path) : 0;
}

static int repair_open(const struct dh_mapping *mapping, const char *path)
{
	struct dh_superblock restored;
	struct both both;
	int err = read_both(mapping, path, &both);

	if (err)
		return err;
	if (both.primary_err && both.copy_err)
		return explain_bad(path, both.primary_err, both.copy_err);
	if (!both.primary_err && !both.copy_err)
		return 0;
	restored = both.primary_err ? both.copy : both.primary;
	place_at(&restored, both.primary_err ? 0 : DH_COPY_OFFSET);
	if (mapping->size < restored.size)
		return dh_fail(EBADMSG, "%s: the file was truncated: restore it from a backup",
			       path);
	err = write_at(mapping->fd, path, &restored);
	return err ? err : 1;
}

DAXHEAP_API int daxheap_repair(const char *path)
{
	struct dh_mapping mapping;
	int err = dh_mapping_open(&mapping, path, 0);

	if (err)
		return err;
	err = repair_open(&mapping, path);
	dh_mapping_close(&mapping);
	return err;
}
