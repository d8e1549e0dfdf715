/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kernel complains about while a scenario runs. */
#include "daxverify.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The line of our own sabotage; all else that user space writes there is ignored. */
#define SELF_TEST "daxverify self-test"

static const char *const complaints[] = {
	"WARNING:",
	"BUG:",
	"kernel BUG at",
	"Oops",
	"general protection fault",
	"Unable to handle",
	"refcount_t:",
	"Bad page",
};

/* A slow machine makes the watchdogs bark; that says nothing about DAX. */
static const char *const watchdogs[] = {
	"soft lockup", "hard LOCKUP", "rcu:", "workqueue lockup", "clocksource",
};

static bool has_any(const char *text, const char *const *words, unsigned nr)
{
	unsigned i;

	for (i = 0; i < nr; i++) {
		if (strstr(text, words[i]))
			return true;
	}
	return false;
}

/* A descriptor that reads what is logged from now on, or -errno. */
int dv_kmsg_mark(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (lseek(fd, 0, SEEK_END) < 0) {
		close(fd);
		return -EIO;
	}
	return fd;
}

int dv_kmsg_write(const char *text)
{
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	char line[256];
	int n, ret = 0;

	if (fd < 0)
		return -errno;
	n = snprintf(line, sizeof(line), "<4>WARNING: %s: %s\n", SELF_TEST, text);
	if (write(fd, line, (size_t)n) != n) /* one write is one record */
		ret = -EIO;
	close(fd);
	return ret;
}

/* A record is "priority,sequence,microseconds,flags;text\n key=value..." */
static void take_record(char *record, struct dv_result *r)
{
	char *text = strchr(record, ';');
	bool from_kernel = strtoul(record, NULL, 10) >> 3 == 0;

	if (!text)
		return;
	text++;
	text[strcspn(text, "\n")] = 0;
	if (!from_kernel && !strstr(text, SELF_TEST))
		return;
	if (!has_any(text, complaints, DV_COUNT(complaints)) ||
	    has_any(text, watchdogs, DV_COUNT(watchdogs)) || r->nlog == DV_LOG_MAX)
		return;
	snprintf(r->log[r->nlog], sizeof(r->log[0]), "%.*s", (int)sizeof(r->log[0]) - 1,
		 text);
	r->nlog++;
}

/* Take the complaints since the mark, and close it. */
void dv_kmsg_collect(int fd, struct dv_result *r)
{
	char record[8192];
	ssize_t n;

	if (fd < 0)
		return;
	for (;;) {
		n = read(fd, record, sizeof(record) - 1);
		if (n < 0 && (errno == EPIPE || errno == EINTR))
			continue; /* EPIPE: records were lost; the oldest left is next */
		if (n <= 0)
			break;
		record[n] = 0;
		take_record(record, r);
	}
	close(fd);
}
