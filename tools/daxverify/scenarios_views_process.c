/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is added up for a process with a file on DAX in its memory, and what else is told
 * of it: RssFile, VmLck, VmFlags, and the machine's own lists of pages.
 */
#include "daxverify.h"

#include "file.h"
#include "view.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static bool is_huge(const struct dv_ctx *c)
{
	return c->sc->needs & DV_NEED_HUGE;
}

static void touch(struct dv_ctx *c, char *page, bool store)
{
	volatile char *p = page + 512;

	if (dv_sabotaged(c, DV_SAB_NO_TOUCH))
		return;
	if (store)
		*p = *p;
	else
		(void)*p;
}

/*
 * Kernels add up by CPU and tell the sum to within some dozens of pages (percpu_counter):
 * so on one CPU, and with as many pages that it does not matter.
 */
#define RSS_PAGES 1024u

static int stay_on_one_cpu(void)
{
	int cpu = sched_getcpu();
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)(cpu < 0 ? 0 : cpu), &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

static void judge_rss(struct dv_ctx *c, const char *name, long before, unsigned pages)
{
	long half = (long)(RSS_PAGES * dv_page_size() / 2048), now, want;
	bool count = c->env->scheme == DV_SCHEME_IDLE_0;

	if (dv_sabotaged(c, DV_SAB_WRONG_SCHEME))
		count = !count;
	want = count ? (long)(pages * dv_page_size() / 1024) : 0;
	now = dv_view_status("RssFile") - before;
	dv_oracle(c, now > want - half && now < want + half, DV_SYM_NONE, name,
		  count ? "each page is added to RssFile while it is mapped"
			: "no page is added to RssFile",
		  "%ld KiB more, for %u pages", now, pages);
}

static enum dv_verdict run_rss(struct dv_ctx *c)
{
	size_t len = RSS_PAGES * dv_page_size();
	char path[PATH_MAX], *p;
	int fd, ret = dv_path(c, path, "many");
	unsigned i;
	long before;

	if (!ret)
		ret = stay_on_one_cpu();
	if (!ret)
		ret = dv_file_make(path, RSS_PAGES);
	fd = ret ? -1 : open(path, O_RDWR | O_CLOEXEC);
	before = dv_view_status("RssFile");
	p = fd < 0 ? MAP_FAILED : dv_map_dax(fd, len, false);
	if (p == MAP_FAILED)
		return dv_broken(c, "cannot map %u pages: %s", RSS_PAGES,
				 strerror(ret ? -ret : errno));
	if (!is_huge(c))
		madvise(p, len, MADV_NOHUGEPAGE);
	for (i = 0; i < RSS_PAGES; i++)
		touch(c, p + i * dv_page_size(), i % 2);
	judge_rss(c, "touched", before, RSS_PAGES);
	munmap(p, len);
	judge_rss(c, "unmapped", before, 0);
	return DV_OK;
}

/* DAX is never locked, as it can't be swapped out; but mlock(2) faults all of it in. */
static enum dv_verdict run_lock(struct dv_ctx *c)
{
	long before = dv_view_status("VmLck"), now;
	struct dv_counted t;
	struct dv_view v;
	enum dv_verdict verdict = (enum dv_verdict)dv_counted_begin(c, &t);
	unsigned npages = (unsigned)(t.len / dv_page_size());
	int ret;

	if (verdict != DV_OK)
		return verdict;
	munmap(t.map, t.len);
	if (dv_sabotaged(c, DV_SAB_NO_DAX))
		t.fd = memfd_create("daxverify", MFD_CLOEXEC);
	ret = ftruncate(t.fd, (off_t)t.len) ? -errno : dv_counted_map(&t);
	if (ret)
		return dv_broken(c, "cannot map the file: %s", strerror(-ret));
	ret = dv_sabotaged(c, DV_SAB_NO_TOUCH) || mlock(t.map, t.len) == 0 ? 0 : -errno;
	dv_oracle(c, ret == 0, DV_SYM_NONE, "mlock", "succeeds", "%s",
		  ret ? strerrorname_np(-ret) : "success");
	now = dv_view_status("VmLck");
	dv_oracle(c, now == before && !dv_view_has_flag(t.map, "lo"), DV_SYM_NONE,
		  "VmLck", "as before: such memory is not locked", "%ld KiB, before %ld",
		  now, before);
	ret = dv_view_take(t.map, t.len, t.page, &v);
	if (ret)
		return dv_broken(c, "cannot look at the mapping: %s", strerror(-ret));
	dv_oracle(c, v.present == npages && v.in_core == npages, DV_SYM_NONE,
		  "faulted in", "all pages", "%u of %u present, %u in core", v.present,
		  npages, v.in_core);
	return DV_OK;
}

