/* SPDX-License-Identifier: BSD-3-Clause */
/* What references do to the counts of a page: each is counted, and given back once. */
#include "daxverify.h"

#include "actor.h"
#include "file.h"
#include "rig.h"

#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Into the pipe: a reference of the kind FOLL_GET. */
static int get(struct dv_ctx *c, char *page)
{
	struct iovec iov = {.iov_base = page, .iov_len = dv_page_size()};
	ssize_t n = vmsplice(c->pipe_w, &iov, 1, SPLICE_F_NONBLOCK);

	return n == (ssize_t)iov.iov_len ? 0 : n < 0 ? -errno : -EIO;
}

static enum dv_verdict run_get(struct dv_ctx *c)
{
	struct dv_counted t;
	enum dv_verdict v = dv_counted_begin(c, &t);
	int ret;

	if (v != DV_OK)
		return v;
	ret = get(c, t.page);
	dv_counted_judge(c, &t, "in a pipe", 1, 1, 0);
	if (!ret && tee(c->pipe_r, c->tee_w, dv_page_size(), SPLICE_F_NONBLOCK) < 0)
		ret = -errno;
	dv_counted_judge(c, &t, "in two pipes", 1, 2, 0);
	munmap(t.map, t.len);
	dv_counted_judge(c, &t, "unmapped", 0, 2, 0);
	if (!ret)
		ret = dv_drain(c->pipe_r, NULL, 0, NULL);
	dv_counted_judge(c, &t, "one pipe was read", 0, 1, 0);
	if (!ret)
		ret = dv_drain(c->tee_r, NULL, 0, NULL);
	if (ret)
		return dv_broken(c, "cannot fill and read the pipes: %s", strerror(-ret));
	dv_counted_judge(c, &t, "both were read", 0, 0, 0);
	return DV_OK;
}

#define GETS 12

/* The same page again and again, and then its neighbours. */
static enum dv_verdict run_many(struct dv_ctx *c)
{
	size_t page = dv_page_size();
	struct dv_counted t;
	enum dv_verdict v = dv_counted_begin(c, &t);
	unsigned i;
	int ret = 0;

	if (v != DV_OK)
		return v;
	for (i = 0; i < GETS && !ret; i++)
		ret = get(c, t.page);
	dv_counted_judge(c, &t, "in the pipe 12 times", 1, GETS, 0);
	if (!ret)
		ret = get(c, t.page + page);
	if (!ret)
		ret = get(c, t.page - page);
	if (ret)
		return dv_broken(c, "cannot fill the pipe: %s", strerror(-ret));
	/* Where one entry maps them all they have one count, in the newer way of
	 * counting. */
	dv_counted_judge(c, &t, "and its neighbours", 1, t.shared ? GETS + 2 : GETS, 0);
	dv_drain(c->pipe_r, NULL, 0, NULL);
	dv_counted_judge(c, &t, "the pipe was read", 1, 0, 0);
	munmap(t.map, t.len);
	dv_counted_judge(c, &t, "unmapped", 0, 0, 0);
	return DV_OK;
}

/* Who put the page into the pipe is killed: the mapping goes, the reference stays. */
static enum dv_verdict run_killed(struct dv_ctx *c)
{
	struct dv_hold hold = {.state = DV_ST_MAPPED, .grip = c->grip};
	struct dv_holder h;
	struct dv_counted t;
	enum dv_verdict v = dv_counted_begin(c, &t);
	int ret;

	if (v != DV_OK)
		return v;
	munmap(t.map, t.len);
	memcpy(hold.path, t.path, sizeof(hold.path));
	hold.npages = (unsigned)(t.len / dv_page_size());
	ret = dv_holder_start(&h, &hold);
	if (!ret)
		ret = dv_holder_do(&h, DV_HOP_MAP, &dv_one_page);
	if (!ret)
		ret = dv_holder_do(&h, DV_HOP_STORE, &dv_one_page);
	if (!ret)
		ret = dv_holder_do(&h, DV_HOP_PIN, &dv_one_page);
	dv_counted_judge(c, &t, "mapped and in a pipe", 1, 1, 0);
	kill(h.pid, SIGKILL);
	if (!ret)
		ret = dv_child_wait(h.pid, DV_LIMIT_MS, NULL);
	if (ret)
		return dv_broken(c, "the holder does not do its part: %s",
				 strerror(-ret));
	dv_counted_judge(c, &t, "its holder was killed", 0, 1, 0);
	dv_drain(c->pipe_r, NULL, 0, NULL);
	dv_counted_judge(c, &t, "the pipe was read", 0, 0, 0);
	return DV_OK;
}

