/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench pin: what it takes to hold pages and to let them go.  pin_cells.c has the list of what
 * is measured, pin_memory.c the memory, pin_by_*.c the holders, pin_check.c sees whether pages were
 * held at all, pin.c takes the time.
 */
#ifndef PIN_H
#define PIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench.h"
#include "rounds.h"

#define PIN_PAGE      ((size_t)4096)
#define PIN_HUGE      ((size_t)2 << 20)
#define PIN_PAGES_MAX 256u	/* as many as a pipe takes from a user without privileges */

/* PIN_BOTH: of a holder that takes and lets go in one call. */
enum pin_part { PIN_TAKE, PIN_RELEASE, PIN_BOTH };

enum pin_memory { PIN_OF_FILE, PIN_OF_DEVICE, PIN_ANONYMOUS };

/* What is measured. */
struct pin {
	const struct pin_holder *by;
	enum pin_part part;
	enum pin_memory memory;
	size_t entry;			/* bytes that one entry of the page table maps */
	unsigned pages;
};

/* What a holder holds: in a process of its own. */
struct pin_work {
	const struct pin *pin;
	char *base;
	size_t size;			/* of its pages, bytes */
};

/*
 * Who holds pages.  Each function returns 0 or an errno; what that errno does not say is said by
 * record_refuse() before.  What a holder has is static in its file: it is one in its process, and
 * goes with that.
 */
struct pin_holder {
	const char *name;		/* in the names of series */
	/* Once, not timed; NULL: nothing to do. */
	int (*begin)(const struct pin_work *work, struct record *record);
	int (*ready)(const struct pin_work *work);	/* before each take(), not timed; or NULL */
	int (*take)(const struct pin_work *work);
	int (*let_go)(const struct pin_work *work);	/* NULL: take() lets go as well */
	bool late;			/* let_go() returns before the pages are free: not timed */
	/* Not timed: whether take() holds pages. */
	int (*check)(const struct pin_work *work, struct record *record);
};

extern const struct pin_holder pin_by_vmsplice, pin_by_uring, pin_by_xdp, pin_by_rdma,
	pin_by_zerocopy, pin_by_direct_write, pin_by_direct_read, pin_by_vm_read, pin_by_vm_write;

/* pin_cells.c: adds all of them, as far as --only leaves them.  @devdax_align: of the device that
 * --dir is, in bytes; 0: it is a folder. */
void pin_list(struct plan *plan, size_t devdax_align);

/* pin_memory.c: faulted in, by entries of the wanted size; false after record_refuse(). */
bool pin_memory_make(struct pin_work *work, const char *dir, struct record *record);

/* pin_check.c.  Figures of a round: what was to be held at least while it was checked, and what was
 * seen to be: pages, or KiB. */
enum { PIN_AT_LEAST, PIN_SEEN };

/* These three for check(), which see above.  By the kernel's own count of pins: whether there were
 * as many pages. */
int pin_check_counted(const struct pin_work *work, struct record *record);
/* The same; a kernel that holds pages by references alone, which it does not count, is noted. */
int pin_check_maybe_counted(const struct pin_work *work, struct record *record);
/* By the count of this process's memory (VmPin) where the kernel keeps one: whether they are held
 * in between, and not afterwards.  It takes one call, which may be slow. */
int pin_check_locked(const struct pin_work *work, struct record *record);
/* Notes how much was to be held and was; EIO after record_refuse() if these are too few. */
int pin_check_judge(struct record *record, uint64_t at_least, uint64_t seen);

#endif
