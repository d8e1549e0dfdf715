/* SPDX-License-Identifier: BSD-3-Clause */
/* Filling holes with zeros; on DAX that is how the pool grows: see tests/guest/media.c. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pool.h"
#include "zeros.h"

TestSuite(zeros, .fini = pool_cleanup, .timeout = 60);

#define PAGE 4096u

static int new_file(void)
{
	int fd = open(pool_path("file"), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	return fd;
}

static uint64_t length_of(int fd)
{
	struct stat st;

	cr_assert(!fstat(fd, &st));
	return (uint64_t)st.st_size;
}

static void must_have_data(int fd, uint64_t offset, uint64_t size)
{
	cr_assert_eq(lseek(fd, (off_t)offset, SEEK_DATA), (off_t)offset);
	cr_assert_geq(lseek(fd, (off_t)offset, SEEK_HOLE), (off_t)(offset + size));
}

static void must_be(int fd, uint64_t offset, uint64_t size, char byte)
{
	char *bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, (off_t)offset);

	cr_assert_neq(bytes, MAP_FAILED);
	for (uint64_t i = 0; i < size; i++)
		cr_assert_eq(bytes[i], byte);
	munmap(bytes, size);
}

static bool any_hole;			/* of the last call */

static int fill(int fd, uint64_t offset, uint64_t size)
{
	any_hole = false;
	return dh_fill_holes(fd, offset, size, &any_hole);
}

Test(zeros, the_file_becomes_longer)
{
	int fd = new_file();

	cr_assert_eq(fill(fd, 0, 4 * MiB + PAGE), 0);
	cr_assert_eq(length_of(fd), 4 * MiB + PAGE);
	must_have_data(fd, 0, 4 * MiB + PAGE);
	cr_assert_eq(fill(fd, 3 * MiB, 5 * MiB), 0);
	cr_assert(any_hole);
	cr_assert_eq(length_of(fd), 8 * MiB);
	must_have_data(fd, 0, 8 * MiB);
	must_be(fd, 0, 8 * MiB, 0);
	/* Far behind the end: what lies between stays a hole. */
	cr_assert_eq(fill(fd, 16 * MiB, 2 * MiB), 0);
	cr_assert_eq(length_of(fd), 18 * MiB);
	cr_assert_eq(lseek(fd, 8 * MiB, SEEK_DATA), 16 * (off_t)MiB);
	close(fd);
}

Test(zeros, what_has_data_stays)
{
	char content[PAGE];
	int fd = new_file();

	memset(content, 'x', sizeof(content));
	cr_assert(!ftruncate(fd, 6 * MiB));
	for (uint64_t at = PAGE; at < 6 * MiB; at += 2 * MiB - PAGE)
		cr_assert_eq(pwrite(fd, content, PAGE, (off_t)at), (ssize_t)PAGE);
	cr_assert_eq(fill(fd, 0, 6 * MiB), 0);
	cr_assert(any_hole);
	cr_assert_eq(length_of(fd), 6 * MiB);
	must_have_data(fd, 0, 6 * MiB);
	must_be(fd, 0, PAGE, 0);
	must_be(fd, 2 * PAGE, 2 * MiB - 2 * PAGE, 0);
	for (uint64_t at = PAGE; at < 6 * MiB; at += 2 * MiB - PAGE)
		must_be(fd, at, PAGE, 'x');
	/* Again, and within what is there: nothing changes. */
	cr_assert_eq(fill(fd, PAGE, 2 * MiB), 0);
	cr_assert_not(any_hole);
	must_be(fd, PAGE, PAGE, 'x');
	close(fd);
}

Test(zeros, a_limit_is_an_error)
{
	struct rlimit limit = {3 * MiB, RLIM_INFINITY};
	int fd = new_file();

	signal(SIGXFSZ, SIG_IGN);
	cr_assert(!setrlimit(RLIMIT_FSIZE, &limit));
	cr_assert_eq(fill(fd, 0, 4 * MiB), EFBIG);
	/* What could be had is there. */
	cr_assert_eq(length_of(fd), 3 * MiB);
	cr_assert_eq(fill(fd, 0, 3 * MiB), 0);
	close(fd);
	cr_assert_eq(fill(fd, 0, 3 * MiB), EBADF);
}
