/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of each kind: where it comes from. All of it goes with the process. */
#include "daxverify.h"

#include "file.h"
#include "memory.h"
#include "rig.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define HUGE_BYTES (2 << 20)

const char *const dv_memory_names[DV_MEM_KINDS] = {
	[DV_MEM_FSDAX] = "fsdax",	    [DV_MEM_DEVDAX] = "devdax",
	[DV_MEM_PAGE_CACHE] = "page-cache", [DV_MEM_TMPFS] = "tmpfs",
	[DV_MEM_HUGETLB] = "hugetlb",	    [DV_MEM_ANON] = "anonymous",
};

static enum dv_verdict map(struct dv_ctx *c, struct dv_memory *m, int flags)
{
	m->addr = mmap(NULL, m->len, PROT_READ | PROT_WRITE, flags, m->fd, 0);
	return m->addr == MAP_FAILED
		       ? dv_broken(c, "cannot map memory on %s: %s",
				   dv_memory_names[m->kind], strerror(errno))
		       : DV_OK;
}

static enum dv_verdict open_fsdax(struct dv_ctx *c, struct dv_memory *m)
{
	int ret = dv_path(c, m->path, "file");

	if (!ret)
		ret = dv_file_make(m->path, DV_FILE_PAGES);
	if (!ret && (m->fd = open(m->path, O_RDWR | O_CLOEXEC)) < 0)
		ret = -errno;
	if (ret)
		return dv_broken(c, "cannot make a file: %s", strerror(-ret));
	m->len = DV_FILE_PAGES * dv_page_size();
	return map(c, m, MAP_SHARED);
}

/* It may hold anything: only one that was named on the command line is written to. */
static enum dv_verdict open_devdax(struct dv_ctx *c, struct dv_memory *m)
{
	const char *path = c->env->opt.device_dax;

	if (!path)
		return dv_skip(c, DV_NO_DEVICE_DAX);
	m->fd = open(path, O_RDWR | O_CLOEXEC);
	if (m->fd < 0)
		return dv_broken(c, "cannot open %s: %s", path, strerror(errno));
	m->len = HUGE_BYTES;
	return map(c, m, MAP_SHARED);
}

/* Does a folder's file system cache pages and write them back? */
static bool writes_back(const char *folder)
{
	struct statx stx;
	struct statfs sfs;

	if (statfs(folder, &sfs) || statx(AT_FDCWD, folder, 0, STATX_BASIC_STATS, &stx))
		return false;
	return (sfs.f_type == EXT4_SUPER_MAGIC || sfs.f_type == XFS_SUPER_MAGIC ||
		sfs.f_type == BTRFS_SUPER_MAGIC) &&
	       !(stx.stx_attributes & STATX_ATTR_DAX);
}

/* Without such a folder: the cache of a block device, which is written back as well. */
static int open_block_device(size_t len)
{
	int memfd = memfd_create("daxverify", MFD_CLOEXEC), fd;
	char path[32];
	dev_t number;

	if (memfd < 0)
		return -errno;
	fd = ftruncate(memfd, (off_t)len) ? -errno : dv_loop_open(memfd, path, &number);
	close(memfd);
	return fd;
}

static enum dv_verdict open_page_cache(struct dv_ctx *c, struct dv_memory *m)
{
	const char *folder = c->env->facts.dax ? "/var/tmp" : c->folder;

	m->len = DV_FILE_PAGES * dv_page_size();
	if (writes_back(folder)) {
		m->fd = open(folder, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
		if (m->fd >= 0 && ftruncate(m->fd, (off_t)m->len))
			return dv_broken(c, "cannot make a file in %s: %s", folder,
					 strerror(errno));
	} else {
		m->fd = open_block_device(m->len);
	}
	if (m->fd < 0)
		return dv_skip(
			c,
			"no page cache that is written back: needs a /var/tmp on ext4, "
			"xfs or btrfs, or root and a loop device (modprobe loop)");
	return map(c, m, MAP_SHARED);
}

static enum dv_verdict open_memfd(struct dv_ctx *c, struct dv_memory *m, unsigned flags)
{
	m->len = flags & MFD_HUGETLB ? HUGE_BYTES : DV_FILE_PAGES * dv_page_size();
	m->fd = memfd_create("daxverify", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
	if (m->fd < 0 || ftruncate(m->fd, (off_t)m->len))
		return dv_broken(c, "cannot make a memfd: %s", strerror(errno));
	m->addr = mmap(NULL, m->len, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	if (m->addr == MAP_FAILED && errno == ENOMEM && flags & MFD_HUGETLB)
		return dv_skip(c, "no huge page is free: as root, echo 8 > "
				  "/proc/sys/vm/nr_hugepages");
	return m->addr == MAP_FAILED
		       ? dv_broken(c, "cannot map a memfd: %s", strerror(errno))
		       : DV_OK;
}

static enum dv_verdict open_kind(struct dv_ctx *c, struct dv_memory *m)
{
	switch (m->kind) {
	case DV_MEM_FSDAX:
		return open_fsdax(c, m);
	case DV_MEM_DEVDAX:
		return open_devdax(c, m);
	case DV_MEM_PAGE_CACHE:
		return open_page_cache(c, m);
	case DV_MEM_TMPFS:
		return open_memfd(c, m, 0);
	case DV_MEM_HUGETLB:
		return open_memfd(c, m, MFD_HUGETLB);
	case DV_MEM_ANON:
		break;
	}
	m->len = DV_FILE_PAGES * dv_page_size();
	return map(c, m, MAP_PRIVATE | MAP_ANONYMOUS);
}

enum dv_verdict dv_memory_open(struct dv_ctx *c, enum dv_memory_kind kind,
			       struct dv_memory *m)
{
	enum dv_verdict v;
	unsigned i;

	memset(m, 0, sizeof(*m));
	m->kind = kind;
	m->fd = -1;
	v = open_kind(c, m);
	for (i = 0; v == DV_OK && i < DV_FILE_PAGES; i++)
		dv_page_fill(m->addr + i * dv_page_size(), DV_TAG_ORIGINAL, i);
	return v;
}
