/* SPDX-License-Identifier: BSD-3-Clause */
/* daxheap doctor: whether cache-line flushes are enough there, and if not why not. */
#include <string.h>

#include "doctor_judge.h"

static bool has_option(const char *options, const char *wanted)
{
	size_t length = strlen(wanted);

	for (const char *at = options; (at = strstr(at, wanted)); at += length)
		if ((at == options || at[-1] == ',') && (!at[length] || at[length] == ','))
			return true;
	return false;
}

static bool can_have_dax(const char *type)
{
	return !strcmp(type, "ext4") || !strcmp(type, "xfs");
}

static bool in_memory(const char *type)
{
	return !strcmp(type, "tmpfs") || !strcmp(type, "ramfs") || !strcmp(type, "devtmpfs");
}

static void advise_mount(const struct doctor *doctor, struct doctor_verdict *verdict)
{
	const struct doctor_fs *fs = &doctor->fs;

	/* Neither file system changes it by a remount. */
	advise(verdict, "Mount it with DAX for all files", "umount %s\nmount -o dax=always %s %s",
	       quote(fs->target).text, quote(fs->source).text, quote(fs->target).text);
}

static void judge_accepted(const struct doctor *doctor, struct doctor_verdict *verdict)
{
	const struct doctor_pmem *pmem = &doctor->pmem;

	because(verdict, "MAP_SYNC is accepted on %s", tried_on(doctor, doctor->map_sync.scratch));
	if (pmem->is_dram) {
		because(verdict, ", but %s is DRAM that the kernel's command line declares as "
			"persistent (memmap=): it is lost when the power goes", pmem->region);
		advise(verdict, "Good for tests; for more than that use a real NVDIMM", "%s", "");
		return;
	}
	if (doctor->kind == DOCTOR_DEVDAX && !pmem->name[0]) {
		because(verdict, ", but the device belongs to no namespace of persistent memory: "
			"nothing says that %s keeps its content without power",
			pmem->region[0] ? pmem->region : "its memory");
		advise_elsewhere(verdict);
		return;
	}
	verdict->answer = DOCTOR_YES;
	if (!strcmp(pmem->domain, "cpu_cache"))
		because(verdict, ", and the CPU's caches are in the persistence domain (eADR): a "
			"store is durable even before it is flushed");
	else if (!strcmp(pmem->domain, "memory_controller"))
		because(verdict, ", and the memory controller is in the persistence domain: a line "
			"that is flushed and fenced survives a power cut");
	else
		because(verdict, "; the platform does not say what its persistence domain is, and "
			"the kernel takes flushed lines for durable");
	if (doctor->kind != DOCTOR_DEVDAX && doctor->kind != DOCTOR_FILE)
		advise(verdict, "A pool that is an error where this does not hold, instead of "
		       "falling to msync", "daxheap create --require-map-sync %s/pool SIZE",
		       quote(doctor->folder).text);
}

static void judge_no_sync(const struct doctor *doctor, struct doctor_verdict *verdict)
{
	because(verdict, "this is DAX, but MAP_SYNC is refused (%s): ",
		error_name(doctor->map_sync.err));
	if (doctor->pmem.needs_flush)
		because(verdict, "%s is virtio-pmem, where stores are durable only after a request "
			"to the host; a heap here makes durable by msync",
			doctor->block.whole);
	else if (doctor->block.stacked)
		because(verdict, "a device below %s (device mapper or md) is not durable by "
			"flushes", doctor->block.whole);
	else
		because(verdict, "the driver of %s does not promise that flushed lines are durable",
			doctor->block.whole[0] ? doctor->block.whole : "the device");
	advise(verdict, "Use an fsdax namespace of a real or emulated NVDIMM", "%s", "");
}

static void judge_unmounted(const struct doctor *doctor, struct doctor_verdict *verdict)
{
	const char *content = doctor->block.content;
	struct quoted device = quote(doctor->real);

	because(verdict, "%s is not mounted in this mount namespace", doctor->path);
	if (doctor->block.dax_known && !doctor->block.dax) {
		because(verdict, ", and offers no DAX");
		if (doctor->pmem.name[0])
			advise_namespace(doctor, verdict, "fsdax");
		else
			advise_elsewhere(verdict);
	} else if (!content[0]) {
		advise(verdict, "Make a file system on it, if nothing on it is needed",
		       MKFS_XFS " %s\nmount -o dax=always %s DIR", device.text, device.text);
	} else if (can_have_dax(content)) {
		advise(verdict, "Mount it", "mount -o dax=always %s DIR", device.text);
	} else {
		because(verdict, "; it holds: %s", content);
		advise(verdict, "Name its partition, or make ext4 or xfs on the device (this "
		       "destroys what it holds)", MKFS_XFS " %s", device.text);
	}
}

