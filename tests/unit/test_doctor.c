/* SPDX-License-Identifier: BSD-3-Clause */
/* daxheap doctor: what it concludes, also of what no test machine has. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "doctor.h"

#define MIB (UINT64_C(1) << 20)

/* A folder of an ext4 on an fsdax namespace where all is as it should be. */
static struct doctor *healthy(void)
{
	static struct doctor doctor;

	doctor = (struct doctor){
		.path = "/mnt/pmem",
		.real = "/mnt/pmem",
		.folder = "/mnt/pmem",
		.kind = DOCTOR_FOLDER,
		.page_size = 4096,
		.fs = {.type = "ext4", .options = "rw,relatime,dax=always", .target = "/mnt/pmem",
		       .source = "/dev/pmem0", .block_size = 4096, .dax_known = true, .dax = true},
		.block = {.name = "pmem0", .whole = "pmem0", .dax_known = true, .dax = true},
		.pmem = {.provider = "ACPI.NFIT", .region = "region0", .name = "namespace0.0",
			 .mode = "fsdax", .domain = "memory_controller", .size = 1024 * MIB,
			 .align = 2 * MIB},
		.map_sync = {.tried = true, .scratch = true},
		.pin = {.tried = true, .scratch = true, .err = EOPNOTSUPP},
		.scratch_huge = {.tried = true, .how = "PAGEMAP_SCAN", .ranges = 4, .looked_at = 4,
				 .counts[DOCTOR_RANGE_HUGE] = 4},
	};
	return &doctor;
}

static struct doctor *without_dax(void)
{
	struct doctor *doctor = healthy();

	doctor->fs.dax = false;
	doctor->map_sync.err = EOPNOTSUPP;
	doctor->pin.err = EFAULT;
	doctor->scratch_huge.counts[DOCTOR_RANGE_HUGE] = 0;
	doctor->scratch_huge.counts[DOCTOR_RANGE_SMALL] = 4;
	return doctor;
}

static struct doctor *unmounted(const char *content)
{
	struct doctor *doctor = healthy();

	doctor->path = "/dev/pmem0";
	snprintf(doctor->real, sizeof(doctor->real), "/dev/pmem0");
	doctor->folder[0] = '\0';
	doctor->kind = DOCTOR_BLOCK;
	doctor->fs = (struct doctor_fs){0};
	snprintf(doctor->block.content, sizeof(doctor->block.content), "%s", content);
	doctor->map_sync.tried = doctor->pin.tried = false;
	doctor->scratch_huge = (struct doctor_huge){0};
	return doctor;
}

static struct doctor *device_dax(void)
{
	struct doctor *doctor = healthy();

	doctor->path = "/dev/dax0.0";
	snprintf(doctor->real, sizeof(doctor->real), "/dev/dax0.0");
	doctor->folder[0] = '\0';
	doctor->kind = DOCTOR_DEVDAX;
	doctor->fs = (struct doctor_fs){0};
	doctor->block = (struct doctor_block){0};
	snprintf(doctor->pmem.mode, sizeof(doctor->pmem.mode), "devdax");
	doctor->map_sync.scratch = doctor->pin.scratch = false;
	doctor->pin.err = 0;
	doctor->huge = doctor->scratch_huge;
	doctor->scratch_huge = (struct doctor_huge){0};
	return doctor;
}

/* A file of which the ranges are like @range, one excepted that is huge. */
static struct doctor *file_with(enum doctor_range range)
{
	struct doctor *doctor = healthy();

	doctor->kind = DOCTOR_FILE;
	doctor->size = 8 * MIB;
	snprintf(doctor->real, sizeof(doctor->real), "/mnt/pmem/pool");
	doctor->huge = doctor->scratch_huge;
	doctor->scratch_huge = (struct doctor_huge){0};
	doctor->huge.counts[DOCTOR_RANGE_HUGE] = 1;
	doctor->huge.counts[range] = 3;
	return doctor;
}

