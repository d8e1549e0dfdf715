/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking bytes from the file within a time limit.
 *
 * A punch or truncate waits for pins on any page of the file: also of other processes, which the
 * gate can't see.  The wait ends by a signal; so that the application needs no handler, and loses
 * no signal of its own, the call is made in a short-lived thread, which is cancelled at the limit.
 */
#ifndef DH_BOUNDED_H
#define DH_BOUNDED_H

#include <stdbool.h>
#include <stdint.h>

#include "format.h"

struct dh_cut {
	int fd;
	bool is_tail;			/* all from @offset on: the file ends there */
	uint64_t offset, size;
	uint32_t units;			/* if not 0: of the chunk at @offset these units alone */
};

struct dh_bounded;

/*
 * 0, or what fallocate(2) and ftruncate(2) say.
 *
 * -EMFILE	no file descriptor for the call
 * -EAGAIN	no thread
 * -ETIMEDOUT	at @deadline (ns of CLOCK_MONOTONIC) it was not done; what it did is unknown.  If
 *		*left is not NULL it could not be ended either, and may still happen; it is then
 *		the caller's to dh_bounded_over().
 */
int dh_bounded_cut(const struct dh_cut *cut, uint64_t deadline, struct dh_bounded **left);

/* Whether what was left is over by now; then it is freed.  NULL is. */
bool dh_bounded_over(struct dh_bounded *left);
/* Nobody will ask any more. */
void dh_bounded_forget(struct dh_bounded *left);

#ifdef DH_TEST_HOOKS
/* Called where the kernel would wait, unless NULL. */
extern void (*dh_bounded_wait)(void);
#endif

#endif
