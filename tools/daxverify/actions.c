/* SPDX-License-Identifier: BSD-3-Clause */
/* The actions on a file of DV_FILE_PAGES pages whose page DV_PIN_PAGE is held. */
#include "daxverify.h"

#include "action.h"

/* clang-format off */
const struct dv_action dv_truncate_zero = {"ftruncate to 0", DV_ACT_TRUNCATE, 0, 0};
const struct dv_action dv_truncate_shrink = {"ftruncate to 4 pages", DV_ACT_TRUNCATE, 4, 0};
const struct dv_action dv_truncate_beyond = {"ftruncate to 8 pages", DV_ACT_TRUNCATE, 8, 0};
const struct dv_action dv_truncate_grow = {"ftruncate to 32 pages", DV_ACT_TRUNCATE, 32, 0};
const struct dv_action dv_open_trunc = {"open with O_TRUNC", DV_ACT_OPEN_TRUNC, 0, 0};
const struct dv_action dv_punch = {"punch of pages 4 to 7", DV_ACT_PUNCH, 4, 4};
const struct dv_action dv_punch_elsewhere = {"punch of pages 10 and 11", DV_ACT_PUNCH, 10, 2};
const struct dv_action dv_zero_range = {"zero-range of pages 4 to 7", DV_ACT_ZERO_RANGE, 4, 4};
const struct dv_action dv_collapse = {"collapse of pages 4 to 7", DV_ACT_COLLAPSE, 4, 4};
const struct dv_action dv_insert = {"insert at page 4", DV_ACT_INSERT, 4, 4};
const struct dv_action dv_madv_remove = {"MADV_REMOVE of pages 4 to 7", DV_ACT_MADV_REMOVE, 4, 4};
const struct dv_action dv_read = {"read(2) of page 1", DV_ACT_READ, 1, 1};
const struct dv_action dv_unlink = {"unlink", DV_ACT_UNLINK, 0, 0};
const struct dv_action dv_rename_over = {"rename over it", DV_ACT_RENAME_OVER, 0, 0};
const struct dv_action dv_close_last = {"close after unlink", DV_ACT_CLOSE, 0, 0};
const struct dv_action dv_truncate_equal = {"ftruncate to 16 pages", DV_ACT_TRUNCATE, 16, 0};
const struct dv_action dv_allocate = {"fallocate of pages 4 to 7", DV_ACT_ALLOCATE, 4, 4};
const struct dv_action dv_unshare = {"unshare of pages 4 to 7", DV_ACT_UNSHARE, 4, 4};
const struct dv_action dv_write = {"write(2) of pages 4 to 7", DV_ACT_WRITE, 4, 4};
const struct dv_action dv_munmap_last = {"munmap after unlink", DV_ACT_MUNMAP, 0, 0};
const struct dv_action dv_exit_last = {"exit after unlink", DV_ACT_EXIT, 0, 0};
const struct dv_action dv_killed_last = {"SIGKILL after unlink", DV_ACT_KILLED, 0, 0};
const struct dv_action dv_drop_caches = {"drop_caches", DV_ACT_DROP_CACHES, 0, 0};
const struct dv_action dv_freeze = {"freeze and thaw", DV_ACT_FREEZE, 0, 0};
const struct dv_action dv_remount_ro = {"remount read-only and back", DV_ACT_REMOUNT, 0, 0};
const struct dv_action dv_reflink = {"FICLONE of another file", DV_ACT_REFLINK, 0, 0};
const struct dv_action dv_dedupe = {"FIDEDUPERANGE with another file", DV_ACT_DEDUPE, 0, 0};
const struct dv_action dv_copy_range = {"copy_file_range of another file", DV_ACT_COPY_RANGE, 0, 0};
const struct dv_action dv_exchange = {"XFS_IOC_EXCHANGE_RANGE", DV_ACT_EXCHANGE, 0, 0};
const struct dv_action dv_swapext = {"XFS_IOC_SWAPEXT", DV_ACT_SWAPEXT, 0, 0};
const struct dv_action dv_swap_boot = {"EXT4_IOC_SWAP_BOOT", DV_ACT_SWAP_BOOT, 0, 0};
const struct dv_action dv_uring_punch = {"io_uring punch of pages 4 to 7", DV_ACT_URING_PUNCH,
						 4, 4};
const struct dv_action dv_uring_truncate = {"io_uring ftruncate to 4 pages",
						    DV_ACT_URING_TRUNCATE, 4, 0};
const struct dv_action dv_uring_madv_remove = {"io_uring MADV_REMOVE of pages 4 to 7",
						DV_ACT_URING_MADV_REMOVE, 4, 4};
const struct dv_action dv_uring_open_trunc = {"io_uring openat with O_TRUNC",
					      DV_ACT_URING_OPEN_TRUNC, 0, 0};
const struct dv_action dv_uring_unlink = {"io_uring unlinkat", DV_ACT_URING_UNLINK, 0, 0};
const struct dv_action dv_uring_rename_over = {"io_uring renameat over it",
					       DV_ACT_URING_RENAME_OVER, 0, 0};
const struct dv_action dv_uring_close_last = {"io_uring close after unlink", DV_ACT_URING_CLOSE,
					      0, 0};
const struct dv_action dv_umount = {"umount", DV_ACT_UMOUNT, 0, 0};
const struct dv_action dv_detach = {"umount with MNT_DETACH", DV_ACT_DETACH, 0, 0};
const struct dv_action dv_unbind = {"unbind of the driver", DV_ACT_UNBIND, 0, 0};
/* clang-format on */
