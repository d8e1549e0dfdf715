/* SPDX-License-Identifier: BSD-3-Clause */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "heap.h"
#include "pool.h"

static char folder[PATH_MAX];

/* run-tap names a folder that it removes; without it a temporary one is good enough. */
static const char *test_folder(void)
{
	const char *base = getenv("DAXHEAP_TEST_DIR");

	if (folder[0])
		return folder;
	if (!base)
		base = getenv("TMPDIR");
	if (!base)
		base = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	snprintf(folder, sizeof(folder), "%s/test.XXXXXX", base);
	cr_assert(mkdtemp(folder), "no folder in %s: %s", base, strerror(errno));
	return folder;
}

void pool_cleanup(void)
{
	DIR *dir = folder[0] ? opendir(folder) : NULL;
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (unlinkat(dirfd(dir), entry->d_name, 0))
			unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
	closedir(dir);
	rmdir(folder);
	folder[0] = '\0';
}

const char *pool_path(const char *name)
{
	static __thread char paths[4][PATH_MAX + 64];
	static __thread unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", test_folder(), name);
	return path;
}

unsigned test_seed(void)
{
	const char *wish = getenv("DAXHEAP_TEST_SEED");
	unsigned seed = wish ? (unsigned)strtoul(wish, NULL, 0) :
			       (unsigned)time(NULL) * 1000 + (unsigned)getpid() % 1000;

	fprintf(stderr, "DAXHEAP_TEST_SEED=%u\n", seed);
	return seed;
}

struct daxheap *pool_create(const char *name, uint64_t size)
{
	struct daxheap *heap;

	must(daxheap_create(pool_path(name), size, 0, &heap));
	return heap;
}

struct daxheap *pool_create_small(const char *name, uint64_t size, unsigned lanes, unsigned ring)
{
	struct daxheap *heap;

	must(dh_create_sized(pool_path(name), size, 0, lanes, ring, &heap));
	return heap;
}

struct daxheap *pool_open(const char *name, unsigned flags)
{
	struct daxheap *heap;

	must(daxheap_open(pool_path(name), flags, &heap));
	return heap;
}

struct daxheap *pool_reopen(struct daxheap *heap, const char *name)
{
	daxheap_close(heap);
	return pool_open(name, 0);
}

daxheap_ref *pool_root(struct daxheap *heap, const char *name)
{
	daxheap_ref *slot;

	must(daxheap_root(heap, name, &slot));
	return slot;
}

void *pool_block(struct daxheap *heap, size_t size, int byte)
{
	void *block;

	must(daxheap_alloc(heap, size, &block));
	memset(block, byte, size);
	must(daxheap_persist(heap, block, size));
	return block;
}

void *pool_publish(struct daxheap *heap, daxheap_ref *slot, size_t size, int byte)
{
	void *block = pool_block(heap, size, byte);

	must(daxheap_publish(heap, slot, block));
	return block;
}

struct census pool_census(struct daxheap *heap)
{
	struct census census = {0};
	struct daxheap_block block = {0};
	struct daxheap_stats stats;
	uint64_t last = 0;
	int more;

	while ((more = daxheap_next(heap, &block)) > 0) {
		cr_assert_gt(block.ref, last, "the order of references");
		last = block.ref;
		census.blocks++;
		census.bytes += block.size;
	}
	cr_assert_eq(more, 0, "next: %s", daxheap_errormsg());
	stats = pool_stats(heap);
	cr_assert_eq(census.blocks, stats.live_blocks, "%llu live blocks seen, %llu counted",
		     (unsigned long long)census.blocks, (unsigned long long)stats.live_blocks);
	cr_assert_eq(census.bytes, stats.live_bytes);
	return census;
}

struct daxheap_stats pool_stats(struct daxheap *heap)
{
	struct daxheap_stats stats;

	must(daxheap_get_stats(heap, &stats));
	return stats;
}

uint64_t pool_sum(struct daxheap *heap)
{
	struct daxheap_info info;

	must(daxheap_get_info(heap, &info));
	return XXH3_64bits(heap->base, info.size);
}

