/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver of the device of a file system goes: what a forced removal of an NVDIMM, and
 * `ndctl disable-namespace --force`, come to. The file system can't live on; the kernel
 * must.
 */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "file.h"
#include "rig.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#define PIPE "a page of the file vmspliced into a pipe"
#define PIN  "a page of the file pinned by a process_vm_readv that sleeps in a userfaultfd"

/* Without a device nothing of the file system can be read or written. */
static void judge_lost(struct dv_ctx *c, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = errno;
	char byte;

	if (fd >= 0) {
		err = pread(fd, &byte, 1, 0) < 0 ? errno : 0;
		close(fd);
	}
	/* Older kernels tell the file system nothing; then its device answers. */
	dv_oracle(c, err == EIO || err == ENXIO, DV_SYM_NONE, "read", "EIO or ENXIO",
		  "%s", err ? strerrorname_np(err) : "it reads");
}

/* All pages are as they were, the one that was held with a word more. */
static void judge_file(struct dv_ctx *c, const char *path)
{
	char *page = malloc(dv_page_size());
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	unsigned i, good = 0;
	enum dv_page_is is;

	for (i = 0; page && fd >= 0 && i < DV_FILE_PAGES; i++) {
		if (dv_read_all(fd, page, dv_page_size(), (off_t)(i * dv_page_size())))
			break;
		is = dv_page_look(page, i);
		good += is == DV_PAGE_ORIGINAL ||
			(i == DV_PIN_PAGE && is == DV_PAGE_PROVEN);
	}
	if (fd >= 0)
		close(fd);
	free(page);
	dv_oracle(c, good == DV_FILE_PAGES, DV_SYM_NONE, "file",
		  "all pages have what was synced", "%u of %u", good, DV_FILE_PAGES);
}

/* The device, and all that had been synced, is there again. */
static enum dv_verdict judge_again(struct dv_ctx *c, const struct dv_counted *t)
{
	const struct dv_facts *f = &c->env->facts;
	int ret = 0;

	if (dv_mounted(f) == 1 && umount2(f->mount_point, 0))
		ret = -errno;
	if (!ret)
		ret = dv_driver_restore(&c->shm->driver);
	dv_oracle(c, !ret, DV_SYM_NONE, "bind",
		  "unmounted, the device gets its driver again", "%s",
		  ret ? strerrorname_np(-ret) : "it got it");
	if (ret)
		return DV_OK;
	if (t->pfn)
		dv_counted_judge(c, t, "counts afterwards", 0, 0, 0);
	ret = dv_remount(f);
	dv_oracle(c, !ret, DV_SYM_NONE, "mount", "the file system is whole", "%s",
		  ret ? strerrorname_np(-ret) : "it was mounted");
	if (ret)
		return DV_OK;
	if (dv_sabotaged(c, DV_SAB_CORRUPT_CANARY) && dv_file_spoil(t->path, 3))
		return dv_broken(c, "cannot write to the file");
	judge_file(c, t->path);
	return DV_OK;
}

/* Newer kernels do not unmount with a page held. */
static enum dv_verdict unmount(struct dv_ctx *c)
{
	struct dv_actor a;

	if (dv_actor_start(c, &a, &dv_umount, "", DV_HANDLER_NONE))
		return dv_broken(c, "cannot unmount");
	if (dv_actor_watch(&a) != DV_SEEN_DONE)
		return dv_skip(
			c, "umount waits for the page here, so no driver goes under it");
	return a.shm->ret < 0 ? dv_broken(c, "cannot unmount: %s", strerror(a.shm->err))
			      : DV_OK;
}

static enum dv_verdict run_fs(struct dv_ctx *c)
{
	struct dv_tear t = {.use = (enum dv_tear_use)c->sc->arg, .index = DV_PIN_PAGE};
	const struct dv_facts *f = &c->env->facts;
	struct dv_actor a = {0};
	struct dv_counted file;
	enum dv_verdict v;

	if (dv_driver_find(f->device, "nd_pmem", &c->shm->driver))
		return dv_skip(c, "%s is no device of the driver nd_pmem", f->device);
	v = (enum dv_verdict)dv_counted_begin(c, &file);
	if (v != DV_OK)
		return v;
	if (fsync(file.fd))
		return dv_broken(c, "cannot fsync: %s", strerror(errno));
	t.map = file.map;
	t.page = file.page;
	t.len = file.len;
	v = (enum dv_verdict)dv_tear_hold(c, &t);
	close(file.fd);
	if (v == DV_OK && t.use == DV_TEAR_UNMOUNTED)
		v = unmount(c);
	if (v == DV_OK)
		v = (enum dv_verdict)dv_tear_unbind(c, &t, &a);
	if (v != DV_OK)
		return v;
	if (t.use != DV_TEAR_UNMOUNTED && dv_tear_is_gone(&t))
		judge_lost(c, file.path);
	dv_tear_touch(c, &t);
	v = (enum dv_verdict)dv_tear_release(c, &t);
	return v == DV_OK && (!a.shm || a.shm->done) ? judge_again(c, &file) : v;
}

#define WHOLE (DV_NEED_DAX | DV_NEED_ROOT | DV_NEED_SCRATCH | DV_NEED_OWN_MOUNT)
#define ROW(what, said, need, by_what, how)                                              \
	{                                                                                \
		.name = "teardown-" what, .claim = said, .needs = WHOLE | (need),        \
		.holder = by_what, .action = &dv_unbind,                                 \
		.defect = &dv_teardown_frees_pages, .run = run_fs, .arg = (how)          \
	}

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	ROW("idle",
	    "without its driver a file system gives EIO or ENXIO, and can be unmounted; with it "
	    "again, all that was synced is there", DV_NEED_DANGER, NULL, DV_TEAR_IDLE),
	ROW("mapped",
	    "a store to a mapped file whose device has lost its driver is a SIGBUS",
	    DV_NEED_DANGER, NULL, DV_TEAR_MAPPED),
	ROW("pin",
	    "a driver does not go before a page of a file on its device is let go",
	    DV_NEED_DANGER, PIPE, DV_TEAR_HELD),
	ROW("mapped-pin",
	    "a driver does not go before a page that is pinned and mapped is let go",
	    DV_NEED_DANGER | DV_NEED_USERFAULT, PIN, DV_TEAR_PINNED),
	ROW("unmounted-pin",
	    "nor when the file system was unmounted with the page held",
	    DV_NEED_DANGER, PIPE, DV_TEAR_UNMOUNTED),
	/* clang-format on */
};

const struct dv_group dv_group_teardown = {scenarios, DV_COUNT(scenarios)};
