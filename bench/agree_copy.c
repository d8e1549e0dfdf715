/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench agree: copying 4 KiB after 4 KiB from or to a mapping, each of which faults.
 *
 * So that this measures what fio measures, all of this is alike:
 * - The file: made and written here, whoever copies.  (fio would write it itself, before it begins
 *   to measure; a store to a page that was allocated but never written to has to clear it first:
 *   AGREE_UNWRITTEN.)
 * - The caches: what is in the file is in none.  (Between making the file and the first copy fio
 *   starts, which takes it 0.3 s.)
 * - The copy: by the C library's function.  (A compiler that sees the size writes a string
 *   instruction here: AGREE_STRING_COPY.)
 * - The buffer: at the begin of a page.
 * - What lies between two copies: other work.  (fio's own takes what there is of the first level of
 *   the caches: AGREE_BACK_TO_BACK.)
 */
#include <errno.h>
#include <fcntl.h>
#include <libpmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "agree.h"
#include "scratch.h"
#include "timer.h"

#define LINE	     64u
#define CACHES_MIB   64u
#define FAULT_AROUND 16u	/* pages that a page cache maps by one fault that reads */
#define OTHER_WORK   32768u	/* bytes; the first level of the caches */

/* The compiler must not know which function it is. */
static void *(*volatile library_memcpy)(void *to, const void *from, size_t size) = memcpy;

/* --- the file --- */

size_t agree_step(const struct agree *agree, const char *dir)
{
	return agree->work == AGREE_COPY_READ && !scratch_is_dax(dir) ? FAULT_AROUND * AGREE_BLOCK :
									AGREE_BLOCK;
}

static void empty_caches(void)
{
	size_t size = (size_t)CACHES_MIB << 20;
	char *other = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (other == MAP_FAILED)
		die("out of memory");
	memset(other, 1, size);
	munmap(other, size);
}

bool agree_make_file(const struct agree *agree, const char *dir, const char *path,
		     struct record *record)
{
	size_t size = agree->ops * agree_step(agree, dir);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), err = 0;

	/* For fio too, which inherits it. */
	if (fd < 0 || fallocate(fd, 0, 0, (off_t)size) || prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		err = errno;
	if (!err && agree->by != AGREE_UNWRITTEN)
		err = scratch_write(fd, 0, size);
	if (!err && fsync(fd))
		err = errno;
	if (fd >= 0)
		close(fd);
	if (err)
		record_refuse(record, "a file of %zu MiB can't be had in %s: %s", size >> 20, dir,
			      strerror(err));
	else
		empty_caches();
	return !err;
}

/* As fio's engines do; NULL with errno. */
static char *map(const struct agree *agree, const char *path, size_t size)
{
	char *base = MAP_FAILED;
	int fd;

	if (agree->work == AGREE_COPY_PMEM)
		return pmem_map_file(path, 0, 0, 0, NULL, NULL);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	return base == MAP_FAILED ? NULL : base;
}

/* --- the copies --- */

static void string_copy(char *to, const char *from)
{
#ifdef __x86_64__
	size_t words = AGREE_BLOCK / 8;

	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
#else
	library_memcpy(to, from, AGREE_BLOCK);
#endif
}

static void copy(const struct agree *agree, char *mapped, char *buffer)
{
	char *to = agree->work == AGREE_COPY_READ ? buffer : mapped;
	char *from = agree->work == AGREE_COPY_READ ? mapped : buffer;

	if (agree->by == AGREE_STRING_COPY)
		string_copy(to, from);
	else if (agree->work != AGREE_COPY_PMEM)
		library_memcpy(to, from, AGREE_BLOCK);
	else
		pmem_memcpy(mapped, buffer, AGREE_BLOCK,
			    PMEM_F_MEM_NONTEMPORAL | PMEM_F_MEM_NODRAIN);
}

static void do_other_work(void)
{
	static volatile char other[OTHER_WORK];

	for (unsigned i = 0; i < OTHER_WORK; i += LINE)
		other[i]++;
}

void agree_measure_copies(const struct agree *agree, const char *dir, const char *path,
			  struct record *record)
{
	static char buffer[AGREE_BLOCK] __attribute__((aligned(AGREE_BLOCK)));
	size_t step = agree_step(agree, dir);
	char *at = map(agree, path, agree->ops * step);

	if (!at) {
		record_refuse(record, "%s can't be mapped: %s", path, strerror(errno));
		return;
	}
	memset(buffer, 1, sizeof(buffer));
	do_other_work();
	record_empty(record);
	noise_begin(&record->noise);
	for (unsigned i = 0; i < agree->ops; i++, at += step) {
		uint64_t start;

		if (agree->by != AGREE_BACK_TO_BACK)
			do_other_work();
		start = timer_begin();
		copy(agree, at, buffer);
		record->ticks[record->count++] = timer_now() - start;
	}
	noise_end(&record->noise);
	record->figures[AGREE_FAULTS] = record->noise.faults;
}
