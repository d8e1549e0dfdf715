/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "shrink.h"

#define RUNS_MAX 400u
/* So many steps before the failing one have images. */
#define STEPS_BEFORE 4u

#define ALIKE 12u			/* characters of a message that tell its kind */

static unsigned runs;
static struct violation *trial_result;

/* Takes the trial over if it fails in the same way. */
static bool still_fails(struct case_spec *spec, const struct case_spec *trial,
			struct violation *result)
{
	if (runs++ >= RUNS_MAX || !case_run(trial, trial_result) ||
	    strncmp(result->text, trial_result->text, ALIKE))
		return false;
	*spec = *trial;
	*result = *trial_result;
	return true;
}

static bool set_flags(bool *flags, unsigned from, unsigned count, unsigned limit)
{
	bool any = false;

	for (unsigned i = from; i < from + count && i < limit; i++) {
		any |= !flags[i];
		flags[i] = true;
	}
	return any;
}

/* Tries to set the flags of fewer and fewer steps at once; the last steps go first. */
static void set_most(struct case_spec *spec, struct violation *result, unsigned steps,
		     size_t flags)
{
	for (unsigned count = (steps + 1) / 2; count; count /= 2)
		for (unsigned end = (steps + count - 1) / count; end > 0; end--) {
			struct case_spec trial = *spec;

			if (set_flags((bool *)((char *)&trial + flags), (end - 1) * count, count,
				      steps))
				still_fails(spec, &trial, result);
		}
}

static void fewer_threads(struct case_spec *spec, struct violation *result)
{
	for (unsigned threads = 1; threads < spec->threads; threads++) {
		struct case_spec trial = *spec;

		trial.threads = threads;
		if (still_fails(spec, &trial, result))
			return;
	}
}

void shrink(struct case_spec *spec, struct violation *result)
{
	unsigned steps = result->step + 1;
	struct case_spec trial;
	struct play play;

	trial_result = shared_memory(sizeof(*trial_result));
	trial = *spec;
	trial.thorough = true;
	trial.from = steps > STEPS_BEFORE ? steps - STEPS_BEFORE : 0;
	set_flags(trial.dropped, steps, STEPS_MAX, STEPS_MAX);
	if (!still_fails(spec, &trial, result)) {
		/* Seen by luck of the samples alone. */
		trial = *spec;
		set_flags(trial.dropped, steps, STEPS_MAX, STEPS_MAX);
		still_fails(spec, &trial, result);
	}
	case_plan(spec, &play);
	set_most(spec, result, play.step_count, offsetof(struct case_spec, dropped));
	fewer_threads(spec, result);
	set_most(spec, result, play.step_count, offsetof(struct case_spec, still));
	set_most(spec, result, play.step_count, offsetof(struct case_spec, dropped));
}
