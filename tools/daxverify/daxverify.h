/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxverify: what a kernel promises on FS DAX, and whether it keeps it.
 *
 * Who is who while a scenario runs:
 *
 * - The runner reads options, prints, and outlives everything. It never opens a file of
 *   the file system under test while a page may be pinned, and it keeps the far end of
 *   whatever holds pages (hold.h): whatever hangs, the runner can let the pages go.
 * - The scenario is a child of the runner, one for each scenario, with a time limit. It
 *   stages the scenario and notes what each oracle saw in shared memory.
 * - The holder is a child of the scenario that maps a file and pins its pages (holder.c).
 * - The actor is a child of the scenario that does the one call which may hang (actor.c).
 *
 * Functions return 0 or -errno unless they say otherwise.
 */
#ifndef DAXVERIFY_H
#define DAXVERIFY_H

#include "config.h"

#include "counts.h"
#include "defects.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "hold.h"
#include "teardown.h"

#define DV_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define DV_COUNT(array)	     (sizeof(array) / sizeof((array)[0]))

/* The four answers. They are never mixed: only DV_NOT_OK speaks about the kernel. */
enum dv_verdict {
	DV_OK,	   /* the claim held */
	DV_NOT_OK, /* the claim is broken */
	DV_SKIP,   /* not tried; the reason says what it would take */
	DV_BROKEN, /* the set-up failed, so nothing is known about the claim */
};

/* What a scenario cannot do without. Found by probing, never by a version number. */
enum dv_need {
	DV_NEED_DAX = 1 << 0,
	DV_NEED_NO_DAX = 1 << 1,
	DV_NEED_MAP_SYNC = 1 << 2,
	DV_NEED_ROOT = 1 << 3,
	DV_NEED_SCRATCH = 1 << 4,
	DV_NEED_OWN_MOUNT = 1 << 5,
	DV_NEED_PUNCH = 1 << 6,
	DV_NEED_ZERO_RANGE = 1 << 7,
	DV_NEED_COLLAPSE = 1 << 8,
	DV_NEED_INSERT = 1 << 9,
	DV_NEED_TRACE = 1 << 10,
	DV_NEED_URING = 1 << 11,
	DV_NEED_TMPFS = 1 << 12,
	DV_NEED_SYNC_DEVICE = 1 << 13,
	DV_NEED_DANGER = 1 << 14, /* may wedge the kernel, or kill it: a machine of its own */
	DV_NEED_REFLINK = 1 << 15,
	DV_NEED_EXCHANGE = 1 << 16,
	DV_NEED_SWAPEXT = 1 << 17,
	DV_NEED_SWAP_BOOT = 1 << 18,
	DV_NEED_UNSHARE = 1 << 19,
	DV_NEED_URING_TRUNCATE = 1 << 20,
	DV_NEED_OBSERVER = 1 << 21, /* counts can be read */
	DV_NEED_COUNTS = 1 << 22,   /* and it is known what they must be */
	DV_NEED_HUGE = 1 << 23,	    /* 2 MiB of a file in one page table entry */
	DV_NEED_USERFAULT = 1 << 24,
	DV_NEED_DEVICE_DAX = 1 << 25, /* one that may be overwritten */
	DV_NEED_ROOM = 1 << 26, /* 128 MiB free */
};
#define DV_NEED_BITS 27

/* Ways in which an oracle can fail that some known defect explains (bits). */
enum dv_symptom {
	DV_SYM_NONE = 0,
	DV_SYM_PASSED_PIN = 1 << 0, /* the call ended while the page was still pinned */
	DV_SYM_LEAK = 1 << 1,	    /* a pinned page shows another file's data */
	DV_SYM_LOG = 1 << 2,	    /* the kernel log has the defect's own complaint */
	DV_SYM_ASLEEP = 1 << 3,	    /* still asleep after the release, woken by SIGCONT */
	DV_SYM_UNFLUSHED = 1 << 4,  /* stored pages that no flush reached */
	DV_SYM_SPINS = 1 << 8,	    /* waits with the CPU busy, and signals do not end it */
	DV_SYM_UNKILLABLE = 1 << 9, /* waits where SIGKILL does not end it */
	DV_SYM_ERRNO_512 = 1 << 10, /* an errno that user space must never see */
	DV_SYM_WAKE_LOST = 1 << 11, /* a futex's wake that reached nobody */
	DV_SYM_SIGBUS = 1 << 12,    /* a load of what is there */
	DV_SYM_UNTOLD = 1 << 13,    /* a store that is not told of to who asks for them */
	DV_SYM_FAULTS = 1 << 14,    /* a touch that faults again and again */
	DV_SYM_UNSEEN = 1 << 15,    /* pages that are mapped, and in no sum */
	DV_SYM_EIO = 1 << 16,	    /* of I/O that nothing is wrong with */
};

