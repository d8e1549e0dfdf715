/* SPDX-License-Identifier: BSD-3-Clause */
/* What this run is about: kernel, file system, device. */
#include "daxverify.h"

#include "file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* The region above a pmem device names its persistence domain: walk up until it shows. */
static void find_device(struct dv_facts *f, dev_t dev)
{
	char link[64], path[PATH_MAX], probe[PATH_MAX + 32], *slash;

	snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(dev), minor(dev));
	f->sync_device = true;
	if (!realpath(link, path))
		return;
	/* Stores to virtio-pmem are durable only after its own flush request. */
	if (strstr(path, "/virtio"))
		f->sync_device = false;
	while ((slash = strrchr(path, '/')) && slash != path) {
		snprintf(probe, sizeof(probe), "%s/persistence_domain", path);
		if (dv_read_text(AT_FDCWD, probe, f->persistence_domain,
				 sizeof(f->persistence_domain)) == 0)
			return;
		*slash = 0;
	}
}

/* Ask a file of that folder itself: mount options promise what a device may not keep. */
static int find_dax(struct dv_facts *f, const char *folder)
{
	char path[PATH_MAX];
	struct statx stx;
	void *p;
	int fd;

	if (snprintf(path, sizeof(path), "%s/probe", folder) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)f->page_size) == 0) {
		p = dv_map_dax(fd, f->page_size, true);
		f->map_sync = p != MAP_FAILED;
		if (p != MAP_FAILED)
			munmap(p, f->page_size);
	}
	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx) == 0)
		f->dax = stx.stx_attributes & STATX_ATTR_DAX;
	close(fd);
	unlink(path);
	return 0;
}

int dv_facts_get(struct dv_env *env)
{
	struct dv_facts *f = &env->facts;
	time_t now = time(NULL);
	struct utsname u;
	struct statfs sfs;
	struct stat st;
	struct tm tm;

	uname(&u);
	snprintf(f->kernel, sizeof(f->kernel), "%s", u.release);
	snprintf(f->machine, sizeof(f->machine), "%s", u.machine);
	gmtime_r(&now, &tm);
	strftime(f->date, sizeof(f->date), "%Y-%m-%dT%H:%M:%SZ", &tm);
	f->page_size = dv_page_size();
	if (stat(env->folder, &st) || statfs(env->folder, &sfs))
		return -errno;
	f->block_size = (size_t)sfs.f_bsize;
	f->free_bytes = (uint64_t)sfs.f_bavail * (uint64_t)sfs.f_bsize;
	find_device(f, st.st_dev);
	if (dv_mount_find(f, env->folder))
		snprintf(f->fs, sizeof(f->fs), "unknown");
	return find_dax(f, env->folder);
}
