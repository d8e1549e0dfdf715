/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pin matrix: each way to hold a page x each kind of memory. What is accepted must be
 * the page itself and no copy; what is refused must leave nothing pinned.
 */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "file.h"
#include "pins.h"
#include "view.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

const char *dv_pins_answer(int ret)
{
	return ret ? strerrorname_np(-ret) : "accepted";
}

enum dv_verdict dv_pins_judge_free(struct dv_ctx *c, const char *path, const char *name)
{
	struct dv_actor a;
	enum dv_seen seen;

	if (dv_actor_start(c, &a, &dv_truncate_zero, path, DV_HANDLER_NONE))
		return dv_broken(c, "cannot start a truncate");
	seen = dv_actor_watch(&a);
	dv_oracle(c, seen == DV_SEEN_DONE && a.shm->ret == 0, DV_SYM_NONE, name,
		  "nothing holds a page: ftruncate ends at once", "%s %s",
		  seen == DV_SEEN_DONE ? "ended" : "asleep in", a.sight.where);
	return DV_OK;
}

static void judge_answer(struct dv_ctx *c, int ret)
{
	const struct dv_cell *cell = c->sc->cell;
	bool fits =
		ret ? ret == -cell->refuse[0] || ret == -cell->refuse[1] : cell->accept;

	snprintf(c->res->answer, sizeof(c->res->answer), "%s", dv_pins_answer(ret));
	dv_oracle(c, fits, DV_SYM_NONE, "answer", c->sc->claim, "%s",
		  dv_pins_answer(ret));
}

static void judge_count(struct dv_ctx *c, long before, long now, bool more)
{
	if (before >= 0)
		dv_oracle(c, more ? now > before : now == before, DV_SYM_NONE,
			  more ? "counted" : "counted no more",
			  more ? "VmPin of the process has grown" : "VmPin is as before",
			  "%ld kB before, %ld kB now", before, now);
}

/* What was shown has the word that was stored after the pin, or came from the device. */
static void judge_content(struct dv_ctx *c, const char *page, const char *shown,
			  size_t got)
{
	const struct dv_hold_ops *by = c->grip->by;
	enum dv_page_is is;

	if (by->into) {
		is = dv_page_look(page, 0);
		dv_oracle(c, is == DV_PAGE_DEVICE, DV_SYM_NONE, "content",
			  "the page has what the device has", "%s",
			  is == DV_PAGE_DEVICE ? "it has" : "something else");
	} else if (by->shows) {
		is = got == dv_page_size() ? dv_page_look(shown, 0) : DV_PAGE_OTHER;
		dv_oracle(c, is == DV_PAGE_PROVEN, DV_SYM_NONE, "content",
			  "the page itself, with what was stored after the pin", "%s",
			  is == DV_PAGE_PROVEN	   ? "the page itself"
			  : is == DV_PAGE_ORIGINAL ? "a copy"
						   : "something else");
	}
}

/* While the page is held. */
static void judge_hold(struct dv_ctx *c, long before)
{
	const struct dv_hold_ops *by = c->grip->by;
	bool held = by->held(c->grip);

	if (!by->once)
		dv_oracle(c, held, DV_SYM_NONE, "held", "the page is held", "it is %s %s",
			  held ? "in" : "not in", by->place);
	if (by->counted)
		judge_count(c, before, dv_view_status("VmPin"), true);
}

static enum dv_verdict use(struct dv_ctx *c, char *page, long before)
{
	char *shown = calloc(1, dv_page_size());
	size_t got = 0;
	int ret = 0;

	if (!shown)
		return dv_broken(c, "out of memory");
	if (dv_sabotaged(c, DV_SAB_EARLY_DRAIN))
		ret = dv_grip_release(c->grip, NULL, 0, NULL);
	judge_hold(c, before);
	if (!c->grip->by->into)
		dv_page_prove(page, 0);
	if (!ret && !dv_sabotaged(c, DV_SAB_NO_DRAIN)) {
		ret = dv_grip_release(c->grip, shown, dv_page_size(), &got);
		judge_content(c, page, shown, got);
	}
	free(shown);
	return ret ? dv_broken(c, "cannot let the page go: %s", strerror(-ret)) : DV_OK;
}

