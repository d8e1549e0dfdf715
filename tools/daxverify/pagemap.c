/* SPDX-License-Identifier: BSD-3-Clause */
/* Which page of the machine a process has at an address, as /proc/PID/pagemap tells root.
 */
#include "daxverify.h"

#include "file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define PRESENT	 (UINT64_C(1) << 63)
#define PFN_MASK ((UINT64_C(1) << 55) - 1)

static int entry_at(pid_t pid, uintptr_t addr, uint64_t *entry)
{
	off_t at = (off_t)(addr / dv_page_size() * sizeof(*entry));
	char path[64];
	int fd, ret;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = dv_read_all(fd, entry, sizeof(*entry), at);
	close(fd);
	return ret;
}

int dv_pfn_at(pid_t pid, const void *addr, uint64_t *pfn)
{
	uint64_t entry;
	int ret = entry_at(pid, (uintptr_t)addr, &entry);

	if (ret)
		return ret;
	if (!(entry & PRESENT))
		return -ENOENT;
	if (!(entry & PFN_MASK))
		return -EPERM; /* hidden from who is not root */
	*pfn = entry & PFN_MASK;
	return 0;
}

/* The address of a page of the file, from a line of /proc/PID/maps; 0: not on this line.
 */
static uintptr_t addr_in_line(const char *line, const struct stat *st, unsigned page)
{
	size_t at = page * dv_page_size(), from, to, offset;
	unsigned maj, min;
	unsigned long ino;

	if (sscanf(line, "%zx-%zx %*s %zx %x:%x %lu", &from, &to, &offset, &maj, &min,
		   &ino) != 6)
		return 0;
	if (ino != st->st_ino || makedev(maj, min) != st->st_dev)
		return 0;
	if (at < offset || at - offset >= to - from)
		return 0;
	return from + (at - offset);
}

/* Where a process has mapped a page of a file; 0 when nowhere. */
static uintptr_t addr_in(pid_t pid, const char *path, unsigned page)
{
	char name[64], line[PATH_MAX + 128];
	uintptr_t addr = 0;
	struct stat st;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/maps", (int)pid);
	f = stat(path, &st) ? NULL : fopen(name, "re");
	if (!f)
		return 0;
	while (!addr && fgets(line, sizeof(line), f))
		addr = addr_in_line(line, &st, page);
	fclose(f);
	return addr;
}

int dv_pfn_in(pid_t pid, const char *path, unsigned page, uint64_t *pfn)
{
	uintptr_t addr = addr_in(pid, path, page);

	return addr ? dv_pfn_at(pid, (void *)addr, pfn) : -ENOENT;
}

/*
 * The first and the last page of the 2 MiB around the address are both there. Faults on
 * DAX bring in one entry and nothing around it, so an entry of 2 MiB it is, unless both
 * were touched.
 */
static bool all_there(pid_t pid, uintptr_t addr)
{
	size_t page = dv_page_size(), huge = DV_HUGE_PAGES * page;
	uintptr_t base = addr & ~(huge - 1);
	uint64_t first, last;

	return !entry_at(pid, base, &first) && first & PRESENT &&
	       !entry_at(pid, base + huge - page, &last) && last & PRESENT;
}

bool dv_mapped_huge(const void *addr)
{
	return all_there(getpid(), (uintptr_t)addr);
}

bool dv_mapped_huge_in(pid_t pid, const char *path, unsigned page)
{
	uintptr_t addr = addr_in(pid, path, page);

	return addr && all_there(pid, addr);
}
