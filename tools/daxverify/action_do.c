/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls that the scenarios are about. */
#include "daxverify.h"

#include "action.h"
#include "file.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define LINGER_MS 5000

static long madv_remove(const struct dv_target *t, size_t page)
{
	const struct dv_action *a = t->action;
	size_t len = a->count * page;
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd,
		       (off_t)(a->first * page));

	return p == MAP_FAILED ? -1 : madvise(p, len, MADV_REMOVE);
}

static int fallocate_mode(enum dv_action_kind kind)
{
	switch (kind) {
	case DV_ACT_PUNCH:
		return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	case DV_ACT_ZERO_RANGE:
		return FALLOC_FL_ZERO_RANGE;
	case DV_ACT_COLLAPSE:
		return FALLOC_FL_COLLAPSE_RANGE;
	case DV_ACT_INSERT:
		return FALLOC_FL_INSERT_RANGE;
	case DV_ACT_UNSHARE:
		return FALLOC_FL_UNSHARE_RANGE;
	default:
		return 0;
	}
}

/* Pages of the other content, as dv_pair_make() has them. */
static long write_pages(const struct dv_target *t, size_t page)
{
	const struct dv_action *a = t->action;
	char *buf = malloc(page);
	unsigned i;
	int ret = buf ? 0 : -ENOMEM;

	for (i = a->first; i < a->first + a->count && !ret; i++) {
		dv_page_fill(buf, DV_TAG_ORIGINAL, DV_PAIR_INDEX + i);
		ret = dv_write_all(t->fd, buf, page, (off_t)(i * page));
	}
	free(buf);
	errno = -ret;
	return ret ? -1 : 0;
}

/* Through a mapping of its own: the fault is part of the call. */
static long touch(const struct dv_target *t, size_t page)
{
	const struct dv_action *a = t->action;
	volatile char *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd,
				(off_t)(a->first * page));

	if (p == MAP_FAILED)
		return -1;
	if (a->kind == DV_ACT_LOAD)
		return *p & 1;
	p[512] = p[512];
	return a->kind == DV_ACT_MSYNC ? msync((void *)p, page, MS_SYNC) : 0;
}

static long read_nowait(const struct dv_target *t, size_t page)
{
	char byte[64];
	struct iovec iov = {byte, sizeof(byte)};
	long ret = preadv2(t->fd, &iov, 1, (off_t)(t->action->first * page), RWF_NOWAIT);

	return ret < 0 && errno == EAGAIN ? 0 : ret;
}

/* Calls that leave the file's blocks alone, and ask who else has to wait. */
static long bystander(const struct dv_target *t, size_t page)
{
	struct stat st;

	switch (t->action->kind) {
	case DV_ACT_STAT:
		return fstat(t->fd, &st);
	case DV_ACT_FSYNC:
		return fsync(t->fd);
	case DV_ACT_SYNCFS:
		return syncfs(t->fd);
	case DV_ACT_CHMOD:
		return fchmod(t->fd, 0600);
	case DV_ACT_SEEK_HOLE:
		return lseek(t->fd, 0, SEEK_HOLE);
	case DV_ACT_READ_NOWAIT:
		return read_nowait(t, page);
	default:
		return touch(t, page);
	}
}

static long drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	long ret;

	if (fd < 0)
		return -1;
	sync();
	ret = write(fd, "3", 1) == 1 ? 0 : -1;
	close(fd);
	return ret;
}

/* Sabotage: time to be stopped when it hurts. */
static void linger(const struct dv_target *t)
{
	if (t->linger)
		dv_sleep_ms(LINGER_MS);
}

static long freeze(const struct dv_target *t)
{
	const struct dv_facts *f = t->facts;
	int ret = dv_freeze_fs(f);

	linger(t);
	if (!ret)
		ret = dv_thaw(f);
	errno = -ret;
	return ret ? -1 : 0;
}

static long remount(const struct dv_target *t)
{
	const struct dv_facts *f = t->facts;
	int ret = dv_remount_readonly(f, true);

	linger(t);
	if (!ret)
		ret = dv_remount_readonly(f, false);
	errno = -ret;
	return ret ? -1 : 0;
}

static long on_names(struct dv_target *t)
{
	char to[PATH_MAX + 8];
	int ret;

	switch (t->action->kind) {
	case DV_ACT_OPEN_TRUNC:
		return open(t->path, O_RDWR | O_TRUNC | O_CLOEXEC);
	case DV_ACT_UNLINK:
		return unlink(t->path);
	case DV_ACT_RENAME_OVER:
		snprintf(to, sizeof(to), "%s.new", t->path);
		return rename(to, t->path);
	case DV_ACT_UMOUNT:
		ret = umount2(t->facts->mount_point, 0);
		linger(t);
		return ret;
	case DV_ACT_DETACH:
		return umount2(t->facts->mount_point, MNT_DETACH);
	case DV_ACT_UNBIND:
		errno = -dv_driver_unbind(t->driver);
		return errno ? -1 : 0;
	case DV_ACT_REMOUNT:
		return remount(t);
	case DV_ACT_FREEZE:
		return freeze(t);
	default:
		return drop_caches();
	}
}

