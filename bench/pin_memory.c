/* SPDX-License-Identifier: BSD-3-Clause */
/* daxbench pin: the memory. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "doctor.h"
#include "pin.h"
#include "scratch.h"

/* -1 with errno. */
static int open_file(const struct pin *pin, const char *dir, size_t size)
{
	int fd = pin->memory == PIN_OF_DEVICE ? open(dir, O_RDWR | O_CLOEXEC) : scratch_open(dir);
	int err = 0;

	if (fd < 0 || pin->memory == PIN_OF_DEVICE)
		return fd;
	/* Space that is taken at once lies together, which huge pages need. */
	if (fallocate(fd, 0, 0, (off_t)size))
		err = errno;
	if (!err)
		err = scratch_write(fd, 0, size);
	if (!err)
		return fd;
	close(fd);
	errno = err;
	return -1;
}

/* At a multiple of @size; NULL with errno. */
static char *map(const struct pin *pin, const char *dir, size_t size)
{
	char *range = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			   -1, 0);
	char *base = (char *)(((uintptr_t)range + size - 1) & ~(size - 1));
	bool anonymous = pin->memory == PIN_ANONYMOUS;
	int flags = anonymous ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	int fd = anonymous ? -1 : open_file(pin, dir, size), err;

	if (range == MAP_FAILED || (fd < 0 && !anonymous))
		return NULL;
	if (mmap(base, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0) == MAP_FAILED)
		base = NULL;
	err = errno;
	if (fd >= 0)
		close(fd);
	errno = err;
	return base;
}

/* False after record_refuse(). */
static bool check_entries(const struct pin *pin, const char *base, struct record *record)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool by_scan = true, huge = pagemap >= 0 && doctor_is_huge(pagemap, base, &by_scan) > 0;
	bool wanted = pin->entry == PIN_HUGE;

	if (pagemap >= 0)
		close(pagemap);
	if (huge != wanted) {
		record->not_huge = wanted;
		record_refuse(record, wanted ? "it is not mapped by an entry of 2 MiB" :
					       "it is mapped by an entry of 2 MiB all the same");
	}
	return huge == wanted;
}

bool pin_memory_make(struct pin_work *work, const char *dir, struct record *record)
{
	const struct pin *pin = work->pin;
	size_t size = pin->entry > PIN_HUGE ? pin->entry : PIN_HUGE;
	bool small = pin->entry == PIN_PAGE;

	/* For the whole process: without advice, the system's setting would decide. */
	if (small && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)) {
		record_refuse(record, "huge pages can't be switched off: %s", strerror(errno));
		return false;
	}
	work->base = map(pin, dir, size);
	if (!work->base) {
		record_refuse(record, "%zu MiB can't be had there: %s", size >> 20,
			      strerror(errno));
		return false;
	}
	if (!small)
		madvise(work->base, size, MADV_HUGEPAGE);
	*(volatile char *)work->base = 1;
	/* Of 1 GiB the page table is not asked: such a device has no smaller entries. */
	if (pin->entry <= PIN_HUGE && !check_entries(pin, work->base, record))
		return false;
	/* All pages that will be taken are there: what is timed faults nothing in. */
	work->size = pin->pages * PIN_PAGE;
	for (size_t at = 0; at < work->size; at += PIN_PAGE)
		*(volatile char *)(work->base + at) = 1;
	return true;
}