/* What holds the page, and what has become of the mapping by then. */
enum dv_state {
	DV_ST_MAPPED,	  /* still mapped by the process that pinned it */
	DV_ST_READONLY,	  /* mapped PROT_READ from a read-only descriptor */
	DV_ST_PRIVATE,	  /* mapped MAP_PRIVATE and only read */
	DV_ST_DONTNEED,	  /* mapped, but MADV_DONTNEED took the page table entry away */
	DV_ST_ELSEWHERE,  /* unmapped by who pinned it, mapped by another process */
	DV_ST_UNMAPPED,	  /* no mapping of the file in any process, descriptor closed */
	DV_ST_HOLE,	  /* what is pinned is a hole: the zero page */
	DV_ST_OTHER_FILE, /* the page belongs to another file than the action's */
	DV_ST_MREMAPPED,  /* mapped, at another address than when it was pinned */
	DV_ST_FORKED,	  /* mapped by a child of who pinned it and is gone */
	DV_ST_EXITED,	  /* no mapping of the file: who pinned it is gone */
	DV_ST_MANY,	  /* mapped by who pinned it, and by others */
	DV_ST_UNWRITTEN_LOADED, /* allocated, never written, and loaded from: the zero page */
	DV_ST_UNWRITTEN_STORED, /* the same, and stored to: a page of the file */
	DV_ST_COPIED, /* mapped MAP_PRIVATE and written to: not the file's page */
};

enum dv_expect {
	DV_EXPECT_WAIT, /* the action sleeps until the page is released */
	DV_EXPECT_PASS, /* the action ends although something is held */
	DV_EXPECT_ANY,	/* either, but the page and the file are as they should be */
};

/* Deliberate mistakes, to show that each oracle can fail (see --sabotage). */
enum dv_sabotage {
	DV_SAB_NONE,
	DV_SAB_NO_PIN,
	DV_SAB_EARLY_DRAIN,
	DV_SAB_NO_DRAIN,
	DV_SAB_NO_TOUCH,
	DV_SAB_NO_SIGNAL,
	DV_SAB_NO_FSYNC,
	DV_SAB_NO_DAX,
	DV_SAB_CORRUPT_CANARY,
	DV_SAB_FAKE_WARN,
	DV_SAB_HANG,
	DV_SAB_KEEP_PIN,
	DV_SAB_WRONG_SCHEME,
	DV_SAB_EXTRA_PIN,
	DV_SAB_NO_COUNTS,
	DV_SAB_WRONG_PROCESS,
	DV_SAB_EXTRA_TOUCH,
	DV_SAB_LINGER,
};

struct dv_action;
struct dv_ctx;

struct dv_scenario {
	const char *name;
	const char *claim;
	unsigned needs;
	const char *holder; /* what pins, in words; NULL: nothing */
	enum dv_state state;
	const struct dv_action *action;
	enum dv_expect expect;
	const struct dv_defect *defect; /* the one whose symptom it recognises, or NULL */
	/* DV_OK: ran to its end, the oracles decide. DV_SKIP, DV_BROKEN: see the reason.
	 */
	enum dv_verdict (*run)(struct dv_ctx *c);
	int arg; /* for `run`, where one function serves several rows */
	const struct dv_hold_ops *by; /* what holds (hold.h); NULL: vmsplice */
	const struct dv_cell *cell;   /* of the pin matrix (pins.h), or NULL */
	const struct dv_defect *or_defect; /* another one that it shows on other kernels */
};

struct dv_oracle {
	char name[32];
	char expected[160];
	char seen[240];
	bool ok;
	unsigned symptom;
};

#define DV_ORACLES_MAX 24
#define DV_LOG_MAX     12
#define DV_DEFECTS_MAX 32

