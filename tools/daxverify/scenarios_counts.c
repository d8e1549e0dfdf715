/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What mappings do to the counts of a page. The claims hold for both ways of counting
 * (see counts.h): a mapping is counted in the newer one alone, and comes and goes in both
 * without a trace.
 */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "file.h"
#include "rig.h"

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The counts of a page that is mapped, and is not, fit one of the two ways. */
static enum dv_verdict run_scheme(struct dv_ctx *c)
{
	bool known = c->env->scheme != DV_SCHEME_UNKNOWN;

	if (dv_sabotaged(c, DV_SAB_WRONG_SCHEME))
		known = false;
	dv_oracle(c, known, DV_SYM_NONE, "way of counting",
		  "1 when idle and when mapped, or 0 when idle and 1 when mapped", "%s",
		  c->env->scheme_seen);
	return DV_OK;
}

static enum dv_verdict run_once(struct dv_ctx *c)
{
	struct dv_counted t;
	enum dv_verdict v = dv_counted_begin(c, &t);

	if (v != DV_OK)
		return v;
	dv_counted_judge(c, &t, "mapped", 1, 0, 0);
	munmap(t.map, t.len);
	dv_counted_judge(c, &t, "unmapped", 0, 0, 0);
	if (dv_counted_map(&t))
		return dv_broken(c, "cannot map the file again: %s", strerror(errno));
	dv_counted_judge(c, &t, "mapped, not touched", 0, 0, 0);
	dv_counted_store(&t);
	dv_counted_judge(c, &t, "mapped again", 1, 0, 0);
	munmap(t.map, t.len);
	dv_counted_judge(c, &t, "unmapped again", 0, 0, 0);
	return DV_OK;
}

static enum dv_verdict run_twice(struct dv_ctx *c)
{
	struct dv_counted t, second;
	enum dv_verdict v = dv_counted_begin(c, &t);

	if (v != DV_OK)
		return v;
	second = t;
	if (dv_counted_map(&second))
		return dv_broken(c, "cannot map the file twice: %s", strerror(errno));
	dv_counted_store(&second);
	dv_counted_judge(c, &t, "mapped twice", 2, 0, 0);
	munmap(second.map, second.len);
	dv_counted_judge(c, &t, "one mapping is gone", 1, 0, 0);
	munmap(t.map, t.len);
	dv_counted_judge(c, &t, "both are gone", 0, 0, 0);
	return DV_OK;
}

#define PROCESSES 4

static int start_mapper(struct dv_holder *h, const struct dv_counted *t)
{
	struct dv_hold hold = {.state = DV_ST_MAPPED,
			       .npages = (unsigned)(t->len / dv_page_size())};
	int ret;

	memcpy(hold.path, t->path, sizeof(hold.path));
	ret = dv_holder_start(h, &hold);
	if (!ret)
		ret = dv_holder_do(h, DV_HOP_MAP, &dv_one_page);
	return ret ? ret : dv_holder_do(h, DV_HOP_STORE, &dv_one_page);
}

/* Each of them goes in a way of its own; all ways count the same. */
static int leave(struct dv_holder *h, unsigned i)
{
	int ret = 0;

	if (i == 0)
		return dv_holder_do(h, DV_HOP_UNMAP, &dv_one_page);
	if (i == 1)
		return dv_holder_do(h, DV_HOP_DONTNEED, &dv_one_page);
	if (i == 2)
		dv_holder_do(h, DV_HOP_QUIT, &dv_one_page);
	else
		kill(h->pid, SIGKILL);
	do {
		ret = dv_child_wait(h->pid, DV_LIMIT_MS, NULL);
	} while (ret == -EINTR);
	return ret;
}

static enum dv_verdict run_many(struct dv_ctx *c)
{
	static const char *const after[PROCESSES] = {"one has unmapped it",
						     "one has said MADV_DONTNEED",
						     "one has exited", "one was killed"};
	struct dv_holder h[PROCESSES];
	struct dv_counted t;
	enum dv_verdict v = dv_counted_begin(c, &t);
	unsigned i;
	int ret;

	if (v != DV_OK)
		return v;
	for (i = 0; i < PROCESSES; i++) {
		ret = start_mapper(&h[i], &t);
		if (ret)
			return dv_broken(c, "process %u cannot map the file: %s", i,
					 strerror(-ret));
	}
	dv_counted_judge(c, &t, "mapped by five processes", PROCESSES + 1, 0, 0);
	for (i = 0; i < PROCESSES; i++) {
		ret = leave(&h[i], i);
		if (ret)
			return dv_broken(c, "process %u does not let go: %s", i,
					 strerror(-ret));
		dv_counted_judge(c, &t, after[i], PROCESSES - i, 0, 0);
	}
	munmap(t.map, t.len);
	dv_counted_judge(c, &t, "nobody maps it", 0, 0, 0);
	return DV_OK;
}

