/* SPDX-License-Identifier: BSD-3-Clause */
/* Where and how it was measured: what must be alike for two results to be compared. */
#ifndef MEASURE_FACTS_H
#define MEASURE_FACTS_H

#include <json-c/json.h>
#include <stdbool.h>

/* @path: the folder or device that is measured; NULL: none.  After timer_start(). */
struct json_object *facts_new(const char *path);

/* "none" on bare metal, "KVM", "TCG", or what the hypervisor calls itself. */
const char *facts_accelerator(void);

/* Of a result's facts; "" where it is missing. */
const char *facts_get(struct json_object *facts, const char *key);
/* Whether times are those of an emulated CPU, and mean nothing beside others. */
bool facts_emulated(struct json_object *facts);

/* Three lines for a person. */
void facts_print(struct json_object *facts);

#endif
