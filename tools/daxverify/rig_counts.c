/* SPDX-License-Identifier: BSD-3-Clause */
/* The counts of the pages that a rig holds: while they are held, and when nobody does. */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "rig.h"

#include <string.h>

/* How many processes have the pages mapped in each state, once they are pinned. */
static const unsigned maps_of[] = {
	[DV_ST_MAPPED] = 1,    [DV_ST_READONLY] = 1,	     [DV_ST_PRIVATE] = 1,
	[DV_ST_ELSEWHERE] = 1, [DV_ST_OTHER_FILE] = 1,	     [DV_ST_MREMAPPED] = 1,
	[DV_ST_FORKED] = 1,    [DV_ST_MANY] = 1 + DV_OTHERS, [DV_ST_UNWRITTEN_STORED] = 1,
};

static unsigned page_of(const struct dv_rig *r, unsigned i)
{
	return r->span.first + i * r->span.stride;
}

/* Why there is no such oracle in this scenario: it says so in its line. */
static void say_without(struct dv_ctx *c)
{
	snprintf(c->res->note, sizeof(c->res->note), "without the counts: %s",
		 dv_missing(c->env, DV_NEED_COUNTS));
}

/*
 * What the holder took of each page. Where that is the kernel's own affair, what the
 * first page shows decides, and the others and all that follows have to fit it.
 */
static void find_takes(const struct dv_ctx *c, struct dv_rig_counts *n)
{
	enum dv_takes takes = c->grip->by->takes;
	struct dv_page_look seen = {0};

	if (takes == DV_TAKES_EITHER) {
		dv_observer_look(c->env->observer, n->pfn[0], &seen);
		takes = seen.pin || seen.ref >= DV_PIN_BIAS ? DV_TAKES_PIN : DV_TAKES_GET;
	}
	n->gets = takes == DV_TAKES_GET || takes == DV_TAKES_GETS;
	n->pins = takes == DV_TAKES_PIN;
}

/*
 * Which pages these are. While the holder still has them mapped: later nothing tells. The
 * holder does nothing for this, and sees nothing of it.
 */
enum dv_verdict dv_rig_counts_find(struct dv_ctx *c, struct dv_rig *r)
{
	struct dv_rig_counts *n = &r->counts;
	int ret;

	if (!dv_counts_on(c)) {
		say_without(c);
		return DV_OK;
	}
	if (dv_rig_is_hole(r) ||
	    r->state == DV_ST_COPIED) /* that is no page of the file */
		return DV_OK;
	for (n->nr = 0; n->nr < r->span.count && n->nr < DV_RIG_COUNTED; n->nr++) {
		ret = dv_pfn_in(r->holder.pid, r->pinned, page_of(r, n->nr),
				&n->pfn[n->nr]);
		if (ret) {
			n->nr = 0;
			return dv_broken(c, "cannot tell which page is pinned: %s",
					 strerror(-ret));
		}
	}
	n->maps = r->state < DV_COUNT(maps_of) ? maps_of[r->state] : 0;
	find_takes(c, n);
	return DV_OK;
}

/* Pages that one large entry maps share their counts: a pin of each is a pin of all. */
static unsigned sharers(const struct dv_ctx *c, const struct dv_rig_counts *n, unsigned i)
{
	struct dv_page_look a = {0}, b = {0};
	unsigned j, nr = 0;

	if (dv_observer_look(c->env->observer, n->pfn[i], &a) || !a.order)
		return 1;
	for (j = 0; j < n->nr; j++) {
		if (dv_observer_look(c->env->observer, n->pfn[j], &b) == 0)
			nr += b.head_pfn == a.head_pfn;
	}
	return nr;
}

/* Where a holder takes one reference or more: as many as there are, but one at least. */
static unsigned some_gets(const struct dv_ctx *c, uint64_t pfn, struct dv_uses u)
{
	struct dv_page_look want, seen = {0};

	dv_observer_look(c->env->observer, pfn, &seen);
	u.gets = 0;
	want = dv_scheme_expect(c->env->scheme, seen.order, u);
	return seen.ref > want.ref ? (unsigned)(seen.ref - want.ref) : 1;
}

