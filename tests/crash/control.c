/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "control.h"

const struct control controls[] = {
	{"no-fence", DH_FAULT_NONE, NO_FENCE},
	{"no-flush", DH_FAULT_NONE, NO_RECORD_FLUSH},
	{"slot-before-record", DH_FAULT_SLOT_BEFORE_RECORD, HONEST},
	{"one-fence", DH_FAULT_NONE, CONTENT_NOT_FENCED},
	{"foreign-fence", DH_FAULT_NONE, CONTENT_FLUSHED_BY_OTHER},
	{"overwrite-early", DH_FAULT_OVERWRITE_EARLY, HONEST},
	{"pass-announced", DH_FAULT_PASS_ANNOUNCED, HONEST},
	{"horizon-back", DH_FAULT_HORIZON_BACK, HONEST},
	{"retire-own", DH_FAULT_RETIRE_OWN, HONEST},
	{"no-slot-lock", DH_FAULT_NO_SLOT_LOCK, HONEST},
	{"no-recovery-fence", DH_FAULT_NO_RECOVERY_FENCE, HONEST},
	{"keep-torn", DH_FAULT_KEEP_TORN, HONEST},
	{"no-sort", DH_FAULT_NO_SORT, HONEST},
	{"no-freed-rule", DH_FAULT_NO_FREED_RULE, HONEST},
	{"reuse-early", DH_FAULT_REUSE_EARLY, HONEST},
	{"no-continuation", DH_FAULT_NO_CONTINUATION, HONEST},
	{"growth-not-synced", DH_FAULT_GROWTH_NOT_SYNCED, HONEST},
	{"open-not-synced", DH_FAULT_OPEN_NOT_SYNCED, HONEST},
	{"trim-early", DH_FAULT_TRIM_EARLY, HONEST},
	{"trim-before-horizon", DH_FAULT_TRIM_BEFORE_HORIZON, HONEST},
	{"forget-intent", DH_FAULT_FORGET_INTENT, HONEST},
};
const unsigned control_count = sizeof(controls) / sizeof(controls[0]);

const struct control *control_find(const char *name)
{
	for (unsigned i = 0; i < control_count; i++)
		if (!strcmp(controls[i].name, name))
			return &controls[i];
	return NULL;
}
