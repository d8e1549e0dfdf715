/* SPDX-License-Identifier: BSD-3-Clause */
/* The oracles on a rig: time and state, content of what was held, content of the file. */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "file.h"
#include "rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GONE_MS 2000

static void describe_end(const struct dv_actor *a, char *text, size_t len)
{
	if (a->shm->err == ESRCH)
		snprintf(text, len, "the process that did %s is dead", a->action->name);
	else if (a->shm->ret < 0)
		snprintf(text, len, "%s failed with %s", a->action->name,
			 strerrorname_np(a->shm->err));
	else
		snprintf(text, len, "%s succeeded", a->action->name);
}

static void describe_sleep(const struct dv_actor *a, char *text, size_t len)
{
	if (a->sight.where[0])
		snprintf(text, len, "asleep in %s (%c)", a->sight.where, a->sight.state);
	else
		snprintf(text, len, "asleep, in state %c", a->sight.state);
}

static void judge_early_end(struct dv_ctx *c, struct dv_rig *r, const char *expected)
{
	bool held = dv_rig_held(c, r);
	unsigned symptom =
		held && r->actor.shm->ret >= 0 ? DV_SYM_PASSED_PIN : DV_SYM_NONE;
	char end[128];

	describe_end(&r->actor, end, sizeof(end));
	dv_oracle(c, false, symptom, "waits", expected, "%s at once, %s%s", end,
		  held ? "with the page still in " : "but nothing was held by then",
		  held ? c->grip->by->place : "");
}

/* The action must be asleep as long as the page is held. */
void dv_rig_judge_wait(struct dv_ctx *c, struct dv_rig *r)
{
	static const char expected[] = "asleep until the page is released";
	char text[128];

	dv_rig_counts_held(c, r);
	if (r->seen == DV_SEEN_DONE) {
		judge_early_end(c, r, expected);
		return;
	}
	describe_sleep(&r->actor, text, sizeof(text));
	if (r->seen == DV_SEEN_SPINNING)
		dv_oracle(c, false, DV_SYM_SPINS, "waits", expected,
			  "busy, in state %c after %d ms of CPU time",
			  r->actor.sight.state, r->actor.sight.cpu_ms);
	else if (r->seen == DV_SEEN_ELSEWHERE)
		dv_oracle(c, false, DV_SYM_NONE, "waits", expected,
			  "%s, which is no wait for DAX pages", text);
	else
		dv_oracle(c, true, DV_SYM_NONE, "waits", expected, "%s", text);
}

/* The action must end, and succeed, although something is held. */
void dv_rig_judge_pass(struct dv_ctx *c, struct dv_rig *r)
{
	bool done = r->seen == DV_SEEN_DONE, held = dv_rig_held(c, r);
	char text[128];

	dv_rig_counts_held(c, r);
	if (done)
		describe_end(&r->actor, text, sizeof(text));
	else
		describe_sleep(&r->actor, text, sizeof(text));
	dv_oracle(c, done && held && r->actor.shm->ret >= 0, DV_SYM_NONE, "does not wait",
		  "ends with success while the page is held", "%s, %s%s", text,
		  held ? "with the page in " : "but nothing was held by then",
		  held ? c->grip->by->place : "");
}

/* Whether it waits is the file system's own affair; that it goes on is not. */
void dv_rig_judge_any(struct dv_ctx *c, struct dv_rig *r)
{
	bool done = r->seen == DV_SEEN_DONE, held = dv_rig_held(c, r);
	char text[128];

	if (r->seen == DV_SEEN_ASLEEP) /* so it has broken the layout */
		dv_rig_counts_held(c, r);
	if (done)
		describe_end(&r->actor, text, sizeof(text));
	else
		describe_sleep(&r->actor, text, sizeof(text));
	dv_oracle(c,
		  held && (r->seen == DV_SEEN_ASLEEP || (done && r->actor.shm->ret >= 0)),
		  DV_SYM_NONE, "ends or waits", "succeeds at once, or waits for the page",
		  "%s, %s%s", text,
		  held ? "with the page in " : "but nothing was held by then",
		  held ? c->grip->by->place : "");
}

/* SIGSTOP and SIGCONT make an interruptible wait begin again, and look again. */
static bool rescue(struct dv_actor *a)
{
	int64_t begin = dv_now_ns();
	struct dv_sight s;

	kill(a->pid, SIGSTOP);
	do {
		dv_sleep_ms(4);
		dv_look(a->pid, &s);
	} while (s.state != 'T' && dv_now_ns() - begin < GONE_MS * INT64_C(1000000));
	kill(a->pid, SIGCONT);
	return dv_actor_wait(a, GONE_MS, DV_LIMIT_MS) == 0;
}

