/* SPDX-License-Identifier: BSD-3-Clause */
/* daxheap doctor: giving reasons and remedies, and those that several answers share. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "doctor_judge.h"

void because(struct doctor_verdict *verdict, const char *format, ...)
{
	size_t used = strlen(verdict->reason);
	va_list args;

	va_start(args, format);
	vsnprintf(verdict->reason + used, sizeof(verdict->reason) - used, format, args);
	va_end(args);
}

void advise(struct doctor_verdict *verdict, const char *what, const char *format, ...)
{
	struct doctor_advice *advice = &verdict->advice[verdict->advice_count];
	va_list args;

	if (verdict->advice_count == DOCTOR_ADVICE_MAX)
		return;
	verdict->advice_count++;
	snprintf(advice->what, sizeof(advice->what), "%s", what);
	va_start(args, format);
	if (vsnprintf(advice->command, sizeof(advice->command), format, args) >=
	    (int)sizeof(advice->command))
		advice->command[0] = '\0';
	va_end(args);
}

const char *error_name(int err)
{
	const char *name = strerrorname_np(err);

	return name ? name : "?";
}

struct quoted quote(const char *path)
{
	struct quoted quoted;
	size_t used = 0;
	bool plain = *path;

	for (const char *c = path; *c; c++)
		plain &= isalnum((unsigned char)*c) || strchr("/._-+:,@%", *c);
	if (plain) {
		snprintf(quoted.text, sizeof(quoted.text), "%s", path);
		return quoted;
	}
	quoted.text[used++] = '\'';
	for (const char *c = path; *c; c++)
		used += (size_t)sprintf(quoted.text + used, *c == '\'' ? "'\\''" : "%c", *c);
	snprintf(quoted.text + used, sizeof(quoted.text) - used, "'");
	return quoted;
}

void advise_namespace(const struct doctor *doctor, struct doctor_verdict *verdict,
		      const char *mode)
{
	char what[256];

	snprintf(what, sizeof(what), "Make the namespace anew in %s mode (this destroys what it "
		 "holds; unmount it first)", mode);
	advise(verdict, what, "ndctl create-namespace -f -e %s -m %s --align=2M",
	       doctor->pmem.name, mode);
}

void advise_elsewhere(struct doctor_verdict *verdict)
{
	advise(verdict, "Put the pool on ext4 or xfs on a namespace of persistent memory; how they "
	       "are made",
	       "ndctl create-namespace -m fsdax --align=2M\n" MKFS_XFS
	       " /dev/pmemX\nmount -o dax=always /dev/pmemX DIR");
}

void advise_partition(const struct doctor *doctor, struct doctor_verdict *verdict)
{
	advise(verdict, "Use the whole device, or begin the partition at a multiple of 4096 "
	       "sectors (this destroys what it holds)", "echo start=4096 | sfdisk /dev/%s",
	       doctor->block.whole);
}

bool is_unmounted(const struct doctor *doctor)
{
	return doctor->kind == DOCTOR_BLOCK && !doctor->folder[0];
}

const char *tried_on(const struct doctor *doctor, bool scratch)
{
	return scratch ? "a scratch file there" :
	       doctor->kind == DOCTOR_DEVDAX ? "the device" : "the file";
}
