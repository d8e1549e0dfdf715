/* SPDX-License-Identifier: BSD-3-Clause */
/* Against an installed library, as C and as C++, each group of calls once: consumer POOL */
#include <daxheap-uring.h>
#include <daxheap.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int failed(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, daxheap_errormsg());
	return 1;
}

static void count_finding(void *arg, const struct daxheap_finding *finding)
{
	if (finding->severity == DAXHEAP_DAMAGE)
		++*(int *)arg;
}

/* A list of two by an action, one of them by its tag, and its end. */
static int use_action(struct daxheap *heap)
{
	struct daxheap_block tagged = {0, 0, 0};
	struct daxheap_action *action;
	struct daxheap_stats stats;
	daxheap_ref *root;
	void *first, *second;

	if (daxheap_root(heap, "list", &root) || daxheap_calloc(heap, 2, 32, &first) ||
	    daxheap_alloc_as(heap, 100, 4096, 7, &second) || daxheap_persist(heap, first, 64))
		return failed("reserve");
	if (daxheap_action_new(heap, &action) ||
	    daxheap_action_publish(action, root, first) ||
	    daxheap_action_publish(action, (daxheap_ref *)first, second) ||
	    daxheap_action_set(action, (uint64_t *)first + 1, 42) ||
	    daxheap_action_commit(action))
		return failed("commit");
	if (daxheap_next_tagged(heap, 7, &tagged) != 1 ||
	    tagged.ref != daxheap_ref_of(heap, second))
		return failed("next");
	if (daxheap_realloc(heap, (daxheap_ref *)first, 10000) ||
	    daxheap_free(heap, (daxheap_ref *)first) ||
	    daxheap_action_free(action, root) || daxheap_action_commit(action))
		return failed("free");
	daxheap_action_delete(action);
	if (daxheap_get_stats(heap, &stats) || stats.live_blocks != 1)
		return failed("stats");
	return 0;
}

/* A read into a block, by a ring. */
static int use_ring(struct daxheap *heap)
{
	struct daxheap_uring_completion done;
	struct daxheap_uring *uring;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	void *block;
	int fd = open("/dev/zero", O_RDONLY), err = io_uring_queue_init(4, &ring, 0);

	if (err == -ENOSYS || err == -EPERM) {
		puts("no io_uring here");
		return 0;
	}
	if (fd < 0 || err || daxheap_alloc(heap, 100, &block) ||
	    daxheap_uring_attach(heap, &ring, 0, 0, &uring) ||
	    daxheap_uring_prep_read(uring, fd, block, 100, 0, block, NULL))
		return failed("prepare");
	if (io_uring_submit(&ring) != 1 || io_uring_wait_cqe(&ring, &cqe) ||
	    daxheap_uring_complete(uring, cqe, &done) != 1 || done.result != 100 ||
	    done.data != block)
		return failed("complete");
	io_uring_cqe_seen(&ring, cqe);
	if (daxheap_uring_detach(uring) || daxheap_cancel(heap, block))
		return failed("detach");
	io_uring_queue_exit(&ring);
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	struct daxheap *heap;
	daxheap_ref *root;
	void *block;
	int damages = 0;

	if (argc != 2 || daxheap_create(argv[1], 8 << 20, 0, &heap))
		return failed("create");
	if (daxheap_root(heap, "greeting", &root) || daxheap_alloc(heap, 32, &block))
		return failed("alloc");
	strcpy((char *)block, "hello");
	if (daxheap_persist(heap, block, 32) || daxheap_publish(heap, root, block))
		return failed("publish");
	if (use_action(heap) || use_ring(heap))
		return 1;
	daxheap_close(heap);
	if (daxheap_check(argv[1], 0, count_finding, &damages) || damages)
		return failed("check");

	if (daxheap_open(argv[1], DAXHEAP_READ_ONLY, &heap) ||
	    daxheap_root(heap, "greeting", &root))
		return failed("open");
	if (!*root || strcmp((const char *)daxheap_ptr(heap, *root), "hello"))
		return failed("content");
	daxheap_close(heap);
	return unlink(argv[1]) ? 1 : 0;
}