/* The child waits for a byte before each step, and answers with one. */
static void forked(struct dv_counted *t, int sock)
{
	char byte;

	if (read(sock, &byte, 1) != 1)
		_exit(1);
	dv_counted_store(t);
	if (write(sock, &byte, 1) != 1 || read(sock, &byte, 1) != 1)
		_exit(1);
	_exit(0);
}

static int step(int sock, bool answer)
{
	char byte = 0;

	if (write(sock, &byte, 1) != 1)
		return -errno;
	return answer && read(sock, &byte, 1) != 1 ? -EPIPE : 0;
}

static enum dv_verdict run_fork(struct dv_ctx *c)
{
	struct dv_counted t;
	enum dv_verdict v = dv_counted_begin(c, &t);
	int sv[2], ret;
	pid_t pid;

	if (v != DV_OK)
		return v;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return dv_broken(c, "cannot make a socket: %s", strerror(errno));
	pid = dv_child_fork();
	if (pid == 0)
		forked(&t, sv[1]);
	if (pid < 0)
		return dv_broken(c, "cannot fork: %s", strerror(errno));
	dv_counted_judge(c, &t, "forked", 1, 0, 0);
	ret = step(sv[0], true);
	dv_counted_judge(c, &t, "touched by the child", 2, 0, 0);
	if (!ret)
		ret = step(sv[0], false);
	if (!ret)
		ret = dv_child_wait(pid, DV_LIMIT_MS, NULL);
	if (ret)
		return dv_broken(c, "the child does not do its part: %s", strerror(-ret));
	dv_counted_judge(c, &t, "the child is gone", 1, 0, 0);
	munmap(t.map, t.len);
	dv_counted_judge(c, &t, "unmapped", 0, 0, 0);
	return DV_OK;
}

/* What takes the entry away, or changes or moves it, with the mapping left. */
static enum dv_verdict run_entry(struct dv_ctx *c)
{
	size_t page = dv_page_size();
	struct dv_counted t;
	enum dv_verdict v = dv_counted_begin(c, &t);
	void *moved;

	if (v != DV_OK)
		return v;
	if (madvise(t.map, t.len, MADV_DONTNEED))
		return dv_broken(c, "cannot MADV_DONTNEED: %s", strerror(errno));
	dv_counted_judge(c, &t, "after MADV_DONTNEED", 0, 0, 0);
	dv_counted_store(&t);
	dv_counted_judge(c, &t, "touched again", 1, 0, 0);
	if (mprotect(t.page, page, PROT_READ) ||
	    mprotect(t.page, page, PROT_READ | PROT_WRITE))
		return dv_broken(c, "cannot mprotect: %s", strerror(errno));
	dv_counted_store(&t);
	dv_counted_judge(c, &t, "mprotected to and fro", 1, 0, 0);
	moved = mremap(t.page, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, t.map);
	if (moved == MAP_FAILED)
		return dv_broken(c, "cannot mremap: %s", strerror(errno));
	*(volatile char *)moved;
	dv_counted_judge(c, &t, "mremapped", 1, 0, 0);
	munmap(t.map, t.len);
	dv_counted_judge(c, &t, "unmapped", 0, 0, 0);
	return DV_OK;
}

/* Half of what one large entry maps is unmapped: the entry goes, and small ones come. */
static enum dv_verdict run_split(struct dv_ctx *c)
{
	struct dv_counted t;
	enum dv_verdict v = dv_counted_begin(c, &t);

	if (v != DV_OK)
		return v;
	dv_counted_judge(c, &t, "mapped by one entry", 1, 0, 0);
	munmap(t.map + t.len / 2, t.len / 2);
	dv_counted_store(&t);
	if (dv_mapped_huge(t.page))
		return dv_broken(c, "the entry was not split");
	dv_counted_judge(c, &t, "one small entry", 1, 0, 0);
	munmap(t.map, t.len / 2);
	dv_counted_judge(c, &t, "unmapped", 0, 0, 0);
	return DV_OK;
}

/*
 * What is meant for memory that can be reclaimed or moved; device memory can't, and some
 * kernels look at such an entry all the same.
 */
static enum dv_verdict run_advice(struct dv_ctx *c)
{
	static const struct {
		int advice;
		const char *after;
	} given[] = {{MADV_COLD, "after MADV_COLD"},
		     {MADV_PAGEOUT, "after MADV_PAGEOUT"}};
	struct dv_counted t;
	enum dv_verdict v = dv_counted_begin(c, &t);
	unsigned i;

