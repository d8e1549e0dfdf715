/* SPDX-License-Identifier: BSD-3-Clause */
/* daxheap doctor: finds out what a path is, and asks the parts in turn. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "doctor.h"

void doctor_unseen(struct doctor *doctor, const char *format, ...)
{
	va_list args;

	if (doctor->unseen_count == DOCTOR_NOTES_MAX)
		return;
	va_start(args, format);
	vsnprintf(doctor->unseen[doctor->unseen_count++], sizeof(doctor->unseen[0]), format,
		  args);
	va_end(args);
}

/* Of a character device. */
static bool is_devdax(dev_t dev)
{
	char link[64], target[PATH_MAX];
	ssize_t length;

	snprintf(link, sizeof(link), "/sys/dev/char/%u:%u/subsystem", major(dev), minor(dev));
	length = readlink(link, target, sizeof(target) - 1);
	if (length <= 0)
		return false;
	target[length] = '\0';
	return !strcmp(basename(target), "dax");
}

/* NULL, or a sentence about what is wrong with the path. */
static const char *identify(struct doctor *doctor, const struct statx *stx)
{
	char copy[PATH_MAX];

	doctor->size = stx->stx_size;
	doctor->dev = makedev(stx->stx_dev_major, stx->stx_dev_minor);
	switch (stx->stx_mode & S_IFMT) {
	case S_IFREG:
		doctor->kind = DOCTOR_FILE;
		snprintf(copy, sizeof(copy), "%s", doctor->real);
		snprintf(doctor->folder, sizeof(doctor->folder), "%s", dirname(copy));
		return NULL;
	case S_IFDIR:
		doctor->kind = DOCTOR_FOLDER;
		snprintf(doctor->folder, sizeof(doctor->folder), "%s", doctor->real);
		return NULL;
	case S_IFBLK:
		doctor->kind = DOCTOR_BLOCK;
		doctor->dev = makedev(stx->stx_rdev_major, stx->stx_rdev_minor);
		return NULL;
	case S_IFCHR:
		doctor->kind = DOCTOR_DEVDAX;
		doctor->dev = makedev(stx->stx_rdev_major, stx->stx_rdev_minor);
		if (is_devdax(doctor->dev))
			return NULL;
		return "a character device, but not of device DAX (/dev/daxX.Y)";
	default:
		return "neither a file nor a folder nor a device";
	}
}

static const char *missing(const char *path)
{
	if (!strncmp(path, "/dev/pmem", 9) || !strncmp(path, "/dev/dax", 8))
		return "no such device: 'ndctl list -Niu' shows the namespaces and which of them "
		       "are disabled";
	return "no such file or folder: name the folder that a pool shall be in";
}

/* NULL, or a sentence. */
static const char *look(struct doctor *doctor)
{
	const unsigned wanted = STATX_BASIC_STATS | STATX_MNT_ID;
	const char *wrong;
	struct statx stx;
	int fd;

	if (!realpath(doctor->path, doctor->real))
		return errno == ENOENT ? missing(doctor->path) : strerror(errno);
	fd = open(doctor->real, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return strerror(errno);
	if (statx(fd, "", AT_EMPTY_PATH, wanted, &stx)) {
		wrong = strerror(errno);
		close(fd);
		return wrong;
	}
	wrong = identify(doctor, &stx);
	if (!wrong && doctor->kind != DOCTOR_DEVDAX)
		doctor_look_at_mount(doctor, stx.stx_mask & STATX_MNT_ID ? stx.stx_mnt_id : 0);
	if (!wrong && doctor->kind == DOCTOR_FILE)
		doctor_look_at_file(doctor, fd);
	close(fd);
	return wrong;
}

const char *doctor_examine(struct doctor *doctor, const char *path)
{
	const char *wrong;

	*doctor = (struct doctor){
		.path = path,
		.page_size = (unsigned)sysconf(_SC_PAGESIZE),
		.pmem.numa_node = -1,
	};
	wrong = look(doctor);
	if (wrong)
		return wrong;
	if (doctor->kind != DOCTOR_DEVDAX)
		doctor_look_at_block(doctor);
	doctor_look_at_pmem(doctor);
	doctor_try_all(doctor);
	doctor_judge(doctor);
	return NULL;
}