/* @reason and @command: what must be in them; NULL command: there is no remedy. */
static void expect(struct doctor *doctor, enum doctor_question question,
		   enum doctor_answer answer, bool hinders, const char *reason,
		   const char *command)
{
	const struct doctor_verdict *verdict = &doctor->verdicts[question];
	bool said;

	memset(doctor->verdicts, 0, sizeof(doctor->verdicts));
	doctor_judge(doctor);
	said = !command && !verdict->advice_count;
	for (unsigned i = 0; command && i < verdict->advice_count; i++)
		said |= strstr(verdict->advice[i].command, command) != NULL;
	cr_expect_eq(verdict->answer, answer, "%d: %s", verdict->answer, verdict->reason);
	cr_expect_eq(verdict->hinders, hinders);
	cr_expect(strstr(verdict->reason, reason), "'%s' lacks '%s'", verdict->reason, reason);
	cr_expect(said, "'%s' is not advised, but '%s'", command ? command : "nothing",
		  verdict->advice[0].command);
	cr_expect_leq(hinders, doctor_hindered(doctor));
}

Test(doctor, healthy)
{
	struct doctor *doctor = healthy();

	expect(doctor, DOCTOR_DURABLE, DOCTOR_YES, false, "memory controller",
	       "daxheap create --require-map-sync /mnt/pmem/pool");
	expect(doctor, DOCTOR_HUGE_PAGES, DOCTOR_YES, false, "4 of 4", NULL);
	expect(doctor, DOCTOR_PINS, DOCTOR_NO, false, "EOPNOTSUPP",
	       "ndctl create-namespace -f -e namespace0.0 -m devdax --align=2M");
	expect(doctor, DOCTOR_HEALTH, DOCTOR_YES, false, "no bad blocks", NULL);
	cr_expect_not(doctor_hindered(doctor));
}

/* --- durable --- */

Test(doctor, the_caches_are_persistent)
{
	struct doctor *doctor = healthy();

	strcpy(doctor->pmem.domain, "cpu_cache");
	expect(doctor, DOCTOR_DURABLE, DOCTOR_YES, false, "eADR", "--require-map-sync");
}

Test(doctor, the_domain_is_not_told)
{
	struct doctor *doctor = healthy();

	strcpy(doctor->pmem.domain, "unknown");
	expect(doctor, DOCTOR_DURABLE, DOCTOR_YES, false, "does not say", "--require-map-sync");
}

/* The kernel accepts MAP_SYNC there: it does not know better. */
Test(doctor, dram_of_the_command_line)
{
	struct doctor *doctor = healthy();

	doctor->pmem.is_dram = true;
	expect(doctor, DOCTOR_DURABLE, DOCTOR_NO, true, "memmap=", "");
	cr_expect(doctor_hindered(doctor));
}

Test(doctor, virtio_pmem)
{
	struct doctor *doctor = healthy();

	doctor->map_sync.err = EOPNOTSUPP;
	doctor->pmem.needs_flush = true;
	expect(doctor, DOCTOR_DURABLE, DOCTOR_NO, true, "virtio-pmem", "");
	/* Device DAX would not be durable there. */
	expect(doctor, DOCTOR_PINS, DOCTOR_NO, false, "EOPNOTSUPP", NULL);
}

Test(doctor, device_mapper_without_sync)
{
	struct doctor *doctor = healthy();

	doctor->map_sync.err = EOPNOTSUPP;
	strcpy(doctor->block.whole, "dm-0");
	doctor->block.stacked = true;
	expect(doctor, DOCTOR_DURABLE, DOCTOR_NO, true, "below dm-0", "");
}

