/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "control.h"

const struct control controls[] = {
	{"no-fence", DH_FAULT_NONE, NO_FENCE, 0},
	{"no-flush", DH_FAULT_NONE, NO_RECORD_FLUSH, 0},
	{"slot-before-record", DH_FAULT_SLOT_BEFORE_RECORD, HONEST, 0},
	{"one-fence", DH_FAULT_NONE, CONTENT_NOT_FENCED, 0},
	{"foreign-fence", DH_FAULT_NONE, CONTENT_FLUSHED_BY_OTHER, 0},
	{"overwrite-early", DH_FAULT_OVERWRITE_EARLY, HONEST, 0},
	{"pass-announced", DH_FAULT_PASS_ANNOUNCED, HONEST, 0},
	{"horizon-back", DH_FAULT_HORIZON_BACK, HONEST, 0},
	{"retire-own", DH_FAULT_RETIRE_OWN, HONEST, 0},
	{"no-slot-lock", DH_FAULT_NO_SLOT_LOCK, HONEST, 0},
	{"no-recovery-fence", DH_FAULT_NO_RECOVERY_FENCE, HONEST, 0},
	{"keep-torn", DH_FAULT_KEEP_TORN, HONEST, 0},
	{"no-leave", DH_FAULT_NO_LEAVE, HONEST, 3},
	{"no-sort", DH_FAULT_NO_SORT, HONEST, 0},
	{"no-freed-rule", DH_FAULT_NO_FREED_RULE, HONEST, 0},
	{"reuse-early", DH_FAULT_REUSE_EARLY, HONEST, 0},
	{"no-continuation", DH_FAULT_NO_CONTINUATION, HONEST, 0},
};
const unsigned control_count = sizeof(controls) / sizeof(controls[0]);

const struct control *control_find(const char *name)
{
	for (unsigned i = 0; i < control_count; i++)
		if (!strcmp(controls[i].name, name))
			return &controls[i];
	return NULL;
}