struct dv_result {
	enum dv_verdict verdict;
	const struct dv_defect *defect;
	char reason[320];
	char note[240]; /* what was not looked at, where all else was */
	struct dv_oracle oracles[DV_ORACLES_MAX + 1]; /* the last is the kernel log's */
	unsigned noracles;
	char log[DV_LOG_MAX][240];
	unsigned nlog;
	int64_t duration_ms;
	int64_t wake_ns; /* from the release to the end of what waited; 0: nothing was woken */
	bool hung;	 /* it left a process that nothing ends */
	char answer[32]; /* of the pin matrix: "accepted" or an errno; else empty */
};

struct dv_facts {
	char kernel[72], machine[72], fs[32], device[128], persistence_domain[32];
	char mount_point[PATH_MAX], mount_root[256], mount_options[512],
		super_options[512];
	char date[32];
	bool dax, map_sync, kernel_log, sync_device;
	unsigned mounts_of_device;
	size_t page_size, block_size;
	uint64_t free_bytes;
};

struct dv_options {
	const char *dir, *json, *only, *skip, *device_dax, *nvme;
	bool scratch, list, verbose, dangerous, pins, quick;
	bool json_is_new; /* we made that file */
	int timeout_s;
	enum dv_sabotage sabotage;
};

/* Flushes of single pages, as the kernel's own tracepoint tells them (trace.c). */
struct dv_trace {
	int root, dir;
	char name[48];
};

struct dv_env {
	struct dv_options opt;
	struct dv_facts facts;
	char folder[PATH_MAX]; /* ours alone, below opt.dir; removed at the end */
	unsigned have;	       /* enum dv_need bits that are met */
	char missing[DV_NEED_BITS][200]; /* why not, and what would make it so */
	struct dv_trace trace;		 /* open when DV_NEED_TRACE is met */
	int warn_once_fd;		 /* debugfs clear_warn_once, or -1 */
	struct dv_observer *observer;	 /* NULL: see missing[] */
	enum dv_scheme scheme;
	char scheme_seen[160]; /* the counts from which that is known */
};

/* Shared between an actor and who watches it. */
struct dv_actor_shm {
	_Atomic int started, done, signals;
	long ret;
	int err;
	int64_t start_ns, end_ns;
};

#define DV_ACTORS_MAX 8

struct dv_shm {
	struct dv_result result;
	struct dv_driver driver; /* what a scenario unbinds, and must be bound again */
	struct dv_grip grip;
	struct dv_actor_shm actors[DV_ACTORS_MAX];
	_Atomic unsigned nactors;
};

struct dv_ctx {
	const struct dv_env *env;
	const struct dv_scenario *sc;
	struct dv_result *res;
	struct dv_shm *shm;
	struct dv_grip *grip;  /* what holds pages, or may */
	char folder[PATH_MAX]; /* this scenario's own */
	int pipe_r, pipe_w;    /* pins go in here */
	int tee_r, tee_w;      /* and here, when they are doubled */
};

/* report.c: what an oracle saw, and why a scenario could not run */
void dv_oracle(struct dv_ctx *c, bool ok, unsigned symptom, const char *name,
	       const char *expected, const char *seen, ...) DV_PRINTF(6, 7);
enum dv_verdict dv_broken(struct dv_ctx *c, const char *fmt, ...) DV_PRINTF(2, 3);
enum dv_verdict dv_skip(struct dv_ctx *c, const char *fmt, ...) DV_PRINTF(2, 3);
bool dv_sabotaged(const struct dv_ctx *c, enum dv_sabotage how);

/* report_ktap.c, report_json.c */
void dv_ktap_begin(const struct dv_env *env, unsigned nr);
void dv_ktap_start(const struct dv_scenario *sc);
void dv_ktap_result(unsigned nr, const struct dv_scenario *sc, const struct dv_result *r,
		    bool verbose);
void dv_ktap_end(void);
void dv_list_print(const struct dv_scenario *const *scs, unsigned nr);
struct json_object;
struct json_object *dv_json_result(const struct dv_scenario *sc,
				   const struct dv_result *r);
struct json_object *dv_json_report(const struct dv_env *env,
				   struct json_object *scenarios);
struct json_object *dv_json_list(const struct dv_scenario *const *scs, unsigned nr);
int dv_json_write(struct json_object *root, const char *path);
const char *dv_verdict_name(enum dv_verdict v);

