/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench truncate --umount: what umount(2) takes of a file system with files that were mapped.
 *
 * Whatever becomes of the process that unmounts, the file system is mounted again: by itself, which
 * no signal but SIGKILL ends in between; else by its parent.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mountpoint.h"
#include "timer.h"
#include "truncate.h"

/* Who only looks around is gone soon: an indexer, or a process whose end the kernel is about. */
#define TRIES	  40u
#define PAUSE_MS  25u

/* Of --dir and --beside. */
static struct {
	const char *dir;
	struct mountpoint point;
} places[2];

static const struct mountpoint *find(const char *dir)
{
	return &places[strcmp(dir, places[0].dir) ? 1 : 0].point;
}

static void block_signals(sigset_t *before)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, before);
}

/* The call that succeeds alone is timed.  0, or an errno. */
static int umount_it(const struct mountpoint *point, struct noise *noise, uint64_t *ticks)
{
	const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000l};
	int err;

	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t start;

		if (i)
			nanosleep(&pause, NULL);
		noise_begin(noise);
		start = timer_begin();
		err = mountpoint_umount(point);
		*ticks = timer_now() - start;
		noise_end(noise);
		if (err != EBUSY)
			break;
	}
	return err;
}

static void refuse_umount(const struct mountpoint *point, struct record *record, int err)
{
	if (err == EBUSY)
		record_refuse(record, "%s is in use and stays mounted: end what 'fuser -vm %s' shows, "
			      "leave the folder, unmount what is mounted below", point->target,
			      point->target);
	else
		record_refuse(record, "%s can't be unmounted: %s", point->target, strerror(err));
}

bool reclaim_umount(const char *dir, struct record *record, struct noise *noise, uint64_t *ticks)
{
	const struct mountpoint *point = find(dir);
	bool elsewhere = false;
	sigset_t before;
	int err;

	block_signals(&before);
	err = umount_it(point, noise, ticks);
	if (err) {
		refuse_umount(point, record, err);
	} else {
		elsewhere = mountpoint_is_elsewhere(point);
		err = mountpoint_mount(point, record->refused, sizeof(record->refused));
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (!err && elsewhere)
		record_refuse(record, "%s is in use in another mount namespace: it is not unmounted "
			      "by unmounting %s", point->source, point->target);
	return !err && !elsewhere;
}

/* All that can go wrong is seen before anything is measured. */
static void try(unsigned nth, const char *dir)
{
	struct record record = {.count = 0};
	struct noise noise;
	char wrong[512];
	uint64_t ticks;

	places[nth].dir = dir;
	if (mountpoint_find(&places[nth].point, dir, wrong, sizeof(wrong)))
		die("--umount: %s", wrong);
	if (geteuid())
		die("--umount unmounts what is mounted on %s, and mounts it again: that takes root", dir);
	if (!reclaim_umount(dir, &record, &noise, &ticks))
		die("--umount: %s", record.refused);
}

void reclaim_umount_begin(const struct options *options)
{
	try(0, options->dir);
	if (options->beside)
		try(1, options->beside);
}

void reclaim_umount_clean(const char *dir)
{
	const struct mountpoint *point = find(dir);
	char wrong[512];
	sigset_t before;

	if (mountpoint_is_mounted(point))
		return;
	block_signals(&before);
	if (mountpoint_mount(point, wrong, sizeof(wrong)))
		die("%s", wrong);
	sigprocmask(SIG_SETMASK, &before, NULL);
	fprintf(stderr, "daxbench: %s was left unmounted, and is mounted again\n", point->target);
}

void reclaim_umount_end(void)
{
	for (unsigned i = 0; i < 2; i++)
		mountpoint_free(&places[i].point);
}
