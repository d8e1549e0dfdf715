/* SPDX-License-Identifier: BSD-3-Clause */
/* Negative controls: deliberate mistakes, each of which the explorer must find. */
#ifndef CRASH_CONTROL_H
#define CRASH_CONTROL_H

#include "fault.h"
#include "life.h"

struct control {
	const char *name;
	enum dh_fault fault;		/* of the heap */
	enum mistake mistake;		/* of the program or the media */
};

extern const struct control controls[];
extern const unsigned control_count;

const struct control *control_find(const char *name);

#endif
