/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxbench truncate: what it takes to take space from a file, or to give it more.
 * truncate_cells.c has the list, truncate_file.c makes the file and who maps it, hold.c holds
 * pages, truncate.c does it and looks at the time; truncate_umount.c does so of umount.
 */
#ifndef TRUNCATE_H
#define TRUNCATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "bench.h"
#include "rounds.h"

#define RECLAIM_PAGE	    ((size_t)4096)
#define RECLAIM_LEAD	    ((size_t)2 << 20)	/* with pins: the part of the file that is held */
#define RECLAIM_TAIL	    ((size_t)2 << 20)	/* behind what is taken out of the middle */
#define RECLAIM_MAPPERS_MAX 64u
#define RECLAIM_HOLD_MS	    5u
#define RECLAIM_FILES_MAX   128u	/* of umount */

enum reclaim_call {
	RECLAIM_TRUNCATE,		/* ftruncate() to what is in front */
	RECLAIM_PUNCH,			/* the rest are modes of fallocate() */
	RECLAIM_ZERO,
	RECLAIM_COLLAPSE,
	RECLAIM_GROW,			/* ftruncate() to more */
	RECLAIM_ALLOCATE,		/* fallocate() behind the end */
	RECLAIM_UNLINK,			/* of a file that nobody else has: its space goes at once */
	RECLAIM_UMOUNT,			/* of the file system, with files that nobody has open */
};

enum reclaim_state {
	RECLAIM_UNMAPPED,
	RECLAIM_CLEAN,			/* mapped and read */
	RECLAIM_DIRTY,			/* mapped and stored to */
};

/* What is measured. */
struct reclaim {
	enum reclaim_call call;
	size_t size;			/* bytes that are taken or given; of each file */
	enum reclaim_state state;
	unsigned extents;		/* 1: all in one piece; else as many pieces of 4 KiB */
	unsigned mappings;		/* of this process */
	unsigned processes;		/* others that have it mapped as well */
	unsigned pins;			/* pages in front that a pipe holds for RECLAIM_HOLD_MS */
	bool wake;			/* only what comes after they were let go */
	unsigned files;			/* of umount; else 1 */
};

/* Adds all of them, as far as --only leaves them. */
void reclaim_list(struct plan *plan);
/* Of a round. */
unsigned reclaim_ops(const struct reclaim *reclaim, const struct options *options);
/* Where the part begins that is taken, and the size of the file. */
size_t reclaim_at(const struct reclaim *reclaim);
size_t reclaim_file_size(const struct reclaim *reclaim);

/* The file of one operation, and who maps it. */
struct reclaim_file {
	int fd;
	unsigned named;			/* files of unlink and umount: nobody has them open or mapped */
	char *path;			/* of the last of these */
	char *mappings[RECLAIM_MAPPERS_MAX];
	unsigned mapping_count;
	int go_home;			/* the others wait for its end */
	pid_t others[RECLAIM_MAPPERS_MAX];
	unsigned other_count;
	unsigned extents;		/* seen; 0: the file system does not tell */
};

/* False after record_refuse(). */
bool reclaim_open(const struct reclaim *reclaim, const char *dir, struct reclaim_file *file,
		  struct record *record);
void reclaim_close(const struct reclaim *reclaim, struct reclaim_file *file);
/* The @nth file that has a name, of process @pid; to be freed. */
char *reclaim_path(const char *dir, int pid, unsigned nth);
/* Removes what files with names there are of process @pid. */
void reclaim_remove(const char *dir, int pid);

/* truncate_umount.c.  Before anything is measured, with --umount: unmounts each folder of the
 * options and mounts it again; dies if that can't be. */
void reclaim_umount_begin(const struct options *options);
/* With the files there: what umount(2) takes, in @ticks; the file system is mounted again when it
 * returns, and no signal ends the process before.  False after record_refuse(). */
bool reclaim_umount(const char *dir, struct record *record, struct noise *noise, uint64_t *ticks);
/* In the parent: mounts again what a process left unmounted that was killed. */
void reclaim_umount_clean(const char *dir);
void reclaim_umount_end(void);

/* hold.c: pages that a pipe holds, and a thread that lets them go. */
struct hold {
	int pipe[2];
	pthread_t thread;
	atomic_bool go;
	uint64_t released;		/* stamp, before the first page was let go */
};

/* 0, or an errno. */
int hold_begin(struct hold *hold, char *pages, unsigned count);
/* From now on it takes RECLAIM_HOLD_MS until they are let go. */
void hold_count_down(struct hold *hold);
/* After they were. */
void hold_end(struct hold *hold);

#endif
