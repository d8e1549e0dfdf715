/* SPDX-License-Identifier: BSD-3-Clause */
/* Why there are no huge pages: the doctor (daxheap doctor) finds out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "doctor.h"
#include "explain.h"

/* Asked once of a folder; what it said before is no longer valid for another. */
static const char *ask_doctor(const char *path)
{
	static struct doctor doctor;
	static const char *asked, *answer;
	const struct doctor_verdict *verdict = &doctor.verdicts[DOCTOR_HUGE_PAGES];

	if (asked && !strcmp(asked, path))
		return answer;
	asked = path;
	doctor = (struct doctor){0};
	answer = doctor_examine(&doctor, path);
	if (!answer)
		answer = verdict->answer == DOCTOR_YES ?
				 "space that is taken in one piece does get huge pages here" :
				 verdict->reason;
	return answer;
}

void explain_small(const struct plan *plan, struct series *series)
{
	char *more;

	if (!series->refused)
		return;
	if (asprintf(&more, "%s; doctor: %s", series->refused, ask_doctor(plan->options->dir)) < 0)
		die("out of memory");
	free(series->refused);
	series->refused = more;
}
