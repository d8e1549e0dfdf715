/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>

#include "error.h"
#include "fault.h"
#include "underio.h"

/* For a span that had no I/O yet.  NULL: no memory. */
static struct dh_io *add_counts(struct dh_space *space, struct dh_span *span)
{
	struct dh_io *there = atomic_load(&span->io), *io;

	if (there)
		return there;
	io = dh_space_keep(space, sizeof(*io) + span->blocks * sizeof(io->count[0]));
	if (!io)
		return NULL;
	io->capacity = span->blocks;
	/* Another thread may be as far: its own stays, and this one is freed at close. */
	return atomic_compare_exchange_strong(&span->io, &there, io) ? io : there;
}

/* NULL: the span had no I/O. */
static atomic_uint *count_of(const struct dh_found *found)
{
	if (!found->span)
		return &found->huge->io;
	if (!atomic_load_explicit(&found->span->had_io, memory_order_acquire))
		return NULL;
	return &atomic_load(&found->span->io)->count[found->index];
}

int dh_io_begin(struct dh_space *space, const struct dh_found *found)
{
	atomic_uint *count = count_of(found);
	unsigned seen;

	if (!count) {
		if (!add_counts(space, found->span))
			return dh_fail(ENOMEM, "no memory for I/O on a block");
		/* So that a cancel looks here, too. */
		atomic_store(&found->span->has_live, true);
		atomic_store(&found->span->had_io, true);
		count = count_of(found);
	}
	seen = atomic_load_explicit(count, memory_order_relaxed);
	do {
		if (seen & DH_IO_FREED)
			return -EINVAL;
	} while (!atomic_compare_exchange_weak(count, &seen, seen + 1));
	return 0;
}

void dh_io_end(struct dh_space *space, const struct dh_found *found)
{
	atomic_uint *count = count_of(found);

	if (atomic_fetch_sub(count, 1) != (DH_IO_FREED | 1))
		return;
	atomic_store(count, 0);
	dh_space_release(space, found);
}

bool dh_found_waits(const struct dh_found *found)
{
	const atomic_uint *count = count_of(found);

	return count && atomic_load(count) & DH_IO_FREED;
}

bool dh_io_keeps(const struct dh_found *found)
{
	atomic_uint *count = count_of(found);
	unsigned seen;

	if (!count || dh_faulty(DH_FAULT_RELEASE_UNDER_IO))
		return false;
	seen = atomic_load(count);
	do {
		if (!seen)
			return false;
	} while (!atomic_compare_exchange_weak(count, &seen, seen | DH_IO_FREED));
	return true;
}
