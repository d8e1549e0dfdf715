/* SPDX-License-Identifier: BSD-3-Clause */
/* Long random histories against the model of tree.h, closed, copied and killed in between. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap.h"
#include "pool.h"
#include "tree.h"

TestSuite(model, .fini = pool_cleanup);

#define must_agree(heap, tree)                                                                 \
	do {                                                                                   \
		const char *agree_bad = tree_check(heap, tree, NULL, 0, NULL);                 \
		cr_assert_null(agree_bad, "%s", agree_bad);                                    \
		pool_census(heap);                                                             \
	} while (0)

/* Reservations beside the model, given back in any order. */
static void shuffle_reservations(struct daxheap *heap, uint64_t *random, void **kept, int count)
{
	void **one = &kept[tree_random(random) % (unsigned)count];

	if (*one) {
		must(daxheap_cancel(heap, *one));
		*one = NULL;
	} else if (daxheap_alloc(heap, 1 + tree_random(random) % 20000, one)) {
		*one = NULL;
	}
}

/* Runs @steps operations; the full pool is part of it. */
static void run(struct daxheap *heap, struct tree *tree, uint64_t *random, int steps)
{
	void *kept[8] = {0};

	for (int i = 0; i < steps; i++) {
		struct tree_op op;
		int err;

		tree_plan(tree, random, &op);
		err = tree_run(heap, tree, &op);
		if (err != -ENOMEM)
			cr_assert_eq(err, 0, "%s", daxheap_errormsg());
		shuffle_reservations(heap, random, kept, 8);
	}
}

Test(model, a_long_history_with_reopens)
{
	uint64_t random = test_seed();
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	struct tree tree = {.huge = true};

	must(tree_start(heap));
	for (int round = 0; round < 40; round++) {
		run(heap, &tree, &random, 500);
		must_agree(heap, &tree);
		heap = pool_reopen(heap, "pool");
		must_agree(heap, &tree);
	}
	daxheap_close(heap);
}

/* The file as it is after a kill at the end of any operation: all that returned is there. */
Test(model, a_copy_of_the_open_pool_at_any_time)
{
	uint64_t random = test_seed() + 1;
	struct daxheap *heap = pool_create("pool", POOL_SIZE), *copy;
	struct tree tree = {.huge = true};
	struct daxheap_info info;
	uint64_t replayed = 0;

	must(tree_start(heap));
	for (int round = 0; round < 120; round++) {
		run(heap, &tree, &random, 1 + (int)(tree_random(&random) % 60));
		pool_copy("pool", "copy");
		copy = pool_open("copy", 0);
		must_agree(copy, &tree);
		must(daxheap_get_info(copy, &info));
		replayed += info.replayed;
		daxheap_close(copy);
	}
	cr_assert_gt(replayed, 1000, "the log was of use");
	daxheap_close(heap);
}

/* What the process to be killed tells, in memory that outlives it. */
struct witness {
	struct tree tree;
	struct tree_op flying;
	bool in_flight;
	uint64_t random;
};

static void run_until_killed(struct witness *witness)
{
	struct daxheap *heap = pool_open("pool", 0);

	for (;;) {
		struct tree_op op;

		tree_plan(&witness->tree, &witness->random, &op);
		if (tree_prepare(heap, &witness->tree, &op))
			continue;
		witness->flying = op;
		__atomic_store_n(&witness->in_flight, true, __ATOMIC_SEQ_CST);
		if (tree_commit(heap, &op))
			_exit(1);
		tree_apply(&witness->tree, &op);
		__atomic_store_n(&witness->in_flight, false, __ATOMIC_SEQ_CST);
	}
}

static void kill_one(struct witness *witness)
{
	useconds_t wait_us = (useconds_t)(tree_random(&witness->random) % 20000);
	pid_t pid = fork();
	int status;

	cr_assert_geq(pid, 0);
	if (!pid)
		run_until_killed(witness);
	usleep(2000 + wait_us);
	kill(pid, SIGKILL);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status), "the child failed by itself");
}

Test(model, killed_at_any_moment)
{
	struct witness *witness = mmap(NULL, sizeof(*witness), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct daxheap *heap = pool_create("pool", 16 * MiB);
	uint64_t last_id;

	witness->random = test_seed() + 2;
	witness->tree.huge = true;
	must(tree_start(heap));
	daxheap_close(heap);
	last_id = 0;
	for (int round = 0; round < 60; round++) {
		unsigned happened = 0;
		const char *bad;

		kill_one(witness);
		heap = pool_open("pool", 0);
		bad = tree_check(heap, &witness->tree, &witness->flying, witness->in_flight,
				 &happened);
		cr_assert_null(bad, "round %d: %s", round, bad);
		if (happened)
			tree_apply(&witness->tree, &witness->flying);
		witness->in_flight = false;
		must_agree(heap, &witness->tree);
		daxheap_close(heap);
	}
	cr_assert_gt(witness->tree.next_id, last_id + 100, "the children did work");
	munmap(witness, sizeof(*witness));
}