/* The release must end the wait, soon and with success. */
void dv_rig_judge_wake(struct dv_ctx *c, struct dv_rig *r)
{
	static const char expected[] =
		"ends with success as soon as the page is released";
	char text[128];
	bool rescued;

	if (dv_actor_wait(&r->actor, DV_WAKE_MS, DV_LIMIT_MS) == 0) {
		describe_end(&r->actor, text, sizeof(text));
		c->res->wake_ns = r->actor.shm->end_ns - r->release_ns;
		dv_oracle(c, r->actor.shm->ret >= 0, DV_SYM_NONE, "wakes", expected,
			  "%s, %.1f ms after the release", text,
			  (double)c->res->wake_ns / 1e6);
		return;
	}
	describe_sleep(&r->actor, text, sizeof(text));
	rescued = rescue(&r->actor);
	dv_oracle(c, false, rescued && r->released ? DV_SYM_ASLEEP : DV_SYM_NONE, "wakes",
		  expected, "still %s %.1f s after %s; SIGSTOP and SIGCONT %s", text,
		  DV_WAKE_MS / 1000.0,
		  r->released ? "the release" : "nothing was released",
		  rescued ? "woke it" : "did not wake it");
	if (!rescued)
		kill(r->actor.pid, SIGKILL);
}

/* Which bytes of a page the action zeroes, where it leaves others of it alone. */
static bool cuts(const struct dv_action *a, unsigned page, size_t *from, size_t *to)
{
	bool truncates = a && a->kind == DV_ACT_TRUNCATE;
	unsigned last = a ? truncates ? a->first : a->first + a->count - 1 : 0;

	if (!a || page < a->first || page > last)
		return false;
	*from = page == a->first ? a->skip : 0;
	*to = dv_page_size() - (page == last ? a->less : 0);
	return *from > 0 || *to < dv_page_size();
}

/* Is it `len` bytes of a page that the action has cut? */
static bool is_cut_page(const struct dv_rig *r, const struct dv_action *a,
			const uint8_t *page, size_t len, unsigned index)
{
	uint8_t *want = malloc(dv_page_size());
	size_t from, to;
	bool same = false;

	if (want && cuts(a, index, &from, &to)) {
		dv_page_fill(want, DV_TAG_ORIGINAL, index);
		if (index >= r->span.first && index < r->span.first + r->span.count)
			dv_page_prove(want, index);
		memset(want + from, 0, to - from);
		same = memcmp(want, page, len) == 0;
	}
	free(want);
	return same;
}

/* What one of the held pages is. Zeroed in part it is what it was, if the call has ended.
 */
static enum dv_page_is held_page(const struct dv_rig *r, unsigned i)
{
	const uint8_t *page = r->content + i * dv_page_size();
	unsigned index = r->span.first + i * r->span.stride;
	enum dv_page_is is = dv_page_look(page, index);

	if (is == DV_PAGE_OTHER && r->seen == DV_SEEN_DONE &&
	    is_cut_page(r, r->actor.action, page, dv_page_size(), index))
		return DV_PAGE_PROVEN;
	return is;
}

/* What they must be: in a private mapping that was written to a copy is right. */
static enum dv_page_is right_page(const struct dv_rig *r)
{
	if (dv_rig_is_hole(r))
		return DV_PAGE_ZERO;
	return r->state == DV_ST_COPIED ? DV_PAGE_ORIGINAL : DV_PAGE_PROVEN;
}

/*
 * What the held pages showed when they were let go. Copies in place of pages mean that
 * nothing was pinned: then the other oracles said nothing about the kernel, and the
 * scenario is broken.
 */
enum dv_verdict dv_rig_judge_content(struct dv_ctx *c, struct dv_rig *r)
{
	unsigned kinds[DV_PAGE_OTHER + 1] = {0}, i, want;
	bool passed = r->seen == DV_SEEN_DONE;
	size_t page = dv_page_size();
	bool ok;

	dv_rig_counts_idle(c, r);
	for (i = 0; i < r->content_len / page; i++)
		kinds[held_page(r, i)]++;
	if (kinds[DV_PAGE_ORIGINAL] && r->state != DV_ST_COPIED)
		return dv_broken(
			c, "%s held copies, not the file's pages: nothing was pinned",
			c->grip->by->place);
	if (!c->grip->by->shows)
		return DV_OK;
	want = kinds[right_page(r)];
	ok = want == r->span.count;
	dv_oracle(c, ok, passed ? DV_SYM_LEAK : DV_SYM_NONE, "pipe",
		  "every pinned page as it was",
		  "of %u pages %u as they were, %u with another file's data, %u zeroes, "
		  "%u something else",
		  r->span.count, want, kinds[DV_PAGE_VICTIM],
		  dv_rig_is_hole(r) ? 0 : kinds[DV_PAGE_ZERO], kinds[DV_PAGE_OTHER]);
	return DV_OK;
}