static enum dv_verdict run_cell(struct dv_ctx *c)
{
	enum dv_memory_kind kind = c->sc->cell->memory;
	struct dv_memory m;
	struct iovec iov;
	enum dv_verdict v;
	long before;
	int ret;

	if (dv_sabotaged(c, DV_SAB_NO_DAX))
		kind = DV_MEM_ANON;
	v = dv_memory_open(c, kind, &m);
	if (v != DV_OK)
		return v;
	before = dv_view_status("VmPin");
	iov = (struct iovec){dv_sabotaged(c, DV_SAB_NO_PIN) ? dv_page_copy(m.addr)
							    : m.addr,
			     dv_page_size()};
	c->grip->file = m.fd;
	ret = dv_grip_hold(c->grip, &iov, 1);
	if (c->grip->why[0])
		return dv_broken(c, "%s", c->grip->why);
	if (ret == -ETIMEDOUT) /* no answer of the kernel's */
		return dv_broken(c, "%s neither holds the page nor is refused",
				 c->grip->by->words);
	if (dv_hold_limited(ret))
		return dv_skip(c, DV_HOLD_LIMITED);
	judge_answer(c, ret);
	if (!ret)
		v = use(c, m.addr, before);
	else if (dv_sabotaged(c, DV_SAB_KEEP_PIN) && vmsplice(c->pipe_w, &iov, 1, 0) < 0)
		return dv_broken(c, "cannot vmsplice: %s", strerror(errno));
	if (v == DV_OK && c->grip->by->counted)
		judge_count(c, before, dv_view_status("VmPin"), false);
	return v == DV_OK && kind == DV_MEM_FSDAX
		       ? dv_pins_judge_free(c, m.path, "afterwards")
		       : v;
}

/* What a cell's claim allows: accepted or not, errnos, and the same in words. */
/* clang-format off */
#define OK		   true, 0, 0, "is accepted"
#define NO(err)		   false, err, 0, "is refused with " #err
#define NO2(err, other)	   false, err, other, "is refused with " #err " or " #other
#define OK_OR(err)	   true, err, 0, "is accepted, or refused with " #err

#define CELL(...) CELL_(__VA_ARGS__)
#define CELL_(how, ops, said, need, kind, where, on, accept, err, other, outcome)	\
	{.name = "pins-" how "-" where,							\
	 .claim = said ": a page " on " " outcome,					\
	 .needs = (need) | ((kind) == DV_MEM_FSDAX ? DV_NEED_DAX : 0),			\
	 .holder = said, .run = run_cell, .by = &(ops),					\
	 .cell = &(const struct dv_cell){kind, accept, {err, other}}}

#define ROW(how, ops, said, need, fsdax, devdax, cache, tmpfs, hugetlb, anon)		\
	CELL(how, ops, said, need, DV_MEM_FSDAX, "fsdax", "on FS DAX", fsdax),		\
	CELL(how, ops, said, need, DV_MEM_DEVDAX, "devdax", "of device DAX", devdax),	\
	CELL(how, ops, said, need, DV_MEM_PAGE_CACHE, "page-cache",			\
	     "of the page cache", cache),						\
	CELL(how, ops, said, need, DV_MEM_TMPFS, "tmpfs", "on tmpfs", tmpfs),		\
	CELL(how, ops, said, need, DV_MEM_HUGETLB, "hugetlb", "on hugetlb", hugetlb),	\
	CELL(how, ops, said, need, DV_MEM_ANON, "anonymous", "of anonymous memory", anon)

