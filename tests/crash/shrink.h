/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CRASH_SHRINK_H
#define CRASH_SHRINK_H

#include "case.h"
#include "report.h"

/*
 * Makes a failing case shorter while it still fails: fewer steps, threads and switches of the
 * baton.  @result is the failure of the case as it is, then as it was made.
 */
void shrink(struct case_spec *spec, struct violation *result);

#endif
