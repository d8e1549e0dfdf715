/* SPDX-License-Identifier: BSD-3-Clause */
/* A small hash map from offsets in the pool, which are never 0, to numbers. */
#ifndef DH_MAP_H
#define DH_MAP_H

#include <stdbool.h>
#include <stdint.h>

struct dh_map_entry {
	uint64_t key;			/* 0: none */
	uint32_t value;
};

struct dh_map {
	struct dh_map_entry *entries;
	uint32_t count, capacity;	/* a power of two, more than twice the count */
};

/* So that @count keys fit, of which those in the map now are part.  -ENOMEM. */
int dh_map_reserve(struct dh_map *map, uint32_t count);
/* There is room for @key. */
void dh_map_put(struct dh_map *map, uint64_t key, uint32_t value);
/* NULL: it is not there. */
const uint32_t *dh_map_get(const struct dh_map *map, uint64_t key);
void dh_map_clear(struct dh_map *map);
void dh_map_free(struct dh_map *map);

#endif
