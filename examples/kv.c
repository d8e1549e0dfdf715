/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kv: a persistent key-value store on the heap, and its tutorial.
 *
 *	kv POOL put KEY VALUE | get KEY | del KEY | list | load N [FIRST] | check
 *
 * The store is a hash table: one block of buckets, a line each, that the root "kv" refers
 * to.  A bucket has seven slots for entries, and one for another bucket when they are full.
 * An entry is one block with key and value.
 *
 * Each change is one call of the heap, hence atomic and durable when it returns:
 *
 *	a new key	daxheap_publish()	an empty slot gets the entry
 *	a new value	daxheap_replace()	the slot goes from the old entry to the new
 *	no key		daxheap_free()		the slot is empty, the entry free
 *
 * What is published must be durable before: so each block is filled, then persisted, then
 * published.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <daxheap.h>

#define POOL_SIZE	(UINT64_C(64) << 20)
#define BUCKETS		4096
#define ENTRIES		7

struct bucket {
	daxheap_ref entry[ENTRIES];
	daxheap_ref overflow;
};

struct entry {
	uint32_t key_size;
	uint32_t value_size;
	char bytes[];			/* key, then value; no zero byte behind either */
};

static struct daxheap *heap;

static void die(const char *what)
{
	fprintf(stderr, "kv: %s: %s\n", what, daxheap_errormsg());
	exit(EXIT_FAILURE);
}

/* Reserves a block, copies what is given, and makes it durable: ready to be published. */
static void *new_block(const void *first, size_t first_size, const void *second,
		       size_t second_size, const void *third, size_t third_size)
{
	size_t size = first_size + second_size + third_size;
	void *block;

	if (daxheap_alloc(heap, size, &block))
		die("no block");
	memcpy(block, first, first_size);
	memcpy((char *)block + first_size, second, second_size);
	memcpy((char *)block + first_size + second_size, third, third_size);
	if (daxheap_persist(heap, block, size))
		die("persist");
	return block;
}

static struct bucket *new_buckets(unsigned count)
{
	struct bucket *buckets;

	if (daxheap_calloc(heap, count, sizeof(*buckets), (void **)&buckets))
		die("no space for buckets");
	if (daxheap_persist(heap, buckets, count * sizeof(*buckets)))
		die("persist");
	return buckets;
}

/* The table, made when the pool is new; NULL in a pool without one, open read-only. */
static struct bucket *open_table(void)
{
	daxheap_ref *root;
	int err = daxheap_root(heap, "kv", &root);

	if (err == -ENOENT)
		return NULL;
	if (err)
		die("root");
	if (!*root && daxheap_publish(heap, root, new_buckets(BUCKETS)))
		die("publish the table");
	return daxheap_ptr(heap, *root);
}

/* FNV-1a (Fowler, Noll, Vo). */
static struct bucket *bucket_of(struct bucket *table, const char *key)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; *key; key++)
		hash = (hash ^ (unsigned char)*key) * UINT64_C(0x100000001b3);
	return &table[hash % BUCKETS];
}

static bool has_key(const struct entry *entry, const char *key)
{
	return entry->key_size == strlen(key) &&
	       !memcmp(entry->bytes, key, entry->key_size);
}

/* The slot that holds the key, or NULL; then *empty is one that could take it, or NULL. */
static daxheap_ref *find(struct bucket *bucket, const char *key, daxheap_ref **empty)
{
	*empty = NULL;
	for (; bucket; bucket = daxheap_ptr(heap, bucket->overflow)) {
		for (int i = 0; i < ENTRIES; i++) {
			daxheap_ref *slot = &bucket->entry[i];

			if (*slot && has_key(daxheap_ptr(heap, *slot), key))
				return slot;
			if (!*slot && !*empty)
				*empty = slot;
		}
	}
	return NULL;
}

/* A bucket more behind the last of a full chain. */
static daxheap_ref *extend(struct bucket *bucket)
{
	struct bucket *more = new_buckets(1);

	while (bucket->overflow)
		bucket = daxheap_ptr(heap, bucket->overflow);
	if (daxheap_publish(heap, &bucket->overflow, more))
		die("publish a bucket");
	return &more->entry[0];
}

static void put(struct bucket *table, const char *key, const char *value)
{
	struct entry head = {(uint32_t)strlen(key), (uint32_t)strlen(value)};
	struct bucket *bucket = bucket_of(table, key);
	daxheap_ref *empty, *slot = find(bucket, key, &empty);
	void *entry = new_block(&head, sizeof(head), key, head.key_size, value,
				head.value_size);

	if (slot) {
		if (daxheap_replace(heap, slot, entry))
			die("replace");
		return;
	}
	if (!empty)
		empty = extend(bucket);
	if (daxheap_publish(heap, empty, entry))
		die("publish");
}

