/* SPDX-License-Identifier: BSD-3-Clause */
/* Which needs are met here: found by trying. A "no" says what would make it a "yes". */
#include "daxverify.h"

#include "action.h"
#include "file.h"
#include "memory.h"
#include "rig.h"

#include <liburing.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void meets(struct dv_env *env, unsigned need, bool met, const char *missing, ...)
	DV_PRINTF(4, 5);

static void meets(struct dv_env *env, unsigned need, bool met, const char *missing, ...)
{
	unsigned bit = (unsigned)__builtin_ctz(need);
	va_list ap;

	if (met) {
		env->have |= need;
		return;
	}
	va_start(ap, missing);
	vsnprintf(env->missing[bit], sizeof(env->missing[bit]), missing, ap);
	va_end(ap);
}

static void probe_fs(struct dv_env *env)
{
	const struct dv_facts *f = &env->facts;

	meets(env, DV_NEED_DAX, f->dax && f->block_size == f->page_size,
	      "no DAX here (%s on %s): needs ext4 or xfs mounted with dax=always on a pmem "
	      "device in fsdax mode, with blocks of %zu bytes",
	      f->fs, f->device, f->page_size);
	meets(env, DV_NEED_NO_DAX, !f->dax, "this is DAX");
	meets(env, DV_NEED_MAP_SYNC, f->map_sync, "MAP_SYNC is refused here");
	meets(env, DV_NEED_SYNC_DEVICE, f->sync_device,
	      "%s is a virtio-pmem device, durable only through fsync", f->device);
	meets(env, DV_NEED_SCRATCH, env->opt.scratch,
	      "would fill or unmount the file system: give --scratch if it may");
	meets(env, DV_NEED_ROOM, f->free_bytes >= UINT64_C(128) << 20,
	      "needs 128 MiB free there, and has %llu MiB",
	      (unsigned long long)f->free_bytes >> 20);
	meets(env, DV_NEED_DANGER, env->opt.dangerous,
	      "may leave a process that nothing ends, or a dead kernel: give --dangerous on a "
	      "machine that can be reset");
	meets(env, DV_NEED_OWN_MOUNT,
	      f->mounts_of_device == 1 && strcmp(f->mount_root, "/") == 0 &&
		      strcmp(f->mount_point, "/") != 0,
	      "%s is mounted %u times, or not as a whole: needs a mount of its own",
	      f->device, f->mounts_of_device);
}

/*
 * The same call on a file of the same shape with nothing pinned; twice where the second
 * call undoes what the first one did to an inode that is not ours.
 */
static int try_op(struct dv_env *env, enum dv_action_kind kind, int calls)
{
	struct dv_action action = {.kind = kind, .first = 4, .count = 4};
	struct dv_target t = {.action = &action, .fd = -1, .other_fd = -1};
	char other[PATH_MAX + 8];
	int ret;

	if (snprintf(t.path, sizeof(t.path), "%s/probe", env->folder) >=
	    (int)sizeof(t.path))
		return -ENAMETOOLONG;
	ret = dv_file_make(t.path, DV_FILE_PAGES);
	if (!ret && dv_action_has_pair(kind))
		ret = dv_pair_make(t.path, DV_FILE_PAGES, kind);
	if (!ret && dv_action_prepare(&t))
		ret = -errno;
	for (; !ret && calls; calls--)
		ret = dv_action_do(&t) < 0 ? -errno : 0;
	dv_target_close(&t);
	unlink(t.path);
	snprintf(other, sizeof(other), "%s.other", t.path);
	unlink(other);
	return ret;
}

static void probe_op(struct dv_env *env, unsigned needs, unsigned need,
		     enum dv_action_kind kind, const char *name)
{
	int ret;

	if (!(needs & need))
		return;
	ret = try_op(env, kind, 1);
	meets(env, need, ret != -EOPNOTSUPP && ret != -ENOSYS, "%s has no %s (%s)",
	      env->facts.fs, name, strerror(-ret));
}

/* Newer or rarer calls, which fail in many ways where they are not to be had. */
static void probe_rare(struct dv_env *env, unsigned needs)
{
	static const struct {
		unsigned need;
		enum dv_action_kind kind;
		const char *name;
	} rare[] = {
		{DV_NEED_REFLINK, DV_ACT_REFLINK, "FICLONE"},
		{DV_NEED_EXCHANGE, DV_ACT_EXCHANGE, "XFS_IOC_EXCHANGE_RANGE"},
		{DV_NEED_SWAPEXT, DV_ACT_SWAPEXT, "XFS_IOC_SWAPEXT"},
		{DV_NEED_SWAP_BOOT, DV_ACT_SWAP_BOOT, "EXT4_IOC_SWAP_BOOT"},
		{DV_NEED_UNSHARE, DV_ACT_UNSHARE, "FALLOC_FL_UNSHARE_RANGE"},
		{DV_NEED_URING_TRUNCATE, DV_ACT_URING_TRUNCATE, "IORING_OP_FTRUNCATE"},
	};
	unsigned i;
	int ret;

	for (i = 0; i < DV_COUNT(rare); i++) {
		if (!(needs & rare[i].need))
			continue;
		if (rare[i].kind == DV_ACT_SWAP_BOOT && !env->opt.scratch) {
			meets(env, rare[i].need, false,
			      "would give blocks to the boot loader's "
			      "inode: give --scratch if it may");
			continue;
		}
		ret = try_op(env, rare[i].kind, rare[i].kind == DV_ACT_SWAP_BOOT ? 2 : 1);
		meets(env, rare[i].need, ret == 0, "no %s here (%s)", rare[i].name,
		      strerror(-ret));
	}
}

