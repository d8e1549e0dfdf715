/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Space for a file on DAX, by zeros that are written to it.
 *
 * fallocate(2) would give extents that are unwritten: the first store to each page then zeroes up
 * to 2 MiB and, under MAP_SYNC, commits the journal.  On xfs it would moreover take all pages of
 * the file out of all mappings, and first wait for whoever holds one pinned, without a limit;
 * ftruncate(2) does so everywhere.  A write does neither.  Measured by `daxbench prepare`.
 */
#ifndef DH_ZEROS_H
#define DH_ZEROS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Writes zeros where the range of the file has no data, and makes the file longer where it ends
 * before.  What has data stays.  0 or an errno; then a part may have been written.
 * *any: set if there was a hole, else left alone.
 */
int dh_fill_holes(int fd, uint64_t offset, uint64_t size, bool *any);

#endif
