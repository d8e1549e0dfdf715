/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <libmount.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "bench.h"
#include "mountpoint.h"

__attribute__((format(printf, 3, 4))) static int say(char *wrong, size_t room,
						     const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(wrong, room, format, args);
	va_end(args);
	return -1;
}

static struct libmnt_table *read_table(void)
{
	struct libmnt_table *table = mnt_new_table_from_file("/proc/self/mountinfo");

	if (!table)
		die("/proc/self/mountinfo: %s", strerror(errno));
	return table;
}

/* The uppermost one. */
static struct libmnt_fs *find_target(struct libmnt_table *table, const char *target)
{
	return mnt_table_find_target(table, target, MNT_ITER_BACKWARD);
}

/* Another one that keeps the file system alive; NULL: none that is seen from here. */
static struct libmnt_fs *find_other(struct libmnt_table *table, struct libmnt_fs *mine)
{
	struct libmnt_iter *iter = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *fs, *found = NULL;

	while (iter && !found && !mnt_table_next_fs(table, iter, &fs))
		if (fs != mine && mnt_fs_get_devno(fs) == mnt_fs_get_devno(mine))
			found = fs;
	mnt_free_iter(iter);
	return found;
}

/* A loop device that mount(8) made goes away with its last user. */
static bool vanishes(dev_t dev)
{
	char path[64];
	int answer = '0';
	FILE *file;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/loop/autoclear", major(dev), minor(dev));
	file = fopen(path, "re");
	if (file) {
		answer = getc(file);
		fclose(file);
	}
	return answer == '1';
}

/* What the file system has outlives it on a block device alone. */
static bool lies_on(dev_t dev, const char *source)
{
	struct stat st;

	return source && !stat(source, &st) && S_ISBLK(st.st_mode) && st.st_rdev == dev;
}

static int check(struct libmnt_table *table, struct libmnt_fs *fs, const char *target,
		 char *wrong, size_t room)
{
	const char *source = mnt_fs_get_source(fs), *root = mnt_fs_get_root(fs);
	dev_t dev = mnt_fs_get_devno(fs);
	struct libmnt_fs *other = find_other(table, fs);

	if (!lies_on(dev, source))
		return say(wrong, room, "%s is on %s, which is no block device: what is in it would "
			   "be gone when it is unmounted", mnt_fs_get_fstype(fs), source);
	if (vanishes(dev))
		return say(wrong, room, "%s goes away when %s is unmounted; set it up by losetup, "
			   "and mount that", source, target);
	if (other)
		return say(wrong, room, "%s is mounted on %s as well: it stays in use when %s is "
			   "unmounted; unmount that", source, mnt_fs_get_target(other), target);
	if (!root || strcmp(root, "/"))
		return say(wrong, room, "%s is a folder of what is on %s; mount all of it", target,
			   source);
	return 0;
}

static char *copy(const char *text)
{
	char *own = strdup(text);

	if (!own)
		die("out of memory");
	return own;
}

/* As mount(8) wants them. */
static char *options_for_mount(struct libmnt_fs *fs)
{
	const char *vfs = mnt_fs_get_vfs_options(fs);
	char *options = copy(mnt_fs_get_options(fs));

	/* Told by kernels with SELinux, and not taken by them. */
	mnt_optstr_remove_option(&options, "seclabel");
	/* What kernels don't tell: neither of these is the default. */
	if (mnt_optstr_get_option(vfs, "relatime", NULL, NULL) &&
	    mnt_optstr_get_option(vfs, "noatime", NULL, NULL))
		mnt_optstr_append_option(&options, "strictatime", NULL);
	return options;
}

/* A slave is one of a master, which is not to be found again. */
static unsigned long propagation(struct libmnt_fs *fs)
{
	unsigned long flags = 0;

	if (mnt_fs_get_propagation(fs, &flags) || (flags & MS_SLAVE))
		return 0;
	return flags & (MS_SHARED | MS_PRIVATE | MS_UNBINDABLE);
}

