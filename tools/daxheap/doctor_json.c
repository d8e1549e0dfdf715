/* SPDX-License-Identifier: BSD-3-Clause */
/* daxheap doctor: what it found, for programs. */
#include <string.h>

#include "daxheap_cli.h"
#include "doctor.h"

static void add_bool(struct json_object *object, const char *key, bool value)
{
	json_object_object_add(object, key, json_object_new_boolean(value));
}

static struct json_object *verdict_json(const struct doctor_verdict *verdict)
{
	struct json_object *object = json_object_new_object();
	struct json_object *remedies = json_object_new_array();

	cli_add_string(object, "answer", doctor_answer_name(verdict->answer));
	add_bool(object, "hinders", verdict->hinders);
	cli_add_string(object, "reason", verdict->reason);
	for (unsigned i = 0; i < verdict->advice_count; i++) {
		struct json_object *remedy = json_object_new_object();

		cli_add_string(remedy, "what", verdict->advice[i].what);
		cli_add_string(remedy, "command", verdict->advice[i].command);
		json_object_array_add(remedies, remedy);
	}
	json_object_object_add(object, "remedies", remedies);
	return object;
}

static struct json_object *fs_json(const struct doctor_fs *fs)
{
	struct json_object *object = json_object_new_object();

	cli_add_string(object, "type", fs->type);
	cli_add_string(object, "mount_options", fs->options);
	cli_add_string(object, "mount_point", fs->target);
	cli_add_string(object, "source", fs->source);
	cli_add_number(object, "block_size", fs->block_size);
	json_object_object_add(object, "dax",
			       fs->dax_known ? json_object_new_boolean(fs->dax) : NULL);
	return object;
}

static struct json_object *block_json(const struct doctor_block *block)
{
	struct json_object *object = json_object_new_object();

	cli_add_string(object, "name", block->name);
	cli_add_string(object, "whole", block->whole);
	cli_add_number(object, "start_bytes", block->start);
	add_bool(object, "stacked", block->stacked);
	cli_add_string(object, "content", block->content);
	json_object_object_add(object, "dax",
			       block->dax_known ? json_object_new_boolean(block->dax) : NULL);
	return object;
}

static struct json_object *pmem_json(const struct doctor_pmem *pmem)
{
	struct json_object *object = json_object_new_object();

	cli_add_string(object, "name", pmem->name);
	cli_add_string(object, "mode", pmem->mode);
	cli_add_number(object, "size_bytes", pmem->size);
	cli_add_number(object, "align_bytes", pmem->align);
	cli_add_string(object, "region", pmem->region);
	cli_add_string(object, "bus", pmem->provider);
	cli_add_string(object, "persistence_domain", pmem->domain);
	json_object_object_add(object, "numa_node",
			       pmem->numa_node < 0 ? NULL :
						     json_object_new_int(pmem->numa_node));
	cli_add_number(object, "bad_sectors", pmem->bad_sectors);
	json_object_object_add(object, "unsafe_shutdowns",
			       pmem->dimms_telling ?
				       json_object_new_uint64(pmem->unsafe_shutdowns) : NULL);
	add_bool(object, "read_only", pmem->read_only);
	return object;
}

static struct json_object *io_json(const struct doctor *doctor)
{
	struct json_object *object;

	if (!doctor->reads)
		return NULL;
	object = json_object_new_object();
	cli_add_string(object, "reads", doctor->reads);
	cli_add_string(object, "writes", doctor->writes);
	return object;
}

static struct json_object *try_json(const struct doctor_try *try)
{
	struct json_object *object;

	if (!try->tried)
		return NULL;
	object = json_object_new_object();
	add_bool(object, "accepted", !try->err);
	cli_add_string(object, "error", try->err ? strerrorname_np(try->err) : "");
	add_bool(object, "scratch_file", try->scratch);
	return object;
}

static struct json_object *huge_json(const struct doctor_huge *huge)
{
	struct json_object *object, *ranges;

	if (!huge->tried)
		return NULL;
	object = json_object_new_object();
	ranges = json_object_new_array();
	cli_add_string(object, "seen_by", huge->how);
	add_bool(object, "mmap_aligns", huge->congruent);
	cli_add_number(object, "ranges", huge->ranges);
	cli_add_number(object, "looked_at", huge->looked_at);
	for (unsigned i = 0; i < DOCTOR_RANGE_KINDS; i++) {
		struct json_object *range;

		if (!huge->counts[i])
			continue;
		range = json_object_new_object();
		cli_add_string(range, "state", doctor_range_name(i));
		cli_add_number(range, "count", huge->counts[i]);
		cli_add_number(range, "first_at", huge->first_at[i]);
		json_object_array_add(ranges, range);
	}
	json_object_object_add(object, "states", ranges);
	return object;
}

void doctor_print_json(const struct doctor *doctor)
{
	const struct doctor_verdict *verdicts = doctor->verdicts;
	struct json_object *top = json_object_new_object();
	struct json_object *unseen = json_object_new_array();

	cli_add_string(top, "path", doctor->path);
	cli_add_string(top, "kind", doctor_kind_name(doctor->kind));
	add_bool(top, "hindered", doctor_hindered(doctor));
	json_object_object_add(top, "durable_by_flushes", verdict_json(&verdicts[DOCTOR_DURABLE]));
	json_object_object_add(top, "huge_pages", verdict_json(&verdicts[DOCTOR_HUGE_PAGES]));
	json_object_object_add(top, "long_term_pins", verdict_json(&verdicts[DOCTOR_PINS]));
	json_object_object_add(top, "media", verdicts[DOCTOR_HEALTH].reason[0] ?
			       verdict_json(&verdicts[DOCTOR_HEALTH]) : NULL);
	json_object_object_add(top, "file_system",
			       doctor->fs.type[0] ? fs_json(&doctor->fs) : NULL);
	json_object_object_add(top, "block_device",
			       doctor->block.name[0] ? block_json(&doctor->block) : NULL);
	json_object_object_add(top, "namespace",
			       doctor->pmem.name[0] || doctor->pmem.align ?
				       pmem_json(&doctor->pmem) : NULL);
	json_object_object_add(top, "map_sync", try_json(&doctor->map_sync));
	json_object_object_add(top, "register_buffer", try_json(&doctor->pin));
	json_object_object_add(top, "io_uring", io_json(doctor));
	json_object_object_add(top, "ranges", huge_json(&doctor->huge));
	json_object_object_add(top, "scratch_ranges", huge_json(&doctor->scratch_huge));
	for (unsigned i = 0; i < doctor->unseen_count; i++)
		json_object_array_add(unseen, cli_json_string(doctor->unseen[i]));
	json_object_object_add(top, "not_seen", unseen);
	cli_print_json(top);
}
