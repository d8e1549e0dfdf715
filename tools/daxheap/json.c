/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daxheap_cli.h"

#define REPLACEMENT "\xef\xbf\xbd"	/* U+FFFD */

/* How many bytes the character has that begins there; 0: it is none of UTF-8 (RFC 3629). */
static size_t character(const unsigned char *at)
{
	/* For each length the least code that needs it. */
	static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t length = *at < 0x80 ? 1 : *at >> 5 == 6 ? 2 : *at >> 4 == 14 ? 3 :
			*at >> 3 == 30 ? 4 : 0;
	unsigned code = length > 1 ? *at & (0x7fu >> length) : 0;

	for (size_t i = 1; i < length; i++) {
		if (at[i] >> 6 != 2)
			return 0;
		code = code << 6 | (at[i] & 0x3f);
	}
	if (code < least[length] || code > 0x10ffff || code >> 11 == 0xd800 >> 11)
		return 0;
	return length;
}

/* Names of files are any bytes, and JSON is UTF-8. */
struct json_object *cli_json_string(const char *value)
{
	char *text = malloc(strlen(value) * (sizeof(REPLACEMENT) - 1) + 1), *end = text;
	struct json_object *string;

	if (!text)
		return NULL;
	while (*value) {
		size_t length = character((const unsigned char *)value);

		if (length) {
			end = mempcpy(end, value, length);
			value += length;
		} else {
			end = stpcpy(end, REPLACEMENT);
			value++;
		}
	}
	string = json_object_new_string_len(text, (int)(end - text));
	free(text);
	return string;
}

void cli_print_json(struct json_object *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
						    JSON_C_TO_STRING_SPACED |
						    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}

void cli_add_number(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

void cli_add_string(struct json_object *object, const char *key, const char *value)
{
	json_object_object_add(object, key, cli_json_string(value));
}