int mountpoint_find(struct mountpoint *point, const char *dir, char *wrong, size_t room)
{
	char *target = realpath(dir, NULL);
	struct libmnt_table *table;
	struct libmnt_fs *fs;
	int err;

	if (!target)
		return say(wrong, room, "%s: %s", dir, strerror(errno));
	table = read_table();
	fs = find_target(table, target);
	if (!fs) {
		fs = mnt_table_find_mountpoint(table, target, MNT_ITER_BACKWARD);
		err = say(wrong, room, "%s is no mount point; the file system is mounted on %s", dir,
			  fs ? mnt_fs_get_target(fs) : "another one");
	} else {
		err = check(table, fs, target, wrong, room);
	}
	if (!err)
		*point = (struct mountpoint){.target = copy(target),
					     .source = copy(mnt_fs_get_source(fs)),
					     .type = copy(mnt_fs_get_fstype(fs)),
					     .seen = copy(mnt_fs_get_options(fs)),
					     .options = options_for_mount(fs),
					     .propagation = propagation(fs),
					     .dev = mnt_fs_get_devno(fs)};
	mnt_unref_table(table);
	free(target);
	return err;
}

void mountpoint_free(struct mountpoint *point)
{
	free(point->target);
	free(point->source);
	free(point->type);
	free(point->options);
	free(point->seen);
	*point = (struct mountpoint){.target = NULL};
}

bool mountpoint_is_mounted(const struct mountpoint *point)
{
	struct libmnt_table *table = read_table();
	struct libmnt_fs *fs = find_target(table, point->target);
	bool is = fs && mnt_fs_get_devno(fs) == point->dev;

	mnt_unref_table(table);
	return is;
}

bool mountpoint_is_elsewhere(const struct mountpoint *point)
{
	/* Which a file system's device never is for another. */
	int fd = open(point->source, O_RDONLY | O_EXCL | O_CLOEXEC);

	if (fd < 0)
		return errno == EBUSY;
	close(fd);
	return false;
}

int mountpoint_umount(const struct mountpoint *point)
{
	return umount2(point->target, UMOUNT_NOFOLLOW) ? errno : 0;
}

/* 0, or an error of libmount's with a sentence in @wrong. */
static int mount_it(const struct mountpoint *point, char *wrong, size_t room)
{
	struct libmnt_context *context = mnt_new_context();
	char why[256] = "out of memory";
	int err = -ENOMEM;

	/* All of it is given: no table is asked, or changed, and no other program is called. */
	if (context && !mnt_context_set_source(context, point->source) &&
	    !mnt_context_set_target(context, point->target) &&
	    !mnt_context_set_fstype(context, point->type) &&
	    !mnt_context_set_options(context, point->options) &&
	    !mnt_context_set_optsmode(context, MNT_OMODE_NOTAB) &&
	    !mnt_context_disable_mtab(context, 1) && !mnt_context_disable_helpers(context, 1)) {
		err = mnt_context_mount(context);
		if (err)
			mnt_context_get_excode(context, err, why, sizeof(why));
	}
	mnt_free_context(context);
	if (err)
		return say(wrong, room, "%s can't be mounted again (%s): mount -t %s -o %s %s %s",
			   point->target, why, point->type, point->options, point->source,
			   point->target);
	if (point->propagation)
		mount(NULL, point->target, NULL, point->propagation, NULL);
	return 0;
}

/* A file system that is mounted otherwise would give other figures. */
static int check_options(const struct mountpoint *point, char *wrong, size_t room)
{
	struct libmnt_table *table = read_table();
	struct libmnt_fs *fs = find_target(table, point->target);
	int err = 0;

	if (!fs || strcmp(mnt_fs_get_options(fs), point->seen))
		err = say(wrong, room, "%s had the mount options %s, and was mounted again with %s",
			  point->target, point->seen, fs ? mnt_fs_get_options(fs) : "none");
	mnt_unref_table(table);
	return err;
}

int mountpoint_mount(const struct mountpoint *point, char *wrong, size_t room)
{
	if (mountpoint_is_mounted(point))
		return 0;
	return mount_it(point, wrong, room) ? -1 : check_options(point, wrong, room);
}
