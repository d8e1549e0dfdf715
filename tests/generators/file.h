/* SPDX-License-Identifier: BSD-3-Clause */
/* The file that a case damages: a copy of a pool. */
#ifndef GENERATORS_FILE_H
#define GENERATORS_FILE_H

#include <stdbool.h>

extern char *file;			/* mapped */
extern char file_path[64];

void file_make(void);
/* Where there is nothing but zeros, the file has holes. */
void file_set(const char *bytes);
/* Not by the mapping, which would fill the holes. */
void file_read(char *bytes);
bool file_is(const char *bytes);

#endif
