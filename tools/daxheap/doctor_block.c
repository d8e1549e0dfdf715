/* SPDX-License-Identifier: BSD-3-Clause */
/* daxheap doctor: the block device, by libblkid and sysfs. */
#include <blkid.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "doctor.h"

#define STACK_MAX 16u

/* An attribute in sysfs.  False if it is not there. */
static bool read_number(uint64_t *value, const char *device, const char *attribute)
{
	char path[256];
	FILE *file;
	int got;

	snprintf(path, sizeof(path), "/sys/class/block/%s/%s", device, attribute);
	file = fopen(path, "re");
	if (!file)
		return false;
	got = fscanf(file, "%ju", value);
	fclose(file);
	return got == 1;
}

/* The block device of a file system that has a made-up device number, such as btrfs. */
static dev_t device_of_source(const char *source)
{
	struct stat st;

	return !stat(source, &st) && S_ISBLK(st.st_mode) ? st.st_rdev : 0;
}

/* Device mapper and md: how many devices are below, and the name of the last. */
static unsigned find_below(const char *device, char *below, size_t room)
{
	struct dirent *entry;
	unsigned count = 0;
	char path[256];
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/class/block/%s/slaves", device);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.') {
			snprintf(below, room, "%.60s", entry->d_name);
			count++;
		}
	if (dir)
		closedir(dir);
	return count;
}

/* "pmem0" for "pmem0p1".  False if the device is not there. */
static bool find_whole(const char *device, char *whole, size_t room)
{
	unsigned major, minor;
	char path[256];
	FILE *file;
	int got;

	snprintf(path, sizeof(path), "/sys/class/block/%s/dev", device);
	file = fopen(path, "re");
	if (!file)
		return false;
	got = fscanf(file, "%u:%u", &major, &minor);
	fclose(file);
	return got == 2 && !blkid_devno_to_wholedisk(makedev(major, minor), whole, room, NULL) &&
	       whole[0];
}

/* Down to the disk, through devices that are made of one other, or of a partition of it. */
static void find_disk(struct doctor_block *block)
{
	char below[sizeof(block->disk)];

	snprintf(block->disk, sizeof(block->disk), "%s", block->whole);
	for (unsigned i = 0; i < STACK_MAX; i++)
		if (find_below(block->disk, below, sizeof(below)) != 1 ||
		    !find_whole(below, block->disk, sizeof(block->disk)))
			return;
}

/* Of a device without a mount. */
static void read_content(struct doctor *doctor)
{
	blkid_probe probe = blkid_new_probe_from_filename(doctor->real);
	const char *type;

	if (!probe) {
		doctor_unseen(doctor, "what is on %s: %s%s", doctor->real, strerror(errno),
			      errno == EACCES ? ": try it as root" : "");
		return;
	}
	blkid_probe_enable_partitions(probe, 1);
	if (!blkid_do_safeprobe(probe) &&
	    (!blkid_probe_lookup_value(probe, "TYPE", &type, NULL) ||
	     !blkid_probe_lookup_value(probe, "PTTYPE", &type, NULL)))
		snprintf(doctor->block.content, sizeof(doctor->block.content), "%s", type);
	blkid_free_probe(probe);
}

void doctor_look_at_block(struct doctor *doctor)
{
	struct doctor_block *block = &doctor->block;
	dev_t dev = major(doctor->dev) ? doctor->dev : device_of_source(doctor->fs.source);
	unsigned below;
	uint64_t number;
	char *name;

	if (!dev)
		return;
	name = blkid_devno_to_devname(dev);
	if (name)
		snprintf(block->name, sizeof(block->name), "%s", strrchr(name, '/') + 1);
	free(name);
	if (blkid_devno_to_wholedisk(dev, block->whole, sizeof(block->whole), NULL) ||
	    !block->whole[0]) {
		block->whole[0] = '\0';
		doctor_unseen(doctor, "the block device %u:%u: not in /dev or /sys of this "
			      "container", major(dev), minor(dev));
		return;
	}
	if (!block->name[0])
		snprintf(block->name, sizeof(block->name), "%s", block->whole);
	block->dax_known = read_number(&number, block->whole, "queue/dax");
	block->dax = block->dax_known && number;
	if (read_number(&number, block->name, "start"))
		block->start = number * 512;
	below = find_below(block->whole, block->stacked_on, sizeof(block->stacked_on));
	block->stacked = below > 0;
	if (below > 1)
		block->stacked_on[0] = '\0';
	find_disk(block);
	if (doctor->kind == DOCTOR_BLOCK && !doctor->folder[0])
		read_content(doctor);
}
