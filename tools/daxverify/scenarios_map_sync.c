/* SPDX-License-Identifier: BSD-3-Clause */
/* MAP_SYNC: given where it can be kept, refused where it can not. */
#include "daxverify.h"

#include "file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum where { ON_DIR, ON_MEMFD, ON_TMPFS };

static int open_in_dir(struct dv_ctx *c)
{
	char path[PATH_MAX];

	if (dv_path(c, path, "file"))
		return -ENAMETOOLONG;
	return open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

static int open_on_tmpfs(void)
{
	int mnt = dv_mount_detached("tmpfs"), fd;

	if (mnt < 0)
		return -1;
	fd = openat(mnt, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	close(mnt);
	return fd;
}

static int open_where(struct dv_ctx *c, enum where where)
{
	int fd;

	if (where == ON_DIR && !dv_sabotaged(c, DV_SAB_NO_DAX))
		fd = open_in_dir(c);
	else if (where == ON_TMPFS)
		fd = open_on_tmpfs();
	else
		fd = memfd_create("daxverify", MFD_CLOEXEC);
	if (fd >= 0 && ftruncate(fd, (off_t)dv_page_size())) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static const char *outcome(const void *p, int err)
{
	return p == MAP_FAILED ? strerrorname_np(err) : "accepted";
}

/* MAP_SHARED_VALIDATE with MAP_SYNC: accepted on DAX, EOPNOTSUPP on everything else. */
static enum dv_verdict run_validate(struct dv_ctx *c)
{
	bool accept = c->sc->needs & DV_NEED_DAX;
	int fd = open_where(c, (enum where)c->sc->arg);
	volatile char *p;
	int err;

	if (fd < 0)
		return dv_broken(c, "cannot make the file to map: %s", strerror(errno));
	p = dv_map_dax(fd, dv_page_size(), true);
	err = errno;
	dv_oracle(c, accept ? p != MAP_FAILED : p == MAP_FAILED && err == EOPNOTSUPP,
		  DV_SYM_NONE, "mmap", accept ? "accepted" : "EOPNOTSUPP", "%s",
		  outcome((const void *)p, err));
	if (accept && p != MAP_FAILED) {
		*p = 42; /* a fault that has to allocate a block and make it durable */
		dv_oracle(c, *p == 42, DV_SYM_NONE, "store", "goes through", "%d", *p);
	}
	return DV_OK;
}

/* MAP_SHARED takes flags that it does not know for nothing: accepted, and no promise
 * made. */
static enum dv_verdict run_ignored(struct dv_ctx *c)
{
	int fd = open_where(c, (enum where)c->sc->arg);
	void *p;
	int err;

	if (fd < 0)
		return dv_broken(c, "cannot make the file to map: %s", strerror(errno));
	p = mmap(NULL, dv_page_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_SYNC, fd,
		 0);
	err = errno;
	dv_oracle(c, p != MAP_FAILED, DV_SYM_NONE, "mmap", "accepted", "%s",
		  outcome(p, err));
	return DV_OK;
}

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{.name = "map-sync-on-dax",
	 .claim = "MAP_SYNC is accepted on a DAX file of a device that stores reach directly",
	 .needs = DV_NEED_DAX | DV_NEED_SYNC_DEVICE, .run = run_validate, .arg = ON_DIR},
	{.name = "map-sync-refused-without-dax",
	 .claim = "MAP_SYNC is refused with EOPNOTSUPP on a file that is not DAX",
	 .needs = DV_NEED_NO_DAX, .run = run_validate, .arg = ON_DIR},
	{.name = "map-sync-refused-on-memfd",
	 .claim = "MAP_SYNC is refused with EOPNOTSUPP on a memfd",
	 .needs = 0, .run = run_validate, .arg = ON_MEMFD},
	{.name = "map-sync-refused-on-tmpfs",
	 .claim = "MAP_SYNC is refused with EOPNOTSUPP on a tmpfs",
	 .needs = DV_NEED_ROOT | DV_NEED_TMPFS, .run = run_validate, .arg = ON_TMPFS},
	{.name = "map-sync-ignored-without-validate",
	 .claim = "MAP_SHARED ignores MAP_SYNC: only MAP_SHARED_VALIDATE is an answer",
	 .needs = 0, .run = run_ignored, .arg = ON_MEMFD},
	/* clang-format on */
};

const struct dv_group dv_group_map_sync = {scenarios, DV_COUNT(scenarios)};
