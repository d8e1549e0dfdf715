/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daxheap.h"
#include "error.h"

static __thread char message[512];

int dh_fail(int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	return -err;
}

int dh_fail_errno(const char *format, ...)
{
	int err = errno;
	va_list args;
	size_t used;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	used = strlen(message);
	snprintf(message + used, sizeof(message) - used, ": %s", strerror(err));
	return -err;
}

DAXHEAP_API const char *daxheap_errormsg(void)
{
	return message;
}
