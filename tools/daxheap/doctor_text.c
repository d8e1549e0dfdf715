/* SPDX-License-Identifier: BSD-3-Clause */
/* daxheap doctor: what it found, for people. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daxheap_cli.h"
#include "doctor.h"

#define LINE_WIDTH 88

const char *doctor_kind_name(enum doctor_kind kind)
{
	static const char *const names[] = {
		[DOCTOR_FILE] = "file",
		[DOCTOR_FOLDER] = "folder",
		[DOCTOR_BLOCK] = "block device",
		[DOCTOR_DEVDAX] = "device DAX",
	};

	return names[kind];
}

const char *doctor_answer_name(enum doctor_answer answer)
{
	return answer == DOCTOR_YES ? "yes" : answer == DOCTOR_NO ? "no" : "unknown";
}

const char *doctor_range_name(enum doctor_range range)
{
	static const char *const names[] = {
		[DOCTOR_RANGE_HUGE] = "huge",
		[DOCTOR_RANGE_HOLE] = "no space yet",
		[DOCTOR_RANGE_UNWRITTEN] = "not written yet",
		[DOCTOR_RANGE_SPLIT] = "in pieces",
		[DOCTOR_RANGE_MISALIGNED] = "misaligned",
		[DOCTOR_RANGE_DEVICE] = "partition misaligned",
		[DOCTOR_RANGE_SMALL] = "small pages",
		[DOCTOR_RANGE_FAILED] = "unreadable",
	};

	return names[range];
}

/* Words, wrapped and indented; those of a new text begin where the cursor is, in @column. */
static void print_wrapped(const char *text, int indent, int column)
{
	while (*text) {
		int length = (int)strcspn(text, " ");

		if (column > indent && column + 1 + length > LINE_WIDTH) {
			printf("\n%*s", indent, "");
			column = indent;
		} else if (column > indent) {
			column += printf(" ");
		}
		column += printf("%.*s", length, text);
		text += length;
		text += strspn(text, " ");
	}
	printf("\n");
}

static void print_command(const char *command)
{
	while (*command) {
		int length = (int)strcspn(command, "\n");

		printf("        %.*s\n", length, command);
		command += length;
		command += *command == '\n';
	}
}

static void print_verdict(const char *question, const struct doctor_verdict *verdict)
{
	printf("%s: %s\n    ", question, doctor_answer_name(verdict->answer));
	print_wrapped(verdict->reason, 4, 4);
	for (unsigned i = 0; i < verdict->advice_count; i++) {
		const struct doctor_advice *advice = &verdict->advice[i];
		char what[sizeof(advice->what) + 1];

		snprintf(what, sizeof(what), "%s%c", advice->what,
			 advice->command[0] ? ':' : '.');
		printf("  * ");
		print_wrapped(what, 4, 4);
		print_command(advice->command);
	}
}

/* A fact's name, and what of it is there. */
#define FACT "%-16s"

static void print_place(const struct doctor *doctor)
{
	const struct doctor_fs *fs = &doctor->fs;
	const struct doctor_block *block = &doctor->block;

	printf(FACT "%s (%s)\n", "path", doctor->real, doctor_kind_name(doctor->kind));
	if (fs->type[0])
		printf(FACT "%s on %s, blocks of %u bytes\n", "file system", fs->type, fs->target,
		       fs->block_size);
	if (fs->options[0])
		printf(FACT "%s\n", "mount options", fs->options);
	if (fs->dax_known)
		printf(FACT "%s\n", "S_DAX", fs->dax ? "yes" : "no");
	if (!block->name[0])
		return;
	printf(FACT "%s", "block device", block->name);
	if (block->start)
		printf(", from byte %" PRIu64 " of %s", block->start, block->whole);
	if (block->stacked)
		printf(", made of %s", block->stacked_on[0] ? block->stacked_on : "several");
	if (block->dax_known)
		printf(block->dax ? ", offers DAX" : ", offers no DAX");
	if (block->content[0])
		printf(", holds: %s", block->content);
	printf("\n");
}

static void print_pmem(const struct doctor *doctor)
{
	const struct doctor_pmem *pmem = &doctor->pmem;

	if (pmem->name[0])
		printf(FACT "%s, %s mode, %" PRIu64 " MiB\n", "namespace", pmem->name, pmem->mode,
		       pmem->size >> 20);
	if (pmem->align)
		printf(FACT "%" PRIu64 " KiB\n", "alignment", pmem->align >> 10);
	if (pmem->region[0])
		printf(FACT "%s%s%s\n", "region", pmem->region, pmem->provider[0] ? " of " : "",
		       pmem->provider);
	if (pmem->domain[0])
		printf(FACT "%s\n", "persistence", pmem->domain);
	if (!pmem->name[0])
		return;
	if (pmem->numa_node >= 0)
		printf(FACT "%d\n", "NUMA node", pmem->numa_node);
	printf(FACT "%" PRIu64 " sectors\n", "bad blocks", pmem->bad_sectors);
	if (pmem->dimms_telling)
		printf(FACT "%" PRIu64 " (%u of %u DIMMs tell)\n", "unsafe shutdowns",
		       pmem->unsafe_shutdowns, pmem->dimms_telling, pmem->dimms);
}

static void print_mmap(const struct doctor_huge *huge)
{
	if (huge->tried)
		printf(FACT "%s\n", "mmap", huge->congruent ?
		       "chooses addresses that are aligned to 2 MiB" :
		       "chooses addresses that are not aligned to 2 MiB (a heap aligns its own)");
}

static void print_ranges(const struct doctor_huge *huge, const char *of)
{
	static const char *const headings[] = {"STATE", "RANGES", "FIRST AT", NULL};
	struct libscols_table *table;

	if (!huge->looked_at)
		return;
	printf("\nRanges of %s of %s, %" PRIu64 " of %" PRIu64 " looked at:\n",
	       doctor_step_name(huge), of, huge->looked_at, huge->ranges);
	table = cli_table_new(headings);
	for (unsigned i = 0; i < DOCTOR_RANGE_KINDS; i++)
		if (huge->counts[i])
			cli_table_row(table, "%s\t%" PRIu64 "\t%#" PRIx64, doctor_range_name(i),
				      huge->counts[i], huge->first_at[i]);
	cli_table_print(table);
	cli_table_delete(table);
}

void doctor_print_text(const struct doctor *doctor)
{
	print_verdict("durable by cache-line flushes", &doctor->verdicts[DOCTOR_DURABLE]);
	print_verdict("huge pages", &doctor->verdicts[DOCTOR_HUGE_PAGES]);
	print_verdict("long-term pins", &doctor->verdicts[DOCTOR_PINS]);
	if (doctor->verdicts[DOCTOR_HEALTH].reason[0])
		print_verdict("media in order", &doctor->verdicts[DOCTOR_HEALTH]);
	printf("\n");
	print_place(doctor);
	print_pmem(doctor);
	if (doctor->reads)
		printf(FACT "a heap's reads are %s%s, its writes %s\n", "io_uring", doctor->reads,
		       !strcmp(doctor->reads, "staged") ? " in DRAM" : "", doctor->writes);
	print_mmap(doctor->huge.tried ? &doctor->huge : &doctor->scratch_huge);
	print_ranges(&doctor->huge, doctor->path);
	print_ranges(&doctor->scratch_huge, "a scratch file");
	if (!doctor->unseen_count)
		return;
	printf("\nNot seen:\n");
	for (unsigned i = 0; i < doctor->unseen_count; i++) {
		printf("  * ");
		print_wrapped(doctor->unseen[i], 4, 4);
	}
}
