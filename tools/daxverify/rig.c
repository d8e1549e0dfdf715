/* SPDX-License-Identifier: BSD-3-Clause */
/* A file, a pin on some of its pages in one of the states, and an action on the file. */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "file.h"
#include "rig.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct dv_span dv_one_page = {DV_PIN_PAGE, 1, 1};

/* What the holder does, in order, until the mapping is in the state. */
static const enum dv_hop steps[][8] = {
	[DV_ST_MAPPED] = {DV_HOP_MAP, DV_HOP_STORE, DV_HOP_PIN, DV_HOP_QUIT},
	[DV_ST_READONLY] = {DV_HOP_MAP, DV_HOP_LOAD, DV_HOP_PIN, DV_HOP_QUIT},
	[DV_ST_PRIVATE] = {DV_HOP_MAP, DV_HOP_LOAD, DV_HOP_PIN, DV_HOP_QUIT},
	[DV_ST_DONTNEED] = {DV_HOP_MAP, DV_HOP_STORE, DV_HOP_PIN, DV_HOP_DONTNEED,
			    DV_HOP_QUIT},
	[DV_ST_ELSEWHERE] = {DV_HOP_MAP, DV_HOP_STORE, DV_HOP_PIN, DV_HOP_UNMAP,
			     DV_HOP_CLOSE, DV_HOP_QUIT},
	[DV_ST_UNMAPPED] = {DV_HOP_MAP, DV_HOP_STORE, DV_HOP_PIN, DV_HOP_UNMAP,
			    DV_HOP_CLOSE, DV_HOP_QUIT},
	[DV_ST_HOLE] = {DV_HOP_MAP, DV_HOP_LOAD, DV_HOP_PIN, DV_HOP_QUIT},
	[DV_ST_OTHER_FILE] = {DV_HOP_MAP, DV_HOP_STORE, DV_HOP_PIN, DV_HOP_QUIT},
	[DV_ST_MREMAPPED] = {DV_HOP_MAP, DV_HOP_STORE, DV_HOP_PIN, DV_HOP_MREMAP,
			     DV_HOP_LOAD, DV_HOP_QUIT},
	[DV_ST_FORKED] = {DV_HOP_MAP, DV_HOP_STORE, DV_HOP_PIN, DV_HOP_FORK, DV_HOP_QUIT},
	[DV_ST_EXITED] = {DV_HOP_MAP, DV_HOP_STORE, DV_HOP_PIN, DV_HOP_EXIT, DV_HOP_QUIT},
	[DV_ST_MANY] = {DV_HOP_MAP, DV_HOP_STORE, DV_HOP_PIN, DV_HOP_QUIT},
	[DV_ST_UNWRITTEN_LOADED] = {DV_HOP_MAP, DV_HOP_LOAD, DV_HOP_PIN, DV_HOP_QUIT},
	[DV_ST_UNWRITTEN_STORED] = {DV_HOP_MAP, DV_HOP_STORE, DV_HOP_PIN, DV_HOP_QUIT},
	[DV_ST_COPIED] = {DV_HOP_MAP, DV_HOP_STORE, DV_HOP_PIN, DV_HOP_QUIT},
};

static const char *const step_names[] = {
	[DV_HOP_MAP] = "map the file",
	[DV_HOP_LOAD] = "load from the page",
	[DV_HOP_STORE] = "store to the page",
	[DV_HOP_PIN] = "hold the page",
	[DV_HOP_DONTNEED] = "MADV_DONTNEED",
	[DV_HOP_UNMAP] = "munmap",
	[DV_HOP_CLOSE] = "close the file",
	[DV_HOP_QUIT] = "quit",
	[DV_HOP_MREMAP] = "mremap",
	[DV_HOP_FORK] = "fork",
	[DV_HOP_EXIT] = "exit",
};

static bool is_unwritten(const struct dv_rig *r)
{
	return r->state == DV_ST_UNWRITTEN_LOADED || r->state == DV_ST_UNWRITTEN_STORED;
}

