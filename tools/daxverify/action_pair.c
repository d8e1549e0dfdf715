/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls that have to do with the blocks of two files. */
#include "daxverify.h"

#include "action.h"
#include "file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * The interfaces of xfs and ext4 that no package of this system declares, by their
 * layout. A bulkstat is only handed from one call to the next.
 */
struct xfs_stat_opaque {
	uint64_t words[17];
};

struct xfs_swap {
	int64_t version, target, donor, offset, length;
	char pad[16];
	struct xfs_stat_opaque stat;
};

struct xfs_stat_request {
	uint64_t *ino;
	int32_t count;
	void *buffer;
	int32_t *got;
};

struct xfs_exchange {
	int32_t file1_fd;
	uint32_t pad;
	uint64_t file1_offset, file2_offset, length, flags;
};

#define XFS_STAT_ONE   _IOWR('X', 102, struct xfs_stat_request)
#define XFS_SWAPEXT    _IOWR('X', 109, struct xfs_swap)
#define XFS_EXCHANGE   _IOW('X', 129, struct xfs_exchange)
#define EXT4_SWAP_BOOT _IO('f', 17)

_Static_assert(sizeof(struct xfs_swap) == 56 + 136, "as xfs has it");

bool dv_action_has_pair(enum dv_action_kind kind)
{
	return kind >= DV_ACT_REFLINK && kind <= DV_ACT_SWAPEXT;
}

int dv_pair_make(const char *path, unsigned npages, enum dv_action_kind kind)
{
	char other[PATH_MAX];

	if (snprintf(other, sizeof(other), "%s.other", path) >= (int)sizeof(other))
		return -ENAMETOOLONG;
	return dv_file_make_as(other, npages, kind == DV_ACT_DEDUPE ? 0 : DV_PAIR_INDEX);
}

static long dedupe(struct dv_target *t, uint64_t len)
{
	struct file_dedupe_range *r =
		calloc(1, sizeof(*r) + sizeof(struct file_dedupe_range_info));
	long ret;
	int err;

	if (!r)
		return -1;
	r->src_length = len;
	r->dest_count = 1;
	r->info[0].dest_fd = t->fd;
	ret = ioctl(t->other_fd, FIDEDUPERANGE, r);
	err = ret ? errno : r->info[0].status < 0 ? -r->info[0].status : 0;
	if (!err && r->info[0].status == FILE_DEDUPE_RANGE_DIFFERS)
		err = EBADE; /* the files were made to be the same */
	free(r);
	errno = err;
	return err ? -1 : 0;
}

static long copy_range(struct dv_target *t, uint64_t len)
{
	off_t from = 0, to = 0;
	ssize_t n = 1;

	while ((uint64_t)to < len && n > 0)
		n = copy_file_range(t->other_fd, &from, t->fd, &to, len - (uint64_t)to,
				    0);
	return n < 0 ? -1 : 0;
}

/* The bulkstat says that the file is as it was when the exchange was prepared. */
static long swapext(struct dv_target *t, const struct stat *st)
{
	struct xfs_swap swap = {
		.target = t->fd, .donor = t->other_fd, .length = st->st_size};
	int32_t got = 0;
	uint64_t ino = st->st_ino;
	struct xfs_stat_request request = {&ino, 1, &swap.stat, &got};

	if (ioctl(t->fd, XFS_STAT_ONE, &request))
		return -1;
	return ioctl(t->fd, XFS_SWAPEXT, &swap);
}

long dv_pair_do(struct dv_target *t)
{
	struct xfs_exchange exchange = {.file1_fd = t->other_fd};
	struct stat st;

	if (fstat(t->fd, &st))
		return -1;
	exchange.length = (uint64_t)st.st_size;
	switch (t->action->kind) {
	case DV_ACT_REFLINK:
		return ioctl(t->fd, FICLONE, t->other_fd);
	case DV_ACT_DEDUPE:
		return dedupe(t, (uint64_t)st.st_size);
	case DV_ACT_COPY_RANGE:
		return copy_range(t, (uint64_t)st.st_size);
	case DV_ACT_EXCHANGE:
		return ioctl(t->fd, XFS_EXCHANGE, &exchange);
	case DV_ACT_SWAPEXT:
		return swapext(t, &st);
	case DV_ACT_SWAP_BOOT:
		return ioctl(t->fd, EXT4_SWAP_BOOT);
	default:
		errno = EINVAL;
		return -1;
	}
}