static const struct dv_scenario scenarios[] = {
	/* Short references: accepted on everything. */
	/*                                         needs  FS DAX device cache tmpfs huge anon */
	ROW("vmsplice", dv_by_vmsplice, "vmsplice into a pipe", 0, OK, OK, OK, OK, OK, OK),
	ROW("tee", dv_by_tee, "tee into a second pipe", 0, OK, OK, OK, OK, OK, OK),
	ROW("splice-unix", dv_by_splice_unix, "splice into a unix socket", 0,
	    OK, OK, OK, OK, OK, OK),
	ROW("splice-tcp", dv_by_splice_tcp, "splice into a TCP socket", 0,
	    OK, OK, OK, OK, OK, OK),
	ROW("direct-write", dv_by_direct_write, "O_DIRECT pwritev", 0, OK, OK, OK, OK, OK, OK),
	ROW("direct-read", dv_by_direct_read, "O_DIRECT preadv", 0, OK, OK, OK, OK, OK, OK),
	ROW("uring-write", dv_by_uring_write, "O_DIRECT write of io_uring", DV_NEED_URING,
	    OK, OK, OK, OK, OK, OK),
	ROW("uring-read", dv_by_uring_read, "O_DIRECT read of io_uring", DV_NEED_URING,
	    OK, OK, OK, OK, OK, OK),
	ROW("process-vm", dv_by_process_vm, "process_vm_readv", 0, OK, OK, OK, OK, OK, OK),
	ROW("msg-zerocopy", dv_by_msg_zerocopy, "MSG_ZEROCOPY", 0, OK, OK, OK, OK, OK, OK),
	ROW("send-zc", dv_by_send_zc, "SEND_ZC of io_uring", DV_NEED_URING,
	    OK, OK, OK, OK, OK, OK),
	/* Long ones: never on FS DAX, where they would hold up truncate for ever. */
	ROW("uring-buffers", dv_by_uring_buffers, "registered buffers of io_uring",
	    DV_NEED_URING, NO(EOPNOTSUPP), OK_OR(EOPNOTSUPP), NO2(EOPNOTSUPP, EFAULT),
	    OK, OK, OK),
	ROW("rdma", dv_by_rdma, "RDMA memory region", 0,
	    NO(EOPNOTSUPP), OK, OK_OR(EFAULT), OK, OK, OK),
	ROW("xdp", dv_by_xdp, "umem of AF_XDP", 0, NO(EOPNOTSUPP), OK, OK_OR(EFAULT), OK, OK, OK),
	ROW("udmabuf", dv_by_udmabuf, "udmabuf", 0,
	    NO(EBADFD), NO(EBADFD), NO(EBADFD), OK, OK, NO2(EBADFD, EBADF)),
	/* The kernel's own test: the functions that all of the above end in. */
	ROW("gup-fast", dv_by_gup_fast, "get_user_pages_fast", 0, OK, OK, OK, OK, OK, OK),
	ROW("gup-get", dv_by_gup_get, "get_user_pages", 0, OK, OK, OK, OK, OK, OK),
	ROW("pin-fast", dv_by_pin_fast, "pin_user_pages_fast", 0, OK, OK, OK, OK, OK, OK),
	ROW("pin-get", dv_by_pin_get, "pin_user_pages", 0, OK, OK, OK, OK, OK, OK),
	ROW("pin-longterm", dv_by_pin_longterm, "pin_user_pages with FOLL_LONGTERM", 0,
	    NO2(EOPNOTSUPP, EFAULT), OK, OK_OR(EFAULT), OK, OK, OK),
	ROW("pin-longterm-held", dv_by_pin_longterm_held, "FOLL_LONGTERM, kept", 0,
	    NO(EOPNOTSUPP), OK, OK_OR(EFAULT), OK, OK, OK),
	ROW("pin-longterm-fast", dv_by_pin_longterm_held_fast, "FOLL_LONGTERM by the fast path", 0,
	    NO(EOPNOTSUPP), OK, OK_OR(EFAULT), OK, OK, OK),
};
/* clang-format on */

const struct dv_group dv_group_pins = {scenarios, DV_COUNT(scenarios)};
