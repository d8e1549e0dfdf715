/* SPDX-License-Identifier: BSD-3-Clause */
/* Files that are gone when they are closed, and what their folder gives them. */
#ifndef MEASURE_SCRATCH_H
#define MEASURE_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file without a name in @dir; -1 with errno. */
int scratch_open(const char *dir);

/* Whether files in the folder @path are accessed by DAX, or it is a device that is. */
bool scratch_is_dax(const char *path);

/* Bytes that are free in @dir. */
uint64_t scratch_space(const char *dir);

/* Of device DAX: what it maps at once, in bytes; 0: not known. */
size_t scratch_devdax_align(const char *path);
/* All of it, in bytes; 0: not known. */
size_t scratch_devdax_size(const char *path);

/* Writes @size bytes of zeros from @at on: 0, or an errno. */
int scratch_write(int fd, size_t at, size_t size);

#endif
