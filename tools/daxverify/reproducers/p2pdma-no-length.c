/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * p2pdma-no-length: an NVMe drive can't read into the memory of its own controller: the kernel
 * hands its driver a list of pieces without their lengths, and the read ends with EIO.
 *
 *	cc -o r p2pdma-no-length.c && ./r /dev/nvme0n1
 *
 * The drive's controller has memory that other PCI devices can reach (a CMB), as that of QEMU's
 * -device nvme,...,cmb_size_mb=64 has. As root. Nothing is written to the drive.
 * Exit status: 0 the kernel is right, 1 the defect was seen, 2 it could not be tried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LEN 16384

static _Noreturn void cannot(const char *what)
{
	printf("could not be tried: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* Memory of the drive's controller: its folder in /sys is above that of the drive. */
static char *map_peer(const char *drive)
{
	char pattern[PATH_MAX];
	const char *name = strrchr(drive, '/');
	char *map;
	glob_t g;
	int fd;

	snprintf(pattern, sizeof(pattern), "/sys/bus/pci/devices/*/nvme/*/%s",
		 name ? name + 1 : drive);
	errno = ENODEV;
	if (glob(pattern, 0, NULL, &g))
		cannot("finding the drive's controller");
	*strstr(g.gl_pathv[0], "/nvme/") = 0;
	snprintf(pattern, sizeof(pattern), "%s/p2pmem/allocate", g.gl_pathv[0]);
	fd = open(pattern, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		cannot(pattern);
	map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		cannot("mapping the controller's memory");
	return map;
}

int main(int argc, char **argv)
{
	char *map, *plain = aligned_alloc(4096, LEN);
	ssize_t n;
	int fd;

	if (argc != 2)
		return fprintf(stderr, "usage: %s /dev/nvme0n1\n", argv[0]), 2;
	map = map_peer(argv[1]);
	fd = open(argv[1], O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0 || !plain || pread(fd, plain, LEN, 0) != LEN)
		cannot("reading the drive");
	n = pread(fd, map, LEN, 0);
	if (n == LEN && memcmp(map, plain, LEN) == 0) {
		printf("the drive reads into the memory of its controller\n");
		return 0;
	}
	printf("reading into the memory of the controller: %s\n",
	       n < 0 ? strerror(errno) : "not what is on the drive");
	return 1;
}