/* Several pages: where they share their counts, each of them is counted there. */
static enum dv_verdict run_pin(struct dv_ctx *c)
{
	unsigned npages = 3, pins;
	struct dv_pinner p;
	struct dv_counted t;
	enum dv_verdict v = dv_counted_begin(c, &t);
	int ret;

	if (v != DV_OK)
		return v;
	pins = t.shared ? npages : 1;
	ret = dv_pinner_start(&p, t.page, npages);
	if (ret)
		return dv_broken(c, "cannot pin: %s", strerror(-ret));
	dv_counted_judge(c, &t, "pinned", 1, 0, pins);
	ret = get(c, t.page);
	dv_counted_judge(c, &t, "pinned, and in a pipe", 1, 1, pins);
	munmap(t.map, t.len);
	dv_counted_judge(c, &t, "unmapped", 0, 1, pins);
	if (!ret)
		ret = dv_pinner_end(&p);
	dv_counted_judge(c, &t, "the pin is gone", 0, 1, 0);
	if (ret)
		return dv_broken(c, "cannot let the pin go: %s", strerror(-ret));
	dv_drain(c->pipe_r, NULL, 0, NULL);
	dv_counted_judge(c, &t, "the pipe was read", 0, 0, 0);
	return DV_OK;
}

/* Who pins is killed in the middle. */
static enum dv_verdict run_pin_killed(struct dv_ctx *c)
{
	struct dv_pinner p;
	struct dv_counted t;
	enum dv_verdict v = dv_counted_begin(c, &t);
	int ret;

	if (v != DV_OK)
		return v;
	ret = dv_pinner_start(&p, t.page, 2);
	if (ret)
		return dv_broken(c, "cannot pin: %s", strerror(-ret));
	dv_counted_judge(c, &t, "pinned", 1, 0, t.shared ? 2 : 1);
	kill(p.pid, SIGKILL);
	ret = dv_child_wait(p.pid, DV_LIMIT_MS, NULL);
	if (ret)
		return dv_broken(c, "who pins can't be killed: %s", strerror(-ret));
	dv_counted_judge(c, &t, "who pinned was killed", 1, 0, 0);
	munmap(t.map, t.len);
	dv_counted_judge(c, &t, "unmapped", 0, 0, 0);
	return DV_OK;
}

/* In the newer way the page is freed when nothing is left; in the older the drop wakes.
 */
static enum dv_event last_put(const struct dv_ctx *c)
{
	return c->env->scheme == DV_SCHEME_IDLE_0 ? DV_EV_FREE : DV_EV_PUT;
}

static enum dv_verdict run_last(struct dv_ctx *c)
{
	int64_t before, at_unmap, at_end;
	struct dv_counted t;
	enum dv_verdict v = dv_counted_begin(c, &t);
	int ret;

	if (v != DV_OK)
		return v;
	before = dv_events_since(c, last_put(c), 0);
	if (before < 0)
		return dv_skip(c, "no function that frees such a page can be watched");
	ret = get(c, t.page);
	if (ret)
		return dv_broken(c, "cannot fill the pipe: %s", strerror(-ret));
	munmap(t.map, t.len);
	at_unmap = dv_events_since(c, last_put(c), before);
	dv_oracle(c, at_unmap == 0, DV_SYM_NONE, "at munmap", "the page is not freed",
		  "%lld times", (long long)at_unmap);
	before += at_unmap;
	if (!dv_sabotaged(c, DV_SAB_NO_DRAIN))
		dv_drain(c->pipe_r, NULL, 0, NULL);
	at_end = dv_events_since(c, last_put(c), before);
	dv_oracle(c, at_end == 1, DV_SYM_NONE, "when the pipe is read",
		  "the page is freed, once", "%lld times", (long long)at_end);
	dv_counted_judge(c, &t, "counts at the end", 0, 0, 0);
	return DV_OK;
}

