/* SPDX-License-Identifier: BSD-3-Clause */
/* daxbench agree: beside each figure of daxbench's the others', and whether they agree. */
#include <stdio.h>
#include <string.h>

#include "agree.h"
#include "agreement.h"
#include "timer.h"

#define FIO_BIN 64		/* a bin of fio's is up to this part of its value wide */

static double median_us(const struct series *series)
{
	return (double)histogram_percentile(&series->all, 50) / 1e3 / series->batch;
}

static void print_one(const char *thing, const struct series *ours, const struct series *other,
		      enum agree_by by)
{
	double within_ns = timer.cost_ns;
	struct interval quotient;
	enum agreement agreement;

	if (by == AGREE_FIO)
		within_ns += median_us(other) * 1e3 / FIO_BIN;
	agreement = agreement_of(ours, other, within_ns, &quotient);
	printf("%-16s %-12s", thing, agree_by_names[by]);
	if (agreement == AGREEMENT_UNKNOWN)
		printf(" %8s %8s %8s %13s", "-", "-", "-", "-");
	else
		printf(" %8.3f %8.3f %8.3f   %5.3f-%-5.3f", median_us(ours), median_us(other),
		       median_us(other) / median_us(ours), quotient.low, quotient.high);
	printf("  %s\n", ours->refused || other->refused ? "no figures" :
							   agreement_words[agreement]);
}

/* Whether the series @nth is daxbench's own of a thing, whose name goes to @thing. */
static bool is_ours(const struct plan *plan, unsigned nth, char *thing, size_t room)
{
	const struct agree *agree = plan->cells[nth].what;
	const char *name = plan->cells[nth].name;

	snprintf(thing, room, "%.*s", (int)(strrchr(name, '/') - name), name);
	return agree->by == AGREE_DAXBENCH;
}

/* Those that are to agree, or those that show why they would not. */
static void print_all(const struct plan *plan, const struct result *result, bool controls)
{
	char thing[96];

	for (unsigned i = 0; i < plan->count; i++) {
		const struct agree *ours = plan->cells[i].what, *other;

		if (!is_ours(plan, i, thing, sizeof(thing)))
			continue;
		for (unsigned k = 0; k < plan->count; k++) {
			other = plan->cells[k].what;
			if (k != i && other->work == ours->work && other->huge == ours->huge &&
			    (other->by > AGREE_FIO) == controls)
				print_one(thing, &result->series[i], &result->series[k], other->by);
		}
	}
}

static void print_heading(const char *what, const char *other)
{
	printf("\n%-16s %-12s %8s %8s %8s %13s\n", what, "", "daxbench", other, "quotient", "95 %");
}

void agree_report(const struct plan *plan, const struct result *result)
{
	print_heading("median, us", "other");
	print_all(plan, result, false);
	print_heading("one thing not so", "then");
	print_all(plan, result, true);
	printf("\nagree: the intervals of the medians overlap; but for the clocks: the gap is less "
	       "than a pair\nof stamps takes (%.0f ns), and a bin of fio's is wide.  back-to-back: "
	       "with nothing between two\ncopies; unwritten: to space that was allocated and never "
	       "written to; string-copy: by one\ninstruction.  daxbench(1), agree.\n",
	       timer.cost_ns);
}
