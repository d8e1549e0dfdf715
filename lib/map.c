/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "map.h"

static struct dh_map_entry *find(const struct dh_map *map, uint64_t key)
{
	const uint32_t mask = map->capacity - 1;
	uint32_t at = (uint32_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & mask;

	while (map->entries[at].key && map->entries[at].key != key)
		at = (at + 1) & mask;
	return &map->entries[at];
}

int dh_map_reserve(struct dh_map *map, uint32_t count)
{
	struct dh_map old = *map;
	uint64_t capacity = old.capacity ? old.capacity : 64;

	while (capacity <= 2 * (uint64_t)count)
		capacity *= 2;
	if (capacity == old.capacity)
		return 0;
	map->entries = capacity > UINT32_MAX ? NULL : calloc(capacity, sizeof(*map->entries));
	if (!map->entries) {
		*map = old;
		return dh_fail(ENOMEM, "no memory for %u changes", count);
	}
	map->capacity = (uint32_t)capacity;
	for (uint32_t i = 0; i < old.capacity; i++)
		if (old.entries[i].key)
			*find(map, old.entries[i].key) = old.entries[i];
	free(old.entries);
	return 0;
}

void dh_map_put(struct dh_map *map, uint64_t key, uint32_t value)
{
	struct dh_map_entry *entry = find(map, key);

	map->count += !entry->key;
	*entry = (struct dh_map_entry){key, value};
}

const uint32_t *dh_map_get(const struct dh_map *map, uint64_t key)
{
	const struct dh_map_entry *entry;

	if (!map->count)
		return NULL;
	entry = find(map, key);
	return entry->key ? &entry->value : NULL;
}

void dh_map_clear(struct dh_map *map)
{
	if (map->count)
		memset(map->entries, 0, map->capacity * sizeof(*map->entries));
	map->count = 0;
}

void dh_map_free(struct dh_map *map)
{
	free(map->entries);
}