static int get(struct bucket *table, const char *key)
{
	daxheap_ref *empty, *slot = table ? find(bucket_of(table, key), key, &empty) : NULL;
	const struct entry *entry;

	if (!slot)
		return EXIT_FAILURE;
	entry = daxheap_ptr(heap, *slot);
	printf("%.*s\n", (int)entry->value_size, entry->bytes + entry->key_size);
	return EXIT_SUCCESS;
}

static int del(struct bucket *table, const char *key)
{
	daxheap_ref *empty, *slot = find(bucket_of(table, key), key, &empty);

	if (!slot)
		return EXIT_FAILURE;
	if (daxheap_free(heap, slot))
		die("free");
	return EXIT_SUCCESS;
}

/* Prints all entries if asked to; returns the number of blocks that the table reaches. */
static uint64_t walk(struct bucket *table, bool print)
{
	uint64_t blocks = 1;

	for (int i = 0; i < BUCKETS; i++) {
		for (struct bucket *bucket = &table[i]; bucket;
		     bucket = daxheap_ptr(heap, bucket->overflow)) {
			blocks += bucket->overflow != 0;
			for (int j = 0; j < ENTRIES; j++) {
				const struct entry *entry =
					daxheap_ptr(heap, bucket->entry[j]);

				if (!entry)
					continue;
				blocks++;
				if (print)
					printf("%.*s %.*s\n", (int)entry->key_size,
					       entry->bytes, (int)entry->value_size,
					       entry->bytes + entry->key_size);
			}
		}
	}
	return blocks;
}

/*
 * Puts number FIRST, FIRST + 1, …: 1000 keys in turn, so that most puts replace, with values
 * of 10 to 1000 bytes.  Prints each after it is durable, so that whoever reads the line
 * may rely on it.
 */
static void load(struct bucket *table, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++) {
		char key[32], value[1024];
		int size;

		snprintf(key, sizeof(key), "key%03u", (unsigned)(i * 7919 % 1000));
		size = snprintf(value, sizeof(value), "%llu-", (unsigned long long)i);
		memset(value + size, 'a' + (int)(i % 26), 1000);
		value[10 + i * 104729 % 991] = '\0';
		put(table, key, value);
		printf("%llu %s\n", (unsigned long long)i, key);
		fflush(stdout);
	}
}

/* Every live block is reached from the table, and nothing else. */
static int check(struct bucket *table)
{
	uint64_t reached = table ? walk(table, false) : 0, live = 0;
	struct daxheap_block block = {0};
	int more;

	while ((more = daxheap_next(heap, &block)) > 0)
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
	bool writes;
	int (*run)(struct bucket *table, char **args);
};

static int run_put(struct bucket *table, char **args)
{
	put(table, args[0], args[1]);
	return EXIT_SUCCESS;
}

static int run_get(struct bucket *table, char **args)
{
	return get(table, args[0]);
}

static int run_del(struct bucket *table, char **args)
{
	return del(table, args[0]);
}

static int run_list(struct bucket *table, char **args)
{
	(void)args;
	if (table)
		walk(table, true);
	return EXIT_SUCCESS;
}

static int run_load(struct bucket *table, char **args)
{
	load(table, args[1] ? strtoull(args[1], NULL, 10) : 0, strtoull(args[0], NULL, 10));
	return EXIT_SUCCESS;
}

static int run_check(struct bucket *table, char **args)
{
	(void)args;
	return check(table);
}

static const struct verb verbs[] = {
	{"put", 2, 2, true, run_put},    {"get", 1, 1, false, run_get},
	{"del", 1, 1, true, run_del},    {"list", 0, 0, false, run_list},
	{"load", 1, 2, true, run_load},  {"check", 0, 0, false, run_check},
};

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

static void open_pool(const char *path, bool writes)
{
	const char *wish = getenv("KV_FLAGS");
	unsigned flags = wish && !strcmp(wish, "require-map-sync") && writes ?
			 DAXHEAP_REQUIRE_MAP_SYNC : 0;
	int err = daxheap_open(path, writes ? flags : DAXHEAP_READ_ONLY, &heap);

	if (err == -ENOENT && writes)
		err = daxheap_create(path, POOL_SIZE, flags, &heap);
	if (err)
		die("can't open the pool");
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--help"))
		return usage(stdout, EXIT_SUCCESS);
	for (size_t i = 0; argc > 2 && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		const struct verb *verb = &verbs[i];
		int status;

		if (strcmp(argv[2], verb->name) || argc - 3 < verb->args_min ||
		    argc - 3 > verb->args_max)
			continue;
		open_pool(argv[1], verb->writes);
		status = verb->run(open_table(), argv + 3);
		daxheap_close(heap);
		return status;
	}
	return usage(stderr, 2);
}