/* A container's root may not do what the word promises. */
static bool is_root(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};

	return geteuid() == 0 && syscall(SYS_capget, &head, data) == 0 &&
	       data[0].effective & 1u << CAP_SYS_ADMIN;
}

static void probe_kernel(struct dv_env *env, unsigned needs)
{
	struct io_uring ring;
	int ret;

	meets(env, DV_NEED_ROOT, is_root(),
	      geteuid() ? "needs root" : "needs root with all its capabilities: this is a "
					 "container");
	ret = dv_mount_detached("tmpfs");
	meets(env, DV_NEED_TMPFS, ret >= 0, "cannot mount a tmpfs: %s", strerror(-ret));
	if (ret >= 0)
		close(ret);
	if (needs & DV_NEED_TRACE && env->facts.dax) {
		ret = dv_trace_open(&env->trace);
		meets(env, DV_NEED_TRACE, !ret,
		      "no tracepoint fs_dax:dax_writeback_one: %s", strerror(-ret));
	}
	ret = io_uring_queue_init(2, &ring, 0);
	meets(env, DV_NEED_URING, !ret, "io_uring is not to be had: %s%s", strerror(-ret),
	      ret == -EPERM ? " (0 in /proc/sys/kernel/io_uring_disabled allows it)"
	      : ret == -ENOMEM ? " (ulimit -l)"
			       : "");
	if (!ret)
		io_uring_queue_exit(&ring);
}

/* Reads counts, and tells what they have to be. Only where there are pages to look at. */
static void probe_counts(struct dv_env *env)
{
	char why[200] = "left out";
	int ret = -ENODEV;

	if (env->opt.sabotage != DV_SAB_NO_COUNTS)
		ret = dv_observer_open(&env->observer, why, sizeof(why));
	meets(env, DV_NEED_OBSERVER, !ret, "%s", why);
	if (!ret)
		ret = dv_scheme_find(env, why, sizeof(why));
	if (ret && ret != -EDOM && env->observer)
		snprintf(why, sizeof(why), "they can't be read: %s", strerror(-ret));
	snprintf(env->scheme_seen, sizeof(env->scheme_seen), "%.159s", why);
	if (ret == -EDOM)
		meets(env, DV_NEED_COUNTS, false,
		      "they fit no known way of counting (%s)", env->scheme_seen);
	else
		meets(env, DV_NEED_COUNTS, !ret, "%s", why);
}

/* Whether 2 MiB of a file come into the page tables in one piece. */
static int try_huge(struct dv_env *env)
{
	size_t len = DV_HUGE_PAGES * dv_page_size();
	char path[PATH_MAX];
	volatile char *p;
	int fd, ret;

	if (snprintf(path, sizeof(path), "%s/probe", env->folder) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	ret = dv_file_make(path, DV_HUGE_PAGES);
	fd = ret ? -1 : open(path, O_RDWR | O_CLOEXEC);
	p = fd < 0 ? MAP_FAILED : dv_map_dax(fd, len, false);
	if (p == MAP_FAILED)
		ret = ret ? ret : -errno;
	if (!ret) {
		p[0] = p[0];
		ret = dv_mapped_huge((void *)p) ? 0 : -ENODEV;
		munmap((void *)p, len);
	}
	if (fd >= 0)
		close(fd);
	unlink(path);
	return ret;
}

static void probe_huge(struct dv_env *env)
{
	int ret = try_huge(env);

	meets(env, DV_NEED_HUGE, !ret,
	      "no 2 MiB of a file in one page table entry (%s): needs extents aligned to "
	      "2 MiB, as mkfs.ext4 -E stride=512,stripe_width=512 or mkfs.xfs -d su=2m,sw=1 "
	      "make them",
	      strerror(-ret));
}

static void probe_userfault(struct dv_env *env)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC), ret;

	if (fd < 0) {
		meets(env, DV_NEED_USERFAULT, false, "userfaultfd is not to be had: %s",
		      strerror(errno));
		return;
	}
	close(fd);
	ret = dv_fd_can_borrow();
	meets(env, DV_NEED_USERFAULT, !ret, "pidfd_getfd(2) is refused: %s",
	      strerror(-ret));
}

/* `needs`: of all scenarios that will run. What takes time is tried for them only. */
void dv_probe(struct dv_env *env, unsigned needs)
{
	probe_fs(env);
	probe_op(env, needs, DV_NEED_PUNCH, DV_ACT_PUNCH, "FALLOC_FL_PUNCH_HOLE");
	probe_op(env, needs, DV_NEED_ZERO_RANGE, DV_ACT_ZERO_RANGE,
		 "FALLOC_FL_ZERO_RANGE");
	probe_op(env, needs, DV_NEED_COLLAPSE, DV_ACT_COLLAPSE,
		 "FALLOC_FL_COLLAPSE_RANGE");
	probe_op(env, needs, DV_NEED_INSERT, DV_ACT_INSERT, "FALLOC_FL_INSERT_RANGE");
	probe_rare(env, needs);
	probe_kernel(env, needs);
	probe_userfault(env);
	meets(env, DV_NEED_DEVICE_DAX, env->opt.device_dax != NULL, DV_NO_DEVICE_DAX);
	if (env->have & DV_NEED_DAX) {
		probe_counts(env);
		if (needs & DV_NEED_HUGE)
			probe_huge(env);
	} else {
		meets(env, DV_NEED_OBSERVER, false, "no DAX here");
		meets(env, DV_NEED_COUNTS, false, "no DAX here");
		meets(env, DV_NEED_HUGE, false, "no DAX here");
	}
}

/* Why these needs are not met: the first one that is not, or NULL. */
const char *dv_missing(const struct dv_env *env, unsigned needs)
{
	unsigned missing = needs & ~env->have;

	return missing ? env->missing[__builtin_ctz(missing)] : NULL;
}
