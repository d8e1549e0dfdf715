/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device DAX with bad pages, played by a file that is cut where they begin: a load or store there
 * is a SIGBUS.  What a device does else is in tests/guest/devdax.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devdax.h"
#include "format.h"
#include "pool.h"

TestSuite(devdax, .fini = pool_cleanup, .timeout = 60);

#define KiB	UINT64_C(1024)
#define SIZE	(8 * MiB)

static struct dh_devdax make_device(int *fd, uint64_t good)
{
	struct dh_devdax device = {.size = SIZE, .align = 2 * MiB, .name = "dax0.0"};

	*fd = open(pool_path("device"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	cr_assert_geq(*fd, 0);
	cr_assert_eq(ftruncate(*fd, (off_t)good), 0);
	if (good < SIZE)
		dh_devdax_add_bad(&device, good, SIZE);
	return device;
}

Test(devdax, bad_pages_are_not_touched)
{
	char bytes[3 * 4096];
	int fd;
	struct dh_devdax device = make_device(&fd, 5 * MiB);

	cr_assert_eq(dh_devdax_read(fd, &device, bytes, 8192, 5 * MiB - 8192), 8192);
	cr_assert_eq(dh_devdax_read(fd, &device, bytes, 8192, 5 * MiB - 4096), -1);
	cr_assert_eq(errno, EIO);
	cr_assert_eq(dh_devdax_read(fd, &device, bytes, 1, SIZE - 1), -1);
	cr_assert_eq(errno, EIO);
	cr_assert_eq(dh_devdax_write(fd, &device, bytes, 8192, 5 * MiB - 8192), 8192);
	errno = 0;
	cr_assert_eq(dh_devdax_write(fd, &device, bytes, 4096, 5 * MiB), -1);
	cr_assert_eq(errno, EIO);
	close(fd);
}

static void must_not_clear(int fd, const struct dh_devdax *device, bool overwrite)
{
	must_fail(EIO, dh_devdax_clear(fd, device, "/dev/dax0.0", overwrite, 2 * MiB, SIZE));
	must_say("bad blocks");
	must_say("daxheap doctor /dev/dax0.0");
}

/* In the front, in the head of a later chunk; between them none is needed. */
Test(devdax, a_pool_where_pages_are_bad)
{
	static const uint64_t good[] = {0, MiB, 4 * MiB, 6 * MiB + 8 * KiB};
	int fd;
	struct dh_devdax device;

	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		device = make_device(&fd, good[i]);
		must_not_clear(fd, &device, false);
		must_not_clear(fd, &device, true);
		close(fd);
	}
	device = make_device(&fd, 6 * MiB + DH_CHUNK_HEADER_SIZE);
	must(dh_devdax_clear(fd, &device, "/dev/dax0.0", false, 2 * MiB, SIZE));
	must(dh_devdax_clear(fd, &device, "/dev/dax0.0", true, 2 * MiB, SIZE));
	close(fd);
}

/* For a check, which goes on with what is there. */
Test(devdax, a_copy_without_what_is_bad)
{
	int fd;
	struct dh_devdax device = make_device(&fd, 5 * MiB);
	char *range = mmap(NULL, 4 * MiB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *at = (char *)(((uintptr_t)range + 2 * MiB - 1) & ~(uintptr_t)(2 * MiB - 1));

	cr_assert_eq(pwrite(fd, "x", 1, 5 * MiB - 1), 1);
	cr_assert_eq(mmap(at, 2 * MiB, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 4 * MiB), at);
	cr_assert_eq(dh_devdax_detach(&device, 4 * MiB, at), 0);
	cr_assert_eq(at[MiB - 1], 'x');
	cr_assert_eq(at[MiB], 0);
	at[MiB] = 1;
	munmap(range, 4 * MiB);
	close(fd);
}

/* As the kernel lists them, in sectors and by the region: in whole pages of the device. */
Test(devdax, the_list_of_bad_pages)
{
	struct dh_devdax device = {.size = SIZE};

	dh_devdax_add_bad(&device, 512, 1024);
	cr_assert_eq(device.bad_count, 1);
	cr_assert_eq(device.bad[0].start, 0);
	cr_assert_eq(device.bad[0].end, 4096);
	dh_devdax_add_bad(&device, 4096, 4608);
	cr_assert_eq(device.bad_count, 1);
	cr_assert_eq(device.bad[0].end, 8192);
	dh_devdax_add_bad(&device, 1024, 1536);
	cr_assert_eq(device.bad[0].end, 8192, "inside what is bad already");
	dh_devdax_add_bad(&device, SIZE, SIZE + 4096);
	cr_assert_eq(device.bad_count, 1, "behind the end");
	for (uint64_t at = 16384; at < MiB; at += 8192)
		dh_devdax_add_bad(&device, at, at + 512);
	cr_assert_eq(device.bad_count, DH_DEVDAX_BAD_MAX);
	cr_assert_eq(device.bad[1].start, 16384);
	cr_assert_eq(device.bad[1].end, 20480);
	cr_assert_eq(device.bad[DH_DEVDAX_BAD_MAX - 1].end, MiB - 4096);
	dh_devdax_add_bad(&device, SIZE - 512, SIZE + 4096);
	cr_assert_eq(device.bad[DH_DEVDAX_BAD_MAX - 1].end, SIZE);
}
