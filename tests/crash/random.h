/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers that follow from a seed alone. */
#ifndef CRASH_RANDOM_H
#define CRASH_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

/* splitmix64: the mixing alone, and the generator. */
static inline uint64_t mix64(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static inline uint64_t mix_two(uint64_t a, uint64_t b)
{
	return mix64(mix64(a + UINT64_C(0x9e3779b97f4a7c15)) ^ (b * UINT64_C(0xd1b54a32d192ed03)));
}

static inline uint64_t random_next(uint64_t *state)
{
	return mix64(*state += UINT64_C(0x9e3779b97f4a7c15));
}

static inline unsigned random_below(uint64_t *state, unsigned limit)
{
	return (unsigned)((random_next(state) >> 32) * limit >> 32);
}

/* True once in @n. */
static inline bool random_one_in(uint64_t *state, unsigned n)
{
	return random_below(state, n) == 0;
}

#endif
