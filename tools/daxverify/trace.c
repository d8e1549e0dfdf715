/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which pages of a file were flushed, from the tracepoint fs_dax:dax_writeback_one, in a
 * trace instance of our own: the machine's tracing is left alone.
 */
#include "daxverify.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVENT "events/fs_dax/dax_writeback_one"

/* O_TRUNC is what empties `trace`; the other files do not mind. */
static int put_text(int dir, const char *path, const char *text)
{
	int fd = openat(dir, path, O_WRONLY | O_TRUNC | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/*
 * On for the whole run, and filtered down to nothing until a file is watched: each
 * switching on or off patches the running kernel's code, which emulators have been seen
 * to get wrong. For the same reason no commands are recorded: that would patch the
 * scheduler.
 */
int dv_trace_open(struct dv_trace *t)
{
	int ret;

	t->root = dv_mount_detached("tracefs");
	if (t->root < 0)
		return t->root;
	snprintf(t->name, sizeof(t->name), "instances/" DV_NAME_PREFIX "%d",
		 (int)getpid());
	ret = mkdirat(t->root, t->name, 0700) ? -errno : 0;
	t->dir = ret ? -1 : openat(t->root, t->name, O_DIRECTORY | O_CLOEXEC);
	if (!ret && t->dir < 0)
		ret = -errno;
	if (!ret)
		put_text(t->dir, "trace_options", "norecord-cmd"); /* as well without */
	if (!ret)
		ret = dv_trace_watch(t, 0);
	if (!ret)
		ret = put_text(t->dir, EVENT "/enable", "1");
	if (ret)
		dv_trace_close(t);
	return ret;
}

/* From now on, and forgetting what was: the flushes of this inode. */
int dv_trace_watch(const struct dv_trace *t, ino_t ino)
{
	char filter[48];
	int ret;

	snprintf(filter, sizeof(filter), "ino == %llu", (unsigned long long)ino);
	ret = put_text(t->dir, EVENT "/filter", filter);
	return ret ? ret : put_text(t->dir, "trace", "");
}

/* The value after a key in a line such as "dev 259:0 ino 0xc pgoff 0x1 pglen 0x1". */
static int field(const char *line, const char *key, unsigned long long *value)
{
	const char *p = strstr(line, key);

	if (!p)
		return -ENOENT;
	*value = strtoull(p + strlen(key), NULL, 0);
	return 0;
}

int dv_trace_flushed(const struct dv_trace *t, ino_t ino, uint64_t *pages,
		     unsigned *events)
{
	unsigned long long at, off, len, p;
	int fd = openat(t->dir, "trace", O_RDONLY | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	char line[512], *event;

	if (!f)
		return -errno;
	*pages = 0;
	*events = 0;
	while (fgets(line, sizeof(line), f)) {
		event = strstr(line, "dax_writeback_one:");
		if (!event || field(event, " ino ", &at) || at != ino ||
		    field(event, " pgoff ", &off) || field(event, " pglen ", &len))
			continue;
		++*events;
		for (p = off; p < off + len && p < 64; p++)
			*pages |= UINT64_C(1) << p;
	}
	fclose(f);
	return 0;
}

void dv_trace_close(struct dv_trace *t)
{
	if (t->dir >= 0) {
		put_text(t->dir, EVENT "/enable", "0");
		close(t->dir);
	}
	unlinkat(t->root, t->name, AT_REMOVEDIR);
	close(t->root);
}

static void remove_instance(int root, const char *name)
{
	struct dv_trace t = {.root = root};
	int ret;

	snprintf(t.name, sizeof(t.name), "instances/%.32s", name);
	t.dir = openat(root, t.name, O_DIRECTORY | O_CLOEXEC);
	if (t.dir >= 0) {
		put_text(t.dir, EVENT "/enable", "0");
		close(t.dir);
	}
	ret = unlinkat(root, t.name, AT_REMOVEDIR) ? -errno : 0;
	dv_leftover_say("the trace instance", name, ret);
}

void dv_trace_remove_dead(void)
{
	int root = dv_mount_detached("tracefs"), fd;
	struct dirent *e;
	DIR *d;

	if (root < 0)
		return;
	fd = openat(root, "instances", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	while (d && (e = readdir(d))) {
		if (dv_dead_owner(e->d_name, DV_NAME_PREFIX))
			remove_instance(root, e->d_name);
	}
	if (d)
		closedir(d);
	close(root);
}
