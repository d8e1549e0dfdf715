/* SPDX-License-Identifier: BSD-3-Clause */
/* Fields of the log: its horizon, records, and the entries of actions. */
#include <stdio.h>

#include "cases.h"
#include "damage.h"
#include "fields.h"
#include "file.h"

void horizons(void)
{
	const uint64_t first = DH_HORIZON_OFFSET, second = first + sizeof(struct dh_horizon);
	struct dh_horizon *copies;

	/* The older one counts then, and there is more to replay. */
	expect_flip("horizon, first copy", POOL_CLOSED, CLEAN, first);
	expect_flip("horizon, second copy", POOL_CLOSED, CLEAN, second);
	/* Records name what only the newer copy says. */
	start(POOL_CRASHED);
	copies = (struct dh_horizon *)(file + first);
	flip((copies[0].seq > copies[1].seq ? first : second) +
	     offsetof(struct dh_horizon, checksum));
	expect("horizon checksum, newer copy", POOL_CRASHED, STAYS, DH_LOG_OFFSET);
	expect_flip("horizon reserved", POOL_CRASHED, CLEAN, first + 16);
	start(POOL_CLOSED);
	flip(first);
	flip(second);
	expect("horizon, both copies", POOL_CLOSED, STAYS, first);
	start(POOL_CRASHED);
	copies = (struct dh_horizon *)(file + first);
	for (unsigned i = 0; i < 2; i++) {
		copies[i].seq = 0;
		copies[i].checksum = dh_horizon_checksum(&copies[i],
							 first + i * sizeof(*copies), seed());
	}
	expect("horizon that went back", POOL_CRASHED, STAYS, DH_LOG_OFFSET);
}

#define RECORD(field) {"record " #field, offsetof(struct dh_record, field)}

/* What becomes of a field's damage says whose record it is. */
static void damage_record(const struct field *field, enum pool kind, enum verdict verdict,
			  unsigned back, const char *whose)
{
	char name[120];

	snprintf(name, sizeof(name), "%s, %s", field->name, whose);
	start(kind);
	expect_flip(name, kind, verdict, offset_of(record_before(back)) + field->offset);
}

void records(void)
{
	static const struct field fields[] = {
		RECORD(seq), RECORD(where), RECORD(horizon), RECORD(entries[0].target),
		RECORD(entries[0].value), RECORD(entries[1].target), RECORD(entries[1].value),
		RECORD(checksum),
	};
	struct dh_record *record;

	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		damage_record(&fields[i], POOL_CRASHED, STAYS, 2, "of a pending record");
		damage_record(&fields[i], POOL_TORN, CLEAN, 0, "of the newest: torn");
		damage_record(&fields[i], POOL_CLOSED, CLEAN, 1, "behind the horizon");
	}
	start(POOL_CRASHED);
	record = record_before(2);
	record->entries[0].value += 16;
	fix_record(record);
	expect("record that names no block", POOL_CRASHED, STAYS, DH_LOG_OFFSET);
	start(POOL_CRASHED);
	record = record_before(2);
	record->entries[0].target = (POOL_SIZE + 64) | DH_ENTRY_PUBLISH;
	fix_record(record);
	expect("record that names no slot", POOL_CRASHED, STAYS, DH_LOG_OFFSET);
}

void extents(void)
{
	static const struct field fields[] = {
		RECORD(extent.offset), RECORD(extent.count), RECORD(extent.checksum),
		RECORD(extent.reserved),
	};
	struct dh_record *record;

	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		damage_record(&fields[i], POOL_CRASHED, STAYS, 1, "of a pending action");
	start(POOL_CRASHED);
	record = record_before(1);
	flip(record->extent.offset);
	expect("entry of a pending action", POOL_CRASHED, STAYS, DH_LOG_OFFSET);
	start(POOL_CRASHED);
	record = record_before(1);
	record->extent.offset = POOL_SIZE - 16;
	fix_record(record);
	expect("entries that end behind the pool", POOL_CRASHED, STAYS, DH_LOG_OFFSET);
	start(POOL_ACTION);
	flip(newest_record()->extent.offset + 20);
	expect("entry of the newest action: torn", POOL_ACTION, CLEAN, 0);
}
