/* SPDX-License-Identifier: BSD-3-Clause */
/* A file, who holds pages of it, and a call that is made meanwhile; the oracles on them. */
#ifndef DAXVERIFY_RIG_H
#define DAXVERIFY_RIG_H

#include "daxverify.h"

#include "actor.h"
#include "file.h"

/* holder.c */
enum dv_hop {
	DV_HOP_MAP,	 /* open and map the file */
	DV_HOP_LOAD,	 /* read one byte of each page of the range */
	DV_HOP_STORE,	 /* write the byte that is there already */
	DV_HOP_PIN,	 /* hold the range */
	DV_HOP_DONTNEED, /* MADV_DONTNEED on the range */
	DV_HOP_UNMAP,
	DV_HOP_CLOSE,
	DV_HOP_MREMAP, /* to another address */
	DV_HOP_FORK,   /* a child loads from the range and goes on in place of the holder */
	DV_HOP_EXIT,
	DV_HOP_QUIT,
};
struct dv_holder {
	pid_t pid;
	int sock;
};
struct dv_hold {
	char path[PATH_MAX];
	enum dv_state state;
	bool sync, copy_only; /* copy_only: sabotage, hold a copy */
	unsigned npages;
	struct dv_grip *grip;
};
int dv_holder_start(struct dv_holder *h, const struct dv_hold *hold);
int dv_holder_do(struct dv_holder *h, enum dv_hop op, const struct dv_span *span);
/* The same for those after which its process is gone: DV_HOP_FORK and DV_HOP_EXIT. */
int dv_holder_leave(struct dv_holder *h, enum dv_hop op, const struct dv_span *span);

/* rig.c: a file, a pin on some of its pages, an action; and the oracles on them */
#define DV_RIG_COUNTED 256
#define DV_OTHERS      3
struct dv_rig_counts {
	unsigned nr;	     /* pages; 0: none are counted */
	unsigned maps;	     /* of each: processes that map it, */
	unsigned gets, pins; /* references and pins of the holder */
	uint64_t pfn[DV_RIG_COUNTED];
};
struct dv_rig {
	char path[PATH_MAX];   /* the action's file */
	char pinned[PATH_MAX]; /* the file whose page is held; mostly the same */
	enum dv_state state;
	unsigned npages;
	struct dv_span span; /* the pages held */
	struct dv_holder holder, others[DV_OTHERS];
	struct dv_actor actor;
	enum dv_seen seen;
	uint8_t *content; /* what the held pages showed at their release */
	size_t content_len;
	int64_t release_ns;
	bool released;
	struct dv_rig_counts counts;
};
#define DV_FILE_PAGES 16
#define DV_PIN_PAGE   5

extern const struct dv_span dv_one_page; /* DV_PIN_PAGE */
enum dv_verdict dv_rig_build(struct dv_ctx *c, struct dv_rig *r, unsigned npages,
			     const struct dv_span *span);
enum dv_verdict dv_rig_act(struct dv_ctx *c, struct dv_rig *r,
			   const struct dv_action *action, enum dv_handler handler);
/* Both, with one page of a small file. */
enum dv_verdict dv_rig_begin(struct dv_ctx *c, struct dv_rig *r,
			     const struct dv_action *action, enum dv_handler handler);
int dv_rig_release(struct dv_ctx *c, struct dv_rig *r);
bool dv_rig_held(struct dv_ctx *c, const struct dv_rig *r);
/* What is pinned is the zero page, which is everybody's. */
bool dv_rig_is_hole(const struct dv_rig *r);
/* rig_counts.c: silent where there is no observer */
enum dv_verdict dv_rig_counts_find(struct dv_ctx *c, struct dv_rig *r);
void dv_rig_counts_pinned(struct dv_ctx *c, struct dv_rig *r);
void dv_rig_counts_held(struct dv_ctx *c, struct dv_rig *r);
void dv_rig_counts_idle(struct dv_ctx *c, struct dv_rig *r);
/* rig_judge.c */
void dv_rig_judge_wait(struct dv_ctx *c, struct dv_rig *r);
void dv_rig_judge_pass(struct dv_ctx *c, struct dv_rig *r);
void dv_rig_judge_any(struct dv_ctx *c, struct dv_rig *r);
void dv_rig_judge_wake(struct dv_ctx *c, struct dv_rig *r);
enum dv_verdict dv_rig_judge_content(struct dv_ctx *c, struct dv_rig *r);
void dv_rig_judge_file(struct dv_ctx *c, struct dv_rig *r, const char *name,
		       const struct dv_action *after);

#endif
