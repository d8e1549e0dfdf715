/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables for people, by libsmartcols. */
#include <err.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "daxheap_cli.h"

struct libscols_table *cli_table_new(const char *const *headings)
{
	struct libscols_table *table = scols_new_table();

	for (; table && *headings; headings++)
		/* Wide enough for what most pools have, so that pages of rows look alike. */
		if (!scols_table_new_column(table, *headings, 12, SCOLS_FL_RIGHT))
			table = NULL;
	if (!table)
		errx(EX_OSERR, "no memory for a table");
	return table;
}

void cli_table_row(struct libscols_table *table, const char *format, ...)
{
	struct libscols_line *line = scols_table_new_line(table, NULL);
	char row[256], *rest = row, *cell;
	va_list args;

	va_start(args, format);
	vsnprintf(row, sizeof(row), format, args);
	va_end(args);
	for (size_t i = 0; line && (cell = strsep(&rest, "\t")); i++)
		if (scols_line_set_data(line, i, cell))
			line = NULL;
	if (!line)
		errx(EX_OSERR, "no memory for a table");
}

void cli_table_print(struct libscols_table *table)
{
	scols_print_table(table);
}

void cli_table_delete(struct libscols_table *table)
{
	scols_unref_table(table);
}
