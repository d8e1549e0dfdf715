/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of a PCI device that processes can map, and other PCI devices can reach: P2PDMA.
 */
#ifndef DAXVERIFY_P2P_H
#define DAXVERIFY_P2P_H

#include <limits.h>
#include <stddef.h>

struct dv_ctx;

struct dv_p2p {
	char device[256]; /* of the PCI device that has it, in /sys */
	int fd;		  /* what is mapped is allocated: p2pmem/allocate */
	long before;	  /* bytes that were not allocated at the beginning */
};

/* The answer is one of enum dv_verdict: DV_SKIP and the reason where there is none. */
int dv_p2p_find(struct dv_ctx *c, struct dv_p2p *p);
/* Bytes that are not allocated, or -errno. */
long dv_p2p_available(const struct dv_p2p *p);
/* MAP_FAILED and errno on failure. */
void *dv_p2p_map(const struct dv_p2p *p, size_t len);
/* Is the block device, "nvme0n1", one of the same controller? */
bool dv_p2p_has_drive(const struct dv_p2p *p, const char *name);
/* An oracle: so many bytes are allocated now. Waits for a moment until they are. */
void dv_p2p_judge_allocated(struct dv_ctx *c, const struct dv_p2p *p, const char *name,
			    size_t allocated);

#endif
