/* SPDX-License-Identifier: BSD-3-Clause */
/* fork(): the child is refused, the parent goes on, and the lock is the parent's. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap.h"
#include "pool.h"

TestSuite(fork, .fini = pool_cleanup, .timeout = 60);

static int refused(struct daxheap *heap, daxheap_ref *root, void *block)
{
	struct daxheap_block next = {0};
	struct daxheap_info info;
	struct daxheap_class_stats class_stats;
	struct daxheap_action *action;
	struct daxheap_stats stats;
	daxheap_ref *slot;
	void *new_block;

	if (daxheap_alloc(heap, 64, &new_block) != -EPERM ||
	    daxheap_calloc(heap, 1, 64, &new_block) != -EPERM ||
	    daxheap_alloc_as(heap, 64, 0, 1, &new_block) != -EPERM)
		return 1;
	if (daxheap_cancel(heap, block) != -EPERM || daxheap_free(heap, root) != -EPERM)
		return 2;
	if (daxheap_publish(heap, root, block) != -EPERM ||
	    daxheap_replace(heap, root, block) != -EPERM ||
	    daxheap_realloc(heap, root, 128) != -EPERM)
		return 3;
	if (daxheap_root(heap, "r", &slot) != -EPERM)
		return 4;
	if (daxheap_next(heap, &next) != -EPERM || daxheap_next_tagged(heap, 1, &next) != -EPERM ||
	    daxheap_get_info(heap, &info) != -EPERM || daxheap_get_stats(heap, &stats) != -EPERM ||
	    daxheap_get_class_stats(heap, &class_stats, 1) != -EPERM)
		return 5;
	if (daxheap_usable_size(heap, block) != -EPERM)
		return 6;
	if (daxheap_persist(heap, block, 64) != -EPERM || daxheap_fence(heap) != -EPERM)
		return 7;
	if (!strstr(daxheap_errormsg(), "fork"))
		return 8;
	if (daxheap_action_new(heap, &action) != -EPERM)
		return 11;
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

/* An action that the parent gathered: the child can't commit it, and the parent can. */
Test(fork, an_action_is_the_parents)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	daxheap_ref *root = pool_root(heap, "r");
	struct daxheap_action *action;
	int status;
	pid_t pid;

	must(daxheap_action_new(heap, &action));
	must(daxheap_action_publish(action, root, pool_block(heap, 64, 1)));
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid)
		_exit(daxheap_action_commit(action) != -EPERM);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	must(daxheap_action_commit(action));
	daxheap_action_delete(action);
	cr_assert_eq(pool_census(heap).blocks, 1);
	daxheap_close(heap);
}

struct busy {
	struct daxheap *heap;
	atomic_bool stop;
};

static void *keep_busy(void *arg)
{
	struct busy *busy = arg;
	daxheap_ref *slot = pool_root(busy->heap, "busy");

	while (!atomic_load(&busy->stop)) {
		pool_publish(busy->heap, slot, 100, 1);
		must(daxheap_free(busy->heap, slot));
	}
	return NULL;
}

/* The fork may fall into another thread's operation: the child is refused, and never waits. */
Test(fork, beside_threads_at_work)
{
	struct daxheap *heap = pool_create("pool", POOL_SIZE);
	daxheap_ref *root = pool_root(heap, "r");
	struct busy busy = {.heap = heap};
	pthread_t thread;

	pthread_create(&thread, NULL, keep_busy, &busy);
	for (int i = 0; i < 50; i++) {
		int status;
		pid_t pid = fork();

		cr_assert_geq(pid, 0);
		if (!pid) {
			void *block;
			bool refused = daxheap_alloc(heap, 64, &block) == -EPERM &&
				       daxheap_free(heap, root) == -EPERM;

			daxheap_close(heap);
			_exit(!refused);
		}
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		cr_assert_eq(status, 0, "round %d", i);
	}
	atomic_store(&busy.stop, true);
	pthread_join(thread, NULL);
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
