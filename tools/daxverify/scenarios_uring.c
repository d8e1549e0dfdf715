/* SPDX-License-Identifier: BSD-3-Clause */
/* io_uring: memory of FS DAX can't be registered, can be used, and nothing stays pinned.
 */
#include "daxverify.h"

#include "file.h"
#include "pins.h"
#include "rig.h"

#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BUFFERS_MAX 4

struct bed {
	struct io_uring ring;
	char path[PATH_MAX];
	char *dax, *anon;
	size_t len;
};

static enum dv_verdict make_bed(struct dv_ctx *c, struct bed *b)
{
	int ret, fd = -1;

	memset(b, 0, sizeof(*b));
	b->len = 4 * dv_page_size();
	ret = dv_path(c, b->path, "file");
	if (!ret)
		ret = dv_file_make(b->path, DV_FILE_PAGES);
	if (!ret && (fd = open(b->path, O_RDWR | O_CLOEXEC)) < 0)
		ret = -errno;
	if (ret)
		return dv_broken(c, "cannot make a file: %s", strerror(-ret));
	b->anon = mmap(NULL, b->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	b->dax = dv_map_dax(fd, b->len, c->env->facts.map_sync);
	close(fd);
	if (b->anon == MAP_FAILED || b->dax == MAP_FAILED)
		return dv_broken(c, "cannot map memory: %s", strerror(errno));
	memset(b->anon, 1, b->len);
	/* Faulted in: what is refused is the page, not its absence. */
	*(volatile char *)b->dax = *b->dax;
	ret = io_uring_queue_init(4, &b->ring, 0);
	return ret ? dv_broken(c, "cannot set up a ring: %s", strerror(-ret)) : DV_OK;
}

/* arg: how many buffers; all but the last are anonymous memory. */
static enum dv_verdict run_register(struct dv_ctx *c)
{
	unsigned nr = (unsigned)c->sc->arg, i;
	struct iovec iov[BUFFERS_MAX];
	struct bed b;
	enum dv_verdict v = make_bed(c, &b);
	int ret;

	if (v != DV_OK)
		return v;
	for (i = 0; i < nr; i++)
		iov[i] = (struct iovec){.iov_base = b.anon, .iov_len = b.len};
	if (!dv_sabotaged(c, DV_SAB_NO_DAX))
		iov[nr - 1].iov_base = b.dax;
	ret = io_uring_register_buffers(&b.ring, iov, nr);
	dv_oracle(c, ret == -EOPNOTSUPP, DV_SYM_NONE, "register", "EOPNOTSUPP", "%s",
		  dv_pins_answer(ret));
	/* The ring and the mapping are still there: what stayed pinned would hold it up. */
	return dv_pins_judge_free(c, b.path, "pins");
}

static enum dv_verdict run_register_anon(struct dv_ctx *c)
{
	struct iovec iov;
	struct bed b;
	enum dv_verdict v = make_bed(c, &b);
	int ret;

	if (v != DV_OK)
		return v;
	iov = (struct iovec){.iov_base = b.anon, .iov_len = b.len};
	ret = io_uring_register_buffers(&b.ring, &iov, 1);
	dv_oracle(c, ret == 0, DV_SYM_NONE, "register", "accepted", "%s", dv_pins_answer(ret));
	return DV_OK;
}

static int write_and_wait(struct io_uring *ring, int fd, const void *buf, unsigned len)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int ret;

	if (!sqe)
		return -EBUSY;
	io_uring_prep_write(sqe, fd, buf, len, 0);
	ret = io_uring_submit_and_wait(ring, 1);
	if (ret < 0)
		return ret;
	ret = io_uring_peek_cqe(ring, &cqe);
	if (ret)
		return ret;
	ret = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

/* Unregistered: the page is used for the time of the call, and not longer. */
static enum dv_verdict run_write(struct dv_ctx *c)
{
	struct bed b;
	enum dv_verdict v = make_bed(c, &b);
	int fd = memfd_create("daxverify", MFD_CLOEXEC), ret;
	size_t page = dv_page_size();
	char *back;

	if (v != DV_OK)
		return v;
	back = malloc(page);
	if (fd < 0 || !back) {
		free(back);
		return dv_broken(c, "cannot make a file to write to");
	}
	ret = write_and_wait(&b.ring, fd, b.dax, (unsigned)page);
	dv_oracle(c, ret == (int)page, DV_SYM_NONE, "write", "a whole page", "%s (%d)",
		  ret < 0 ? dv_pins_answer(ret) : "written", ret);
	if (ret == (int)page) {
		ret = dv_read_all(fd, back, page, 0);
		dv_oracle(c, !ret && dv_page_look(back, 0) == DV_PAGE_ORIGINAL,
			  DV_SYM_NONE, "content", "what the DAX page has", "%s",
			  ret			      ? strerrorname_np(-ret)
			  : memcmp(back, b.dax, page) ? "different"
						      : "the same");
	}
	free(back);
	/* The ring and the mapping are still there: what stayed pinned would hold it up. */
	return dv_pins_judge_free(c, b.path, "pins");
}

#define HOLDER "io_uring registered buffers"
#define NEEDS  (DV_NEED_DAX | DV_NEED_URING)

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{.name = "uring-register-dax",
	 .claim = "registering DAX memory as a buffer is refused with EOPNOTSUPP, and pins nothing",
	 .needs = NEEDS, .holder = HOLDER, .run = run_register, .arg = 1},
	{.name = "uring-register-dax-last",
	 .claim = "of several buffers the last is DAX: all are refused, and nothing stays pinned",
	 .needs = NEEDS, .holder = HOLDER, .run = run_register, .arg = BUFFERS_MAX},
	{.name = "uring-register-anonymous",
	 .claim = "registering anonymous memory as a buffer works (control)",
	 .needs = NEEDS, .holder = HOLDER, .run = run_register_anon},
	{.name = "uring-write-from-dax",
	 .claim = "an ordinary io_uring write out of DAX memory works, and leaves nothing pinned",
	 .needs = NEEDS, .holder = HOLDER, .run = run_write},
	/* clang-format on */
};

const struct dv_group dv_group_uring = {scenarios, DV_COUNT(scenarios)};
