/* SPDX-License-Identifier: BSD-3-Clause */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "noise.h"

/* The machine's, from /proc/stat; what is not to be read stays 0. */
static void read_machine(struct noise *noise)
{
	FILE *file = fopen("/proc/stat", "re");
	uint64_t steal = 0, interrupts = 0;
	char line[4096];

	while (file && fgets(line, sizeof(line), file)) {
		sscanf(line, "cpu  %*u %*u %*u %*u %*u %*u %*u %" SCNu64, &steal);
		if (sscanf(line, "intr %" SCNu64, &interrupts) == 1)
			break;
	}
	if (file)
		fclose(file);
	noise->steal_ms = steal * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
	noise->interrupts = interrupts;
}

static void read_process(struct noise *noise)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	noise->waits = (uint64_t)usage.ru_nvcsw;
	noise->preemptions = (uint64_t)usage.ru_nivcsw;
	noise->faults = (uint64_t)(usage.ru_minflt + usage.ru_majflt);
}

void noise_begin(struct noise *noise)
{
	struct noise unused;

	/* What the reading itself faults in, it faults in now. */
	read_machine(&unused);
	read_process(&unused);
	read_machine(noise);
	read_process(noise);
}

void noise_end(struct noise *noise)
{
	struct noise now;

	read_process(&now);
	read_machine(&now);
	noise->waits = now.waits - noise->waits;
	noise->preemptions = now.preemptions - noise->preemptions;
	noise->faults = now.faults - noise->faults;
	noise->interrupts = now.interrupts - noise->interrupts;
	noise->steal_ms = now.steal_ms - noise->steal_ms;
}

void noise_add(struct noise *sum, const struct noise *noise)
{
	sum->waits += noise->waits;
	sum->preemptions += noise->preemptions;
	sum->faults += noise->faults;
	sum->interrupts += noise->interrupts;
	sum->steal_ms += noise->steal_ms;
}