bool dv_rig_is_hole(const struct dv_rig *r)
{
	return r->state == DV_ST_HOLE || r->state == DV_ST_UNWRITTEN_LOADED;
}

static enum dv_verdict make_files(struct dv_ctx *c, struct dv_rig *r)
{
	static const struct dv_span none = {0, 0, 1};
	int ret;

	if (dv_path(c, r->path, "file") || dv_path(c, r->pinned, "pinned"))
		return dv_broken(c, "the path of the test folder is too long");
	if (r->state == DV_ST_HOLE)
		ret = dv_file_sparse(r->path, r->npages);
	else
		ret = dv_file_make_at(r->path, r->npages,
				      is_unwritten(r)	   ? &none
				      : r->span.stride > 1 ? &r->span
							   : NULL);
	if (!ret && r->state == DV_ST_OTHER_FILE)
		ret = dv_file_make(r->pinned, r->npages);
	else
		memcpy(r->pinned, r->path, sizeof(r->pinned));
	if (ret)
		return dv_broken(c, "cannot make a file of %u pages in %s: %s", r->npages,
				 c->folder, strerror(-ret));
	return DV_OK;
}

/* The pages have just been pinned, and are still mapped. */
static enum dv_verdict pinned(struct dv_ctx *c, struct dv_rig *r)
{
	if (c->sc->needs & DV_NEED_HUGE &&
	    !dv_mapped_huge_in(r->holder.pid, r->pinned, r->span.first))
		return dv_broken(c, DV_NO_HUGE);
	return dv_rig_counts_find(c, r);
}

static enum dv_verdict run_steps(struct dv_ctx *c, struct dv_rig *r)
{
	const enum dv_hop *op;
	enum dv_verdict v;
	int ret;

	for (op = steps[r->state]; *op != DV_HOP_QUIT; op++) {
		ret = *op == DV_HOP_FORK || *op == DV_HOP_EXIT
			      ? dv_holder_leave(&r->holder, *op, &r->span)
			      : dv_holder_do(&r->holder, *op, &r->span);
		if (*op == DV_HOP_PIN && dv_hold_limited(ret))
			return dv_skip(c, DV_HOLD_LIMITED);
		if (ret && *op == DV_HOP_PIN)
			return dv_broken(c, "%s could not hold the page: %s",
					 c->grip->by->words, strerror(-ret));
		if (ret)
			return dv_broken(c, "the holder could not %s: %s",
					 step_names[*op], strerror(-ret));
		if (*op == DV_HOP_PIN && (v = pinned(c, r)) != DV_OK)
			return v;
	}
	return DV_OK;
}

/* Other processes keep the file mapped and touched, and pin nothing. */
static enum dv_verdict start_others(struct dv_ctx *c, struct dv_rig *r,
				    struct dv_hold *hold)
{
	unsigned nr = r->state == DV_ST_MANY ? DV_OTHERS : r->state == DV_ST_ELSEWHERE, i;
	int ret = 0;

	for (i = 0; i < nr && !ret; i++) {
		ret = dv_holder_start(&r->others[i], hold);
		if (!ret)
			ret = dv_holder_do(&r->others[i], DV_HOP_MAP, &r->span);
		if (!ret)
			ret = dv_holder_do(&r->others[i], DV_HOP_LOAD, &r->span);
	}
	return ret ? dv_broken(c, "cannot map the file in another process: %s",
			       strerror(-ret))
		   : DV_OK;
}

static enum dv_verdict check_pin(struct dv_ctx *c, struct dv_rig *r)
{
	int ret = 0;

	if (!dv_rig_held(c, r))
		return dv_broken(c, "the %u pages are not in %s", r->span.count,
				 c->grip->by->place);
	/* After the pin: what is shown has it only if the page itself is held. */
	if (r->state == DV_ST_UNWRITTEN_STORED)
		ret = dv_file_write(r->pinned, r->npages);
	if (!ret && !dv_rig_is_hole(r))
		ret = dv_file_prove(r->pinned, &r->span);
	if (!ret && dv_sabotaged(c, DV_SAB_CORRUPT_CANARY))
		ret = dv_file_spoil(r->pinned, r->span.first);
	return ret ? dv_broken(c, "cannot write to the pinned page: %s", strerror(-ret))
		   : DV_OK;
}

