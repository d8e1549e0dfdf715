/* SPDX-License-Identifier: BSD-3-Clause */
/* daxbench pin: a pipe takes pages by vmsplice(), and lets them go when they are spliced into
 * /dev/null. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "pin.h"

static int pipe_of[2], null;

static int begin(const struct pin_work *work, struct record *record)
{
	(void)work;
	(void)record;
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (null < 0 || pipe2(pipe_of, O_CLOEXEC) ||
	    fcntl(pipe_of[0], F_SETPIPE_SZ, (int)(PIN_PAGES_MAX * PIN_PAGE)) < 0)
		return errno;
	return 0;
}

static int take(const struct pin_work *work)
{
	struct iovec range = {work->base, work->size};

	return vmsplice(pipe_of[1], &range, 1, 0) == (ssize_t)work->size ? 0 : errno;
}

static int let_go(const struct pin_work *work)
{
	return splice(pipe_of[0], NULL, null, NULL, work->size, 0) == (ssize_t)work->size ? 0 :
											     errno;
}

/* Stored to while the pipe has them: what comes out of it shows whether they are the pages
 * themselves, or copies. */
static int check(const struct pin_work *work, struct record *record)
{
	char *out = malloc(work->size);
	uint64_t seen = 0;
	int err = out ? 0 : ENOMEM;

	for (size_t at = 0; at < work->size; at += PIN_PAGE)
		*(volatile char *)(work->base + at) = 1;
	if (!err)
		err = take(work);
	for (size_t at = 0; at < work->size; at += PIN_PAGE)
		*(volatile char *)(work->base + at) = 2;
	if (!err && read(pipe_of[0], out, work->size) != (ssize_t)work->size)
		err = errno ? errno : EIO;
	for (size_t at = 0; at < work->size && !err; at += PIN_PAGE)
		seen += out[at] == 2;
	free(out);
	return err ? err : pin_check_judge(record, work->pin->pages, seen);
}

const struct pin_holder pin_by_vmsplice = {
	.name = "vmsplice", .begin = begin, .take = take, .let_go = let_go, .check = check};
