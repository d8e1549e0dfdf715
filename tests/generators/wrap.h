/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What check does to the file, seen from below (ld --wrap): what repair writes, to cut it short,
 * and media that can't be read.
 */
#ifndef GENERATORS_WRAP_H
#define GENERATORS_WRAP_H

#include <stdint.h>

extern unsigned write_count;		/* writes that are remembered */
/* The first @count of them, and half of the next. */
void apply_writes(unsigned count);

extern uint64_t poisoned;		/* a page's offset; 0: none */

#endif