	if (v != DV_OK)
		return v;
	for (i = 0; i < DV_COUNT(given); i++) {
		/* Of all of the entry, and of half of it: that is split for who it
		 * concerns. */
		if (madvise(t.map, t.len, given[i].advice) ||
		    madvise(t.map, t.len / 2, given[i].advice))
			return dv_broken(c, "no advice: %s", strerror(errno));
		dv_counted_store(&t);
		dv_counted_judge(c, &t, given[i].after, 1, 0, 0);
	}
	if (syscall(SYS_mbind, t.map, t.len, MPOL_PREFERRED, NULL, 0, MPOL_MF_MOVE) &&
	    errno != ENOSYS)
		return dv_broken(c, "cannot mbind: %s", strerror(errno));
	dv_counted_store(&t);
	dv_counted_judge(c, &t, "after mbind", 1, 0, 0);
	munmap(t.map, t.len);
	dv_counted_judge(c, &t, "unmapped", 0, 0, 0);
	return DV_OK;
}

static enum dv_verdict run_private(struct dv_ctx *c)
{
	volatile char *p;
	struct dv_counted t;
	enum dv_verdict v = dv_counted_begin(c, &t);

	if (v != DV_OK)
		return v;
	munmap(t.map, t.len);
	p = mmap(NULL, t.len, PROT_READ | PROT_WRITE, MAP_PRIVATE, t.fd, 0);
	if (p == MAP_FAILED)
		return dv_broken(c, "cannot map the file: %s", strerror(errno));
	p += t.page - t.map;
	(void)*p;
	dv_counted_judge(c, &t, "read through it", 1, 0, 0);
	*p = *p;
	dv_counted_judge(c, &t, "written: copied", 0, 0, 0);
	munmap((void *)(p - (t.page - t.map)), t.len);
	dv_counted_judge(c, &t, "unmapped", 0, 0, 0);
	return DV_OK;
}

static enum dv_verdict run_copy(struct dv_ctx *c)
{
	size_t page = dv_page_size();
	off_t at = (off_t)(DV_PIN_PAGE * page);
	char *buf = aligned_alloc(page, page);
	struct dv_counted t;
	enum dv_verdict v = dv_counted_begin(c, &t);
	int direct, ret;

	if (v != DV_OK)
		return v;
	direct = open(t.path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (!buf || direct < 0)
		return dv_broken(c, "cannot open the file again: %s", strerror(errno));
	ret = dv_read_all(t.fd, buf, page, at);
	if (!ret)
		ret = dv_write_all(t.fd, buf, page, at);
	dv_counted_judge(c, &t, "read and written", 1, 0, 0);
	if (!ret)
		ret = dv_read_all(direct, buf, page, at);
	if (!ret)
		ret = dv_write_all(direct, buf, page, at);
	if (!ret && fsync(t.fd))
		ret = -errno;
	if (ret)
		return dv_broken(c, "cannot read and write: %s", strerror(-ret));
	dv_counted_judge(c, &t, "the same by O_DIRECT", 1, 0, 0);
	munmap(t.map, t.len);
	dv_counted_judge(c, &t, "unmapped", 0, 0, 0);
	free(buf);
	return DV_OK;
}

/* The page goes while it is mapped and nobody holds it: no wait, and nothing left. */
static enum dv_verdict run_gone(struct dv_ctx *c)
{
	int64_t look, busy;
	struct dv_counted t;
	struct dv_actor a;
	enum dv_verdict v = dv_counted_begin(c, &t);
	bool ended;

