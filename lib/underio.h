/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks under I/O.  Their owner may free or cancel them while a device still reads or writes
 * them; such a block is given out again, or its chunk to the file system, only after the last
 * completion.
 *
 * A counter for each block of a span that ever had I/O, and in the chunk of a huge one; its top
 * bit says that the block was given back meanwhile.  A block is not freed while an operation on it
 * is being prepared: so a count that a release finds at 0 stays 0.
 */
#ifndef DH_UNDERIO_H
#define DH_UNDERIO_H

#include "space.h"

/*
 * One more operation on the block.
 * -EINVAL: it was given back (no message); -ENOMEM.
 */
int dh_io_begin(struct dh_space *space, const struct dh_found *found);
/* One less; releases the block after the last if it was given back meanwhile. */
void dh_io_end(struct dh_space *space, const struct dh_found *found);

/*
 * Before the block is released: true if it is under I/O, and the last completion will release it.
 */
bool dh_io_keeps(const struct dh_found *found);

#endif
