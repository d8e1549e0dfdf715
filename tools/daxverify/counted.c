/* SPDX-License-Identifier: BSD-3-Clause */
/* A file of which one page is watched: what the scenarios on counts have in common. */
#include "daxverify.h"

#include "file.h"
#include "rig.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int dv_counted_map(struct dv_counted *t)
{
	t->map = dv_map_dax(t->fd, t->len, false);
	if (t->map == MAP_FAILED)
		return -errno;
	t->page = t->map + DV_PIN_PAGE * dv_page_size();
	return 0;
}

void dv_counted_store(struct dv_counted *t)
{
	volatile char *p = t->page + 512;

	*p = *p;
}

/* Sabotage: a reference that the test does not know of. */
static int extra_pin(struct dv_ctx *c, struct dv_counted *t)
{
	struct iovec iov = {.iov_base = t->page, .iov_len = dv_page_size()};

	if (!dv_sabotaged(c, DV_SAB_EXTRA_PIN))
		return 0;
	return vmsplice(c->tee_w, &iov, 1, SPLICE_F_NONBLOCK) < 0 ? -errno : 0;
}

static int make(struct dv_ctx *c, struct dv_counted *t, unsigned npages)
{
	int ret = dv_path(c, t->path, "file");

	return ret ? ret : dv_file_make(t->path, npages);
}

static int map(struct dv_counted *t)
{
	t->fd = open(t->path, O_RDWR | O_CLOEXEC);
	return t->fd < 0 ? -errno : dv_counted_map(t);
}

/* The pages of device DAX are compound from its start on, in all kernels since 5.17. */
static int find_page(const struct dv_ctx *c, struct dv_counted *t)
{
	struct dv_page_look seen;
	int ret = dv_pfn_at(getpid(), t->page, &t->pfn);

	if (ret)
		return ret;
	t->shared = c->sc->needs & DV_NEED_HUGE && c->env->scheme == DV_SCHEME_IDLE_0;
	if (!(c->sc->needs & DV_NEED_DEVICE_DAX))
		return 0;
	t->base = 1;
	ret = dv_observer_look(c->env->observer, t->pfn, &seen);
	t->shared = seen.order > 0;
	return ret;
}

int dv_counted_begin(struct dv_ctx *c, struct dv_counted *t)
{
	bool device = c->sc->needs & DV_NEED_DEVICE_DAX,
	     huge = c->sc->needs & DV_NEED_HUGE;
	unsigned npages = device || huge ? DV_HUGE_PAGES : DV_FILE_PAGES;
	int ret = 0;

	memset(t, 0, sizeof(*t));
	t->len = npages * dv_page_size();
	if (device)
		snprintf(t->path, sizeof(t->path), "%s", c->env->opt.device_dax);
	else
		ret = make(c, t, npages);
	if (!ret)
		ret = map(t);
	if (ret)
		return dv_broken(c, "cannot map %u pages of %s: %s", npages,
				 device ? t->path : "a file", strerror(-ret));
	dv_counted_store(t);
	if (huge && !dv_mapped_huge(t->page))
		return dv_broken(c, DV_NO_HUGE);
	ret = find_page(c, t);
	if (!ret)
		ret = extra_pin(c, t);
	return ret ? dv_broken(c, "cannot tell which page is mapped: %s", strerror(-ret))
		   : DV_OK;
}

void dv_counted_judge(struct dv_ctx *c, const struct dv_counted *t, const char *name,
		      unsigned maps, unsigned gets, unsigned pins)
{
	const struct dv_uses u = {
		.base = t->base, .maps = maps, .gets = gets, .pins = pins};

	dv_counts_judge(c, name, t->pfn, u);
}
