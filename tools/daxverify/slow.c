/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A block device that takes as long as we like: dm-delay with a delay of weeks, over a
 * loop device, over memory. A suspend makes dm-delay end all that waits in it, so a
 * request is in flight until somebody, who needs no part in it, says so.
 */
#include "daxverify.h"

#include "file.h"

#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define BYTES	   (DV_HELD_PAGES_MAX * dv_page_size())
#define WEEKS_MS   2000000000u
#define START_MS   15000
#define NODE_TRIES 200

/* So that no rule of udev reads from it: such a read would take weeks, too. */
#define QUIET                                                                            \
	((DM_UDEV_DISABLE_DM_RULES_FLAG | DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG |         \
	  DM_UDEV_DISABLE_DISK_RULES_FLAG | DM_UDEV_DISABLE_OTHER_RULES_FLAG)            \
	 << DM_UDEV_FLAGS_SHIFT)
/* Of libdevmapper's protocol with udev. */
#define DM_UDEV_FLAGS_SHIFT		     16
#define DM_UDEV_DISABLE_DM_RULES_FLAG	     0x0001u
#define DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG 0x0002u
#define DM_UDEV_DISABLE_DISK_RULES_FLAG	     0x0004u
#define DM_UDEV_DISABLE_OTHER_RULES_FLAG     0x0008u

struct request {
	struct dm_ioctl head;
	struct dm_target_spec target;
	char params[128];
};

static int dm(const struct dv_slow *s, unsigned long command, unsigned flags,
	      struct request *r)
{
	int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	r->head.version[0] = DM_VERSION_MAJOR;
	r->head.data_size = sizeof(*r);
	r->head.data_start = offsetof(struct request, target);
	r->head.flags = flags;
	r->head.event_nr =
		command == DM_DEV_SUSPEND || command == DM_DEV_REMOVE ? QUIET : 0;
	snprintf(r->head.name, sizeof(r->head.name), "%s", s->name);
	ret = ioctl(fd, command, r) ? -errno : 0;
	close(fd);
	return ret;
}

static int dm_simple(const struct dv_slow *s, unsigned long command, unsigned flags)
{
	struct request r = {0};

	return dm(s, command, flags, &r);
}

static int make(struct dv_slow *s, dev_t below)
{
	struct request r = {.head.target_count = 1,
			    .target = {.length = BYTES / 512, .target_type = "delay"}};
	struct request made = {0};
	int ret = dm(s, DM_DEV_CREATE, 0, &made);

	if (ret)
		return ret;
	s->number = makedev(major(made.head.dev), minor(made.head.dev));
	snprintf(r.params, sizeof(r.params), "%u:%u 0 %u", major(below), minor(below),
		 WEEKS_MS);
	r.target.next = sizeof(r.target) + sizeof(r.params);
	ret = dm(s, DM_TABLE_LOAD, 0, &r);
	if (!ret)
		ret = dm_simple(s, DM_DEV_SUSPEND, 0); /* without the flag: resume */
	if (ret)
		dm_simple(s, DM_DEV_REMOVE, 0);
	return ret;
}

/* devtmpfs or udev makes the node. */
static int open_node(const struct dv_slow *s)
{
	char path[32];
	int fd, tries = NODE_TRIES;

	snprintf(path, sizeof(path), "/dev/dm-%u", minor(s->number));
	do {
		fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
		if (fd >= 0 || errno != ENOENT)
			break;
		dv_sleep_ms(5);
	} while (--tries);
	return fd < 0 ? -errno : fd;
}

static int make_memory(void)
{
	int fd = memfd_create("daxverify", MFD_CLOEXEC);
	void *page = malloc(dv_page_size());
	int ret = fd < 0 ? -errno : page ? 0 : -ENOMEM;
	unsigned i;

	if (!ret)
		dv_page_fill(page, DV_TAG_DEVICE, 0);
	for (i = 0; i < DV_HELD_PAGES_MAX && !ret; i++)
		ret = dv_write_all(fd, page, dv_page_size(), (off_t)(i * dv_page_size()));
	free(page);
	if (ret && fd >= 0)
		close(fd);
	return ret ? ret : fd;
}

