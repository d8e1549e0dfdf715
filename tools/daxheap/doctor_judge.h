/* SPDX-License-Identifier: BSD-3-Clause */
/* daxheap doctor: what the judges share, to give their reasons and remedies. */
#ifndef DAXHEAP_DOCTOR_JUDGE_H
#define DAXHEAP_DOCTOR_JUDGE_H

#include "doctor.h"

/* Such that files lie at multiples of 2 MiB. */
#define MKFS_XFS  "mkfs.xfs -d su=2m,sw=1"
#define MKFS_EXT4 "mkfs.ext4 -b 4096 -E stride=512,stripe_width=512"

void judge_durable(const struct doctor *doctor, struct doctor_verdict *verdict);
void judge_huge(const struct doctor *doctor, struct doctor_verdict *verdict);

/* More of the reason. */
__attribute__((format(printf, 2, 3))) void because(struct doctor_verdict *verdict,
						   const char *format, ...);

/* A remedy; its command is @format.  An empty one is none, and so is one that would be cut. */
__attribute__((format(printf, 3, 4))) void advise(struct doctor_verdict *verdict,
						  const char *what, const char *format, ...);

/* To make the namespace anew, in this mode. */
void advise_namespace(const struct doctor *doctor, struct doctor_verdict *verdict,
		      const char *mode);
/* A place with DAX, where this one can't have it. */
void advise_elsewhere(struct doctor_verdict *verdict);
void advise_partition(const struct doctor *doctor, struct doctor_verdict *verdict);

/* A path for a shell. */
struct quoted {
	char text[4 * PATH_MAX + 3];
};

struct quoted quote(const char *path);

const char *error_name(int err);

/* "the file": what something was tried on. */
const char *tried_on(const struct doctor *doctor, bool scratch);

/* A block device without a file system to try anything on. */
bool is_unmounted(const struct doctor *doctor);

#endif
