/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls that are tried: what they are, and how they are made. */
#ifndef DAXVERIFY_ACTION_H
#define DAXVERIFY_ACTION_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct dv_driver;
struct dv_facts;

enum dv_action_kind {
	DV_ACT_TRUNCATE,   /* to `first` pages */
	DV_ACT_OPEN_TRUNC, /* open(O_TRUNC) */
	DV_ACT_PUNCH,	   /* pages [first, first + count), so for all with a range */
	DV_ACT_ZERO_RANGE,
	DV_ACT_COLLAPSE,
	DV_ACT_INSERT,
	DV_ACT_MADV_REMOVE,
	DV_ACT_READ, /* read(2) of one page */
	DV_ACT_UNLINK,
	DV_ACT_RENAME_OVER,
	DV_ACT_CLOSE, /* unlinked before; the close is the last reference */
	DV_ACT_UMOUNT,
	DV_ACT_DETACH, /* umount of the kind MNT_DETACH */
	DV_ACT_UNBIND, /* the driver lets the device go (teardown.h) */
	DV_ACT_ALLOCATE, /* fallocate without a mode, over pages that are there */
	DV_ACT_UNSHARE,
	DV_ACT_WRITE,	 /* of whole pages */
	DV_ACT_MUNMAP,	 /* unlinked and closed before; the mapping is the last reference */
	DV_ACT_EXIT,	 /* unlinked before, open and mapped */
	DV_ACT_KILLED,	 /* the same, by SIGKILL */
	DV_ACT_DROP_CACHES,
	DV_ACT_FREEZE, /* and thaw */
	DV_ACT_REMOUNT, /* read-only, and back */
	DV_ACT_STAT,
	DV_ACT_FSYNC,
	DV_ACT_SYNCFS,
	DV_ACT_LOAD,  /* through a mapping of its own, as the next two */
	DV_ACT_STORE,
	DV_ACT_MSYNC, /* after a store */
	DV_ACT_CHMOD,
	DV_ACT_SEEK_HOLE,
	DV_ACT_READ_NOWAIT, /* EAGAIN is success */
	/* With a second file, PATH.other (action_pair.c) */
	DV_ACT_REFLINK,
	DV_ACT_DEDUPE,
	DV_ACT_COPY_RANGE,
	DV_ACT_EXCHANGE,
	DV_ACT_SWAPEXT,
	DV_ACT_SWAP_BOOT, /* with the boot loader's inode */
	/* By io_uring (action_uring.c); a signal makes them cancel the request */
	DV_ACT_URING_PUNCH,
	DV_ACT_URING_TRUNCATE,
	DV_ACT_URING_MADV_REMOVE,
	DV_ACT_URING_OPEN_TRUNC,
	DV_ACT_URING_UNLINK,
	DV_ACT_URING_RENAME_OVER,
	DV_ACT_URING_CLOSE, /* as DV_ACT_CLOSE */
	DV_ACT_URING_READ,
	DV_ACT_URING_ALLOCATE,
};

struct dv_action {
	const char *name; /* as a diagnostic says it */
	enum dv_action_kind kind;
	unsigned first, count; /* pages */
	unsigned skip, less; /* bytes at the beginning and the end of them that it leaves out */
};

struct dv_target {
	const struct dv_action *action;
	char path[PATH_MAX];
	const struct dv_facts *facts;
	const struct dv_driver *driver;
	bool linger; /* sabotage */
	int fd, other_fd;
	void *map;
	size_t len;
	_Atomic int *signals; /* how many came, or NULL */
};

/* action_do.c, action_pair.c, action_uring.c: -1 and errno, or something not negative */
int dv_action_prepare(struct dv_target *t);
long dv_action_do(struct dv_target *t);
void dv_target_close(struct dv_target *t);
bool dv_action_exits(enum dv_action_kind kind);
bool dv_action_has_pair(enum dv_action_kind kind);
/* A new file, PATH.new, takes the name of the action's file. */
bool dv_action_renames(enum dv_action_kind kind);
long dv_pair_do(struct dv_target *t);
long dv_uring_do(struct dv_target *t);
/* A second file for the action, at PATH.other (of another content, but for a dedupe). */
int dv_pair_make(const char *path, unsigned npages, enum dv_action_kind kind);
#define DV_PAIR_INDEX 1000 /* page N of that file says that it is page 1000 + N */

/* actions.c */
extern const struct dv_action dv_truncate_zero, dv_truncate_shrink, dv_truncate_beyond,
	dv_truncate_grow, dv_open_trunc, dv_punch, dv_punch_elsewhere, dv_zero_range,
	dv_collapse, dv_insert, dv_madv_remove, dv_read, dv_unlink, dv_rename_over,
	dv_close_last, dv_umount, dv_detach, dv_unbind, dv_truncate_equal, dv_allocate,
	dv_unshare, dv_write,
	dv_munmap_last, dv_exit_last, dv_killed_last, dv_drop_caches, dv_freeze, dv_remount_ro,
	dv_reflink, dv_dedupe, dv_copy_range, dv_exchange, dv_swapext, dv_swap_boot,
	dv_uring_punch, dv_uring_truncate, dv_uring_madv_remove, dv_uring_open_trunc,
	dv_uring_unlink, dv_uring_rename_over, dv_uring_close_last;

#endif