/* The call itself: -1 and errno, or something not negative. */
long dv_action_do(struct dv_target *t)
{
	const struct dv_action *a = t->action;
	size_t page = dv_page_size(), from = a->first * page + a->skip;
	char byte[64];

	switch (a->kind) {
	case DV_ACT_TRUNCATE:
		return ftruncate(t->fd, (off_t)from);
	case DV_ACT_PUNCH:
	case DV_ACT_ZERO_RANGE:
	case DV_ACT_COLLAPSE:
	case DV_ACT_INSERT:
	case DV_ACT_ALLOCATE:
	case DV_ACT_UNSHARE:
		return fallocate(t->fd, fallocate_mode(a->kind), (off_t)from,
				 (off_t)(a->count * page - a->skip - a->less));
	case DV_ACT_MADV_REMOVE:
		return madv_remove(t, page);
	case DV_ACT_READ:
		return pread(t->fd, byte, sizeof(byte), (off_t)(a->first * page));
	case DV_ACT_WRITE:
		return write_pages(t, page);
	case DV_ACT_CLOSE:
		return close(t->fd);
	case DV_ACT_MUNMAP:
		return munmap(t->map, t->len);
	case DV_ACT_EXIT:
		_exit(0);
	case DV_ACT_KILLED:
		return raise(SIGKILL);
	case DV_ACT_STAT:
	case DV_ACT_FSYNC:
	case DV_ACT_SYNCFS:
	case DV_ACT_LOAD:
	case DV_ACT_STORE:
	case DV_ACT_MSYNC:
	case DV_ACT_CHMOD:
	case DV_ACT_SEEK_HOLE:
	case DV_ACT_READ_NOWAIT:
		return bystander(t, page);
	case DV_ACT_URING_PUNCH:
	case DV_ACT_URING_TRUNCATE:
	case DV_ACT_URING_MADV_REMOVE:
	case DV_ACT_URING_OPEN_TRUNC:
	case DV_ACT_URING_UNLINK:
	case DV_ACT_URING_RENAME_OVER:
	case DV_ACT_URING_CLOSE:
	case DV_ACT_URING_READ:
	case DV_ACT_URING_ALLOCATE:
		return dv_uring_do(t);
	default:
		return dv_action_has_pair(a->kind) || a->kind == DV_ACT_SWAP_BOOT
			       ? dv_pair_do(t)
			       : on_names(t);
	}
}

static bool wants_fd(enum dv_action_kind kind)
{
	switch (kind) {
	case DV_ACT_UNLINK:
	case DV_ACT_UMOUNT:
	case DV_ACT_DETACH:
	case DV_ACT_UNBIND:
	case DV_ACT_OPEN_TRUNC:
	case DV_ACT_RENAME_OVER:
	case DV_ACT_DROP_CACHES:
	case DV_ACT_FREEZE:
	case DV_ACT_REMOUNT:
	case DV_ACT_URING_OPEN_TRUNC:
	case DV_ACT_URING_UNLINK:
	case DV_ACT_URING_RENAME_OVER:
		return false;
	default:
		return true;
	}
}

bool dv_action_renames(enum dv_action_kind kind)
{
	return kind == DV_ACT_RENAME_OVER || kind == DV_ACT_URING_RENAME_OVER;
}

/* It does not come back: it is over when its process is. */
bool dv_action_exits(enum dv_action_kind kind)
{
	return kind == DV_ACT_EXIT || kind == DV_ACT_KILLED;
}

static bool closes(enum dv_action_kind kind)
{
	return kind == DV_ACT_CLOSE || kind == DV_ACT_URING_CLOSE;
}

/* The action's process has the last reference to the file: nobody else opens it by then.
 */
static bool is_last_put(enum dv_action_kind kind)
{
	return closes(kind) || kind == DV_ACT_MUNMAP || dv_action_exits(kind);
}

static int map_file(struct dv_target *t)
{
	t->len = dv_page_size();
	t->map = mmap(NULL, t->len, PROT_READ, MAP_SHARED, t->fd, 0);
	return t->map == MAP_FAILED ? -1 : 0;
}

/* Opens, maps and unlinks what the action wants so. -1 and errno on failure. */
int dv_action_prepare(struct dv_target *t)
{
	enum dv_action_kind kind = t->action->kind;
	char other[PATH_MAX + 8];

	if (!wants_fd(kind))
		return 0;
	t->fd = open(t->path, O_RDWR | O_CLOEXEC);
	if (t->fd < 0)
		return -1;
	if (is_last_put(kind) && !closes(kind) && map_file(t))
		return -1;
	if (is_last_put(kind) && unlink(t->path))
		return -1;
	if (kind == DV_ACT_MUNMAP) {
		close(t->fd);
		t->fd = -1;
	}
	if (!dv_action_has_pair(kind))
		return 0;
	snprintf(other, sizeof(other), "%s.other", t->path);
	t->other_fd = open(other, O_RDWR | O_CLOEXEC);
	return t->other_fd < 0 ? -1 : 0;
}

void dv_target_close(struct dv_target *t)
{
	if (t->fd >= 0)
		close(t->fd);
	if (t->other_fd >= 0)
		close(t->other_fd);
}
