/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of a PCI device, mapped from its p2pmem/allocate. It is no DAX, but made of the
 * same kind of pages (ZONE_DEVICE), whose counts are all that keeps it from being
 * allocated twice.
 */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "file.h"
#include "p2p.h"
#include "pins.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define NPAGES 4

struct mapped {
	struct dv_p2p p2p;
	char *map;
	size_t len;
};

/* Sabotage: an allocation that the test does not know of. */
static bool allocate_more(struct dv_ctx *c, const struct dv_p2p *p)
{
	return !dv_sabotaged(c, DV_SAB_EXTRA_PIN) ||
	       dv_p2p_map(p, dv_page_size()) != MAP_FAILED;
}

static enum dv_verdict map(struct dv_ctx *c, struct mapped *m)
{
	enum dv_verdict v = (enum dv_verdict)dv_p2p_find(c, &m->p2p);
	unsigned i;

	if (v != DV_OK)
		return v;
	m->len = NPAGES * dv_page_size();
	/* Sabotage: memory that everybody may have. */
	m->map = dv_sabotaged(c, DV_SAB_NO_DAX)
			 ? mmap(NULL, m->len, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0)
			 : dv_p2p_map(&m->p2p, m->len);
	if (m->map == MAP_FAILED || !allocate_more(c, &m->p2p))
		return dv_broken(c, "cannot map memory of %s: %s", m->p2p.device,
				 strerror(errno));
	for (i = 0; i < NPAGES; i++)
		dv_page_fill(m->map + i * dv_page_size(), DV_TAG_ORIGINAL, i);
	return DV_OK;
}

static void judge_pages(struct dv_ctx *c, const char *map, const char *name,
			enum dv_page_is first)
{
	unsigned i, good = dv_page_look(map, 0) == first;

	for (i = 1; i < NPAGES; i++)
		good += dv_page_look(map + i * dv_page_size(), i) == DV_PAGE_ORIGINAL;
	dv_oracle(c, good == NPAGES, DV_SYM_NONE, name, "all pages have what was stored",
		  "%u of %u", good, NPAGES);
}

/* A second allocation is other memory; a child has the same. */
static enum dv_verdict run_store(struct dv_ctx *c)
{
	struct mapped m;
	enum dv_verdict v = map(c, &m);
	char *other;
	pid_t pid;

	if (v != DV_OK)
		return v;
	judge_pages(c, m.map, "content", DV_PAGE_ORIGINAL);
	other = dv_sabotaged(c, DV_SAB_CORRUPT_CANARY) ? m.map
						       : dv_p2p_map(&m.p2p, m.len);
	if (other == MAP_FAILED)
		return dv_broken(c, "cannot map more: %s", strerror(errno));
	dv_page_fill(other + dv_page_size(), DV_TAG_VICTIM, 0);
	pid = dv_child_fork();
	if (pid == 0) {
		dv_page_prove(m.map, 0);
		_exit(0);
	}
	if (pid < 0 || dv_child_wait(pid, DV_LIMIT_MS, NULL))
		return dv_broken(c, "cannot store in a child");
	judge_pages(c, m.map, "content afterwards", DV_PAGE_PROVEN);
	return DV_OK;
}

enum refused { BY_OFFSET, BY_PRIVATE, BY_SIZE };

static enum dv_verdict run_refused(struct dv_ctx *c)
{
	static const int want[] = {
		[BY_OFFSET] = EINVAL, [BY_PRIVATE] = EINVAL, [BY_SIZE] = ENOMEM};
	size_t page = dv_page_size(), len = page;
	int flags = c->sc->arg == BY_PRIVATE ? MAP_PRIVATE : MAP_SHARED, err;
	struct dv_p2p p;
	enum dv_verdict v = (enum dv_verdict)dv_p2p_find(c, &p);
	char expected[64];
	void *at;

