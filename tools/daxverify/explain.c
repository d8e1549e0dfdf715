/* SPDX-License-Identifier: BSD-3-Clause */
/* What is known of a defect as a page (the ones in docs/defects are made by this). */
#include "daxverify.h"

#include "defects.h"

#include <string.h>
#include <sysexits.h>

#define WIDTH 96

/* Words of a text, broken into lines; `at` is the column that the first one begins in. */
static void wrap_in(const char *text, int at, int indent)
{
	int n;

	while (*text) {
		n = (int)strcspn(text, " ");
		if (at && at + 1 + n > WIDTH) {
			printf("\n");
			at = 0;
		}
		if (!at)
			at = printf("%*s%.*s", indent, "", n, text);
		else
			at += printf(" %.*s", n, text);
		text += n;
		text += strspn(text, " ");
	}
	printf("\n");
}

static void wrap(const char *text, int at)
{
	wrap_in(text, at, 0);
}

static void part(const char *head, const char *text)
{
	wrap(text, printf("\n**%s**:", head));
}

static void page(const struct dv_defect *d)
{
	printf("# %s\n\n", d->name);
	wrap(d->summary, 0);
	part("What should be", d->claim);
	part("How it shows", d->symptom);
	part("Since", d->since);
	part("Fixed by", d->fixed_by ? d->fixed_by : "no fix is known.");
	part("Until then", d->advice);
	part("In the kernel", d->reference);
	part("Seen", d->seen);
	printf("\nA program that shows it, without this project:\n\n"
	       "\tdaxverify reproducer %s > r.c && cc -o r r.c && ./r %s\n",
	       d->name, d->arguments ? d->arguments : "DIR");
}

/* The exit code: what did not fit on a full disk is no page, and no program. */
static int printed(void)
{
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "daxverify: cannot write: %s\n", strerror(errno));
		return EX_IOERR;
	}
	return 0;
}

static void list(void)
{
	unsigned i;

	for (i = 0; i < dv_ndefects; i++) {
		printf("%s (%s)\n", dv_defects[i]->name,
		       dv_defects[i]->fixed_by ? "fixed" : "no fix known");
		wrap_in(dv_defects[i]->summary, 0, 4);
	}
	printf("\nMore of one: daxverify explain DEFECT. A program that shows it: "
	       "daxverify reproducer DEFECT\n");
}

static const struct dv_defect *find(const char *name)
{
	const struct dv_defect *d = dv_defect_find(name);

	if (!d)
		fprintf(stderr,
			"daxverify: no defect is named '%s'; daxverify explain "
			"lists them\n",
			name);
	return d;
}

int dv_explain(int argc, char **argv)
{
	const struct dv_defect *d;

	if (argc == 1) {
		list();
		return printed();
	}
	if (argc != 2) {
		fprintf(stderr, "usage: daxverify explain [DEFECT]\n");
		return EX_USAGE;
	}
	d = find(argv[1]);
	if (!d)
		return EX_USAGE;
	page(d);
	return printed();
}

int dv_print_reproducer(int argc, char **argv)
{
	const struct dv_defect *d;
	const char *text;
	size_t len;

	if (argc != 2) {
		fprintf(stderr, "usage: daxverify reproducer DEFECT > r.c\n");
		return EX_USAGE;
	}
	d = find(argv[1]);
	if (!d)
		return EX_USAGE;
	text = dv_reproducer(d, &len);
	if (!text) {
		fprintf(stderr, "daxverify: there is no program for %s\n", d->name);
		return EX_UNAVAILABLE;
	}
	fwrite(text, 1, len, stdout);
	return printed();
}
