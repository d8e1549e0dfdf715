/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of each kind that can be handed to the kernel as a buffer. */
#ifndef DAXVERIFY_MEMORY_H
#define DAXVERIFY_MEMORY_H

enum dv_memory_kind {
	DV_MEM_FSDAX,
	DV_MEM_DEVDAX,
	DV_MEM_PAGE_CACHE, /* of a file system, or of a block device: written back */
	DV_MEM_TMPFS,
	DV_MEM_HUGETLB,
	DV_MEM_ANON,
};
#define DV_MEM_KINDS 6

struct dv_memory {
	enum dv_memory_kind kind;
	int fd; /* -1: none */
	char *addr;
	size_t len;
	char path[PATH_MAX]; /* of FS DAX */
};

#define DV_NO_DEVICE_DAX                                                                      \
	"no device DAX: name one that may be overwritten with --device-dax (ndctl "           \
	"create-namespace -m devdax)"

extern const char *const dv_memory_names[DV_MEM_KINDS];
/*
 * Mapped shared (but for anonymous memory), and each page of it filled as the original.
 * DV_SKIP and the reason where there is none of this kind.
 */
enum dv_verdict dv_memory_open(struct dv_ctx *c, enum dv_memory_kind kind,
			       struct dv_memory *m);

#endif
