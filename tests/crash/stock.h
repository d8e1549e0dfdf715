/* SPDX-License-Identifier: BSD-3-Clause */
/* What goes on in free space: reservations that nobody publishes, and trims. */
#ifndef CRASH_STOCK_H
#define CRASH_STOCK_H

#include "life.h"

/* One of the life's reservations begins or is cancelled. */
void stock_change(struct life *life, uint64_t random);
/* Reservations that leave chunks formatted, and free again. */
void stock_touch_chunks(struct life *life, uint64_t random);
void stock_trim(struct life *life, uint64_t random);

/* Reserves most of the free space of the pool, so that what is freed is used again soon. */
void stock_fill_pool(struct daxheap *heap, uint64_t random);

#endif
