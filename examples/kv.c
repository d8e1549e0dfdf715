/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kv: a persistent key-value store on the heap, and its tutorial.
 *
 *	kv POOL put KEY VALUE | get KEY | del KEY | list | load N [FIRST] | check
 *
 * The table itself, and how it uses the heap, is in kvstore.c.
 */
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvstore.h"

#define POOL_SIZE	(UINT64_C(64) << 20)

static void die(const char *what)
{
	fprintf(stderr, "kv: %s: %s\n", what, daxheap_errormsg());
	exit(EXIT_FAILURE);
}

static void print(void *arg, const struct kv_entry *entry)
{
	(void)arg;
	printf("%.*s %.*s\n", (int)entry->key_size, entry->bytes, (int)entry->value_size,
	       entry->bytes + entry->key_size);
}

static void ignore(void *arg, const struct kv_entry *entry)
{
	(void)arg;
	(void)entry;
}

/*
 * Puts number FIRST, FIRST + 1, …: 1000 keys in turn, so that most puts replace, with values
 * of 10 to 1000 bytes.  Prints each after it is durable, so that whoever reads the line
 * may rely on it.
 */
static void load(struct kv *kv, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++) {
		char key[32], value[1024];
		int size;

		snprintf(key, sizeof(key), "key%03u", (unsigned)(i * 7919 % 1000));
		size = snprintf(value, sizeof(value), "%llu-", (unsigned long long)i);
		memset(value + size, 'a' + (int)(i % 26), 1000);
		if (kv_put(kv, key, value, 10 + (uint32_t)(i * 104729 % 991)))
			die("put");
		if (printf("%llu %s\n", (unsigned long long)i, key) < 0 || fflush(stdout)) {
			perror("kv: can't print");
			exit(EXIT_FAILURE);
		}
	}
}

/* Every live block is reached from the table, and nothing else. */
static int check(struct kv *kv)
{
	uint64_t reached = kv->table != NULL, live = 0;
	struct daxheap_block block = {0};
	int more;

	for (unsigned i = 0; kv->table && i < KV_BUCKETS; i++)
		reached += kv_walk(kv, i, ignore, NULL);
	while ((more = daxheap_next(kv->heap, &block)) > 0)
		live++;
	if (more < 0)
		die("check");
	printf("%llu live blocks, %llu reached: %s\n", (unsigned long long)live,
	       (unsigned long long)reached, live == reached ? "ok" : "LEAK OR LOSS");
	return live == reached ? EXIT_SUCCESS : EXIT_FAILURE;
}

struct verb {
	const char *name;
	int args_min, args_max;
	bool writes, numbers;
	int (*run)(struct kv *kv, char **args);
};

static int run_put(struct kv *kv, char **args)
{
	if (kv_put(kv, args[0], args[1], (uint32_t)strlen(args[1])))
		die("put");
	return EXIT_SUCCESS;
}

static int run_get(struct kv *kv, char **args)
{
	const struct kv_entry *entry = kv_get(kv, args[0]);

	if (!entry)
		return EXIT_FAILURE;
	printf("%.*s\n", (int)entry->value_size, entry->bytes + entry->key_size);
	return EXIT_SUCCESS;
}

static int run_del(struct kv *kv, char **args)
{
	if (!kv_get(kv, args[0]))
		return EXIT_FAILURE;
	if (kv_del(kv, args[0]))
		die("del");
	return EXIT_SUCCESS;
}

static int run_list(struct kv *kv, char **args)
{
	(void)args;
	for (unsigned i = 0; kv->table && i < KV_BUCKETS; i++)
		kv_walk(kv, i, print, NULL);
	return EXIT_SUCCESS;
}

static int run_load(struct kv *kv, char **args)
{
	/* They are numbers: see main(). */
	load(kv, args[1] ? strtoull(args[1], NULL, 10) : 0, strtoull(args[0], NULL, 10));
	return EXIT_SUCCESS;
}

static int run_check(struct kv *kv, char **args)
{
	(void)args;
	return check(kv);
}

static const struct verb verbs[] = {
	{"put", 2, 2, true, false, run_put},
	{"get", 1, 1, false, false, run_get},
	{"del", 1, 1, true, false, run_del},
	{"list", 0, 0, false, false, run_list},
	{"load", 1, 2, true, true, run_load},
	{"check", 0, 0, false, false, run_check},
};

static bool is_number(const char *text)
{
	char *end;

	errno = 0;
	strtoull(text, &end, 10);
	return isdigit((unsigned char)*text) && !*end && !errno;
}

static int usage(FILE *to, int status)
{
	fputs("Usage: kv POOL put KEY VALUE | get KEY | del KEY | list | load N [FIRST] | check\n"
	      "A persistent key-value store in a daxheap pool, made (64 MiB) by the first put.\n"
	      "\n"
	      "  kv /mnt/pmem/pool put greeting hello\n"
	      "  kv /mnt/pmem/pool get greeting\n"
	      "\n"
	      "load puts N numbered entries and prints each when it is durable; check counts\n"
	      "leaks.  KV_FLAGS=require-map-sync demands MAP_SYNC.\n"
	      "Exit: 0, 1 (no such key, leak, or an error that is printed), 2 (usage).\n", to);
	return status;
}

static void open_pool(struct kv *kv, const char *path, bool writes)
{
	const char *wish = getenv("KV_FLAGS");
	unsigned flags = DAXHEAP_READ_ONLY;

	if (writes)
		flags = wish && !strcmp(wish, "require-map-sync") ? DAXHEAP_REQUIRE_MAP_SYNC : 0;
	if (kv_open(kv, path, flags, writes ? POOL_SIZE : 0))
		die("can't open the pool");
}

/* What could not be printed is an error. */
static int finish_output(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	perror("kv: can't print");
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	struct kv kv;

	if (argc == 2 && !strcmp(argv[1], "--help"))
		return usage(stdout, EXIT_SUCCESS);
	for (size_t i = 0; argc > 2 && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		const struct verb *verb = &verbs[i];
		int status;

		if (strcmp(argv[2], verb->name) || argc - 3 < verb->args_min ||
		    argc - 3 > verb->args_max)
			continue;
		for (char **arg = argv + 3; verb->numbers && *arg; arg++)
			if (!is_number(*arg)) {
				fprintf(stderr, "kv: '%s' is no number\n", *arg);
				return usage(stderr, 2);
			}
		open_pool(&kv, argv[1], verb->writes);
		status = verb->run(&kv, argv + 3);
		kv_close(&kv);
		return finish_output(status);
	}
	return usage(stderr, 2);
}
