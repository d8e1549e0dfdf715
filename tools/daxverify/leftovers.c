/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a run leaves that was killed with all its processes: whatever has a name outside of
 * them. Each such name has the process's number in it, and is taken away when that process
 * is no more: by the next run, which says so.
 */
#include "daxverify.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * A process that has ended, but that nobody has waited for, is gone, too; and so is one that
 * has no memory any more: it may take the kernel a second to tear down what it had loaded.
 */
static bool is_gone(pid_t pid)
{
	struct pollfd p = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	char path[64], exe[16];
	bool gone;

	if (p.fd < 0)
		return errno == ESRCH;
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	gone = poll(&p, 1, 0) == 1 ||
	       (readlink(path, exe, sizeof(exe)) < 0 && errno == ENOENT);
	close(p.fd);
	return gone;
}

/* The number in PREFIX-NUMBER..., when that process is gone; else 0. */
pid_t dv_dead_owner(const char *name, const char *prefix)
{
	size_t n = strlen(prefix);
	char *end;
	long pid;

	if (strncmp(name, prefix, n) != 0)
		return 0;
	pid = strtol(name + n, &end, 10);
	if (end == name + n || pid <= 0 || (*end && *end != '-'))
		return 0;
	return is_gone((pid_t)pid) ? (pid_t)pid : 0;
}

void dv_leftover_say(const char *what, const char *name, int ret)
{
	if (ret)
		fprintf(stderr, "daxverify: cannot remove %s %s, which a killed run left: %s\n",
			what, name, strerror(-ret));
	else
		fprintf(stderr, "daxverify: removed %s %s, which a killed run left\n", what,
			name);
}

static void remove_folders(const char *dir)
{
	char path[PATH_MAX];
	struct dirent *e;
	DIR *d = opendir(dir);

	while (d && (e = readdir(d))) {
		if (!dv_dead_owner(e->d_name, DV_FOLDER_PREFIX))
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) <
		    (int)sizeof(path))
			dv_leftover_say("the folder", path, dv_remove_tree(path));
	}
	if (d)
		closedir(d);
}

/* Devices first: a process that sleeps in one may have a file of such a folder open. */
void dv_leftovers_remove(const char *dir)
{
	dv_slow_remove_dead();
	dv_rxe_remove_dead();
	dv_trace_remove_dead();
	remove_folders(dir);
}