static int open_file(const char *name, int flags)
{
	int fd = open(pool_path(name), flags | O_CLOEXEC, 0666);

	cr_assert_geq(fd, 0, "%s: %s", name, strerror(errno));
	return fd;
}

void pool_read(const char *name, uint64_t offset, void *to, size_t size)
{
	int fd = open_file(name, O_RDONLY);

	cr_assert_eq(pread(fd, to, size, (off_t)offset), (ssize_t)size);
	close(fd);
}

void pool_write(const char *name, uint64_t offset, const void *from, size_t size)
{
	int fd = open_file(name, O_WRONLY);

	cr_assert_eq(pwrite(fd, from, size, (off_t)offset), (ssize_t)size);
	close(fd);
}

void pool_flip(const char *name, uint64_t offset, unsigned char bits)
{
	unsigned char byte;

	pool_read(name, offset, &byte, 1);
	byte ^= bits;
	pool_write(name, offset, &byte, 1);
}

static char *read_file(const char *name, size_t *size)
{
	int fd = open_file(name, O_RDONLY);
	struct stat st;
	char *bytes;

	cr_assert_eq(fstat(fd, &st), 0);
	*size = (size_t)st.st_size;
	bytes = malloc(*size + 1);
	cr_assert(bytes);
	cr_assert_eq(pread(fd, bytes, *size, 0), (ssize_t)*size);
	close(fd);
	return bytes;
}

uint64_t pool_hash(const char *name)
{
	size_t size;
	char *bytes = read_file(name, &size);
	uint64_t hash = XXH3_64bits(bytes, size);

	free(bytes);
	return hash;
}

/* What is zero stays a hole: pools are sparse. */
void pool_copy(const char *from, const char *to)
{
	static const char zeros[DH_UNIT_SIZE];
	size_t size;
	char *bytes = read_file(from, &size);
	int fd = open_file(to, O_WRONLY | O_CREAT | O_TRUNC);

	cr_assert_eq(ftruncate(fd, (off_t)size), 0);
	for (size_t at = 0; at < size; at += sizeof(zeros)) {
		size_t piece = size - at < sizeof(zeros) ? size - at : sizeof(zeros);

		if (memcmp(bytes + at, zeros, piece))
			cr_assert_eq(pwrite(fd, bytes + at, piece, (off_t)at), (ssize_t)piece, "%s",
				     strerror(errno));
	}
	close(fd);
	free(bytes);
}

void pool_edit_super(const char *name, void (*edit)(struct dh_superblock *sb))
{
	static const uint64_t places[] = {0, DH_COPY_OFFSET};

	for (int i = 0; i < 2; i++) {
		struct dh_superblock sb;

		pool_read(name, places[i], &sb, sizeof(sb));
		edit(&sb);
		sb.checksum = dh_superblock_checksum(&sb);
		pool_write(name, places[i], &sb, sizeof(sb));
	}
}

/* The map of one id, or "deny" for 0. */
static int write_map(const char *path, unsigned id)
{
	FILE *file = fopen(path, "we");

	if (!file)
		return -1;
	if (id)
		fprintf(file, "0 %u 1\n", id);
	else
		fputs("deny", file);
	return fclose(file);
}

/* A mount namespace: as root, or in a user namespace in which the caller is root. */
static int own_namespace(void)
{
	unsigned uid = geteuid(), gid = getegid();

	if (!unshare(CLONE_NEWNS))
		return 0;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		return -1;
	return write_map("/proc/self/setgroups", 0) ||
	       write_map("/proc/self/uid_map", uid) ||
	       write_map("/proc/self/gid_map", gid) ? -1 : 0;
}

bool mount_small(const char *path, uint64_t size)
{
	char options[32];

	snprintf(options, sizeof(options), "size=%llu", (unsigned long long)size);
	return !own_namespace() && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	       !mount("none", path, "tmpfs", 0, options);
}
