/* SPDX-License-Identifier: BSD-3-Clause */
/* What can be reached in a pool, and must live on. */
#ifndef GENERATORS_CONTENT_H
#define GENERATORS_CONTENT_H

#include "pools.h"

struct reached {
	uint64_t ref, size;
	unsigned char byte;		/* its content; 0: slots */
};

struct content {
	struct reached blocks[256];
	unsigned count;
};

/* All that can be reached in the undamaged pool that is the file. */
void content_reach(struct content *content);
/* NULL, or what is wrong. */
const char *content_lost(const struct content *content);
/* Free all and use the space again: what was repaired must serve, not only look well. */
const char *content_use_up(void);

#endif
