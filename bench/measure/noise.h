/* SPDX-License-Identifier: BSD-3-Clause */
/* What else happened while something was measured, and would show in the figures. */
#ifndef MEASURE_NOISE_H
#define MEASURE_NOISE_H

#include <stdint.h>

struct noise {
	uint64_t waits;			/* voluntary context switches, of the process */
	uint64_t preemptions;		/* involuntary ones */
	uint64_t faults;		/* page faults, of either kind */
	uint64_t interrupts;		/* of the machine */
	uint64_t steal_ms;		/* the machine: time that a hypervisor gave to others */
};

/* Both at once: what happened since @noise was taken as zero.  Faults are counted last at the
 * begin and first at the end, so that they are those between the two calls. */
void noise_begin(struct noise *noise);
void noise_end(struct noise *noise);

void noise_add(struct noise *sum, const struct noise *noise);

#endif
