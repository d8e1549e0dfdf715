/* SPDX-License-Identifier: BSD-3-Clause */
/* A pool file as an address range: create, open, lock, map. */
#ifndef DH_MAPPING_H
#define DH_MAPPING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daxheap.h"
#include "devdax.h"

/*
 * The address range is as long as the file may ever be.  Behind the file's end it reads as zero
 * and can't be stored to; so nobody who looks there, by a damaged or stale reference, gets a
 * SIGBUS.
 */
struct dh_mapping {
	int fd;
	char *base;		/* aligned to the chunk size, so that faults can be huge */
	uint64_t size;		/* of the address range: set before dh_mapping_map() */
	atomic_uint_fast64_t length;	/* of the file; once mapped, in whole chunks, and no more
					 * than `size` */
	enum daxheap_durability durability;
	bool is_dax;		/* a file that is accessed by DAX */
	bool is_device;		/* device DAX: nothing to allocate, and all of it is there */
	struct dh_devdax device;
	uint8_t *detached;	/* by pieces of a device that is mapped read-only: see below */
	bool busy;		/* a call on the file may still be under way when it is closed */
	bool filled;		/* on DAX: holes, which may be there again after a power cut; of
				 * who makes it grow */
};

/* Creates @path, @length bytes long and without space of its own, and locks it.  On an error there
 * is no file. */
int dh_mapping_create(struct dh_mapping *mapping, const char *path, uint64_t length);

/* Closes what was created, and takes away the file. */
void dh_mapping_discard(struct dh_mapping *mapping, const char *path);

/* Opens @path and takes its lock: shared when read-only, else exclusive. */
int dh_mapping_open(struct dh_mapping *mapping, const char *path, unsigned flags);

/*
 * Maps the file by @flags.  Read-only maps privately and writable, so that what must be
 * replayed is replayed in memory.
 */
int dh_mapping_map(struct dh_mapping *mapping, const char *path, unsigned flags);

/*
 * Before a store to the range in a mapping that is read-only: so that it stays in memory.  There
 * is no private mapping of a device, which is mapped for reading and copied piece by piece.
 */
int dh_mapping_detach(struct dh_mapping *mapping, const void *at, uint64_t size);

/* As pread(2), pwrite(2) and fsync(2) of the file, mapped or not. */
ssize_t dh_mapping_pread(const struct dh_mapping *mapping, void *to, size_t size,
			 uint64_t offset);
ssize_t dh_mapping_pwrite(const struct dh_mapping *mapping, const void *from, size_t size,
			  uint64_t offset);
int dh_mapping_fsync(const struct dh_mapping *mapping);
/* pread(2) of what is mapped, a few bytes; it waits for nobody who punches or cuts the file, as a
 * read from DAX does. */
ssize_t dh_mapping_peek(const struct dh_mapping *mapping, void *to, size_t size,
			uint64_t offset);

/*
 * Takes space from the file system for the range, so that stores there find it; one thread at a
 * time.  Not durable: for what is stored to before it counts.
 * -ENOSPC, or what fallocate(2) says.
 */
int dh_mapping_allocate(struct dh_mapping *mapping, uint64_t offset, uint64_t size);

/*
 * The same for what is given out, and *@ahead bytes more behind it (*ahead: of which so many were
 * had).  Makes the file longer where these lie behind its end.  Durably, both: what has space has
 * it after a power cut too, stored to or not.  Not while the file is cut before the end of the
 * range.
 */
int dh_mapping_allocate_ahead(struct dh_mapping *mapping, uint64_t offset, uint64_t size,
			      uint64_t *ahead);

/* A good number of bytes to allocate ahead when so many are in use: so that the file lies in few
 * extents, and little of what is in use. */
uint64_t dh_mapping_ahead(const struct dh_mapping *mapping, uint64_t used);

/*
 * Before the file is cut at @length: what lies behind reads as zero from now on.  And when it
 * may not have been cut: what it has is there again, durably.
 */
int dh_mapping_hide(struct dh_mapping *mapping, uint64_t length);
int dh_mapping_show(struct dh_mapping *mapping);

/* Makes durable what the file's length and holes are, and what was stored to in the mapped bytes
 * @from to @to: best none of it, since it has to be flushed. */
int dh_mapping_sync(const struct dh_mapping *mapping, uint64_t from, uint64_t to);

enum dh_file_change {
	DH_FILE_GREW,			/* to @offset */
	DH_FILE_CUT,			/* at @offset */
	DH_FILE_PUNCHED,
	DH_FILE_SYNCED,			/* all that came before */
};

#ifdef DH_TEST_HOOKS
/* For tests that form the images a crash could leave: told of each, after it happened. */
extern void (*dh_file_listener)(enum dh_file_change change, uint64_t offset, uint64_t size);
/* Called where the kernel would wait for who punches the file, unless NULL. */
extern void (*dh_mapping_wait)(void);
#endif

static inline void dh_mapping_changed(enum dh_file_change change, uint64_t offset, uint64_t size)
{
#ifdef DH_TEST_HOOKS
	if (dh_file_listener)
		dh_file_listener(change, offset, size);
#else
	(void)change;
	(void)offset;
	(void)size;
#endif
}

/* Whether it ends behind what is mapped: when a call found no more space, having taken some. */
bool dh_mapping_is_longer(const struct dh_mapping *mapping);

/* What the file takes from its file system, in bytes. */
uint64_t dh_mapping_space(const struct dh_mapping *mapping);

/* Makes the file's size and its name in the folder durable. */
int dh_mapping_sync_name(const struct dh_mapping *mapping, const char *path);

/* Unmaps, gives up the lock, closes. */
void dh_mapping_close(struct dh_mapping *mapping);

#endif
