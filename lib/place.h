/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DH_PLACE_H
#define DH_PLACE_H

#include <stdbool.h>

/* Whether the open file is accessed by DAX; false also where it can't be told. */
bool dh_place_is_dax(int fd);

#endif
