/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A trim while a slow device reads a block of the pool, whose pages are pinned as long, and while
 * a thread goes on touching the file: runs in a guest, as root, on a DAX file system.
 *
 *	gate POOL DEVICE held	the trim names the operation at its time limit, and what it would
 *				have freed is there; after the completion it succeeds
 *	gate POOL DEVICE waits	a longer trim waits for the completion, and no longer
 *	gate POOL DEVICE open	the same with the gate switched off: 3 if the kernel was still
 *				asleep long after the completion (lost-wakeup-on-refault)
 *	gate POOL DEVICE kill	prints a line, and waits to be killed with the operation in flight
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <liburing.h>

#include "daxheap-uring.h"
#include "fault.h"

#define MiB		((size_t)1 << 20)
#define POOL_SIZE	(128 * MiB)
#define SOURCE_SIZE	(256 * 1024u)
#define SPARE_SIZE	(16 * MiB)
#define SHORT_MS	300u
#define LONG_MS		10000u		/* the device takes 1.5 s */

static struct daxheap *heap;
static struct daxheap_uring *uring;
static struct io_uring ring;
static char *source;
static atomic_bool stop;

#define must(what)                                                                             \
	do {                                                                                   \
		if (!(what)) {                                                                 \
			printf("line %d: not so: %s: %s (errno %d)\n", __LINE__, #what,        \
			       daxheap_errormsg(), errno);                                     \
			exit(1);                                                               \
		}                                                                              \
	} while (0)

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void *publish(const char *name, size_t size, daxheap_ref **root)
{
	void *block;

	must(!daxheap_root(heap, name, root));
	must(!daxheap_alloc(heap, size, &block));
	memset(block, 'x', size);
	must(!daxheap_persist(heap, block, size));
	must(!daxheap_publish(heap, *root, block));
	return block;
}

/* A block to be read by the device, behind it chunks that can be given back. */
static void prepare(const char *pool, const char *device)
{
	int fd = open(device, O_WRONLY | O_DIRECT);
	daxheap_ref *kept, *spare;

	must(fd >= 0);
	must(!daxheap_create(pool, POOL_SIZE, DAXHEAP_REQUIRE_MAP_SYNC, &heap));
	source = publish("source", SOURCE_SIZE, &kept);
	publish("spare", SPARE_SIZE, &spare);
	must(!daxheap_free(heap, spare));
	must(!io_uring_queue_init(8, &ring, 0));
	must(!daxheap_uring_attach(heap, &ring, 0, 0, &uring));
	must(!daxheap_uring_prep_write(uring, fd, source, SOURCE_SIZE, 0, NULL, NULL));
	must(io_uring_submit(&ring) == 1);
}

static void *touch(void *unused)
{
	(void)unused;
	while (!stop)
		for (size_t i = 0; i < SOURCE_SIZE; i += 4096)
			(void)*(volatile char *)&source[i];
	return NULL;
}

static void complete(void)
{
	struct daxheap_uring_completion done;
	struct io_uring_cqe *cqe;
	int err;

	do {
		err = io_uring_wait_cqe(&ring, &cqe);
	} while (err == -EINTR);
	must(!err);
	must(daxheap_uring_complete(uring, cqe, &done) == 1);
	io_uring_cqe_seen(&ring, cqe);
	must(done.result == SOURCE_SIZE);
}

static void *complete_later(void *unused)
{
	(void)unused;
	complete();
	return NULL;
}

static void finish(void)
{
	must(!daxheap_uring_detach(uring));
	io_uring_queue_exit(&ring);
	daxheap_close(heap);
}

static void held(void)
{
	uint64_t freed, begin = now_ms();

	must(daxheap_trim(heap, 0, SHORT_MS, NULL) == -ETIMEDOUT);
	printf("%s\n", daxheap_errormsg());
	must(strstr(daxheap_errormsg(), "write"));
	must(!memcmp(source, "xxxx", 4));
	complete();
	printf("the operation took %llu ms\n", (unsigned long long)(now_ms() - begin));
	must(!daxheap_trim(heap, 0, LONG_MS, &freed));
	must(freed >= SPARE_SIZE);
}

static int trims_meanwhile(bool gate)
{
	pthread_t completer;
	uint64_t freed = 0, begin = now_ms(), ms;
	int err;

	dh_fault = gate ? DH_FAULT_NONE : DH_FAULT_NO_GATE;
	must(!pthread_create(&completer, NULL, complete_later, NULL));
	err = daxheap_trim(heap, 0, LONG_MS, &freed);
	ms = now_ms() - begin;
	must(!err || err == -ETIMEDOUT);
	printf("trim with the gate %s: %s after %llu ms\n", gate ? "in use" : "switched off",
	       err ? daxheap_errormsg() : "done", (unsigned long long)ms);
	pthread_join(completer, NULL);
	if (gate)
		must(!err && freed >= SPARE_SIZE);
	return err ? 3 : 0;
}

int main(int argc, char **argv)
{
	pthread_t toucher;
	int status = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 4) {
		fputs("usage: gate POOL DEVICE held|waits|open|kill\n", stderr);
		return 2;
	}
	prepare(argv[1], argv[2]);
	if (!strcmp(argv[3], "kill")) {
		puts("in flight");
		pause();
	}
	must(!pthread_create(&toucher, NULL, touch, NULL));
	if (!strcmp(argv[3], "held"))
		held();
	else
		status = trims_meanwhile(strcmp(argv[3], "open"));
	stop = true;
	pthread_join(toucher, NULL);
	/* Whatever was waited for, the heap goes on working. */
	dh_fault = DH_FAULT_NONE;
	must(!daxheap_trim(heap, 0, LONG_MS, NULL));
	finish();
	return status;
}