static int make_device(struct dv_grip *g)
{
	struct dv_slow *s = &g->slow;
	char path[32];
	dev_t below;
	int ret;

	s->memory = make_memory();
	if (s->memory < 0)
		return dv_grip_lacks(g, s->memory, "cannot make a memfd");
	s->loop = dv_loop_open(s->memory, path, &below);
	if (s->loop < 0)
		return dv_grip_lacks(g, s->loop,
				     "no slow device: needs root and a free loop device "
				     "(modprobe loop): %s",
				     strerror(-s->loop));
	ret = make(s, below);
	if (ret)
		return dv_grip_lacks(g, ret,
				     "no slow device: needs root and the module dm-delay "
				     "(modprobe dm-delay): %s",
				     strerror(-ret));
	s->device = open_node(s);
	if (s->device >= 0)
		return 0;
	dm_simple(s, DM_DEV_REMOVE, 0);
	return dv_grip_lacks(g, s->device, "cannot open the slow device: %s",
			     strerror(-s->device));
}

int dv_slow_open(struct dv_grip *g)
{
	int ret;

	snprintf(g->slow.name, sizeof(g->slow.name), DV_NAME_PREFIX "%d", (int)getpid());
	ret = make_device(g);
	if (ret)
		dv_slow_close(g);
	return ret;
}

/*
 * dm-delay tells how many reads, writes and flushes wait in it; the block layer begins to
 * count them when it has passed them on.
 */
bool dv_slow_busy(const struct dv_grip *g)
{
	unsigned reads = 0, writes = 0;
	struct request r = {0};

	if (dm(&g->slow, DM_TABLE_STATUS, DM_NOFLUSH_FLAG, &r) ||
	    r.head.data_start > offsetof(struct request, target) ||
	    sscanf(r.params, "%u %u", &reads, &writes) != 2)
		return false;
	return reads + writes > 0;
}

int dv_slow_wait(struct dv_grip *g, int (*ended)(struct dv_grip *g))
{
	int64_t begin = dv_now_ns();
	int ret = 0;

	while (!dv_slow_busy(g)) {
		ret = ended(g);
		if (!ret && dv_now_ns() - begin > START_MS * INT64_C(1000000))
			ret = -ETIMEDOUT;
		if (ret)
			break;
		dv_sleep_ms(2);
	}
	if (ret)
		dv_slow_let(&g->slow); /* whatever it waits for: nobody hangs in it */
	return ret;
}

int dv_slow_let(struct dv_slow *s)
{
	int ret;

	if (s->device < 0 || s->flowing)
		return 0;
	ret = dm_simple(s, DM_DEV_SUSPEND, DM_SUSPEND_FLAG | DM_SKIP_LOCKFS_FLAG);
	if (!ret)
		s->flowing = 1;
	return ret;
}

/* A ring whose process was killed has the device open for a moment longer. */
static int remove_device(const struct dv_slow *s)
{
	int tries = NODE_TRIES, ret;

	while ((ret = dm_simple(s, DM_DEV_REMOVE, 0)) == -EBUSY && --tries)
		dv_sleep_ms(5);
	return ret;
}

void dv_slow_close(struct dv_grip *g)
{
	struct dv_slow *s = &g->slow;

	if (s->device >= 0) {
		dv_slow_let(s);
		close(s->device);
		remove_device(s);
	}
	if (s->loop >= 0)
		close(s->loop);
	if (s->memory >= 0)
		close(s->memory);
}

/* What waits in it ends, and who slept for that. The loop device goes with it. */
static void remove_dead(const char *name)
{
	struct dv_slow s = {.device = 0};

	snprintf(s.name, sizeof(s.name), "%.31s", name);
	dv_slow_let(&s);
	dv_leftover_say("the device", name, remove_device(&s));
}

/* The names of all devices, one after the other, in what the kernel answers. */
void dv_slow_remove_dead(void)
{
	static char answer[65536] __attribute__((aligned(8)));
	struct dm_ioctl *head = (struct dm_ioctl *)answer;
	struct dm_name_list *device;
	int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC), ret;

	if (fd < 0)
		return;
	memset(answer, 0, sizeof(answer));
	head->version[0] = DM_VERSION_MAJOR;
	head->data_size = sizeof(answer);
	head->data_start = sizeof(*head);
	ret = ioctl(fd, DM_LIST_DEVICES, head);
	close(fd);
	if (ret || head->flags & DM_BUFFER_FULL_FLAG)
		return;
	device = (struct dm_name_list *)(answer + head->data_start);
	while (device->dev) {
		if (dv_dead_owner(device->name, DV_NAME_PREFIX))
			remove_dead(device->name);
		if (!device->next)
			break;
		device = (struct dm_name_list *)((char *)device + device->next);
	}
}
