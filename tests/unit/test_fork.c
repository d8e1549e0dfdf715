/* SPDX-License-Identifier: BSD-3-Clause */
/* fork(): the child is refused, the parent goes on, and the lock is the parent's. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap.h"
#include "pool.h"

TestSuite(fork, .fini = pool_cleanup);

static int refused(struct daxheap *heap, daxheap_ref *root, void *block)
{
	struct daxheap_block next = {0};
	struct daxheap_info info;
	daxheap_ref *slot;
	void *new_block;

	if (daxheap_alloc(heap, 64, &new_block) != -EPERM)
		return 1;
	if (daxheap_cancel(heap, block) != -EPERM || daxheap_free(heap, root) != -EPERM)
		return 2;
	if (daxheap_publish(heap, root, block) != -EPERM ||
	    daxheap_replace(heap, root, block) != -EPERM)
		return 3;
	if (daxheap_root(heap, "r", &slot) != -EPERM)
		return 4;
	if (daxheap_next(heap, &next) != -EPERM || daxheap_get_info(heap, &info) != -EPERM)
		return 5;
	if (daxheap_usable_size(heap, block) != -EPERM)
		return 6;
	if (daxheap_persist(heap, block, 64) != -EPERM || daxheap_fence(heap) != -EPERM)
		return 7;
	if (!strstr(daxheap_errormsg(), "fork"))
		return 8;
	/* Neither harms the parent's. */
	daxheap_close(heap);
	if (daxheap_open(pool_path("pool"), 0, &heap) != -EBUSY)
		return 9;
	/* A heap of its own is the child's to use. */
	if (daxheap_create(pool_path("child"), POOL_SIZE, 0, &heap) ||
	    daxheap_root(heap, "r", &slot) || daxheap_alloc(heap, 64, &block) ||
	    daxheap_publish(heap, slot, block))
		return 10;
	daxheap_close(heap);
	return 0;
}

Test(fork, every_call_of_the_child_is_refused)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	daxheap_ref *root = pool_root(heap, "r");
	void *block = pool_block(heap, 64, 1);
	int status;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (!pid)
		_exit(refused(heap, root, block));
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 0, "step %d", WEXITSTATUS(status));
	must(daxheap_publish(heap, root, block));
	heap = pool_reopen(heap, "pool");
	cr_assert_eq(pool_census(heap).blocks, 1);
	daxheap_close(heap);
}

Test(fork, a_child_that_lives_on_keeps_no_lock)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (!pid)
		for (;;)
			pause();
	pool_publish(heap, pool_root(heap, "r"), 64, 1);
	heap = pool_reopen(heap, "pool");
	heap = pool_reopen(heap, "pool");
	cr_assert_eq(pool_census(heap).blocks, 1);
	daxheap_close(heap);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