	if (v != DV_OK)
		return v;
	dv_counted_judge(c, &t, "mapped", 1, 0, 0);
	if (dv_actor_start(c, &a, c->sc->action, t.path, DV_HANDLER_NONE))
		return dv_broken(c, "cannot start %s", c->sc->action->name);
	ended = dv_actor_watch(&a) == DV_SEEN_DONE;
	if (ended && a.shm->ret < 0)
		return dv_broken(c, "%s: %s", c->sc->action->name, strerror(a.shm->err));
	dv_oracle(c, ended, DV_SYM_NONE, "does not wait", "ends with success", "%s %s",
		  ended ? "ended" : "asleep in", ended ? "" : a.sight.where);
	dv_counted_judge(c, &t, "taken away while mapped", 0, 0, 0);
	look = dv_events_of(c, a.pid, DV_EV_LOOK);
	busy = dv_events_of(c, a.pid, DV_EV_BUSY);
	if (look >= 0)
		dv_oracle(c, look > 0 && busy == 0, DV_SYM_NONE, "look",
			  "the kernel looks for busy pages, and finds none",
			  "looked %lld times, found one %lld times", (long long)look,
			  (long long)busy);
	munmap(t.map, t.len);
	close(t.fd);
	unlink(t.path);
	dv_counted_judge(c, &t, "the file is gone", 0, 0, 0);
	return DV_OK;
}

#define NEEDS (DV_NEED_DAX | DV_NEED_ROOT | DV_NEED_COUNTS)
#define HUGE  (NEEDS | DV_NEED_HUGE)
/* With a folder on FS DAX beside it: the way of counting is found out there. */
#define DEVICE (NEEDS | DV_NEED_DEVICE_DAX)

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{.name = "counts-way",
	 .claim = "an unused page counts 1, and mappings nothing; or it counts 0, and each "
		  "mapping 1",
	 .needs = DV_NEED_DAX | DV_NEED_ROOT | DV_NEED_OBSERVER, .run = run_scheme},
	{.name = "counts-map",
	 .claim = "a page counts while it is mapped as it must, and after munmap as if it never "
		  "was",
	 .needs = NEEDS, .run = run_once},
	{.name = "counts-map-twice",
	 .claim = "two mappings in one process count as two",
	 .needs = NEEDS, .run = run_twice},
	{.name = "counts-map-processes",
	 .claim = "each process that maps a page counts, and none when it unmaps, exits or is "
		  "killed",
	 .needs = NEEDS, .run = run_many},
	{.name = "counts-fork",
	 .claim = "a child counts when it touches the page, not when it is forked, and not after "
		  "exit",
	 .needs = NEEDS, .run = run_fork},
	{.name = "counts-entry",
	 .claim = "MADV_DONTNEED takes a count back; mprotect and mremap keep it",
	 .needs = NEEDS, .run = run_entry},
	{.name = "counts-private",
	 .claim = "a private mapping counts while it is only read, and no more once it is "
		  "written to",
	 .needs = NEEDS, .run = run_private},
	{.name = "counts-copy",
	 .claim = "read, write, O_DIRECT and fsync of a mapped page leave its counts alone",
	 .needs = NEEDS, .run = run_copy},
	{.name = "counts-truncate",
	 .claim = "truncate takes a mapped page away without a wait, and its counts are idle "
		  "after it",
	 .needs = NEEDS, .action = &dv_truncate_zero, .run = run_gone},
	{.name = "counts-punch",
	 .claim = "a punch takes a mapped page away without a wait, and its counts are idle "
		  "after it",
	 .needs = NEEDS | DV_NEED_PUNCH, .action = &dv_punch, .run = run_gone},
	{.name = "counts-huge-map",
	 .claim = "one entry of 2 MiB counts once, for all of its pages, and after munmap not at "
		  "all",
	 .needs = HUGE, .run = run_once},
	{.name = "counts-huge-map-twice",
	 .claim = "two entries of 2 MiB in one process count as two",
	 .needs = HUGE, .run = run_twice},
	{.name = "counts-huge-map-processes",
	 .claim = "each process with an entry of 2 MiB counts, and none when it unmaps, exits or "
		  "is killed",
	 .needs = HUGE, .run = run_many},
	{.name = "counts-huge-split",
	 .claim = "when half of an entry of 2 MiB is unmapped, what is left counts by its small "
		  "entries",
	 .needs = HUGE, .run = run_split},
	{.name = "counts-huge-advice",
	 .claim = "MADV_COLD, MADV_PAGEOUT and mbind, which concern memory that can be moved, "
		  "change no counts",
	 .needs = HUGE, .run = run_advice},
	{.name = "counts-huge-truncate",
	 .claim = "truncate takes a mapped entry of 2 MiB away without a wait, and leaves idle "
		  "pages",
	 .needs = HUGE, .action = &dv_truncate_zero, .run = run_gone},
	{.name = "counts-devdax-map",
	 .claim = "an unused page of device DAX counts 1 in both ways of counting, and a mapping "
		  "as on FS DAX",
	 .needs = DEVICE, .run = run_once},
	{.name = "counts-devdax-map-twice",
	 .claim = "two mappings of device DAX in one process count as two",
	 .needs = DEVICE, .run = run_twice},
	{.name = "counts-devdax-map-processes",
	 .claim = "each process that maps device DAX counts, and none when it unmaps, exits or "
		  "is killed",
	 .needs = DEVICE, .run = run_many},
	{.name = "counts-devdax-fork",
	 .claim = "a child counts when it touches device DAX, not when it is forked, and not "
		  "after exit",
	 .needs = DEVICE, .run = run_fork},
	/* clang-format on */
};

const struct dv_group dv_group_counts = {scenarios, DV_COUNT(scenarios)};
