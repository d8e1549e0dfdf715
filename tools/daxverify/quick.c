/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The quick group: of each promise the scenarios that are broken first when it is, on one
 * kernel and file system in a fraction of the time of all.
 */
#include "daxverify.h"

#include <fnmatch.h>

static const char *const quick[] = {
	/* what a program asks of DAX at all */
	"map-sync-on-dax",
	"fsync-after-store",
	"fsync-after-punch",
	"msync-after-store",
	/* the counts: taken, given back, never lost */
	"counts-way",
	"counts-map",
	"counts-fork",
	"counts-truncate",
	"counts-get",
	"counts-pin",
	"counts-last-reference",
	"counts-refused-registration",
	"counts-huge-map",
	"counts-huge-pin",
	"counts-devdax-map",
	"counts-devdax-pin",
	/* a pin blocks, and its end wakes: each call, each state of the mapping */
	"mapped-pin-truncate-zero",
	"mapped-pin-truncate-grow",
	"mapped-pin-open-trunc",
	"mapped-pin-punch",
	"mapped-pin-punch-elsewhere",
	"mapped-pin-zero-range",
	"mapped-pin-collapse",
	"mapped-pin-insert",
	"mapped-pin-two-references",
	"dontneed-pin-truncate-zero",
	"elsewhere-mapped-pin-truncate",
	"hole-pin-truncate",
	"other-file-pin-truncate",
	"huge-pin-truncate-zero",
	"huge-unmapped-pin-punch",
	"uring-punch-pin",
	"uring-punch-cancel",
	"reflink-onto-pin-lower",
	"reflink-onto-pin-higher",
	"exchange-range-pin-lower",
	/* whom it holds up beside, and whom not */
	"beside-truncate-load",
	"beside-truncate-fsync",
	"beside-truncate-read",
	"signal-eintr-truncate",
	"signal-kill-truncate",
	"signal-restart-truncate",
	"refault-other-page",
	"refault-pinned-page-truncate",
	"drop-caches-unmapped-pin",
	"remount-pin",
	/* pages that nobody maps any more: not freed under a pin, nor by the last user */
	"unmapped-pin-truncate-zero",
	"unmapped-pin-punch",
	"unmapped-pin-unlink",
	"unmapped-pin-close-unlinked",
	"unmapped-pin-kill-unlinked",
	"unmapped-pin-umount",
	"leak-truncate",
	"swap-boot-pin",
	"swapext-pin",
	"shared-pin-write-truncate",
	/* that memory behaves as memory, also when blocks are shared, and is told of */
	"clone-futex",
	"clone-huge-load",
	"view-load",
	"view-soft-dirty",
	"view-huge-load",
	"view-huge-written",
	"view-written-filled",
	/* PCI devices, and drivers that go */
	"p2pdma-store",
	"p2pdma-drive-*",
	"teardown-dax-mapped",
	/* who may pin, and what the kinds of pins do */
	"pins-*-fsdax",
	"several-uring-anonymous",
	"holders-splice-tcp-truncate",
	"holders-direct-write-truncate",
	"holders-uring-read-punch",
	"holders-process-vm-unmapped",
	"holders-send-zc-truncate",
};

bool dv_is_quick(const char *name)
{
	unsigned i;

	for (i = 0; i < DV_COUNT(quick); i++) {
		if (fnmatch(quick[i], name, 0) == 0)
			return true;
	}
	return false;
}
