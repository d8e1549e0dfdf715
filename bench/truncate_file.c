/* SPDX-License-Identifier: BSD-3-Clause */
/* daxbench truncate: the file of an operation, and who has it mapped. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"
#include "truncate.h"

#define HUGE_PAGE ((size_t)2 << 20)

size_t reclaim_at(const struct reclaim *reclaim)
{
	return reclaim->pins ? RECLAIM_LEAD : 0;
}

size_t reclaim_file_size(const struct reclaim *reclaim)
{
	bool middle = reclaim->call == RECLAIM_PUNCH || reclaim->call == RECLAIM_ZERO ||
		      reclaim->call == RECLAIM_COLLAPSE;

	return reclaim_at(reclaim) + reclaim->size + (middle ? RECLAIM_TAIL : 0);
}

/* Of the part that is taken, the distance between pages that exist. */
static size_t stride(const struct reclaim *reclaim)
{
	return reclaim->extents > 1 ? 2 * RECLAIM_PAGE : RECLAIM_PAGE;
}

static unsigned count_extents(int fd)
{
	struct fiemap map = {.fm_length = FIEMAP_MAX_OFFSET};

	return ioctl(fd, FS_IOC_FIEMAP, &map) ? 0 : map.fm_mapped_extents;
}

/* 0 or an errno. */
static int fill(const struct reclaim *reclaim, int fd)
{
	size_t at = reclaim_at(reclaim), size = reclaim_file_size(reclaim);
	int err = 0;

	if (ftruncate(fd, (off_t)size))
		return errno;
	if (reclaim->extents == 1) {
		/* Space that is taken at once lies together. */
		if (fallocate(fd, 0, 0, (off_t)size))
			return errno;
		return scratch_write(fd, 0, size);
	}
	for (unsigned i = 0; i < reclaim->extents && !err; i++)
		err = scratch_write(fd, at + i * stride(reclaim), RECLAIM_PAGE);
	if (!err && at)
		err = scratch_write(fd, 0, at);
	return err ? err : scratch_write(fd, at + reclaim->size, size - at - reclaim->size);
}

static void touch(const struct reclaim *reclaim, char *base)
{
	size_t at = reclaim_at(reclaim), end = at + reclaim->size;

	if (reclaim->state == RECLAIM_UNMAPPED)
		return;
	for (; at < end; at += stride(reclaim)) {
		volatile char *byte = base + at;

		if (reclaim->state == RECLAIM_DIRTY)
			*byte = 1;
		else
			(void)*byte;
	}
}

