/* SPDX-License-Identifier: BSD-3-Clause */
/* daxheap doctor PATH */
#include <stdio.h>
#include <stdlib.h>

#include "daxheap_cli.h"
#include "doctor.h"

#define EXIT_HINDERED 1
#define EXIT_ERROR    2

static int fail(const struct cli_args *args, const char *wrong)
{
	if (args->json) {
		struct json_object *top = json_object_new_object();

		cli_add_string(top, "path", args->pool);
		cli_add_string(top, "error", wrong);
		cli_print_json(top);
	}
	fprintf(stderr, "daxheap: %s: %s\n", args->pool, wrong);
	return EXIT_ERROR;
}

int cli_doctor(const struct cli_args *args)
{
	static struct doctor doctor;
	const char *wrong = doctor_examine(&doctor, args->pool);

	if (wrong)
		return fail(args, wrong);
	if (args->json)
		doctor_print_json(&doctor);
	else
		doctor_print_text(&doctor);
	return doctor_hindered(&doctor) ? EXIT_HINDERED : EXIT_SUCCESS;
}
