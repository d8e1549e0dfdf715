/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a task is: its state, and the kernel function that it sleeps in. */
#include "daxverify.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>

/* The functions in which a break of layouts waits, in all kernels seen (6.1 to 7.3). */
static const char *const layout_waits[] = {
	"break_layout",
	"break_dax_layout",
	"wait_dax_page",
	"wait_page_idle",
};

static bool names_layout(const char *text)
{
	unsigned i;

	for (i = 0; i < DV_COUNT(layout_waits); i++) {
		if (strstr(text, layout_waits[i]))
			return true;
	}
	return false;
}

static char state_of(pid_t pid)
{
	char path[64], buf[512], *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (dv_read_text(AT_FDCWD, path, buf, sizeof(buf)))
		return 0;
	p = strrchr(buf, ')'); /* the name before it may hold anything */
	return p && p[1] == ' ' ? p[2] : 0;
}

/*
 * wchan first. It is "0" for a task that runs or when symbols are hidden; then the top of
 * the stack is tried, which takes root.
 */
void dv_look(pid_t pid, struct dv_sight *s)
{
	char path[64], buf[128];

	memset(s, 0, sizeof(*s));
	s->state = state_of(pid);
	if (s->state != 'S' && s->state != 'D')
		return;
	snprintf(path, sizeof(path), "/proc/%d/wchan", (int)pid);
	if (dv_read_text(AT_FDCWD, path, buf, sizeof(buf)) == 0 &&
	    isalpha((unsigned char)*buf)) {
		snprintf(s->where, sizeof(s->where), "%.60s", buf);
	} else {
		snprintf(path, sizeof(path), "/proc/%d/stack", (int)pid);
		/* a line of it: "[<0>] function+0x1/0x2" */
		if (dv_read_text(AT_FDCWD, path, buf, sizeof(buf)) == 0 &&
		    strchr(buf, ' '))
			snprintf(s->where, sizeof(s->where), "%.60s",
				 strchr(buf, ' ') + 1);
		s->where[strcspn(s->where, "+")] = 0;
	}
	s->in_layout = names_layout(s->where);
}