Test(doctor, dax_is_switched_off)
{
	struct doctor *doctor = without_dax();

	strcpy(doctor->fs.options, "rw,dax=never,relatime");
	expect(doctor, DOCTOR_DURABLE, DOCTOR_NO, true, "mounted with dax=never",
	       "umount /mnt/pmem\nmount -o dax=always /dev/pmem0 /mnt/pmem");
	strcpy(doctor->fs.options, "rw,relatime,nodax=never");
	expect(doctor, DOCTOR_DURABLE, DOCTOR_NO, true, "decides by file",
	       "xfs_io -c 'chattr +x' /mnt/pmem");
	strcpy(doctor->fs.options, "rw,relatime,dax=always");
	expect(doctor, DOCTOR_DURABLE, DOCTOR_NO, true, "encrypted", "dmesg");
	doctor->fs.block_size = 1024;
	expect(doctor, DOCTOR_DURABLE, DOCTOR_NO, true, "blocks of 1024 bytes",
	       "mkfs.ext4 -b 4096");
	doctor->block.start = 512 * 63;
	expect(doctor, DOCTOR_DURABLE, DOCTOR_NO, true, "does not begin at a multiple of a page",
	       "sfdisk /dev/pmem0");
}

Test(doctor, the_device_has_no_dax)
{
	struct doctor *doctor = without_dax();

	doctor->block.dax = false;
	strcpy(doctor->pmem.mode, "raw");
	expect(doctor, DOCTOR_DURABLE, DOCTOR_NO, true, "raw mode",
	       "ndctl create-namespace -f -e namespace0.0 -m fsdax --align=2M");
	doctor->pmem.name[0] = '\0';
	strcpy(doctor->block.name, "sda1");
	expect(doctor, DOCTOR_DURABLE, DOCTOR_NO, true, "(sda1) is no persistent memory", "DIR");
	strcpy(doctor->fs.type, "btrfs");
	expect(doctor, DOCTOR_DURABLE, DOCTOR_NO, true, "btrfs has no DAX", "DIR");
}

/* What msync() does there makes nothing durable. */
Test(doctor, file_systems_in_memory)
{
	static const char *const types[] = {"tmpfs", "ramfs", "devtmpfs"};

	for (unsigned i = 0; i < 2; i++) {
		struct doctor *doctor = without_dax();

		strcpy(doctor->fs.type, types[i]);
		doctor->block = (struct doctor_block){0};
		doctor->pmem = (struct doctor_pmem){0};
		expect(doctor, DOCTOR_DURABLE, DOCTOR_NO, true, "outlives a restart",
		       "ndctl create-namespace -m fsdax");
		cr_expect_null(strstr(doctor->verdicts[DOCTOR_DURABLE].reason, "msync"));
	}
}

/* What could not be tried is not guessed, but what can't be is known. */
Test(doctor, not_tried)
{
	struct doctor *doctor = healthy();

	doctor->map_sync.tried = false;
	doctor->fs.dax_known = false;
	expect(doctor, DOCTOR_DURABLE, DOCTOR_UNKNOWN, true, "could not be tried", NULL);
	doctor->block.dax = false;
	expect(doctor, DOCTOR_DURABLE, DOCTOR_NO, true, "no DAX", "ndctl");
}

Test(doctor, not_mounted)
{
	expect(unmounted(""), DOCTOR_DURABLE, DOCTOR_NO, true, "not mounted",
	       "mkfs.xfs -d su=2m,sw=1 /dev/pmem0\nmount -o dax=always /dev/pmem0 DIR");
	expect(unmounted("xfs"), DOCTOR_DURABLE, DOCTOR_NO, true, "not mounted",
	       "mount -o dax=always /dev/pmem0 DIR");
	expect(unmounted("gpt"), DOCTOR_DURABLE, DOCTOR_NO, true, "it holds: gpt", "mkfs");
	expect(unmounted("ext4"), DOCTOR_HUGE_PAGES, DOCTOR_UNKNOWN, true, "no file system", NULL);
	expect(unmounted("ext4"), DOCTOR_PINS, DOCTOR_UNKNOWN, false, "could not", NULL);
}

