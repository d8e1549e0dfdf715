/* SPDX-License-Identifier: BSD-3-Clause */
/* A device's driver goes while its memory is in use. */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "file.h"

#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

static sigjmp_buf after_signal;

static void on_sigbus(int sig)
{
	siglongjmp(after_signal, sig);
}

bool dv_store_fails(volatile char *p)
{
	int sig;

	signal(SIGBUS, on_sigbus);
	sig = sigsetjmp(after_signal, 1);
	if (!sig)
		*p = 1;
	signal(SIGBUS, SIG_DFL);
	return sig == SIGBUS;
}

static bool is_held(enum dv_tear_use use)
{
	return use == DV_TEAR_HELD || use == DV_TEAR_PINNED || use == DV_TEAR_UNMOUNTED;
}

static bool is_mapped(enum dv_tear_use use)
{
	return use == DV_TEAR_MAPPED || use == DV_TEAR_PINNED;
}

int dv_tear_hold(struct dv_ctx *c, struct dv_tear *t)
{
	struct iovec iov = {.iov_base = t->page, .iov_len = dv_page_size()};
	int ret = 0;

	if (t->use == DV_TEAR_PINNED)
		ret = dv_pinner_start(&t->pinner, t->page, 1);
	else if (is_held(t->use))
		ret = dv_grip_hold(c->grip, &iov, 1);
	if (ret == -EOPNOTSUPP)
		return dv_skip(c, "%s does not hold such memory here",
			       c->grip->by->words);
	if (ret)
		return c->grip->why[0]
			       ? dv_skip(c, "%s", c->grip->why)
			       : dv_broken(c, "cannot hold a page: %s", strerror(-ret));
	if (is_held(t->use))
		dv_page_prove(t->page, t->index);
	if (!is_mapped(t->use))
		munmap(t->map, t->len);
	return DV_OK;
}

static void judge_unbind(struct dv_ctx *c, const struct dv_tear *t)
{
	const struct dv_actor *a = t->actor;
	const char *end = t->waits	    ? "asleep in "
			  : a->shm->ret < 0 ? "refused with "
					    : "it ended at once";
	const char *how = t->waits	    ? a->sight.where
			  : a->shm->ret < 0 ? strerrorname_np(a->shm->err)
					    : "";

	if (is_held(t->use))
		dv_oracle(c, t->waits || a->shm->ret < 0, DV_SYM_PASSED_PIN, "waits",
			  "the driver stays until the page is let go", "%s%s", end, how);
	else
		dv_oracle(c, !t->waits && a->shm->ret >= 0, DV_SYM_NONE, "unbind",
			  "the driver goes", "%s%s", end, how);
}

int dv_tear_unbind(struct dv_ctx *c, struct dv_tear *t, struct dv_actor *a)
{
	t->actor = a;
	t->waits = false;
	/* Sabotage: it stays. */
	if (dv_sabotaged(c, DV_SAB_NO_SIGNAL))
		return DV_OK;
	if (dv_actor_start(c, a, &dv_unbind, "", DV_HANDLER_NONE))
		return dv_broken(c, "cannot unbind %s", c->shm->driver.device);
	t->waits = dv_actor_watch(a) != DV_SEEN_DONE;
	judge_unbind(c, t);
	return DV_OK;
}

bool dv_tear_is_gone(const struct dv_tear *t)
{
	return !t->waits && (!t->actor->shm || t->actor->shm->ret >= 0);
}

void dv_tear_touch(struct dv_ctx *c, struct dv_tear *t)
{
	bool failed;

	if (!is_mapped(t->use))
		return;
	if (dv_tear_is_gone(t)) {
		failed = dv_store_fails(t->map);
		dv_oracle(c, failed, DV_SYM_PASSED_PIN, "store", "SIGBUS", "%s",
			  failed ? "SIGBUS"
				 : "it is stored, and no driver has the memory");
	}
	munmap(t->map, t->len);
}

/* What has been read of the page by then is what was stored, the driver there or not. */
static int let_go(struct dv_ctx *c, struct dv_tear *t)
{
	char *shown = calloc(1, dv_page_size());
	size_t got = 0;
	bool good;
	int ret;

	if (!shown)
		return dv_broken(c, "out of memory");
	ret = dv_grip_release(c->grip, shown, dv_page_size(), &got);
	good = !ret && got == dv_page_size() &&
	       dv_page_look(shown, t->index) == DV_PAGE_PROVEN;
	if (c->grip->by->shows)
		dv_oracle(c, good, DV_SYM_LEAK, "content", "what was stored before", "%s",
			  good	? "that"
			  : ret ? strerrorname_np(-ret)
				: "something else");
	free(shown);
	return DV_OK;
}

int dv_tear_release(struct dv_ctx *c, struct dv_tear *t)
{
	int ret = 0, v = DV_OK;

	if (t->use == DV_TEAR_PINNED)
		ret = dv_pinner_end(&t->pinner);
	else if (is_held(t->use))
		v = let_go(c, t);
	if (ret)
		dv_oracle(c, false, DV_SYM_LEAK, "content", "the page is read to its end",
			  "%s", strerrorname_np(-ret));
	if (v == DV_OK && t->waits) {
		ret = dv_actor_wait(t->actor, DV_WAKE_MS, DV_LIMIT_MS);
		dv_oracle(c, !ret, DV_SYM_ASLEEP, "wakes", "the driver goes on", "%s",
			  ret ? "it is still asleep" : "it ended");
	}
	return v;
}