/* Buffers of which one is on DAX: refused, and the others are let go as well. */
static enum dv_verdict run_refused(struct dv_ctx *c)
{
	size_t page = dv_page_size();
	struct dv_page_look before, after = {0};
	struct dv_pinner extra;
	struct io_uring ring;
	struct iovec iov[3];
	struct dv_counted t;
	enum dv_verdict v = dv_counted_begin(c, &t);
	uint64_t anon;
	int ret, refused;

	if (v != DV_OK)
		return v;
	iov[0].iov_base = aligned_alloc(page, page);
	iov[1].iov_base = t.page;
	iov[2].iov_base = aligned_alloc(page, page);
	iov[0].iov_len = iov[1].iov_len = iov[2].iov_len = page;
	if (!iov[0].iov_base || !iov[2].iov_base)
		return dv_broken(c, "out of memory");
	memset(iov[0].iov_base, 1, page);
	/* Shared with a child it would be copied before it is pinned. */
	madvise(iov[0].iov_base, page, MADV_DONTFORK);
	ret = dv_pfn_at(getpid(), iov[0].iov_base, &anon);
	if (!ret)
		ret = dv_observer_look(c->env->observer, anon, &before);
	if (!ret)
		ret = io_uring_queue_init(2, &ring, 0);
	if (ret)
		return dv_broken(c, "cannot set up a ring: %s", strerror(-ret));
	if (dv_sabotaged(c, DV_SAB_EXTRA_PIN) &&
	    dv_pinner_start(&extra, iov[0].iov_base, 1))
		return dv_broken(c, "cannot pin");
	refused = io_uring_register_buffers(&ring, iov, 3);
	dv_oracle(c, refused == -EOPNOTSUPP, DV_SYM_NONE, "registration",
		  "refused with EOPNOTSUPP, for the page on DAX", "%s",
		  refused < 0 ? strerrorname_np(-refused) : "accepted");
	dv_counted_judge(c, &t, "counts on DAX", 1, 0, 0);
	ret = dv_observer_look(c->env->observer, anon, &after);
	/* The kernel's own lists of new pages come and go with a reference or two. */
	dv_oracle(c,
		  !ret && after.ref < before.ref + DV_PIN_BIAS / 2 &&
			  after.pin == before.pin,
		  DV_SYM_NONE, "counts of the memory before it", "it is not pinned",
		  "count %d, before %d", after.ref, before.ref);
	io_uring_queue_exit(&ring);
	munmap(t.map, t.len);
	dv_counted_judge(c, &t, "unmapped", 0, 0, 0);
	return DV_OK;
}

/* Device DAX may be pinned for long: the ring's buffers are, until they are given back.
 */
static enum dv_verdict run_buffers(struct dv_ctx *c)
{
	struct io_uring ring;
	struct dv_counted t;
	enum dv_verdict v = dv_counted_begin(c, &t);
	struct iovec iov;
	int ret;

	if (v != DV_OK)
		return v;
	ret = io_uring_queue_init(2, &ring, 0);
	if (ret)
		return dv_broken(c, "cannot set up a ring: %s", strerror(-ret));
	iov = (struct iovec){t.page, dv_page_size()};
	ret = io_uring_register_buffers(&ring, &iov, 1);
	if (ret == -EOPNOTSUPP) {
		dv_counted_judge(c, &t, "refused", 1, 0, 0);
		return DV_OK;
	}
	if (ret)
		return dv_broken(c, "cannot register a buffer: %s", strerror(-ret));
	dv_counted_judge(c, &t, "registered", 1, 0, 1);
	munmap(t.map, t.len);
	dv_counted_judge(c, &t, "unmapped", 0, 0, 1);
	io_uring_unregister_buffers(&ring);
	dv_counted_judge(c, &t, "unregistered", 0, 0, 0);
	io_uring_queue_exit(&ring);
	return DV_OK;
}