	if (v != DV_OK)
		return v;
	if (c->sc->arg == BY_SIZE)
		len = (size_t)p.before + page;
	if (dv_sabotaged(c, DV_SAB_NO_DAX))
		at = mmap(NULL, len, PROT_READ, flags | MAP_ANONYMOUS, -1, 0);
	else
		at = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, p.fd,
			  c->sc->arg == BY_OFFSET ? (off_t)page : 0);
	err = at == MAP_FAILED ? errno : 0;
	snprintf(expected, sizeof(expected), "refused with %s",
		 strerrorname_np(want[c->sc->arg]));
	dv_oracle(c, err == want[c->sc->arg], DV_SYM_NONE, "mmap", expected, "%s",
		  err ? strerrorname_np(err) : "accepted");
	if (!allocate_more(c, &p))
		return dv_broken(c, "cannot map memory: %s", strerror(errno));
	dv_p2p_judge_allocated(c, &p, "afterwards", 0);
	return DV_OK;
}

/* Given back by halves, and by a mapping that has moved. */
static enum dv_verdict run_munmap(struct dv_ctx *c)
{
	size_t page = dv_page_size();
	struct mapped m;
	enum dv_verdict v = map(c, &m);
	char *to;

	if (v != DV_OK)
		return v;
	dv_p2p_judge_allocated(c, &m.p2p, "mapped", m.len);
	to = mmap(NULL, m.len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	to = mremap(m.map, m.len, m.len, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	if (to == MAP_FAILED)
		return dv_broken(c, "cannot move the mapping: %s", strerror(errno));
	dv_p2p_judge_allocated(c, &m.p2p, "moved", m.len);
	judge_pages(c, to, "content", DV_PAGE_ORIGINAL);
	munmap(to + page, page);
	dv_p2p_judge_allocated(c, &m.p2p, "one page unmapped", m.len - page);
	munmap(to, m.len);
	dv_p2p_judge_allocated(c, &m.p2p, "all unmapped", 0);
	return DV_OK;
}

/* The pages live as long as one of two processes has them. */
static enum dv_verdict run_fork(struct dv_ctx *c)
{
	struct mapped m;
	enum dv_verdict v = map(c, &m);
	pid_t pid;
	int ret;

	if (v != DV_OK)
		return v;
	pid = dv_child_fork();
	if (pid == 0) {
		for (;;)
			pause();
	}
	if (pid < 0)
		return dv_broken(c, "cannot fork: %s", strerror(errno));
	munmap(m.map, m.len);
	dv_p2p_judge_allocated(c, &m.p2p, "unmapped, but by the child", m.len);
	kill(pid, SIGKILL);
	ret = dv_child_wait(pid, DV_LIMIT_MS, NULL);
	if (ret)
		return dv_broken(c, "cannot kill the child: %s", strerror(-ret));
	dv_p2p_judge_allocated(c, &m.p2p, "the child was killed", 0);
	return DV_OK;
}

/* Who allocated them goes: by exit, or by SIGKILL. */
static enum dv_verdict run_exit(struct dv_ctx *c)
{
	struct dv_actor_shm *told = &c->shm->actors[0];
	enum dv_verdict v;
	struct mapped m;
	pid_t pid;
	int ret;

	v = (enum dv_verdict)dv_p2p_find(c, &m.p2p);
	if (v != DV_OK)
		return v;
	pid = dv_child_fork();
	if (pid == 0) {
		told->ret = map(c, &m);
		told->started = 1;
		while (told->ret == DV_OK && !told->signals)
			dv_sleep_ms(4);
		_exit(0);
	}
	while (pid > 0 && !told->started)
		dv_sleep_ms(4);
	if (pid < 0 || told->ret != DV_OK)
		return dv_broken(c, "no child maps the memory");
	dv_p2p_judge_allocated(c, &m.p2p, "mapped by a child", NPAGES * dv_page_size());
	/* Sabotage: it does not go. */
	if (!dv_sabotaged(c, DV_SAB_NO_SIGNAL)) {
		if (c->sc->arg == SIGKILL)
			kill(pid, SIGKILL);
		told->signals = 1;
		ret = dv_child_wait(pid, DV_LIMIT_MS, NULL);
		if (ret)
			return dv_broken(c, "the child does not end: %s", strerror(-ret));
	}
	dv_p2p_judge_allocated(c, &m.p2p, "the child is gone", 0);
	return DV_OK;
}

/* What was let go may be somebody else's by now. */
static enum dv_verdict run_dontneed(struct dv_ctx *c)
{
	struct mapped m;
	enum dv_verdict v = map(c, &m);
	bool failed;

	if (v != DV_OK)
		return v;
	if (!dv_sabotaged(c, DV_SAB_NO_DRAIN) && madvise(m.map, m.len, MADV_DONTNEED))
		return dv_broken(c, "cannot MADV_DONTNEED: %s", strerror(errno));
	dv_p2p_judge_allocated(c, &m.p2p, "after MADV_DONTNEED", 0);
	failed = dv_store_fails(m.map);
	dv_oracle(c, failed, DV_SYM_NONE, "store", "SIGBUS", "%s",
		  failed ? "SIGBUS" : "it is stored");
	munmap(m.map, m.len);
	dv_p2p_judge_allocated(c, &m.p2p, "unmapped", 0);
	return DV_OK;
}

/* Counted as a page of FS DAX is where mappings are counted. */
static enum dv_verdict run_counts(struct dv_ctx *c)
{
	struct mapped m;
	enum dv_verdict v = map(c, &m);
	uint64_t pfn;
	pid_t pid;
	int ret;

	if (v != DV_OK)
		return v;
	if (c->env->scheme != DV_SCHEME_IDLE_0)
		return dv_skip(c,
			       "what these counts must be is known of kernels that count "
			       "mappings, from 6.15 on");
	ret = dv_pfn_at(getpid(), m.map, &pfn);
	if (ret)
		return dv_broken(c, "cannot tell which page is mapped: %s",
				 strerror(-ret));
	dv_counts_judge(c, "mapped", pfn, (struct dv_uses){.maps = 1});
	pid = dv_child_fork();
	if (pid == 0) {
		for (;;)
			pause();
	}
	if (pid < 0)
		return dv_broken(c, "cannot fork: %s", strerror(errno));
	dv_counts_judge(c, "mapped by a child, too", pfn, (struct dv_uses){.maps = 2});
	if (!dv_sabotaged(c, DV_SAB_NO_DRAIN))
		munmap(m.map, m.len);
	dv_counts_judge(c, "unmapped, but by the child", pfn,
			(struct dv_uses){.maps = 1});
	kill(pid, SIGKILL);
	ret = dv_child_wait(pid, DV_LIMIT_MS, NULL);
	if (ret)
		return dv_broken(c, "cannot kill the child: %s", strerror(-ret));
	dv_counts_judge(c, "the child was killed", pfn, (struct dv_uses){0});
	return DV_OK;
}

/* Only a driver that can do it asks for such pages; for all else they are refused. */
static enum dv_verdict run_pin(struct dv_ctx *c)
{
	struct mapped m;
	enum dv_verdict v = map(c, &m);
	struct iovec iov;
	uint64_t pfn = 0;
	int ret;

	if (v != DV_OK)
		return v;
	ret = dv_pfn_at(getpid(), m.map, &pfn);
	if (ret)
		return dv_broken(c, "cannot tell which page is mapped: %s",
				 strerror(-ret));
	iov = (struct iovec){m.map, dv_page_size()};
	c->grip->file = m.p2p.fd;
	ret = dv_grip_hold(c->grip, &iov, 1);
	if (c->grip->why[0])
		return dv_broken(c, "%s", c->grip->why);
	dv_oracle(c, ret == -c->sc->arg, DV_SYM_NONE, "answer", c->sc->claim, "%s",
		  dv_pins_answer(ret));
	if (ret && c->env->scheme == DV_SCHEME_IDLE_0)
		dv_counts_judge(c, "counts", pfn, (struct dv_uses){.maps = 1});
	judge_pages(c, m.map, "content", DV_PAGE_ORIGINAL);
	munmap(m.map, m.len);
	if (ret)
		dv_p2p_judge_allocated(c, &m.p2p, "unmapped", 0);
	return DV_OK;
}

/* The drive whose controller has the memory: it may be overwritten, when it was named. */
static enum dv_verdict open_drive(struct dv_ctx *c, int *fd)
{
	const char *path = c->env->opt.nvme;

	if (!path)
		return dv_skip(
			c, "no NVMe drive: name one that may be overwritten, and whose "
			   "controller has a CMB, with --nvme");
	*fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	return *fd < 0 ? dv_broken(c, "cannot open %s: %s", path, strerror(errno))
		       : DV_OK;
}

enum direction { TO_DRIVE, FROM_DRIVE };

/* One side of the copy is the device's memory, the other is looked at with plain memory.
 */
static enum dv_verdict run_drive(struct dv_ctx *c)
{
	char *plain = aligned_alloc(dv_page_size(), NPAGES * dv_page_size());
	bool out = c->sc->arg == TO_DRIVE;
	struct mapped m;
	enum dv_verdict v = map(c, &m);
	ssize_t n, got;
	int fd = -1;

	if (v == DV_OK)
		v = open_drive(c, &fd);
	if (v != DV_OK || !plain)
		return v;
	if (!out) {
		memcpy(plain, m.map, m.len);
		memset(m.map, 0, m.len);
		if (pwrite(fd, plain, m.len, 0) != (ssize_t)m.len)
			return dv_broken(c, "cannot write to the drive: %s",
					 strerror(errno));
	}
	memset(plain, 0, m.len);
	errno = 0;
	n = out ? pwrite(fd, m.map, m.len, 0) : pread(fd, m.map, m.len, 0);
	dv_oracle(c, n == (ssize_t)m.len, n < 0 && errno == EIO ? DV_SYM_EIO : DV_SYM_NONE,
		  "answer", "all is transferred", "%zd bytes%s%s", n, n < 0 ? ", " : "",
		  n < 0 ? strerrorname_np(errno) : "");
	got = pread(fd, plain, m.len, 0);
	if (dv_sabotaged(c, DV_SAB_CORRUPT_CANARY))
		(out ? plain : m.map)[8] ^= 1;
	if (n == (ssize_t)m.len && got == n)
		judge_pages(c, out ? plain : m.map, "content", DV_PAGE_ORIGINAL);
	munmap(m.map, m.len);
	dv_p2p_judge_allocated(c, &m.p2p, "unmapped", 0);
	return DV_OK;
}

/* Without the driver nobody has it; with it again, all of it is there. */
static enum dv_verdict run_unbind(struct dv_ctx *c)
{
	struct dv_tear t = {.use = DV_TEAR_MAPPED};
	struct dv_p2p again;
	struct dv_actor a = {0};
	struct mapped m;
	enum dv_verdict v;
	int64_t begin;
	int ret;

	if (!c->env->opt.nvme)
		return dv_skip(
			c,
			"no NVMe drive: name one that may be taken from its driver, and "
			"whose controller has a CMB, with --nvme");
	v = map(c, &m);
	if (v != DV_OK)
		return v;
	if (dv_driver_find(c->env->opt.nvme, "nvme", &c->shm->driver))
		return dv_skip(c, "%s is no device of the driver nvme", c->env->opt.nvme);
	t.map = m.map;
	t.len = m.len;
	v = (enum dv_verdict)dv_tear_unbind(c, &t, &a);
	if (v != DV_OK)
		return v;
	dv_tear_touch(c, &t);
	close(m.p2p.fd);
	ret = dv_driver_restore(&c->shm->driver);
	if (ret)
		return dv_broken(c, "cannot bind the driver again: %s", strerror(-ret));
	for (begin = dv_now_ns(); dv_p2p_available(&m.p2p) < 0 &&
				  dv_now_ns() - begin < DV_LIMIT_MS * INT64_C(1000000);)
		dv_sleep_ms(4);
	v = (enum dv_verdict)dv_p2p_find(c, &again);
	if (v != DV_OK)
		return v;
	if (!allocate_more(c, &again))
		return dv_broken(c, "cannot map memory: %s", strerror(errno));
	dv_p2p_judge_allocated(c, &m.p2p, "bound again", 0);
	return DV_OK;
}

#define ROOT DV_NEED_ROOT
#define PIN(how, ops, said, need, err)                                                   \
	{                                                                                \
		.name = "p2pdma-" how,                                                   \
		.claim = said " of such memory is refused with " #err,                   \
		.needs = ROOT | (need), .holder = said, .run = run_pin, .by = &(ops),    \
		.arg = (err)                                                             \
	}

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	{.name = "p2pdma-store",
	 .claim = "what is stored in mapped memory of a PCI device is there, for a child as well, "
		  "and in no other allocation",
	 .needs = ROOT, .run = run_store},
	{.name = "p2pdma-map-offset",
	 .claim = "mapping it from another offset than 0 is refused with EINVAL, and takes none",
	 .needs = ROOT, .run = run_refused, .arg = BY_OFFSET},
	{.name = "p2pdma-map-private",
	 .claim = "mapping it MAP_PRIVATE is refused with EINVAL, and takes none",
	 .needs = ROOT, .run = run_refused, .arg = BY_PRIVATE},
	{.name = "p2pdma-map-too-large",
	 .claim = "mapping more of it than there is is refused with ENOMEM, and takes none",
	 .needs = ROOT, .run = run_refused, .arg = BY_SIZE},
	{.name = "p2pdma-munmap",
	 .claim = "each page of it that is unmapped is available again, also of a mapping that "
		  "was moved",
	 .needs = ROOT, .run = run_munmap},
	{.name = "p2pdma-fork",
	 .claim = "it is available again when the last of two processes that map it is gone",
	 .needs = ROOT, .run = run_fork},
	{.name = "p2pdma-exit",
	 .claim = "it is available again when the process that mapped it exits",
	 .needs = ROOT, .run = run_exit, .arg = 0},
	{.name = "p2pdma-kill",
	 .claim = "it is available again when the process that mapped it is killed",
	 .needs = ROOT, .run = run_exit, .arg = SIGKILL},
	{.name = "p2pdma-dontneed",
	 .claim = "MADV_DONTNEED gives it back, and a store to it afterwards is a SIGBUS",
	 .needs = ROOT, .run = run_dontneed},
	{.name = "p2pdma-counts",
	 .claim = "a page of it counts each mapping once, and nothing when it is unmapped",
	 .needs = ROOT | DV_NEED_COUNTS, .run = run_counts},
	PIN("vmsplice", dv_by_vmsplice, "vmsplice", 0, EREMOTEIO),
	PIN("direct-write", dv_by_direct_write, "O_DIRECT pwritev, to a device that is no peer,", 0,
	    EREMOTEIO),
	PIN("direct-read", dv_by_direct_read, "O_DIRECT preadv, from a device that is no peer,", 0,
	    EREMOTEIO),
	PIN("uring-write", dv_by_uring_write, "O_DIRECT write of io_uring, to such a device,",
	    DV_NEED_URING, EREMOTEIO),
	/* These say so whatever is wrong with the memory. */
	PIN("process-vm", dv_by_process_vm, "process_vm_readv", DV_NEED_USERFAULT, EFAULT),
	PIN("msg-zerocopy", dv_by_msg_zerocopy, "MSG_ZEROCOPY", 0, EFAULT),
	PIN("send-zc", dv_by_send_zc, "SEND_ZC of io_uring", DV_NEED_URING, EFAULT),
	PIN("uring-buffers", dv_by_uring_buffers, "registering buffers of io_uring", DV_NEED_URING,
	    EFAULT),
	PIN("rdma", dv_by_rdma, "an RDMA memory region", 0, EFAULT),
	PIN("xdp", dv_by_xdp, "a umem of AF_XDP", 0, EFAULT),
	{.name = "p2pdma-drive-write",
	 .claim = "O_DIRECT from it to the drive of the same controller works, and writes what "
		  "is there",
	 .needs = ROOT, .defect = &dv_p2pdma_no_length, .run = run_drive,
	 .arg = TO_DRIVE},
	{.name = "p2pdma-drive-read",
	 .claim = "O_DIRECT into it from the drive of the same controller works, and reads what "
		  "is there",
	 .needs = ROOT, .defect = &dv_p2pdma_no_length, .run = run_drive,
	 .arg = FROM_DRIVE},
	{.name = "p2pdma-unbind",
	 .claim = "a store to it is a SIGBUS when its driver is gone, and all of it is available "
		  "when the driver is there again",
	 .needs = ROOT, .action = &dv_unbind, .run = run_unbind},
	/* clang-format on */
};

const struct dv_group dv_group_p2pdma = {scenarios, DV_COUNT(scenarios)};