/* Where huge entries can be; NULL with errno. */
static char *map(const struct reclaim *reclaim, int fd)
{
	size_t size = reclaim_file_size(reclaim);
	char *range = mmap(NULL, size + HUGE_PAGE, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *base;

	if (range == MAP_FAILED)
		return NULL;
	base = (char *)(((uintptr_t)range + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
	munmap(range, (size_t)(base - range));
	munmap(base + size, (size_t)(range + HUGE_PAGE - base));
	return mmap(base, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ?
		       NULL : base;
}

/* 0 or an errno. */
static int map_here(const struct reclaim *reclaim, struct reclaim_file *file)
{
	unsigned wanted = reclaim->state == RECLAIM_UNMAPPED && !reclaim->pins ? 0 :
									reclaim->mappings;

	for (; file->mapping_count < wanted; file->mapping_count++) {
		char *base = map(reclaim, file->fd);

		if (!base)
			return errno;
		touch(reclaim, base);
		file->mappings[file->mapping_count] = base;
	}
	return 0;
}

__attribute__((noreturn)) static void be_another(const struct reclaim *reclaim, char *base,
						  int ready, int go_home)
{
	char byte = 0;

	touch(reclaim, base);
	if (write(ready, &byte, 1) != 1)
		_exit(1);
	_exit(read(go_home, &byte, 1) != 0);
}

/* Others take part in the first mapping, each by a page table of its own.  0 or an errno. */
static int map_elsewhere(const struct reclaim *reclaim, struct reclaim_file *file)
{
	int ready[2], home[2], err = 0;
	char byte;

	if (!reclaim->processes)
		return 0;
	if (pipe2(ready, O_CLOEXEC) || pipe2(home, O_CLOEXEC))
		return errno;
	for (; file->other_count < reclaim->processes; file->other_count++) {
		pid_t child = fork();

		if (child < 0) {
			err = errno;
			break;
		}
		if (!child) {
			close(home[1]);
			be_another(reclaim, file->mappings[0], ready[1], home[0]);
		}
		file->others[file->other_count] = child;
	}
	close(home[0]);
	close(ready[1]);
	for (unsigned i = 0; i < file->other_count && !err; i++)
		if (read(ready[0], &byte, 1) != 1)
			err = ECHILD;
	close(ready[0]);
	file->go_home = home[1];
	return err;
}

static bool has_name(const struct reclaim *reclaim)
{
	return reclaim->call == RECLAIM_UNLINK || reclaim->call == RECLAIM_UMOUNT;
}

char *reclaim_path(const char *dir, int pid, unsigned nth)
{
	char *path;

	if (asprintf(&path, "%s/daxbench.%d.truncate.%u", dir, pid, nth) < 0)
		die("out of memory");
	return path;
}

void reclaim_remove(const char *dir, int pid)
{
	for (unsigned i = 0; i < RECLAIM_FILES_MAX; i++) {
		char *path = reclaim_path(dir, pid, i);

		unlink(path);
		free(path);
	}
}

/* 0 or an errno. */
static int open_file(const struct reclaim *reclaim, const char *dir, struct reclaim_file *file)
{
	if (!has_name(reclaim)) {
		file->fd = scratch_open(dir);
		return file->fd < 0 ? errno : 0;
	}
	free(file->path);
	file->path = reclaim_path(dir, getpid(), file->named++);
	file->fd = open(file->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return file->fd < 0 ? errno : 0;
}

static void unmap_here(const struct reclaim *reclaim, struct reclaim_file *file)
{
	while (file->mapping_count)
		munmap(file->mappings[--file->mapping_count], reclaim_file_size(reclaim));
}

/* 0 or an errno. */
static int make_file(const struct reclaim *reclaim, const char *dir, struct reclaim_file *file)
{
	int err = open_file(reclaim, dir, file);

	if (!err)
		err = fill(reclaim, file->fd);
	/* The journal's work of making it is no part of what is measured. */
	if (!err && fsync(file->fd))
		err = errno;
	if (!err)
		file->extents = count_extents(file->fd);
	if (!err)
		err = map_here(reclaim, file);
	if (!err)
		err = map_elsewhere(reclaim, file);
	if (!err && has_name(reclaim)) {
		unmap_here(reclaim, file);
		close(file->fd);
		file->fd = -1;
	}
	return err;
}

bool reclaim_open(const struct reclaim *reclaim, const char *dir, struct reclaim_file *file,
		  struct record *record)
{
	int err = 0;

	*file = (struct reclaim_file){.fd = -1, .go_home = -1};
	for (unsigned i = 0; i < reclaim->files && !err; i++)
		err = make_file(reclaim, dir, file);
	if (err)
		record_refuse(record, "a file of %zu MiB can't be prepared in %s: %s",
			      reclaim_file_size(reclaim) >> 20, dir, strerror(err));
	return !err;
}

void reclaim_close(const struct reclaim *reclaim, struct reclaim_file *file)
{
	if (file->go_home >= 0)
		close(file->go_home);
	for (unsigned i = 0; i < file->other_count; i++)
		waitpid(file->others[i], NULL, 0);
	unmap_here(reclaim, file);
	if (file->fd >= 0)
		close(file->fd);
	free(file->path);
}