#define FILE_PAGES_MAX 64
#define ZEROES	       (-1)

/* Which original page stands at each place after the action; ZEROES for a hole. */
static unsigned effect(const struct dv_action *a, unsigned n, int map[FILE_PAGES_MAX])
{
	unsigned i, end = a ? a->first + a->count : 0;

	for (i = 0; i < FILE_PAGES_MAX; i++)
		map[i] = i < n ? (int)i : ZEROES;
	if (!a)
		return n;
	switch (a->kind) {
	case DV_ACT_TRUNCATE:
	case DV_ACT_URING_TRUNCATE:
		return a->first + (a->skip > 0);
	case DV_ACT_OPEN_TRUNC:
	case DV_ACT_URING_OPEN_TRUNC:
	case DV_ACT_SWAP_BOOT: /* nothing was swapped before: that inode is empty */
		return 0;
	case DV_ACT_REFLINK:
	case DV_ACT_COPY_RANGE:
	case DV_ACT_EXCHANGE:
	case DV_ACT_SWAPEXT:
		for (i = 0; i < n; i++)
			map[i] = DV_PAIR_INDEX + (int)i;
		return n;
	case DV_ACT_WRITE:
		for (i = a->first; i < end; i++)
			map[i] = DV_PAIR_INDEX + (int)i;
		return n;
	case DV_ACT_PUNCH:
	case DV_ACT_URING_PUNCH:
	case DV_ACT_URING_MADV_REMOVE:
	case DV_ACT_ZERO_RANGE:
	case DV_ACT_MADV_REMOVE:
		for (i = a->first; i < end; i++)
			map[i] = ZEROES;
		return n;
	case DV_ACT_COLLAPSE:
		for (i = a->first; i < FILE_PAGES_MAX; i++)
			map[i] = (int)(i + a->count);
		return n - a->count;
	case DV_ACT_INSERT:
		for (i = a->first; i < FILE_PAGES_MAX; i++)
			map[i] = i < end ? ZEROES : (int)(i - a->count);
		return n + a->count;
	default:
		return n;
	}
}

static bool page_fits(struct dv_ctx *c, const struct dv_rig *r, const uint8_t *page,
		      int want)
{
	enum dv_page_is is = dv_page_look(page, want == ZEROES ? 0 : (unsigned)want);
	bool pinned = want >= (int)r->span.first && r->state != DV_ST_OTHER_FILE &&
		      want < (int)(r->span.first + r->span.count);

	if (want == ZEROES || dv_rig_is_hole(r))
		return is == DV_PAGE_ZERO;
	if (pinned && c->grip->by->into)
		return is == DV_PAGE_DEVICE;
	return is == (pinned ? DV_PAGE_PROVEN : DV_PAGE_ORIGINAL);
}

/* Is the file what the action leaves (NULL: what it was)? Never while a page is held. */
void dv_rig_judge_file(struct dv_ctx *c, struct dv_rig *r, const char *name,
		       const struct dv_action *after)
{
	int map[FILE_PAGES_MAX], fd = open(r->path, O_RDONLY | O_CLOEXEC), err = errno;
	unsigned n = effect(after, r->npages, map), i, wrong = 0;
	size_t page = dv_page_size(), size = n * page, len;
	struct stat st = {0};
	uint8_t *buf = malloc(page);

	if (fd < 0 || !buf || fstat(fd, &st)) {
		dv_oracle(c, false, DV_SYM_NONE, name, "the file can be read", "%s",
			  fd < 0 ? strerrorname_np(err) : "it can not");
	} else {
		if (after && after->kind == DV_ACT_TRUNCATE && after->skip)
			size = after->first * page + after->skip;
		for (i = 0; i < n && i < FILE_PAGES_MAX; i++) {
			len = size - i * page < page ? size - i * page : page;
			if (dv_read_all(fd, buf, len, (off_t)(i * page)) ||
			    (!is_cut_page(r, after, buf, len, i) &&
			     (len < page || !page_fits(c, r, buf, map[i]))))
				wrong++;
		}
		dv_oracle(c, !wrong && st.st_size == (off_t)size, DV_SYM_NONE, name,
			  after ? "size and content as the action leaves them"
				: "size and content as they were",
			  "%lld bytes of %lld, %u pages wrong", (long long)st.st_size,
			  (long long)size, wrong);
	}
	if (fd >= 0)
		close(fd);
	free(buf);
}