static enum dv_verdict run_flags(struct dv_ctx *c)
{
	struct dv_counted t;
	enum dv_verdict v = (enum dv_verdict)dv_counted_begin(c, &t);
	bool plain, sync, sabotaged = dv_sabotaged(c, DV_SAB_NO_DAX);
	void *p;

	if (v != DV_OK)
		return v;
	plain = dv_view_has_flag(t.map, "sf");
	p = dv_map_dax(t.fd, t.len, !sabotaged);
	if (p == MAP_FAILED)
		return dv_broken(c, "cannot map the file: %s", strerror(errno));
	sync = dv_view_has_flag(p, "sf");
	dv_oracle(c, sync && !plain, DV_SYM_NONE, "VmFlags",
		  "sf for a mapping with MAP_SYNC, and for no other",
		  "with MAP_SYNC: %s, without: %s", sync ? "sf" : "none",
		  plain ? "sf" : "none");
	sync = dv_view_has_flag(p, "sh");
	dv_oracle(c, sync, DV_SYM_NONE, "shared", "sh, as any shared mapping", "%s",
		  sync ? "sh" : "none");
	return DV_OK;
}

/*
 * One word of a list of all pages of the machine: 1, or 0 where the list ends before. It
 * need not go further than the last page of main memory.
 */
static int page_word(const char *list, uint64_t pfn, uint64_t *word)
{
	int fd = open(list, O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	*word = 0;
	ret = dv_read_all(fd, word, sizeof(*word), (off_t)(pfn * sizeof(*word)));
	close(fd);
	return ret == -ENODATA ? 0 : ret ? ret : 1;
}

#define KPF_NOPAGE (UINT64_C(1) << 20)

/* Sabotage: a page of main memory. */
static uint64_t main_memory(void)
{
	static volatile char byte;
	uint64_t pfn = 0;

	byte = 1;
	dv_pfn_at(getpid(), (void *)&byte, &pfn);
	return pfn;
}

static enum dv_verdict run_lists(struct dv_ctx *c)
{
	uint64_t count = 0, flags = 0, pfn;
	struct dv_counted t;
	enum dv_verdict v = (enum dv_verdict)dv_counted_begin(c, &t);
	int ret, listed;

	if (v != DV_OK)
		return v;
	pfn = dv_sabotaged(c, DV_SAB_NO_DAX) ? main_memory() : t.pfn;
	listed = page_word("/proc/kpagecount", pfn, &count);
	ret = listed < 0 ? listed : page_word("/proc/kpageflags", pfn, &flags);
	if (ret == -ENOENT)
		return dv_skip(c, "this kernel has no /proc/kpagecount");
	if (ret < 0)
		return dv_broken(c, "cannot look the page up: %s", strerror(-ret));
	dv_oracle(c, count == 0, DV_SYM_NONE, "kpagecount", "0, though it is mapped",
		  "%llu%s", (unsigned long long)count, listed ? "" : ", not in the list");
	dv_oracle(c, flags == 0 || flags == KPF_NOPAGE, DV_SYM_NONE, "kpageflags",
		  "none, or NOPAGE alone", "%#llx%s", (unsigned long long)flags,
		  ret ? "" : ", not in the list");
	return DV_OK;
}

#define NEEDS (DV_NEED_DAX | DV_NEED_ROOT | DV_NEED_COUNTS)
#define HUGE  (NEEDS | DV_NEED_HUGE)

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{.name = "view-rss",
	 .claim = "pages are added to the process's RssFile where mappings are counted, and taken "
		  "off again",
	 .needs = NEEDS, .run = run_rss},
	{.name = "view-lock",
	 .claim = "mlock succeeds and faults all pages in, and counts none of them as locked",
	 .needs = NEEDS, .run = run_lock},
	{.name = "view-flags",
	 .claim = "smaps tells a mapping with MAP_SYNC from one without",
	 .needs = NEEDS | DV_NEED_MAP_SYNC, .run = run_flags},
	{.name = "view-lists",
	 .claim = "the lists of the machine's pages say nothing of a page of DAX, mapped or not",
	 .needs = NEEDS, .run = run_lists},
	{.name = "view-huge-rss",
	 .claim = "entries of 2 MiB are added to RssFile where mappings are counted, and taken off "
		  "again",
	 .needs = HUGE, .run = run_rss},
	{.name = "view-huge-lock",
	 .claim = "mlock succeeds with entries of 2 MiB, and counts none of them as locked",
	 .needs = HUGE, .run = run_lock},
	/* clang-format on */
};

const struct dv_group dv_group_views_process = {scenarios, DV_COUNT(scenarios)};