/* cleanup.c */
int dv_remove_tree(const char *path);
int dv_end_children(pid_t group, const struct dv_ctx *c);
void dv_judge_leftover(struct dv_ctx *c);

/* keeper.c, leftovers.c */
int dv_keep(const char *dir);
void dv_leftovers_remove(const char *dir);
pid_t dv_dead_owner(const char *name, const char *prefix);
void dv_leftover_say(const char *what, const char *name, int ret);
#define DV_FOLDER_PREFIX ".daxverify-"
#define DV_NAME_PREFIX	 "daxverify-"

/* runner.c */
#define DV_STOPS 4
extern const int dv_stops[DV_STOPS]; /* signals that end a run, and clean up */
void dv_stops_block(sigset_t *before);
void dv_stops_handle(void (*handler)(int));
void dv_catch_stops(void);
int dv_stopped(void); /* the signal that asked us to stop, or 0 */
bool dv_hung(void);
int dv_run_all(struct dv_env *env, const struct dv_scenario *const *scs, unsigned nr);
/* judge.c */
void dv_judge(const struct dv_scenario *sc, struct dv_result *r, enum dv_verdict ended,
	      bool log_read);

/* facts.c, probe.c, mounts.c */
int dv_facts_get(struct dv_env *env);
void dv_probe(struct dv_env *env, unsigned needs);
const char *dv_missing(const struct dv_env *env, unsigned needs);
int dv_mount_find(struct dv_facts *f, const char *dir);
int dv_mounted(const struct dv_facts *f);
int dv_remount(const struct dv_facts *f);
int dv_remount_readonly(const struct dv_facts *f, bool readonly);
int dv_thaw(const struct dv_facts *f);
int dv_freeze_fs(const struct dv_facts *f);
int dv_mount_detached(const char *fstype);

/* kmsg.c */
int dv_kmsg_mark(void);
void dv_kmsg_collect(int fd, struct dv_result *r);
int dv_kmsg_write(const char *text);

/* trace.c */
int dv_trace_open(struct dv_trace *t);
int dv_trace_watch(const struct dv_trace *t, ino_t ino);
/* Sets bit N of *pages for each page N (below 64) that was flushed. */
int dv_trace_flushed(const struct dv_trace *t, ino_t ino, uint64_t *pages,
		     unsigned *events);
void dv_trace_close(struct dv_trace *t);
void dv_trace_remove_dead(void);

/* child.c */
pid_t dv_child_fork(void);
int dv_child_wait(pid_t pid, int limit_ms, int *status);
int64_t dv_now_ns(void);
void dv_sleep_ms(int ms);
int dv_fd_borrow(pid_t pid, int theirs);
int dv_fd_can_borrow(void);
int dv_drain(int fd, void *buf, size_t len, size_t *got);
int dv_pipe_fill(int fd);

/* scenarios*.c */
/* A page held in c->sc->state, c->sc->action on the file: waits or passes as expected. */
enum dv_verdict dv_run_pin(struct dv_ctx *c);
struct dv_group {
	const struct dv_scenario *scenarios;
	unsigned nr;
};
extern const struct dv_group dv_group_map_sync, dv_group_pin, dv_group_evict,
	dv_group_signal, dv_group_refault, dv_group_leak, dv_group_fsync, dv_group_uring,
	dv_group_beside, dv_group_cancel, dv_group_own, dv_group_poison, dv_group_quiet,
	dv_group_shared, dv_group_clone, dv_group_pins, dv_group_several, dv_group_holders,
	dv_group_counts, dv_group_counts_held, dv_group_huge, dv_group_views,
	dv_group_views_process, dv_group_views_written, dv_group_states, dv_group_p2pdma,
	dv_group_umount, dv_group_teardown, dv_group_teardown_dax;
#define DV_SCENARIOS_MAX 512
unsigned dv_scenarios_all(const struct dv_scenario *out[DV_SCENARIOS_MAX]);
bool dv_is_quick(const char *name); /* quick.c */
/* families.c */
struct dv_family {
	const char *globs[12]; /* of the names of its scenarios */
	const char *words;
};
const struct dv_family *dv_family_of(const char *name); /* NULL: in none */

#endif
