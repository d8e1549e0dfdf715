/* SPDX-License-Identifier: BSD-3-Clause */
/* Fields of the superblock and of the roots. */
#include <stdio.h>
#include <string.h>

#include "cases.h"
#include "damage.h"
#include "fields.h"
#include "file.h"

#define SUPER(field) {"superblock " #field, offsetof(struct dh_superblock, field)}

static const struct field super_fields[] = {
	SUPER(magic), SUPER(version), SUPER(header_size), SUPER(self), SUPER(compat),
	SUPER(ro_compat), SUPER(incompat), SUPER(uuid), SUPER(size), SUPER(created_s),
	SUPER(chunk_size), SUPER(lanes), SUPER(ring), SUPER(roots), SUPER(log_offset),
	SUPER(table_offset), SUPER(first_chunk), SUPER(reserved), SUPER(checksum),
};
#define SUPER_FIELDS (sizeof(super_fields) / sizeof(super_fields[0]))

/* The field in both, with checksums that are right. */
static void set_both(uint64_t field, unsigned size, uint64_t value)
{
	static const uint64_t places[] = {0, DH_COPY_OFFSET};

	for (unsigned i = 0; i < 2; i++) {
		struct dh_superblock *sb = (struct dh_superblock *)(file + places[i]);

		memcpy((char *)sb + field, &value, size);
		sb->checksum = dh_superblock_checksum(sb);
	}
}

#define expect_super(field, value, verdict)                                                    \
	do {                                                                                   \
		start(POOL_CLOSED);                                                            \
		set_both(offsetof(struct dh_superblock, field),                                \
			 sizeof(((struct dh_superblock *)0)->field), value);                   \
		expect("superblock and copy: " #field " is " #value, POOL_CLOSED, verdict, 0); \
	} while (0)

void superblocks(void)
{
	char name[80];

	for (unsigned i = 0; i < SUPER_FIELDS; i++) {
		uint64_t at = super_fields[i].offset;

		expect_flip(super_fields[i].name, POOL_CLOSED, FIXED, at);
		snprintf(name, sizeof(name), "%s, of the copy", super_fields[i].name);
		expect_flip(name, POOL_CLOSED, FIXED, DH_COPY_OFFSET + at);
		start(POOL_CLOSED);
		flip(at);
		flip(DH_COPY_OFFSET + at);
		snprintf(name, sizeof(name), "%s, of both", super_fields[i].name);
		expect(name, POOL_CLOSED, at ? STAYS : REFUSED, at);
	}
	expect_super(version, DH_FORMAT_VERSION + 1, REFUSED);
	expect_super(incompat, 1, REFUSED);
	expect_super(compat, 1, CLEAN);
	expect_super(lanes, 0, STAYS);
	expect_super(lanes, DH_LANES_MAX + 1, STAYS);
	expect_super(ring, RING + 1, STAYS);
	expect_super(log_offset, DH_LOG_OFFSET + 64, STAYS);
	expect_super(table_offset, 0, STAYS);
	expect_super(first_chunk, 0, STAYS);
	expect_super(chunk_size, 4096, STAYS);
	expect_super(roots, 65, STAYS);
	start(POOL_CLOSED);
	set_both(offsetof(struct dh_superblock, size), 8, POOL_SIZE + DH_CHUNK_SIZE);
	expect("superblock and copy: a limit above the file's length", POOL_CLOSED, CLEAN, 0);
	start(POOL_CLOSED);
	set_both(offsetof(struct dh_superblock, size), 8, DH_SIZE_MAX);
	set_both(offsetof(struct dh_superblock, table_offset), 8, DH_CHUNK_SIZE);
	set_both(offsetof(struct dh_superblock, first_chunk), 8,
		 1 + DH_SIZE_MAX / DH_CHUNK_SIZE * 8 / DH_CHUNK_SIZE);
	expect("superblock and copy: a chunk table longer than the file", POOL_CLOSED, STAYS,
	       POOL_SIZE);
	start(POOL_CLOSED);
	flip(offsetof(struct dh_superblock, uuid));
	((struct dh_superblock *)file)->checksum =
		dh_superblock_checksum((struct dh_superblock *)file);
	expect("superblock and copy of two pools", POOL_CLOSED, STAYS, DH_COPY_OFFSET);
}

void roots(void)
{
	expect_flip("root name", POOL_CLOSED, KEPT, root_at(1) + offsetof(struct dh_root, name));
	expect_flip("root name, behind its end", POOL_CLOSED, KEPT,
		    root_at(1) + offsetof(struct dh_root, name) + 20);
	expect_flip("root checksum", POOL_CLOSED, KEPT,
		    root_at(3) + offsetof(struct dh_root, checksum));
	expect_flip("root slot", POOL_CLOSED, STAYS, root_at(1) + 1);
	start(POOL_CLOSED);
	*word_at(root_at(1)) = POOL_SIZE + 64;
	expect("root slot behind the pool", POOL_CLOSED, STAYS, root_at(1));
	start(POOL_CLOSED);
	*word_at(root_at(1)) = *word_at(root_at(2));
	expect("two roots of one block", POOL_CLOSED, STAYS, root_at(2));
	expect_flip("root creation that was cut", POOL_CLOSED, CLEAN, root_at(4) + 8);
	expect_flip("root entry that is free", POOL_CLOSED, FIXED, root_at(9) + 8);
	start(POOL_CLOSED);
	*word_at(root_at(9)) = *word_at(root_at(1));
	*word_at(root_at(1)) = 0;
	expect("slot of a root that is free", POOL_CLOSED, KEPT, root_at(9));
}
