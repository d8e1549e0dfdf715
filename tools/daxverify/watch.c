/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a task is: its state, and the kernel function that it sleeps in. */
#include "daxverify.h"

#include "actor.h"
#include "file.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* The state, and the CPU time of all threads together. */
static char state_of(const char *task, int *cpu_ms)
{
	unsigned long user = 0, system = 0;
	char path[96], buf[512], *p, state;

	snprintf(path, sizeof(path), "%s/stat", task);
	if (dv_read_text(AT_FDCWD, path, buf, sizeof(buf)))
		return 0;
	p = strrchr(buf, ')'); /* the name before it may hold anything */
	if (!p || sscanf(p, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
			 &state, &user, &system) != 3)
		return 0;
	if (cpu_ms)
		*cpu_ms = (int)((user + system) * 1000 /
				(unsigned long)sysconf(_SC_CLK_TCK));
	return state;
}

/* It is "0" for a task that runs or when symbols are hidden. */
static bool find_wchan(const char *task, struct dv_sight *s)
{
	char path[96], buf[128];

	snprintf(path, sizeof(path), "%s/wchan", task);
	if (dv_read_text(AT_FDCWD, path, buf, sizeof(buf)) ||
	    !isalpha((unsigned char)*buf))
		return false;
	snprintf(s->where, sizeof(s->where), "%.60s", buf);
	s->in_layout = names_layout(s->where);
	return true;
}

/* wchan first, then the top of the stack, which takes root. */
static void find_where(const char *task, struct dv_sight *s)
{
	char path[96], buf[128];

	if (find_wchan(task, s))
		return;
	snprintf(path, sizeof(path), "%s/stack", task);
	/* a line of it: "[<0>] function+0x1/0x2" */
	if (dv_read_text(AT_FDCWD, path, buf, sizeof(buf)) == 0 && strchr(buf, ' '))
		snprintf(s->where, sizeof(s->where), "%.60s", strchr(buf, ' ') + 1);
	s->where[strcspn(s->where, "+")] = 0;
	s->in_layout = names_layout(s->where);
}

/*
 * io_uring waits in a worker: a thread of the process that made the ring. It is in the
 * wait for a page, or behind somebody's lock.
 */
static void look_at_threads(pid_t pid, struct dv_sight *s)
{
	struct dv_sight thread;
	char path[64], task[96];
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && !s->worker && (e = readdir(dir))) {
		if (e->d_name[0] == '.' || atoi(e->d_name) == pid)
			continue;
		snprintf(task, sizeof(task), "%s/%.20s", path, e->d_name);
		memset(&thread, 0, sizeof(thread));
		thread.state = state_of(task, NULL);
		find_where(task, &thread);
		thread.cpu_ms = s->cpu_ms;
		thread.worker = true;
		if ((thread.in_layout && thread.state == 'S') || thread.state == 'D')
			*s = thread;
	}
	if (dir)
		closedir(dir);
}

void dv_look(pid_t pid, struct dv_sight *s)
{
	char task[64];

	memset(s, 0, sizeof(*s));
	snprintf(task, sizeof(task), "/proc/%d", (int)pid);
	s->state = state_of(task, &s->cpu_ms);
	if (s->state != 'S' && s->state != 'D')
		return;
	find_where(task, s);
	if (!s->in_layout)
		look_at_threads(pid, s);
}

/*
 * A child that may be about to end. To read its `stat` takes a reference on its memory;
 * when that becomes the last one, the reader unmaps, closes and evicts in its place, and
 * sleeps where the child should. (So does whoever runs top at that moment.) `wchan` takes
 * none, and in the wait for a page of a file that it had, the child has no memory any
 * more. `late`: by now it has none in any case, and its state will do.
 */
void dv_look_dying(pid_t pid, bool late, struct dv_sight *s)
{
	char task[64];

	memset(s, 0, sizeof(*s));
	snprintf(task, sizeof(task), "/proc/%d", (int)pid);
	find_wchan(task, s);
	if (s->in_layout || late)
		s->state = state_of(task, &s->cpu_ms);
}
