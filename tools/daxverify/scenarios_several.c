/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A registration of several pages of which the last is on FS DAX is refused as a whole:
 * the pages before it, which would have been accepted, are let go again.
 */
#include "daxverify.h"

#include "file.h"
#include "pins.h"
#include "view.h"
#include "rig.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

/* What stands before the page on FS DAX. */
enum first { FIRST_ANON, FIRST_OTHER_FILE, FIRST_COPIED };

/* How it is handed over: as one piece of two pages, or as two pieces. */
#define PIECES 16

struct bed {
	char path[PATH_MAX], other[PATH_MAX];
	char *pages; /* two of them: the first one, and the one on FS DAX */
};

/* A private mapping that was written to has a copy: anonymous memory in a DAX mapping. */
static int map_first(struct bed *b, enum first first)
{
	size_t page = dv_page_size();
	int fd, flags = first == FIRST_COPIED ? MAP_PRIVATE : MAP_SHARED;

	if (first == FIRST_ANON)
		return 0; /* the reservation itself */
	fd = open(b->other, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (mmap(b->pages, page, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0) ==
	    MAP_FAILED)
		return -errno;
	close(fd);
	return 0;
}

static int map_last(struct bed *b, bool on_dax)
{
	size_t page = dv_page_size();
	int fd = on_dax ? open(b->path, O_RDWR | O_CLOEXEC) : -1;

	if (!on_dax)
		return 0;
	if (fd < 0)
		return -errno;
	if (mmap(b->pages + page, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 fd, 0) == MAP_FAILED)
		return -errno;
	close(fd);
	return 0;
}

static enum dv_verdict make_bed(struct dv_ctx *c, struct bed *b, enum first first)
{
	size_t page = dv_page_size();
	int ret = dv_path(c, b->path, "file");

	if (!ret)
		ret = dv_path(c, b->other, "other");
	if (!ret)
		ret = dv_file_make(b->path, DV_FILE_PAGES);
	if (!ret)
		ret = dv_file_make(b->other, DV_FILE_PAGES);
	b->pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!ret && b->pages == MAP_FAILED)
		ret = -errno;
	if (!ret)
		ret = map_first(b, first);
	if (!ret)
		ret = map_last(b, !dv_sabotaged(c, DV_SAB_NO_DAX));
	if (ret)
		return dv_broken(c, "cannot make files and map them: %s", strerror(-ret));
	b->pages[512] = 1; /* faulted in */
	b->pages[page + 512] = 1;
	return DV_OK;
}

static int hold_both(struct dv_ctx *c, struct bed *b)
{
	size_t page = dv_page_size();
	struct iovec iov[2] = {{b->pages, page}, {b->pages + page, page}};

	if (c->sc->arg & PIECES)
		return dv_grip_hold(c->grip, iov, 2);
	iov[0].iov_len = 2 * page;
	return dv_grip_hold(c->grip, iov, 1);
}

static enum dv_verdict run_several(struct dv_ctx *c)
{
	enum first first = (enum first)(c->sc->arg & (PIECES - 1));
	struct iovec both;
	struct bed b;
	enum dv_verdict v = make_bed(c, &b, first);
	long before, now;
	int ret;

	if (v != DV_OK)
		return v;
	before = dv_view_status("VmPin");
	ret = hold_both(c, &b);
	if (c->grip->why[0])
		return dv_broken(c, "%s", c->grip->why);
	now = dv_view_status("VmPin");
	dv_oracle(c, ret == -EOPNOTSUPP || ret == -EFAULT || ret == -ENOMEM, DV_SYM_NONE,
		  "register", "refused as a whole", "%s", dv_pins_answer(ret));
	both = (struct iovec){b.pages, 2 * dv_page_size()};
	if (dv_sabotaged(c, DV_SAB_KEEP_PIN) && vmsplice(c->pipe_w, &both, 1, 0) < 0)
		return dv_broken(c, "cannot vmsplice: %s", strerror(errno));
	if (before >= 0)
		dv_oracle(c, now == before, DV_SYM_NONE, "counted",
			  "VmPin of the process is as before",
			  "%ld kB before, %ld kB now", before, now);
	v = dv_pins_judge_free(c, b.path, "its file");
	if (v == DV_OK && first == FIRST_OTHER_FILE)
		v = dv_pins_judge_free(c, b.other, "the other file");
	return v;
}

#define URING .holder = "registered buffers of io_uring", .by = &dv_by_uring_buffers
#define RDMA  .holder = "RDMA memory region", .by = &dv_by_rdma
#define XDP   .holder = "umem of AF_XDP", .by = &dv_by_xdp

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{.name = "several-uring-anonymous",
	 .claim = "two buffers for io_uring, anonymous and DAX memory: neither stays pinned",
	 .needs = DV_NEED_DAX | DV_NEED_URING, URING, .run = run_several,
	 .arg = FIRST_ANON | PIECES},
	{.name = "several-uring-other-dax-file",
	 .claim = "two buffers for io_uring, each in a DAX file of its own: neither stays pinned",
	 .needs = DV_NEED_DAX | DV_NEED_URING, URING, .run = run_several,
	 .arg = FIRST_OTHER_FILE | PIECES},
	{.name = "several-uring-copied",
	 .claim = "two buffers for io_uring, a copied page of a private DAX mapping and a DAX "
		  "page: neither stays pinned",
	 .needs = DV_NEED_DAX | DV_NEED_URING, URING, .run = run_several,
	 .arg = FIRST_COPIED | PIECES},
	{.name = "several-uring-one-buffer",
	 .claim = "one buffer for io_uring that begins in anonymous and ends in DAX memory is "
		  "refused, and nothing of it stays pinned",
	 .needs = DV_NEED_DAX | DV_NEED_URING, URING, .run = run_several, .arg = FIRST_ANON},
	{.name = "several-rdma-anonymous",
	 .claim = "an RDMA region that begins in anonymous and ends in DAX memory is refused, and "
		  "nothing of it stays pinned",
	 .needs = DV_NEED_DAX, RDMA, .run = run_several, .arg = FIRST_ANON},
	{.name = "several-rdma-copied",
	 .claim = "an RDMA region that begins in a copied page of a private DAX mapping is "
		  "refused, and nothing of it stays pinned",
	 .needs = DV_NEED_DAX, RDMA, .run = run_several, .arg = FIRST_COPIED},
	{.name = "several-xdp-anonymous",
	 .claim = "a umem of AF_XDP that begins in anonymous and ends in DAX memory is refused, "
		  "and nothing of it stays pinned",
	 .needs = DV_NEED_DAX, XDP, .run = run_several, .arg = FIRST_ANON},
	{.name = "several-xdp-other-dax-file",
	 .claim = "a umem of AF_XDP over pages of two DAX files is refused, and neither stays "
		  "pinned",
	 .needs = DV_NEED_DAX, XDP, .run = run_several, .arg = FIRST_OTHER_FILE},
	/* clang-format on */
};

const struct dv_group dv_group_several = {scenarios, DV_COUNT(scenarios)};
