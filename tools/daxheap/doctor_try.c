/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxheap doctor: tries what can be tried without changing anything.  A file is mapped and
 * read, never written; what needs a store is tried on a scratch file that has no name and is
 * gone when it is closed; a device of device DAX is mapped, and no byte of it stored.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "doctor.h"

/* A few ranges, so that one that lies well by luck does not speak for all. */
#define SCRATCH_SIZE (4 * DOCTOR_HUGE)

/* Of a folder in which no file could be made: those of the kernel have no space at all. */
static bool has_no_space(const char *folder)
{
	struct statvfs stv;

	return !statvfs(folder, &stv) && !stv.f_blocks;
}

static const char *why_no_scratch(const struct doctor *doctor, int err)
{
	if (doctor->fs.no_files)
		return "nobody can make a file there";
	return err == EOPNOTSUPP ? "this file system has no O_TMPFILE" : strerror(err);
}

/* Not seen by others, and without a trace in the folder.  -1: it can't be had. */
static int open_scratch(struct doctor *doctor)
{
	int fd = open(doctor->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	int err;

	if (fd < 0) {
		err = errno;
		doctor->fs.no_files = has_no_space(doctor->folder);
		doctor_unseen(doctor, "what needs a scratch file in %s: %s%s", doctor->folder,
			      why_no_scratch(doctor, err),
			      err == EACCES && !doctor->fs.no_files && geteuid() ?
				      ": try it as a user who may write there" : "");
		return -1;
	}
	do {
		err = ftruncate(fd, SCRATCH_SIZE) || fallocate(fd, 0, 0, SCRATCH_SIZE) ? errno :
											 0;
	} while (err == EINTR);
	if (err == ENOSPC || err == EDQUOT) {
		doctor_unseen(doctor, "what needs a scratch file of %u MiB in %s: %s",
			      (unsigned)(SCRATCH_SIZE >> 20), doctor->folder, strerror(err));
		close(fd);
		return -1;
	}
	/* Without fallocate() the stores will get the space. */
	return fd;
}

/* Device DAX takes ranges by its alignment alone; at an address of that alignment, that is
 * what mmap() gives. */
static size_t map_size(const struct doctor *doctor)
{
	return doctor->kind == DOCTOR_DEVDAX && doctor->pmem.align > DOCTOR_HUGE ?
		       doctor->pmem.align : DOCTOR_HUGE;
}

static void try_map_sync(struct doctor *doctor, int fd, bool scratch)
{
	struct doctor_try *try = &doctor->map_sync;
	size_t size = map_size(doctor);
	void *at = mmap(NULL, size, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);

	try->tried = true;
	try->scratch = scratch;
	try->err = at == MAP_FAILED ? errno : 0;
	if (at != MAP_FAILED)
		munmap(at, size);
}

/* Registering a buffer pins it for as long as the ring lives. */
static int register_page(struct io_uring *ring, void *page, size_t size)
{
	struct iovec iov = {.iov_base = page, .iov_len = size};
	int err = io_uring_register_buffers(ring, &iov, 1);

	if (!err)
		io_uring_unregister_buffers(ring);
	return -err;
}

static void try_ring(struct doctor *doctor, struct io_uring *ring, char *page)
{
	void *control = mmap(NULL, doctor->page_size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* Memory that the kernel surely pins: else the answer would be about the ring. */
	int err = control == MAP_FAILED ? ENOMEM :
					  register_page(ring, control, doctor->page_size);

	if (err) {
		doctor_unseen(doctor, "long-term pins: not even plain memory can be registered "
			      "with io_uring: %s%s", strerror(err), err == ENOMEM ?
			      " (raise the limit of locked memory: ulimit -l)" : "");
	} else {
		doctor->pin.tried = true;
		doctor->pin.scratch = doctor->kind != DOCTOR_DEVDAX;
		doctor->pin.err = register_page(ring, page, doctor->page_size);
	}
	if (control != MAP_FAILED)
		munmap(control, doctor->page_size);
}

static void try_pin(struct doctor *doctor, int fd)
{
	size_t size = map_size(doctor);
	char *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct io_uring ring;
	int err;

	if (page == MAP_FAILED) {
		doctor_unseen(doctor, "long-term pins: can't map a page: %s", strerror(errno));
		return;
	}
	err = io_uring_queue_init(2, &ring, 0);
	if (err)
		doctor_unseen(doctor, "long-term pins: no io_uring: %s%s", strerror(-err),
			      err == -EPERM ? " (sysctl kernel.io_uring_disabled, or a seccomp "
					      "filter)" :
			      err == -ENOMEM ? " (raise the limit of locked memory: ulimit -l)" :
					       "");
	else
		try_ring(doctor, &ring, page);
	if (!err)
		io_uring_queue_exit(&ring);
	munmap(page, size);
}

/* Without a trace even in the time of the last access, where that is allowed. */
static int open_quietly(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOATIME);

	return fd < 0 && errno == EPERM ? open(path, O_RDONLY | O_CLOEXEC) : fd;
}

static void try_file(struct doctor *doctor)
{
	int fd = open_quietly(doctor->real);

	if (fd < 0) {
		doctor_unseen(doctor, "%s itself: can't be read: %s", doctor->path,
			      strerror(errno));
		return;
	}
	doctor_look_at_file(doctor, fd);
	try_map_sync(doctor, fd, false);
	doctor_try_huge(doctor, &doctor->huge, fd, doctor->size, false);
	close(fd);
}

static void try_devdax(struct doctor *doctor)
{
	int fd = open(doctor->real, O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		doctor_unseen(doctor, "%s itself: can't be opened: %s%s", doctor->path,
			      strerror(errno), errno == EACCES ? ": try it as root" : "");
		return;
	}
	try_map_sync(doctor, fd, false);
	doctor_try_huge(doctor, &doctor->huge, fd, doctor->size, false);
	try_pin(doctor, fd);
	close(fd);
}

/* What the file itself could not tell, and where there is no file. */
static void try_scratch(struct doctor *doctor)
{
	int fd = open_scratch(doctor);

	if (fd < 0)
		return;
	if (!doctor->fs.dax_known)
		doctor_look_at_file(doctor, fd);
	if (!doctor->map_sync.tried)
		try_map_sync(doctor, fd, true);
	/* Of what has no content yet, a new file says what it will get. */
	if (!doctor_known_ranges(&doctor->huge))
		doctor_try_huge(doctor, &doctor->scratch_huge, fd, SCRATCH_SIZE, true);
	try_pin(doctor, fd);
	close(fd);
}

void doctor_try_all(struct doctor *doctor)
{
	if (doctor->kind == DOCTOR_DEVDAX)
		try_devdax(doctor);
	if (doctor->kind == DOCTOR_FILE)
		try_file(doctor);
	if (doctor->folder[0])
		try_scratch(doctor);
}