/* The device offers DAX, the file does not use it. */
static void judge_switched_off(const struct doctor *doctor, struct doctor_verdict *verdict)
{
	const struct doctor_fs *fs = &doctor->fs;
	bool is_file = doctor->kind == DOCTOR_FILE;

	if (doctor->block.start % doctor->page_size) {
		because(verdict, "the partition %s does not begin at a multiple of a page (%u "
			"bytes), which DAX needs", doctor->block.name, doctor->page_size);
		advise_partition(doctor, verdict);
	} else if (fs->block_size && fs->block_size != doctor->page_size) {
		because(verdict, "%s has blocks of %u bytes, and DAX needs those of a page (%u)",
			fs->target, fs->block_size, doctor->page_size);
		advise(verdict, "Make the file system anew (this destroys what it holds)",
		       !strcmp(fs->type, "xfs") ? MKFS_XFS " -f %s" : MKFS_EXT4 " %s",
		       quote(fs->source).text);
	} else if (has_option(fs->options, "dax=never")) {
		because(verdict, "%s is mounted with dax=never", fs->target);
		advise_mount(doctor, verdict);
	} else if (has_option(fs->options, "dax") || has_option(fs->options, "dax=always")) {
		because(verdict, "%s is mounted with dax=always, but %s is not accessed by DAX: "
			"the file system refuses it where data are journaled, inline, encrypted "
			"or verified", fs->target, tried_on(doctor, !is_file));
		advise(verdict, "See what it says of the mount", "dmesg | grep -i dax");
	} else {
		because(verdict, "%s decides by file (no dax=always among its mount options), and "
			"%s has no DAX flag", fs->target, tried_on(doctor, !is_file));
		advise_mount(doctor, verdict);
		advise(verdict, is_file ? "Or set the flag of this file; it counts once nobody has "
					  "the file open" :
					  "Or set the flag of the folder, for files that are made "
					  "from now on",
		       "xfs_io -c 'chattr +x' %s", quote(doctor->real).text);
	}
}

static void judge_no_dax(const struct doctor *doctor, struct doctor_verdict *verdict)
{
	const struct doctor_fs *fs = &doctor->fs;
	const struct doctor_block *block = &doctor->block;

	if (!can_have_dax(fs->type)) {
		because(verdict, "%s has no DAX that a heap could use",
			fs->type[0] ? fs->type : "this file system");
		advise_elsewhere(verdict);
	} else if (block->dax) {
		judge_switched_off(doctor, verdict);
	} else if (doctor->pmem.name[0]) {
		because(verdict, "%s is in %s mode, which has no DAX", doctor->pmem.name,
			doctor->pmem.mode);
		advise_namespace(doctor, verdict, "fsdax");
	} else {
		because(verdict, "the device below (%s) is no persistent memory",
			block->name[0] ? block->name : "unknown");
		advise_elsewhere(verdict);
	}
	if (fs->no_files)
		because(verdict, "; it has no place for a pool");
	else if (in_memory(fs->type))
		because(verdict, "; it is memory, and no heap here outlives a restart of the "
			"system");
	else
		because(verdict, "; a heap here makes durable by msync");
}

void judge_durable(const struct doctor *doctor, struct doctor_verdict *verdict)
{
	const struct doctor_fs *fs = &doctor->fs;
	bool no_device = doctor->block.dax_known && !doctor->block.dax;

	verdict->answer = DOCTOR_NO;
	if (is_unmounted(doctor)) {
		judge_unmounted(doctor, verdict);
	} else if (doctor->map_sync.tried && !doctor->map_sync.err) {
		judge_accepted(doctor, verdict);
	} else if (doctor->map_sync.tried && fs->dax) {
		judge_no_sync(doctor, verdict);
	} else if ((fs->dax_known && !fs->dax) || no_device ||
		   (fs->type[0] && !can_have_dax(fs->type))) {
		judge_no_dax(doctor, verdict);
	} else if (doctor->map_sync.tried) {
		because(verdict, "MAP_SYNC is refused on %s (%s)",
			tried_on(doctor, doctor->map_sync.scratch),
			error_name(doctor->map_sync.err));
	} else {
		verdict->answer = DOCTOR_UNKNOWN;
		because(verdict, "MAP_SYNC could not be tried; what is in the way is told below");
	}
	verdict->hinders = verdict->answer != DOCTOR_YES;
}