/*
 * Make the file, start the holder and take it to the scenario's state. On DV_OK the pages
 * are held.
 */
enum dv_verdict dv_rig_build(struct dv_ctx *c, struct dv_rig *r, unsigned npages,
			     const struct dv_span *span)
{
	struct dv_hold hold = {.state = c->sc->state,
			       .npages = npages,
			       .grip = c->grip,
			       .sync = c->env->facts.map_sync,
			       .copy_only = dv_sabotaged(c, DV_SAB_NO_PIN)};
	enum dv_verdict v;
	int ret;

	memset(r, 0, sizeof(*r));
	r->state = c->sc->state;
	r->npages = npages;
	r->span = *span;
	r->content = calloc(span->count, dv_page_size());
	if (!r->content)
		return dv_broken(c, "out of memory");
	v = make_files(c, r);
	if (v != DV_OK)
		return v;
	memcpy(hold.path, r->pinned, sizeof(hold.path));
	v = start_others(c, r, &hold);
	if (v != DV_OK)
		return v;
	ret = dv_holder_start(&r->holder, &hold);
	if (ret)
		return dv_broken(c, "cannot start the holder: %s", strerror(-ret));
	v = run_steps(c, r);
	if (v == DV_OK)
		v = check_pin(c, r);
	if (v == DV_OK)
		dv_rig_counts_pinned(c, r);
	return v;
}

/* What was held is held. */
bool dv_rig_held(struct dv_ctx *c, const struct dv_rig *r)
{
	return c->grip->held == r->span.count * dv_page_size() &&
	       c->grip->by->held(c->grip);
}

enum dv_verdict dv_rig_begin(struct dv_ctx *c, struct dv_rig *r,
			     const struct dv_action *action, enum dv_handler handler)
{
	enum dv_verdict v = dv_rig_build(c, r, DV_FILE_PAGES, &dv_one_page);

	return v == DV_OK ? dv_rig_act(c, r, action, handler) : v;
}

/* Let the pages go, keeping what they showed. */
int dv_rig_release(struct dv_ctx *c, struct dv_rig *r)
{
	int ret;

	if (r->released)
		return 0;
	r->release_ns = dv_now_ns();
	ret = dv_grip_release(c->grip, r->content, r->span.count * dv_page_size(),
			      &r->content_len);
	r->released = !ret;
	return ret;
}

/* Start the action and watch it until it has ended or is seen to wait. */
enum dv_verdict dv_rig_act(struct dv_ctx *c, struct dv_rig *r,
			   const struct dv_action *action, enum dv_handler handler)
{
	char over[PATH_MAX + 8];
	int ret = 0;

	if (dv_sabotaged(c, DV_SAB_EARLY_DRAIN))
		ret = dv_rig_release(c, r);
	if (!ret && dv_action_renames(action->kind)) {
		snprintf(over, sizeof(over), "%s.new", r->path);
		ret = dv_file_make(over, 1);
	}
	if (!ret && dv_action_has_pair(action->kind)) {
		ret = dv_pair_make(r->path, r->npages, action->kind);
		ret = ret == -EEXIST ? 0 : ret; /* made by then, for the inodes' order */
	}
	if (!ret)
		ret = dv_actor_start(c, &r->actor, action, r->path, handler);
	if (ret)
		return dv_broken(c, "cannot start %s: %s", action->name, strerror(-ret));
	r->seen = dv_actor_watch(&r->actor);
	if (r->seen == DV_SEEN_DONE && !r->actor.shm->started)
		return dv_broken(c, "%s: cannot open the file: %s", action->name,
				 strerror(r->actor.shm->err));
	return DV_OK;
}
