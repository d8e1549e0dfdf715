/* SPDX-License-Identifier: BSD-3-Clause */
/* daxheap doctor: whether huge pages are had there, and if not why not. */
#include <inttypes.h>
#include <string.h>

#include "doctor_judge.h"

static void judge_layout(const struct doctor *doctor, struct doctor_verdict *verdict)
{
	bool xfs = !strcmp(doctor->fs.type, "xfs");

	/* cp would take space in the small pieces that it writes. */
	if (doctor_known_ranges(&doctor->huge))
		advise(verdict, "Copy the file into space that is taken at once; 'daxheap doctor' "
		       "of the folder tells whether such space lies well there",
		       "fallocate -l %" PRIu64 " NEW\ndd if=%s of=NEW bs=2M conv=notrunc,fsync",
		       doctor->size, quote(doctor->real).text);
	if (xfs)
		advise(verdict, "Let the folder's new files take space in steps of 2 MiB",
		       "xfs_io -c 'extsize 2m' %s", quote(doctor->folder).text);
	advise(verdict, "Or make a file system that aligns files by itself (this destroys what the "
	       "old one holds)", xfs ? MKFS_XFS " -f %s" : MKFS_EXT4 " %s",
	       quote(doctor->fs.source).text);
}

static void judge_small(const struct doctor *doctor, const struct doctor_huge *huge,
			struct doctor_verdict *verdict)
{
	if (huge->thp_disabled) {
		because(verdict, "huge pages are switched off for this process and its children "
			"(prctl PR_SET_THP_DISABLE)");
		advise(verdict, "Run it where they are not switched off", "%s", "");
	} else if (!strcmp(doctor->fs.type, "tmpfs")) {
		because(verdict, "tmpfs gives huge pages only when it is asked to");
		advise(verdict, "Ask for them", "mount -o remount,huge=always %s",
		       quote(doctor->fs.target).text);
	} else if (!doctor->fs.dax && doctor->kind != DOCTOR_DEVDAX) {
		because(verdict, "this is the page cache, not DAX: its pages are those of files on "
			"a disk");
		advise(verdict, "Do what makes it durable by flushes, above", "%s", "");
	} else {
		because(verdict, "nothing in its place is against it: most likely somebody has "
			"mapped these ranges by small pages, which stay until the file is closed "
			"by all");
		advise(verdict, "See who has it open", "fuser -v %s", quote(doctor->real).text);
	}
}

static enum doctor_range most_frequent_hindrance(const struct doctor_huge *huge)
{
	enum doctor_range most = DOCTOR_RANGE_SMALL;

	for (unsigned i = DOCTOR_RANGE_SPLIT; i < DOCTOR_RANGE_KINDS; i++)
		if (huge->counts[i] > huge->counts[most])
			most = i;
	return most;
}

static void judge_not_huge(const struct doctor *doctor, const struct doctor_huge *huge,
			   struct doctor_verdict *verdict)
{
	switch (most_frequent_hindrance(huge)) {
	case DOCTOR_RANGE_SPLIT:
		because(verdict, "the file lies in pieces smaller than that (FIEMAP)");
		judge_layout(doctor, verdict);
		return;
	case DOCTOR_RANGE_MISALIGNED:
		because(verdict, "the file's space does not begin at a multiple of 2 MiB of its "
			"device (FIEMAP)");
		judge_layout(doctor, verdict);
		return;
	case DOCTOR_RANGE_DEVICE:
		because(verdict, "the partition %s begins at byte %" PRIu64 " of %s, which is no "
			"multiple of 2 MiB", doctor->block.name, doctor->block.start,
			doctor->block.whole);
		advise_partition(doctor, verdict);
		return;
	case DOCTOR_RANGE_FAILED:
		because(verdict, "pages could not be read: poison, or an error of the file system");
		advise(verdict, "See what the kernel says", "dmesg | tail");
		return;
	default:
		judge_small(doctor, huge, verdict);
	}
}

void judge_huge(const struct doctor *doctor, struct doctor_verdict *verdict)
{
	bool own = doctor_known_ranges(&doctor->huge);
	const struct doctor_huge *huge = own ? &doctor->huge : &doctor->scratch_huge;
	uint64_t known = doctor_known_ranges(huge);
	uint64_t count = huge->counts[DOCTOR_RANGE_HUGE];

	verdict->answer = DOCTOR_NO;
	if (doctor->pmem.align && doctor->pmem.align < DOCTOR_HUGE) {
		because(verdict, "%s has an alignment of %" PRIu64 " KiB, and no mapping on it is "
			"larger", doctor->pmem.name[0] ? doctor->pmem.name : doctor->path,
			doctor->pmem.align >> 10);
		advise_namespace(doctor, verdict,
				 doctor->kind == DOCTOR_DEVDAX ? "devdax" : "fsdax");
	} else if (!known) {
		verdict->answer = DOCTOR_UNKNOWN;
		because(verdict, is_unmounted(doctor) ?
			"there is no file system to try them on" :
			"they could not be tried; what is in the way is told below");
	} else {
		because(verdict, "%s%" PRIu64 " of %" PRIu64 " ranges of %s of %s are mapped by one "
			"entry of the page table (%s)", !own && doctor->kind == DOCTOR_FILE ?
			"the file has no range with content yet; " : "", count, known,
			doctor_step_name(huge), tried_on(doctor, !own), huge->how);
		if (count == known) {
			verdict->answer = DOCTOR_YES;
		} else {
			because(verdict, ": ");
			judge_not_huge(doctor, huge, verdict);
		}
	}
	verdict->hinders = verdict->answer != DOCTOR_YES;
}