Test(doctor, device_dax)
{
	struct doctor *doctor = device_dax();

	expect(doctor, DOCTOR_DURABLE, DOCTOR_YES, false, "the device", NULL);
	expect(doctor, DOCTOR_PINS, DOCTOR_YES, false, "registers", NULL);
	cr_expect_not(doctor_hindered(doctor));
	doctor->pin.err = EOPNOTSUPP;
	expect(doctor, DOCTOR_PINS, DOCTOR_NO, true, "6.12", "");
	doctor->pmem.align = 4096;
	expect(doctor, DOCTOR_HUGE_PAGES, DOCTOR_NO, true, "alignment of 4 KiB", "-m devdax");
	doctor->pmem.name[0] = '\0';
	expect(doctor, DOCTOR_DURABLE, DOCTOR_NO, true, "no namespace", "ndctl");
}

/* --- huge pages --- */

Test(doctor, where_the_file_lies)
{
	expect(file_with(DOCTOR_RANGE_SPLIT), DOCTOR_HUGE_PAGES, DOCTOR_NO, true, "in pieces",
	       "fallocate -l 8388608 NEW\ndd if=/mnt/pmem/pool of=NEW");
	expect(file_with(DOCTOR_RANGE_MISALIGNED), DOCTOR_HUGE_PAGES, DOCTOR_NO, true, "1 of 4",
	       "mkfs.ext4 -b 4096 -E stride=512,stripe_width=512 /dev/pmem0");
	expect(file_with(DOCTOR_RANGE_DEVICE), DOCTOR_HUGE_PAGES, DOCTOR_NO, true, "partition",
	       "sfdisk");
	expect(file_with(DOCTOR_RANGE_FAILED), DOCTOR_HUGE_PAGES, DOCTOR_NO, true, "poison",
	       "dmesg");
	expect(file_with(DOCTOR_RANGE_SMALL), DOCTOR_HUGE_PAGES, DOCTOR_NO, true, "small pages",
	       "fuser -v /mnt/pmem/pool");
}

Test(doctor, on_xfs_the_folder_can_be_told)
{
	struct doctor *doctor = file_with(DOCTOR_RANGE_MISALIGNED);

	strcpy(doctor->fs.type, "xfs");
	expect(doctor, DOCTOR_HUGE_PAGES, DOCTOR_NO, true, "multiple of 2 MiB",
	       "xfs_io -c 'extsize 2m' /mnt/pmem");
	expect(doctor, DOCTOR_HUGE_PAGES, DOCTOR_NO, true, "FIEMAP", "mkfs.xfs -d su=2m,sw=1 -f");
}

/* Holes are neither huge nor small. */
Test(doctor, what_has_no_content)
{
	struct doctor *doctor = file_with(DOCTOR_RANGE_HOLE);

	expect(doctor, DOCTOR_HUGE_PAGES, DOCTOR_YES, false, "1 of 1", NULL);
	doctor->huge.counts[DOCTOR_RANGE_HUGE] = 0;
	doctor->huge.counts[DOCTOR_RANGE_UNWRITTEN] = 1;
	expect(doctor, DOCTOR_HUGE_PAGES, DOCTOR_UNKNOWN, true, "could not", NULL);
	doctor->scratch_huge = (struct doctor_huge){.tried = true, .how = "PAGEMAP_SCAN",
						    .ranges = 4, .looked_at = 4,
						    .counts[DOCTOR_RANGE_HUGE] = 4};
	expect(doctor, DOCTOR_HUGE_PAGES, DOCTOR_YES, false, "no range with content yet; 4 of 4",
	       NULL);
}

Test(doctor, huge_pages_are_switched_off)
{
	struct doctor *doctor = file_with(DOCTOR_RANGE_SMALL);

	doctor->huge.thp_disabled = true;
	expect(doctor, DOCTOR_HUGE_PAGES, DOCTOR_NO, true, "PR_SET_THP_DISABLE", "");
	doctor = healthy();
	doctor->pmem.align = 4096;
	expect(doctor, DOCTOR_HUGE_PAGES, DOCTOR_NO, true, "namespace0.0 has an alignment of 4 KiB",
	       "-m fsdax --align=2M");
}

