/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ways to hold a page of memory: each is a struct of functions, in a small file of its
 * own (hold_*.c).
 *
 * - open(), in the runner before anything forks: the ends of pipes and sockets, a slow
 *   device. What it makes is known to all processes of the scenario, and outlives them.
 * - hold(), in the process whose memory it is: 0 and the pages are held, or the errno
 * with which the kernel refuses. It does not sleep, whatever the kernel does meanwhile.
 * - release(), in any process: the pages go, and what they showed is told. So the runner
 *   can let go whatever hangs. What is registered with a descriptor (`own`) can be
 *   released by its holder alone, and goes with it.
 * - close(), in the runner, when no process is left.
 */
#ifndef DAXVERIFY_HOLD_H
#define DAXVERIFY_HOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#define DV_HELD_PAGES_MAX 256

/* A block device that ends no request before it is told to (slow.c). */
struct dv_slow {
	char name[32];
	int memory; /* what is on it: a memfd */
	int device; /* opened with O_DIRECT; -1: not there */
	int loop;
	dev_t number;
	_Atomic int flowing;
};

/* One per scenario, in memory that runner, scenario and holder share. */
struct dv_grip {
	const struct dv_hold_ops *by;
	char why[200]; /* open() or hold() could not: what it would take */
	int file;      /* the memory's file, or -1 */
	int in, out;   /* pipe, socket: pages go in and come out */
	int second_in, second_out;
	size_t before;	     /* bytes that stand before the pages in it */
	_Atomic size_t held; /* bytes of the pages; 0: nothing is held */
	struct dv_slow slow;
	char *window;	  /* DV_HELD_PAGES_MAX pages, shared, to copy to */
	pid_t pid;	  /* of the holder */
	int uffd;	  /* there */
	_Atomic int done; /* the call that holds has ended, */
	int err;	  /* with this -errno or 0 */
};

/* How a holder counts in a page: which it is can be seen by counts alone. */
enum dv_takes {
	DV_TAKES_GET,	 /* a reference: FOLL_GET, +1 */
	DV_TAKES_GETS,	 /* one or more: the network cuts a page into as many as it likes */
	DV_TAKES_PIN,	 /* a pin: FOLL_PIN, +1024, or the pincount of a large folio */
	DV_TAKES_EITHER, /* the first on older kernels, the second on newer ones */
};

struct dv_hold_ops {
	const char *name;  /* in the names of scenarios */
	const char *words; /* what holds, in a claim */
	const char *place; /* where the page is then, in a diagnostic */
	enum dv_takes takes;
	bool into;	   /* it writes to the pages; the others read them */
	bool own;	   /* only the holder can release it */
	bool shows;	   /* release() tells what the pages had */
	bool once;	   /* it lets go before it returns: nothing to release */
	bool counted;	   /* the kernel adds it to VmPin of the holder */
	int arg;	   /* for functions that serve several */
	int (*open)(struct dv_grip *g);
	int (*hold)(struct dv_grip *g, const struct iovec *iov, unsigned nr);
	bool (*held)(const struct dv_grip *g);
	int (*release)(struct dv_grip *g, void *buf, size_t len, size_t *got);
	void (*close)(struct dv_grip *g);
};

extern const struct dv_hold_ops dv_by_vmsplice, dv_by_tee, dv_by_splice_unix,
	dv_by_splice_tcp, dv_by_direct_write, dv_by_direct_read, dv_by_uring_write,
	dv_by_uring_read, dv_by_process_vm, dv_by_msg_zerocopy, dv_by_send_zc,
	dv_by_uring_buffers, dv_by_rdma, dv_by_xdp, dv_by_udmabuf, dv_by_gup_fast,
	dv_by_gup_get, dv_by_pin_fast, dv_by_pin_get, dv_by_pin_longterm,
	dv_by_pin_longterm_held, dv_by_pin_longterm_held_fast;

/* hold.c */
int dv_grip_open(struct dv_grip *g, const struct dv_hold_ops *by, const int pipe[2],
		 const int tee[2]);
int dv_grip_hold(struct dv_grip *g, const struct iovec *iov, unsigned nr);
int dv_grip_release(struct dv_grip *g, void *buf, size_t len, size_t *got);
void dv_grip_close(struct dv_grip *g);
size_t dv_iov_len(const struct iovec *iov, unsigned nr);
/* Notes why not, and returns the error. */
int dv_grip_lacks(struct dv_grip *g, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Neither accepted nor refused: the limit of locked memory (ulimit -l) comes before. */
bool dv_hold_limited(int err);
#define DV_HOLD_LIMITED "no memory may be locked here (ulimit -l)"
/* A thread of the holder makes the call that holds; it notes the end in g->done. */
int dv_grip_start(struct dv_grip *g, void *(*call)(void *));
/* Waits until the call has ended; its -errno, or -ETIMEDOUT. */
int dv_grip_wait_done(struct dv_grip *g);
/* What an unfinished call that holds no page says: its -errno, or -EIO when it succeeded.
 */
int dv_grip_ended_early(const struct dv_grip *g);

/* tcp.c: two ends over the loopback device; the receiving one is soon full */
int dv_tcp_open(struct dv_grip *g);
int dv_tcp_fill(int in, size_t *filled);
bool dv_tcp_held(const struct dv_grip *g);
/* Of any two ends of a stream: unix sockets as well. */
int dv_stream_release(struct dv_grip *g, void *buf, size_t len, size_t *got);
void dv_stream_close(struct dv_grip *g);

/* loop.c: a block device whose bytes are a file */
int dv_loop_open(int file, char path[32], dev_t *number);

/* slow.c */
int dv_slow_open(struct dv_grip *g);
/* 0 when a request is in flight there; the call's end, or -ETIMEDOUT */
int dv_slow_wait(struct dv_grip *g, int (*ended)(struct dv_grip *g));
bool dv_slow_busy(const struct dv_grip *g);
/* All that is in flight ends. */
int dv_slow_let(struct dv_slow *s);
void dv_slow_close(struct dv_grip *g);
void dv_slow_remove_dead(void);

/* rxe.c: an RDMA device over the loopback network device */
int dv_rxe_add(void);
void dv_rxe_remove(void);
void dv_rxe_remove_dead(void);
/* The path of its /dev/infiniband/uverbsN. */
int dv_rxe_find(char path[64]);

#endif