static void judge(struct dv_ctx *c, const struct dv_rig *r, const char *name,
		  const char *expected, struct dv_uses u)
{
	const struct dv_rig_counts *n = &r->counts;
	struct dv_page_look want, seen, odd_want = {0}, odd = {0};
	unsigned i, nr, wrong = 0, at = 0;
	struct dv_uses all;

	if (!n->nr)
		return;
	for (i = 0; i < n->nr; i++) {
		all = u;
		nr = sharers(c, n, i);
		all.gets *= nr;
		all.pins *= nr;
		if (u.gets && c->grip->by->takes == DV_TAKES_GETS)
			all.gets = some_gets(c, n->pfn[i], all);
		if (!dv_counts_fit(c, n->pfn[i], all, &want, &seen) && !wrong++) {
			at = i;
			odd = seen;
			odd_want = want;
		}
	}
	if (!wrong)
		dv_oracle(c, true, DV_SYM_NONE, name, expected,
			  "so it is, for %u pages: count %d, mapcount %d", n->nr,
			  seen.ref, seen.map);
	else if (odd.error)
		dv_oracle(c, false, DV_SYM_NONE, name, expected,
			  "those of page %u can't be read: %s", page_of(r, at),
			  strerror(-odd.error));
	else
		dv_oracle(
			c, false, DV_SYM_NONE, name, expected,
			"not so for %u of %u; page %u: count %d for %d, mapcount %d for "
			"%d, pincount %d for %d",
			wrong, n->nr, page_of(r, at), odd.ref, odd_want.ref, odd.map,
			odd_want.map, odd.pin, odd_want.pin);
}

static struct dv_uses uses(const struct dv_rig_counts *n)
{
	return (struct dv_uses){.maps = n->maps, .gets = n->gets, .pins = n->pins};
}

void dv_rig_counts_pinned(struct dv_ctx *c, struct dv_rig *r)
{
	judge(c, r, "counts when pinned",
	      "the pin and the mappings, if those are counted", uses(&r->counts));
}

/* What has no business with the mappings of the file, and leaves them. */
static bool leaves_mappings(const struct dv_action *a)
{
	switch (a->kind) {
	case DV_ACT_WRITE:
	case DV_ACT_DROP_CACHES:
	case DV_ACT_FREEZE:
	case DV_ACT_REMOUNT:
	case DV_ACT_SWAP_BOOT: /* that is its defect; where it waits it has taken them */
		return true;
	default:
		return false;
	}
}

/*
 * What breaks the layout has taken all mappings of its file away, and may have gone on;
 * the pin it can't take away. And when it waits, then because it has found a page busy.
 */
void dv_rig_counts_held(struct dv_ctx *c, struct dv_rig *r)
{
	int64_t busy = -ENOENT;

	if (r->state != DV_ST_OTHER_FILE &&
	    (r->seen == DV_SEEN_ASLEEP || !leaves_mappings(r->actor.action)))
		r->counts.maps = 0;
	judge(c, r, "counts while held", "the pin, and the mappings that are left",
	      uses(&r->counts));
	if (dv_counts_on(c))
		busy = dv_events_of(c, r->actor.pid, DV_EV_BUSY);
	if (busy >= 0 && (r->seen == DV_SEEN_ASLEEP || c->sc->expect == DV_EXPECT_PASS))
		dv_oracle(c, (busy > 0) == (r->seen == DV_SEEN_ASLEEP), DV_SYM_NONE,
			  "busy page",
			  r->seen == DV_SEEN_ASLEEP ? "the kernel finds the page busy"
						    : "the kernel finds no page busy",
			  "found %lld times", (long long)busy);
}

void dv_rig_counts_idle(struct dv_ctx *c, struct dv_rig *r)
{
	judge(c, r, "counts at the end", "no pin is left, and none too many is gone",
	      (struct dv_uses){.maps = r->counts.maps});
}
