/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking space from the file system for what is about to be used.
 *
 * The kernel may let that wait for long, as behind a punch that waits for others' pins.  So nobody
 * holds space.lock meanwhile: what is to get space is marked as busy, and who looks for a place
 * takes another, or waits until the growth is over.  One at a time, since each may make the file
 * longer; and that is durable before the mark is taken away, so nothing on media tells of it
 * before.
 *
 * At the end of the file a growth and a trim keep out of each other's way: while one makes the file
 * longer no tail is cut (dh_spare_take()), and while one is being cut nothing grows from there on
 * (space->end).
 */
#ifndef DH_GROW_H
#define DH_GROW_H

#include "space.h"

/*
 * Under the lock.  0: the chunks, which are free, have all their space, and so have their words in
 * the table; the units of a chunk in use.
 *
 * -EINPROGRESS	they are marked: the caller's to dh_grow_or_wait()
 * -EAGAIN	another growth is under way
 */
int dh_grow_chunks(struct dh_space *space, uint64_t first, uint64_t count);
int dh_grow_units(struct dh_space *space, uint64_t chunk, uint32_t units);

/*
 * After one of these, or -EAGAIN because of a trim: does it, or waits a little, while the lock is
 * not held.  True: the caller looks for a place again; what it made grow can't be taken by others
 * in between.  False: *@err is what it was, or why there is no space.
 */
bool dh_grow_or_wait(struct dh_space *space, int *err, unsigned *round);

#endif
