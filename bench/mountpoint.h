/* SPDX-License-Identifier: BSD-3-Clause */
/* A file system that is unmounted to see what that takes, and mounted again as it was. */
#ifndef MOUNTPOINT_H
#define MOUNTPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct mountpoint {
	char *target, *source, *type;
	char *options;			/* what mount(8) takes to make it the same again */
	char *seen;			/* the same as the kernel shows it */
	unsigned long propagation;	/* MS_SHARED, ...; 0: not to be set again */
	dev_t dev;
};

/*
 * What is mounted on @dir, if it can be unmounted and mounted again without a loss, as far as can
 * be seen before it is tried: 0, or -1 with a sentence in @wrong.
 */
int mountpoint_find(struct mountpoint *point, const char *dir, char *wrong, size_t room);
void mountpoint_free(struct mountpoint *point);

bool mountpoint_is_mounted(const struct mountpoint *point);
/* Whether the file system is still in use somewhere, though it is not mounted here. */
bool mountpoint_is_elsewhere(const struct mountpoint *point);

/* umount(2) and nothing else: 0, or an errno. */
int mountpoint_umount(const struct mountpoint *point);
/* Nothing if it is mounted.  -1 with a sentence in @wrong that says how it was mounted. */
int mountpoint_mount(const struct mountpoint *point, char *wrong, size_t room);

#endif
