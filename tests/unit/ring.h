/* SPDX-License-Identifier: BSD-3-Clause */
/* A pool attached to a ring, and something to do I/O with. */
#ifndef TEST_RING_H
#define TEST_RING_H

#include <liburing.h>

#include "daxheap-uring.h"
#include "pool.h"

struct rig {
	struct daxheap *heap;
	struct io_uring ring;
	struct daxheap_uring *uring;
	int here, there;		/* a pair of sockets */
	int file;			/* FILE_SIZE bytes, see file_byte() */
};

#define FILE_SIZE (256u << 10)

static inline unsigned char file_byte(size_t at)
{
	return (unsigned char)(at * 7 + at / 256);
}

/* The test is skipped where the system allows no io_uring. */
void rig_open(struct rig *rig, unsigned entries, unsigned flags);
/* With nothing in flight; the heap's check finds nothing, and nothing is reserved. */
void rig_close(struct rig *rig);

void ring_open(struct io_uring *ring, unsigned entries);

void rig_submit(struct rig *rig);
/* Waits for a completion of the heap's. */
struct daxheap_uring_completion rig_reap(struct rig *rig);
/* Reads, writes... : prepared, submitted, reaped. */
int rig_read(struct rig *rig, void *at, size_t size, uint64_t offset);

/* Begins a recv that lasts until rig_feed(). */
void rig_recv(struct rig *rig, void *at, size_t size, void *data);
/* Sends @size bytes, all @byte, from there. */
void rig_feed(struct rig *rig, size_t size, int byte);

/* A pair of TCP sockets. */
void connect_tcp(int pair[2]);

struct daxheap_uring_info rig_info(struct rig *rig);

#endif
