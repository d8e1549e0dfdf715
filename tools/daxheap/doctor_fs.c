/* SPDX-License-Identifier: BSD-3-Clause */
/* daxheap doctor: the file system, by libmount and statx. */
#include <errno.h>
#include <fcntl.h>
#include <libmount.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "doctor.h"

/* A mount of the whole file system, rather than of a folder or file of it. */
static bool is_whole(struct libmnt_fs *fs)
{
	const char *root = mnt_fs_get_root(fs);

	return root && !strcmp(root, "/");
}

static struct libmnt_fs *find_mount(const struct doctor *doctor, struct libmnt_table *table,
				    uint64_t mount_id)
{
	struct libmnt_iter *iter = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *fs, *found = NULL;

	while (iter && !mnt_table_next_fs(table, iter, &fs)) {
		if (doctor->kind != DOCTOR_BLOCK) {
			if ((uint64_t)mnt_fs_get_id(fs) == mount_id)
				found = fs;
		} else if (mnt_fs_get_devno(fs) == doctor->dev &&
			   (!found || is_whole(fs) || !is_whole(found))) {
			/* The last one: it may hide others. */
			found = fs;
		}
	}
	mnt_free_iter(iter);
	return found;
}

static void copy(char *to, size_t room, const char *from)
{
	snprintf(to, room, "%s", from ? from : "");
}

void doctor_look_at_mount(struct doctor *doctor, uint64_t mount_id)
{
	struct libmnt_table *table = mnt_new_table_from_file("/proc/self/mountinfo");
	struct libmnt_fs *fs = table ? find_mount(doctor, table, mount_id) : NULL;
	struct doctor_fs *seen = &doctor->fs;
	struct statvfs stv;

	if (!table)
		doctor_unseen(doctor, "mounts: /proc/self/mountinfo: %s", strerror(errno));
	else if (!fs && doctor->kind != DOCTOR_BLOCK)
		doctor_unseen(doctor, "the mount that %s is on: %s", doctor->path, mount_id ?
			      "not in this mount namespace" :
			      "before Linux 5.8 the kernel does not tell it");
	if (fs) {
		copy(seen->type, sizeof(seen->type), mnt_fs_get_fstype(fs));
		copy(seen->options, sizeof(seen->options), mnt_fs_get_options(fs));
		copy(seen->target, sizeof(seen->target), mnt_fs_get_target(fs));
		copy(seen->source, sizeof(seen->source), mnt_fs_get_source(fs));
		if (doctor->kind == DOCTOR_BLOCK)
			copy(doctor->folder, sizeof(doctor->folder), seen->target);
	}
	mnt_unref_table(table);
	if (doctor->folder[0] && !statvfs(doctor->folder, &stv))
		seen->block_size = (unsigned)stv.f_bsize;
}

void doctor_look_at_file(struct doctor *doctor, int fd)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx) ||
	    !(stx.stx_attributes_mask & STATX_ATTR_DAX))
		return;
	doctor->fs.dax_known = true;
	doctor->fs.dax = stx.stx_attributes & STATX_ATTR_DAX;
}
