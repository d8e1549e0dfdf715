/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device taken from its driver, and given back: what `ndctl disable-namespace`,
 * `daxctl` and a hot removal end in. By sysfs alone, as libndctl does it.
 *
 * Functions return 0 or -errno unless they say otherwise.
 */
#ifndef DAXVERIFY_TEARDOWN_H
#define DAXVERIFY_TEARDOWN_H

#include "counts.h"

#include <stdbool.h>

struct dv_actor;

struct dv_driver {
	char device[64];  /* its name on the bus; "": none */
	char driver[128]; /* the driver's folder in /sys */
	char node[64];	  /* in /dev: there when the device is ready */
};

/*
 * The driver of that name which has the device behind a device node, or one that the
 * device is a part of. -ENODEV when there is none.
 */
int dv_driver_find(const char *node, const char *name, struct dv_driver *d);
/* Sleeps as long as the driver does. */
int dv_driver_unbind(const struct dv_driver *d);
bool dv_driver_bound(const struct dv_driver *d);
/* Binds it when it is not, and waits until its node is there. */
int dv_driver_restore(const struct dv_driver *d);

/* rig_teardown.c: memory of a device that is in use when its driver goes, and the oracles
 * on it */
enum dv_tear_use {
	DV_TEAR_IDLE,
	DV_TEAR_MAPPED,	   /* mapped by this process */
	DV_TEAR_HELD,	   /* by the scenario's holder, and mapped by nobody */
	DV_TEAR_PINNED,	   /* by a process_vm_readv, and mapped */
	DV_TEAR_UNMOUNTED, /* held, and the file system is not mounted any more */
};

struct dv_tear {
	enum dv_tear_use use;
	char *map, *page; /* the page that is held, in the mapping */
	size_t len;
	unsigned index; /* the page says that it is this one */
	struct dv_pinner pinner;
	bool waits; /* the driver does, in `actor` */
	struct dv_actor *actor;
};

struct dv_ctx;

/* All answer as a scenario does: DV_OK, or why it can't go on. */
int dv_tear_hold(struct dv_ctx *c, struct dv_tear *t);
/* c->shm->driver lets its device go: it waits for who holds a page, or does not. */
int dv_tear_unbind(struct dv_ctx *c, struct dv_tear *t, struct dv_actor *a);
/* It has: what is there is nobody's. (Sabotage: as if it had.) */
bool dv_tear_is_gone(const struct dv_tear *t);
/* Then stores to what is mapped end with SIGBUS. Unmaps it. */
void dv_tear_touch(struct dv_ctx *c, struct dv_tear *t);
/* What is held shows what was there; then it is let go, and a driver that waited goes on.
 */
int dv_tear_release(struct dv_ctx *c, struct dv_tear *t);
/* Does a store end with SIGBUS? */
bool dv_store_fails(volatile char *p);

#endif
