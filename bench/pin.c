/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench pin: what it takes to hold pages and to let them go, by who holds them, where they lie,
 * and how large the entries of the page table are that map them.
 *
 * A pipe takes pages by vmsplice(), and lets them go when they are spliced into /dev/null.
 * io_uring takes them as registered buffers, which file systems with DAX refuse.  A value is one
 * call, of all pages.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bench.h"
#include "doctor.h"
#include "explain.h"
#include "rounds.h"
#include "scratch.h"
#include "team.h"
#include "timer.h"

#define PAGE	  ((size_t)4096)
#define HUGE	  ((size_t)2 << 20)
#define OPS	  128u
#define WARMUP	  4u
#define PAGES_MAX 256u

enum holder { BY_PIPE, BY_URING };

/* What is measured. */
struct pin {
	enum holder holder;
	bool anonymous;
	bool huge;
	bool release;		/* letting go, not taking */
	unsigned pages;
};

struct work {
	const struct pin *pin;
	char *base;
	int pipe[2], null;
	struct io_uring ring;
};

/* --- the memory --- */

/* 2 MiB that are there, at a multiple of that; NULL after record_refuse(). */
static char *make_memory(const struct pin *pin, const char *dir, struct record *record)
{
	char *range = mmap(NULL, 2 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *base = (char *)(((uintptr_t)range + HUGE - 1) & ~(HUGE - 1));
	int flags = pin->anonymous ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	int fd = pin->anonymous ? -1 : scratch_open(dir), err = 0;

	if (!pin->huge)
		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	if (!pin->anonymous && (fd < 0 || fallocate(fd, 0, 0, (off_t)HUGE)))
		err = errno;
	if (!pin->anonymous && !err)
		err = scratch_write(fd, 0, HUGE);
	if (!err && mmap(base, HUGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0) == MAP_FAILED)
		err = errno;
	if (fd >= 0)
		close(fd);
	if (err) {
		record_refuse(record, "2 MiB can't be had there: %s", strerror(err));
		return NULL;
	}
	if (pin->huge)
		madvise(base, HUGE, MADV_HUGEPAGE);
	*(volatile char *)base = 1;
	return base;
}

/* False after record_refuse(). */
static bool check_entries(const struct pin *pin, const char *base, struct record *record)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool by_scan = true, huge = pagemap >= 0 && doctor_is_huge(pagemap, base, &by_scan) > 0;

	if (pagemap >= 0)
		close(pagemap);
	if (huge != pin->huge) {
		record->not_huge = pin->huge;
		record_refuse(record, pin->huge ? "it is not mapped by an entry of 2 MiB" :
						  "it is mapped by an entry of 2 MiB all the same");
	}
	return huge == pin->huge;
}

/* --- the holders --- */

/* 0 or an errno. */
static int start_holder(struct work *work)
{
	if (work->pin->holder == BY_URING)
		return -io_uring_queue_init(2, &work->ring, 0);
	work->null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (work->null < 0 || pipe2(work->pipe, O_CLOEXEC) ||
	    fcntl(work->pipe[0], F_SETPIPE_SZ, (int)(PAGES_MAX * PAGE)) < 0)
		return errno;
	return 0;
}

static int take(struct work *work)
{
	struct iovec range = {work->base, work->pin->pages * PAGE};

	if (work->pin->holder == BY_URING)
		return -io_uring_register_buffers(&work->ring, &range, 1);
	return vmsplice(work->pipe[1], &range, 1, 0) == (ssize_t)range.iov_len ? 0 : errno;
}

static int let_go(struct work *work)
{
	size_t size = work->pin->pages * PAGE;

	if (work->pin->holder == BY_URING)
		return -io_uring_unregister_buffers(&work->ring);
	return splice(work->pipe[0], NULL, work->null, NULL, size, 0) == (ssize_t)size ? 0 : errno;
}

/* 0 or an errno. */
static int measure_all(struct work *work, struct record *record, unsigned ops)
{
	const struct pin *pin = work->pin;
	int err = 0;

	for (unsigned i = 0; i < WARMUP + ops && !err; i++) {
		uint64_t start = timer_begin(), taken, left;

		err = take(work);
		taken = timer_now();
		if (err)
			break;
		left = timer_begin();
		err = let_go(work);
		left = timer_now() - left;
		if (i >= WARMUP)
			record->ticks[record->count++] = pin->release ? left : taken - start;
	}
	return err;
}

static void measure(const struct plan *plan, const struct cell *cell, struct record *record)
{
	struct work work = {.pin = cell->what};
	int err;

	team_pin_self(0);
	work.base = make_memory(work.pin, plan->options->dir, record);
	if (!work.base || !check_entries(work.pin, work.base, record))
		return;
	/* All pages that will be taken are there: what is timed faults nothing in. */
	for (size_t at = 0; at < work.pin->pages * PAGE; at += PAGE)
		*(volatile char *)(work.base + at) = 1;
	record_empty(record);
	err = start_holder(&work);
	noise_begin(&record->noise);
	if (!err)
		err = measure_all(&work, record, cell->room);
	noise_end(&record->noise);
	if (err)
		record_refuse(record, "refused by the kernel: %s%s", strerror(err),
			      err == EOPNOTSUPP && !work.pin->anonymous ?
				      " (file systems with DAX allow no long-term pins)" : "");
}

static void conclude(const struct plan *plan, const struct cell *cell, struct series *series,
		     const uint64_t *figures, bool not_huge)
{
	const struct pin *pin = cell->what;

	(void)figures;
	if (not_huge && !pin->anonymous)
		explain_small(plan, series);
}

/* --- the list --- */

static void add(struct plan *plan, const struct pin *pin)
{
	const char *holder = pin->holder == BY_URING ? "io_uring" : "vmsplice";
	const char *part = pin->release ? "unpin" : "pin";
	const char *memory = pin->anonymous ? "anonymous" : "file";
	const char *entry = pin->huge ? "2m" : "4k";
	struct cell *cell = plan_add(plan, pin, sizeof(*pin), "%s-%s/%s-%s/%u-page%s", holder, part,
				     memory, entry, pin->pages, pin->pages == 1 ? "" : "s");

	if (!cell)
		return;
	cell->room = plan->options->ops ? plan->options->ops : OPS;
	report_add_string(cell->params, "holder", holder);
	report_add_string(cell->params, "part", part);
	report_add_string(cell->params, "memory", memory);
	report_add_string(cell->params, "entry", entry);
	json_object_object_add(cell->params, "pages", json_object_new_uint64(pin->pages));
}

int bench_pin(const struct options *options)
{
	static const unsigned pages[] = {1, 16, PAGES_MAX};
	struct plan plan = {.verb = "pin", .options = options, .measure = measure,
			    .conclude = conclude};

	for (unsigned holder = BY_PIPE; holder <= BY_URING; holder++)
		for (unsigned i = 0; i < 8; i++)
			for (unsigned k = 0; k < 3; k++) {
				struct pin pin = {.holder = holder, .anonymous = i & 4,
						  .huge = i & 2, .release = i & 1,
						  .pages = pages[k]};

				add(&plan, &pin);
			}
	return rounds_report(&plan);
}
