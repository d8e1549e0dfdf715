/* SPDX-License-Identifier: BSD-3-Clause */
/* A file of which one page is watched: what the scenarios on counts have in common. */
#include "daxverify.h"

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

int dv_counted_begin(struct dv_ctx *c, struct dv_counted *t)
{
	bool huge = c->sc->needs & DV_NEED_HUGE;
	unsigned npages = huge ? DV_HUGE_PAGES : DV_FILE_PAGES;
	int ret = dv_path(c, t->path, "file");

	t->len = npages * dv_page_size();
	if (!ret)
		ret = dv_file_make(t->path, npages);
	t->fd = ret ? -1 : open(t->path, O_RDWR | O_CLOEXEC);
	if (!ret)
		ret = t->fd < 0 ? -errno : dv_counted_map(t);
	if (ret)
		return dv_broken(c, "cannot map a file of %u pages: %s", npages,
				 strerror(-ret));
	dv_counted_store(t);
	if (huge && !dv_mapped_huge(t->page))
		return dv_broken(c, DV_NO_HUGE);
	ret = dv_pfn_at(getpid(), t->page, &t->pfn);
	if (!ret)
		ret = extra_pin(c, t);
	return ret ? dv_broken(c, "cannot tell which page is mapped: %s", strerror(-ret))
		   : DV_OK;
}

void dv_counted_judge(struct dv_ctx *c, const struct dv_counted *t, const char *name,
		      unsigned maps, unsigned gets, unsigned pins)
{
	const struct dv_uses u = {.maps = maps, .gets = gets, .pins = pins};

	dv_counts_judge(c, name, t->pfn, u);
}