#define NEEDS  (DV_NEED_DAX | DV_NEED_ROOT | DV_NEED_COUNTS)
#define HUGE   (NEEDS | DV_NEED_HUGE)
#define DEVICE (NEEDS | DV_NEED_DEVICE_DAX)
#define PIPE   "a page of the file vmspliced into a pipe"
#define PIN    "pages of the file pinned by a process_vm_readv that sleeps in a userfaultfd"

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{.name = "counts-get",
	 .claim = "a page in a pipe counts 1 more, doubled by tee 2 more, mapped or not, until "
		  "it is read",
	 .needs = NEEDS, .holder = PIPE, .run = run_get},
	{.name = "counts-get-many",
	 .claim = "a page that is in a pipe n times counts n more, and its neighbours change "
		  "nothing",
	 .needs = NEEDS, .holder = PIPE, .run = run_many},
	{.name = "counts-get-killed",
	 .claim = "when who put a page into a pipe is killed, its mapping is counted no more, "
		  "the pipe is",
	 .needs = NEEDS, .holder = PIPE, .run = run_killed},
	{.name = "counts-pin",
	 .claim = "a pin counts 1024 more, beside a pipe's reference, mapped or not, until it is "
		  "let go",
	 .needs = NEEDS | DV_NEED_USERFAULT, .holder = PIN, .run = run_pin},
	{.name = "counts-pin-killed",
	 .claim = "when who pins a page is killed in the middle of the call, the pin is not "
		  "counted any more",
	 .needs = NEEDS | DV_NEED_USERFAULT, .holder = PIN, .run = run_pin_killed},
	{.name = "counts-last-reference",
	 .claim = "munmap does not free a page that a pipe holds; reading the pipe frees it, once",
	 .needs = NEEDS, .holder = PIPE, .run = run_last},
	{.name = "counts-refused-registration",
	 .claim = "when io_uring refuses buffers because one is on DAX, none of them stays pinned",
	 .needs = NEEDS | DV_NEED_URING, .run = run_refused},
	{.name = "counts-huge-get",
	 .claim = "a page of an entry of 2 MiB in a pipe counts 1 more, by tee 2 more, until it "
		  "is read",
	 .needs = HUGE, .holder = PIPE, .run = run_get},
	{.name = "counts-huge-get-many",
	 .claim = "several pages of one entry of 2 MiB in a pipe count each, where the entry "
		  "counts for all",
	 .needs = HUGE, .holder = PIPE, .run = run_many},
	{.name = "counts-huge-get-killed",
	 .claim = "when who put a page of 2 MiB into a pipe is killed, the pipe alone is counted",
	 .needs = HUGE, .holder = PIPE, .run = run_killed},
	{.name = "counts-huge-pin",
	 .claim = "a pin in an entry of 2 MiB counts for each of its pages, until it is let go",
	 .needs = HUGE | DV_NEED_USERFAULT, .holder = PIN, .run = run_pin},
	{.name = "counts-huge-pin-killed",
	 .claim = "when who pins in an entry of 2 MiB is killed, no pin is counted any more",
	 .needs = HUGE | DV_NEED_USERFAULT, .holder = PIN, .run = run_pin_killed},
	{.name = "counts-huge-last-reference",
	 .claim = "munmap frees no 2 MiB of which a pipe holds a page; reading the pipe does, once",
	 .needs = HUGE, .holder = PIPE, .run = run_last},
	{.name = "counts-devdax-get",
	 .claim = "a page of device DAX in a pipe counts 1 more, by tee 2 more, until it is read",
	 .needs = DEVICE, .holder = PIPE, .run = run_get},
	{.name = "counts-devdax-get-many",
	 .claim = "several pages of one entry of device DAX in a pipe are counted for all of it",
	 .needs = DEVICE, .holder = PIPE, .run = run_many},
	{.name = "counts-devdax-get-killed",
	 .claim = "when who put a page of device DAX into a pipe is killed, the pipe alone is "
		  "counted",
	 .needs = DEVICE, .holder = PIPE, .run = run_killed},
	{.name = "counts-devdax-pin",
	 .claim = "a pin on device DAX counts for each of its pages, until it is let go",
	 .needs = DEVICE | DV_NEED_USERFAULT, .holder = PIN, .run = run_pin},
	{.name = "counts-devdax-pin-killed",
	 .claim = "when who pins device DAX is killed, no pin is counted any more",
	 .needs = DEVICE | DV_NEED_USERFAULT, .holder = PIN, .run = run_pin_killed},
	{.name = "counts-devdax-buffers",
	 .claim = "a registered buffer on device DAX counts as a pin until it is unregistered, or "
		  "is refused and leaves none",
	 .needs = DEVICE | DV_NEED_URING, .run = run_buffers},
	/* clang-format on */
};

const struct dv_group dv_group_counts_held = {scenarios, DV_COUNT(scenarios)};
