/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef EXPLAIN_H
#define EXPLAIN_H

#include "rounds.h"

/* Adds to the reason why @series has no figures, which is that pages are not huge, what the doctor
 * says about that. */
void explain_small(const struct plan *plan, struct series *series);

#endif
