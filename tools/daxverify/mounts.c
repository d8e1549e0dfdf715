/* SPDX-License-Identifier: BSD-3-Clause */
/* The mount that DIR lies on, mounting it again, and mounts that nobody else sees. */
#include "daxverify.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] && s[2] && s[3]) {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 |
				       (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = 0;
}

struct mount_line {
	char device_nr[32], root[PATH_MAX], point[PATH_MAX], options[512];
	char fstype[32], source[PATH_MAX], super[512];
};

static bool parse_line(const char *line, struct mount_line *m)
{
	const char *sep = strstr(line, " - ");

	if (!sep || sscanf(line, "%*d %*d %31s %4095s %4095s %511s", m->device_nr,
			   m->root, m->point, m->options) != 4)
		return false;
	if (sscanf(sep + 3, "%31s %4095s %511s", m->fstype, m->source, m->super) != 3)
		return false;
	unescape(m->root);
	unescape(m->point);
	unescape(m->source);
	return true;
}

static bool is_above(const char *point, const char *path)
{
	size_t n = strlen(point);

	if (strcmp(point, "/") == 0)
		return true;
	return strncmp(point, path, n) == 0 && (path[n] == '/' || path[n] == 0);
}

/* The last line with the longest mount point above the path: what path lookup finds. */
static int scan(const char *path, struct mount_line *best, const char *count_nr,
		unsigned *count)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	struct mount_line *m = malloc(sizeof(*m));
	char *line = NULL;
	size_t len = 0;
	bool found = false;

	if (!f || !m) {
		free(m);
		if (f)
			fclose(f);
		return -ENOENT;
	}
	while (getline(&line, &len, f) > 0) {
		if (!parse_line(line, m))
			continue;
		if (count_nr && strcmp(m->device_nr, count_nr) == 0)
			++*count;
		if (best && is_above(m->point, path) &&
		    (!found || strlen(m->point) >= strlen(best->point))) {
			*best = *m;
			found = true;
		}
	}
	free(line);
	free(m);
	fclose(f);
	return found || !best ? 0 : -ENOENT;
}

int dv_mount_find(struct dv_facts *f, const char *dir)
{
	struct mount_line *m = calloc(1, sizeof(*m));
	int ret = m ? scan(dir, m, NULL, NULL) : -ENOMEM;

	if (!ret) {
		snprintf(f->fs, sizeof(f->fs), "%s", m->fstype);
		snprintf(f->device, sizeof(f->device), "%.*s", (int)sizeof(f->device) - 1,
			 m->source);
		snprintf(f->mount_point, sizeof(f->mount_point), "%s", m->point);
		snprintf(f->mount_root, sizeof(f->mount_root), "%.*s",
			 (int)sizeof(f->mount_root) - 1, m->root);
		snprintf(f->mount_options, sizeof(f->mount_options), "%s", m->options);
		snprintf(f->super_options, sizeof(f->super_options), "%s", m->super);
		f->mounts_of_device = 0;
		ret = scan(dir, NULL, m->device_nr, &f->mounts_of_device);
	}
	free(m);
	return ret;
}

/* 1 when the device is mounted where it was, 0 when it is not, or -errno. */
int dv_mounted(const struct dv_facts *f)
{
	struct mount_line *m = calloc(1, sizeof(*m));
	int ret = m ? scan(f->mount_point, m, NULL, NULL) : -ENOMEM;

	if (!ret)
		ret = strcmp(m->point, f->mount_point) == 0 &&
		      strcmp(m->source, f->device) == 0;
	free(m);
	return ret;
}

/* What the mount's own options mean as flags; the file system's own go in as text. */
static unsigned long flags_of(const char *options)
{
	static const struct {
		const char *name;
		unsigned long flag;
	} known[] = {
		{"ro", MS_RDONLY},	   {"nosuid", MS_NOSUID},
		{"nodev", MS_NODEV},	   {"noexec", MS_NOEXEC},
		{"noatime", MS_NOATIME},   {"sync", MS_SYNCHRONOUS},
		{"relatime", MS_RELATIME}, {"nodiratime", MS_NODIRATIME},
	};
	char copy[512], *word, *save;
	unsigned long flags = 0;
	unsigned i;

	snprintf(copy, sizeof(copy), "%s", options);
	for (word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		for (i = 0; i < DV_COUNT(known); i++) {
			if (strcmp(word, known[i].name) == 0)
				flags |= known[i].flag;
		}
	}
	return flags;
}

/* Mount it again as it was. */
int dv_remount(const struct dv_facts *f)
{
	const char *data = f->super_options;

	if (strncmp(data, "rw,", 3) == 0 || strncmp(data, "ro,", 3) == 0)
		data += 3;
	else if (strcmp(data, "rw") == 0 || strcmp(data, "ro") == 0)
		data = "";
	return mount(f->device, f->mount_point, f->fs, flags_of(f->mount_options), data)
		       ? -errno
		       : 0;
}

/* All options stay as they were, but for that one. */
int dv_remount_readonly(const struct dv_facts *f, bool readonly)
{
	unsigned long flags = MS_REMOUNT | flags_of(f->mount_options);

	return mount(NULL, f->mount_point, NULL, readonly ? flags | MS_RDONLY : flags,
		     NULL)
		       ? -errno
		       : 0;
}

static int tell_fs(const struct dv_facts *f, unsigned long what)
{
	int fd = open(f->mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, what, 0))
		ret = -errno;
	close(fd);
	return ret;
}

int dv_freeze_fs(const struct dv_facts *f)
{
	return tell_fs(f, FIFREEZE);
}

int dv_thaw(const struct dv_facts *f)
{
	return tell_fs(f, FITHAW);
}

/* A mount attached nowhere: a descriptor to open files below, gone when closed. */
int dv_mount_detached(const char *fstype)
{
	int fs = fsopen(fstype, FSOPEN_CLOEXEC), mnt;

	if (fs < 0)
		return -errno;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		mnt = -errno;
	else if ((mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0)) < 0)
		mnt = -errno;
	close(fs);
	return mnt;
}
