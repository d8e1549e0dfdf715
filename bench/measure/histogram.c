/* SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>

#include "histogram.h"

#define SUB_BINS (1u << HISTOGRAM_SUB_BITS)

unsigned histogram_bin(uint64_t value)
{
	unsigned top, shift;

	if (value < SUB_BINS)
		return (unsigned)value;
	if (value >> HISTOGRAM_MAX_BITS)
		return HISTOGRAM_BINS - 1;
	top = 63 - (unsigned)__builtin_clzll(value);
	shift = top - HISTOGRAM_SUB_BITS;
	return ((shift + 1) << HISTOGRAM_SUB_BITS) + ((unsigned)(value >> shift) & (SUB_BINS - 1));
}

/* By how many bits the values of a bin are wider than one value. */
static unsigned shift_of(unsigned bin)
{
	return bin < SUB_BINS ? 0 : (bin >> HISTOGRAM_SUB_BITS) - 1;
}

uint64_t histogram_low(unsigned bin)
{
	if (bin < SUB_BINS)
		return bin;
	return (uint64_t)(SUB_BINS + (bin & (SUB_BINS - 1))) << shift_of(bin);
}

uint64_t histogram_middle(unsigned bin)
{
	return histogram_low(bin) + (UINT64_C(1) << shift_of(bin)) / 2;
}

void histogram_add(struct histogram *histogram, uint64_t value, uint64_t count)
{
	if (!count)
		return;
	if (!histogram->count || value < histogram->min)
		histogram->min = value;
	if (!histogram->count || value > histogram->max)
		histogram->max = value;
	histogram->count += count;
	histogram->sum += (double)value * (double)count;
	histogram->squares += (double)value * (double)value * (double)count;
	histogram->bins[histogram_bin(value)] += count;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	if (!from->count)
		return;
	if (!into->count || from->min < into->min)
		into->min = from->min;
	if (!into->count || from->max > into->max)
		into->max = from->max;
	into->count += from->count;
	into->sum += from->sum;
	into->squares += from->squares;
	for (unsigned i = 0; i < HISTOGRAM_BINS; i++)
		into->bins[i] += from->bins[i];
}

uint64_t histogram_rank(uint64_t count, double percent)
{
	/* 99.9 % of 1000 are 999, whatever 99.9 is in binary. */
	return (uint64_t)ceil(percent * (double)count / 100 * (1 - 1e-12));
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
	uint64_t rank = histogram_rank(histogram->count, percent), seen = 0, value;

	if (rank >= histogram->count)
		return histogram->max;
	for (unsigned bin = 0; bin < HISTOGRAM_BINS; bin++) {
		seen += histogram->bins[bin];
		if (!seen || seen < rank)
			continue;
		value = histogram_middle(bin);
		if (value < histogram->min)
			return histogram->min;
		return value > histogram->max ? histogram->max : value;
	}
	return histogram->max;
}

double histogram_mean(const struct histogram *histogram)
{
	return histogram->count ? histogram->sum / (double)histogram->count : 0;
}

double histogram_deviation(const struct histogram *histogram)
{
	double n = (double)histogram->count, variance;

	if (histogram->count < 2)
		return 0;
	variance = (histogram->squares - histogram->sum * histogram->sum / n) / (n - 1);
	return variance > 0 ? sqrt(variance) : 0;
}