Test(doctor, no_dax_no_huge_pages)
{
	struct doctor *doctor = without_dax();

	expect(doctor, DOCTOR_HUGE_PAGES, DOCTOR_NO, true, "page cache", "");
	strcpy(doctor->fs.type, "tmpfs");
	expect(doctor, DOCTOR_HUGE_PAGES, DOCTOR_NO, true, "tmpfs", "mount -o remount,huge=always");
}

/* --- pins, media --- */

Test(doctor, pins)
{
	struct doctor *doctor = without_dax();

	expect(doctor, DOCTOR_PINS, DOCTOR_NO, false, "EFAULT", "");
	doctor->pin.err = 0;
	expect(doctor, DOCTOR_PINS, DOCTOR_YES, false, "registers", NULL);
	doctor->pin.tried = false;
	expect(doctor, DOCTOR_PINS, DOCTOR_UNKNOWN, false, "told below", NULL);
}

/* As daxheap_uring_attach() chooses. */
Test(doctor, how_a_heap_reads_and_writes)
{
	struct doctor *doctor = healthy();

	doctor_judge(doctor);
	cr_expect_str_eq(doctor->reads, "staged");
	cr_expect_str_eq(doctor->writes, "direct");
	strcpy(doctor->pmem.domain, "cpu_cache");
	doctor_judge(doctor);
	cr_expect_str_eq(doctor->reads, "direct");
	doctor = device_dax();
	doctor_judge(doctor);
	cr_expect_str_eq(doctor->reads, "staged");
	cr_expect_str_eq(doctor->writes, "registered");
	strcpy(doctor->pmem.domain, "cpu_cache");
	doctor_judge(doctor);
	cr_expect_str_eq(doctor->reads, "registered");
	doctor = without_dax();
	doctor_judge(doctor);
	cr_expect_str_eq(doctor->reads, "direct");
	doctor = unmounted("ext4");
	doctor_judge(doctor);
	cr_expect_null(doctor->reads);
}

Test(doctor, bad_media)
{
	struct doctor *doctor = healthy();

	doctor->pmem.dimms = 2;
	doctor->pmem.dimms_telling = 2;
	expect(doctor, DOCTOR_HEALTH, DOCTOR_YES, false, "no unsafe shutdown", NULL);
	/* They may be of the past. */
	doctor->pmem.unsafe_shutdowns = 3;
	expect(doctor, DOCTOR_HEALTH, DOCTOR_YES, false, "3 unsafe shutdowns", "daxheap check");
	doctor->pmem.bad_sectors = 8;
	expect(doctor, DOCTOR_HEALTH, DOCTOR_NO, true, "8 bad sectors",
	       "ndctl clear-errors namespace0.0");
	cr_expect(doctor_hindered(doctor));
	doctor->pmem.bad_sectors = 0;
	doctor->pmem.read_only = true;
	expect(doctor, DOCTOR_HEALTH, DOCTOR_NO, true, "read-only", "ndctl list -DHu");
}

/* --- commands --- */

Test(doctor, names_are_quoted)
{
	struct doctor *doctor = healthy();

	strcpy(doctor->folder, "/mnt/my 'own'; rm x");
	expect(doctor, DOCTOR_DURABLE, DOCTOR_YES, false, "",
	       " '/mnt/my '\\''own'\\''; rm x'/pool ");
}

/* A path of any length is no overrun; a command that would be cut is none. */
Test(doctor, long_names)
{
	struct doctor *doctor = without_dax();

	memset(doctor->fs.target, 'x', sizeof(doctor->fs.target) - 1);
	memset(doctor->real, ' ', sizeof(doctor->real) - 1);
	doctor->fs.options[0] = '\0';
	expect(doctor, DOCTOR_DURABLE, DOCTOR_NO, true, "xxx", "");
	for (unsigned i = 0; i < doctor->verdicts[DOCTOR_DURABLE].advice_count; i++)
		cr_expect_str_empty(doctor->verdicts[DOCTOR_DURABLE].advice[i].command);
}
