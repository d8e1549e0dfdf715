/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxheap doctor: what follows from what was seen and tried.  The judges look nowhere but into
 * struct doctor, so that tests can ask for each answer.
 */
#include <inttypes.h>
#include <string.h>

#include "doctor_judge.h"

/* --- long-term pins --- */

static void judge_pins(const struct doctor *doctor, struct doctor_verdict *verdict)
{
	const struct doctor_try *pin = &doctor->pin;

	if (!pin->tried) {
		because(verdict, "they could not be tried%s",
			is_unmounted(doctor) ? "" : "; what is in the way is told below");
		return;
	}
	verdict->answer = pin->err ? DOCTOR_NO : DOCTOR_YES;
	because(verdict, "io_uring %s a page of %s as a buffer",
		pin->err ? "refuses to register" : "registers", tried_on(doctor, pin->scratch));
	if (!pin->err)
		return;
	because(verdict, " (%s): ", error_name(pin->err));
	if (doctor->kind == DOCTOR_DEVDAX) {
		because(verdict, "kernels before 6.12 refuse all that is neither anonymous nor "
			"tmpfs");
		advise(verdict, "Boot Linux 6.12 or newer", "%s", "");
		verdict->hinders = true;
	} else if (doctor->fs.dax) {
		because(verdict, "every kernel refuses long-term pins of FS DAX, since they would "
			"hold up truncate for ever; I/O with plain buffers works");
		if (doctor->pmem.name[0] && !doctor->pmem.needs_flush)
			advise(verdict, "Where registered buffers are needed, make the namespace anew "
			       "in devdax mode (this destroys what it holds; unmount it first)",
			       "ndctl create-namespace -f -e %s -m devdax --align=2M",
			       doctor->pmem.name);
	} else {
		because(verdict, "the kernel refuses long-term pins of files that it writes back; "
			"I/O with plain buffers works");
		advise(verdict, "Register anonymous memory or a file on tmpfs, and copy", "%s", "");
	}
}

/* --- the media --- */

static void judge_health(const struct doctor *doctor, struct doctor_verdict *verdict)
{
	const struct doctor_pmem *pmem = &doctor->pmem;

	if (!pmem->name[0])
		return;
	verdict->answer = DOCTOR_YES;
	if (!pmem->bad_sectors) {
		because(verdict, "no bad blocks");
	} else {
		verdict->answer = DOCTOR_NO;
		because(verdict, "%" PRIu64 " bad sectors of 512 bytes", pmem->bad_sectors);
		advise(verdict, "See which files have them, restore those, and clear the rest",
		       "ndctl list -Mu -n %s\nndctl clear-errors %s", pmem->name, pmem->name);
	}
	if (pmem->read_only) {
		verdict->answer = DOCTOR_NO;
		because(verdict, "; %s is read-only", pmem->region);
		advise(verdict, "Allow stores, if the DIMMs are in order", "ndctl list -DHu");
	}
	if (pmem->dimms_telling && pmem->unsafe_shutdowns) {
		because(verdict, "; %" PRIu64 " unsafe shutdowns so far, at each of which what was "
			"flushed may have been lost", pmem->unsafe_shutdowns);
		advise(verdict, "If the number has risen, check the pools", "daxheap check POOL");
	} else if (pmem->dimms_telling) {
		because(verdict, "; no unsafe shutdown");
	}
	verdict->hinders = verdict->answer != DOCTOR_YES;
}

/* --- how daxheap_uring_*() go about it, by default --- */

/* As daxheap_uring_attach() says: what is read would have to be flushed line by line, where
 * lines are flushed, unless it is copied past the cache; what device DAX takes is registered. */
static void judge_io(struct doctor *doctor)
{
	bool flushes = !doctor->map_sync.err && strcmp(doctor->pmem.domain, "cpu_cache");

	if (!doctor->map_sync.tried || !doctor->pin.tried)
		return;
	doctor->writes = doctor->kind == DOCTOR_DEVDAX && !doctor->pin.err ? "registered" : "direct";
	doctor->reads = flushes ? "staged" : doctor->writes;
}

void doctor_judge(struct doctor *doctor)
{
	judge_io(doctor);
	judge_durable(doctor, &doctor->verdicts[DOCTOR_DURABLE]);
	judge_huge(doctor, &doctor->verdicts[DOCTOR_HUGE_PAGES]);
	judge_pins(doctor, &doctor->verdicts[DOCTOR_PINS]);
	judge_health(doctor, &doctor->verdicts[DOCTOR_HEALTH]);
}

bool doctor_hindered(const struct doctor *doctor)
{
	for (unsigned i = 0; i < DOCTOR_QUESTIONS; i++)
		if (doctor->verdicts[i].hinders)
			return true;
	return false;
}
