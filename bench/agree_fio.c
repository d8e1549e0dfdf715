/* SPDX-License-Identifier: BSD-3-Clause */
/* daxbench agree: the copies done by fio(1), whose bins are taken over. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agree.h"
#include "timer.h"

#define OPTION_ROOM 512u

/* The file is there, and as large as --size, so that fio leaves it as it is; see agree_copy.c. */
static const char *const fixed_options[] = {
	"fio", "--name=daxbench", "--bs=4k", "--iodepth=1", "--thread", "--output-format=json+",
	"--iomem_align=4096", "--scramble_buffers=0"};

#define FIXED (sizeof(fixed_options) / sizeof(fixed_options[0]))

/* Everything that depends on the cell. */
struct command {
	char filename[OPTION_ROOM], output[OPTION_ROOM];
	char size[64], io_size[64], rw[64];
	const char *words[FIXED + 8];
};

static void make_command(const struct agree *agree, const char *dir, const char *path,
			 const char *output, struct command *command)
{
	size_t step = agree_step(agree, dir);
	bool pmem = agree->work == AGREE_COPY_PMEM;
	const char *const more[] = {command->filename, command->output, command->size,
				    command->io_size, command->rw,
				    pmem ? "--ioengine=libpmem" : "--ioengine=mmap",
				    pmem ? "--direct=1" : "--direct=0", NULL};

	snprintf(command->filename, OPTION_ROOM, "--filename=%s", path);
	snprintf(command->output, OPTION_ROOM, "--output=%s", output);
	snprintf(command->size, sizeof(command->size), "--size=%zu", agree->ops * step);
	snprintf(command->io_size, sizeof(command->io_size), "--io_size=%u",
		 agree->ops * AGREE_BLOCK);
	/* The number is what it skips after each operation. */
	snprintf(command->rw, sizeof(command->rw), "--rw=%s:%zu",
		 agree->work == AGREE_COPY_READ ? "read" : "write", step - AGREE_BLOCK);
	if (step == AGREE_BLOCK)
		*strchr(command->rw, ':') = '\0';
	memcpy(command->words, fixed_options, sizeof(fixed_options));
	memcpy(command->words + FIXED, more, sizeof(more));
}

/* 0 or an errno; fio's word is lost, but for its status. */
static int run(const struct command *command)
{
	pid_t child = fork();
	int status, quiet;

	if (child < 0)
		return errno;
	if (!child) {
		quiet = open("/dev/null", O_RDWR);
		dup2(quiet, STDOUT_FILENO);
		dup2(quiet, STDERR_FILENO);
		execvp(command->words[0], (char *const *)command->words);
		_exit(errno == ENOENT ? 127 : 126);
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return ENOENT;
	return status ? EIO : 0;
}

/* --- its result --- */

static struct json_object *member(struct json_object *object, const char *name)
{
	struct json_object *found = NULL;

	if (json_object_is_type(object, json_type_object))
		json_object_object_get_ex(object, name, &found);
	return found;
}

static void take_bins(struct json_object *bins, struct record *record)
{
	double ticks_per_ns = timer.tsc ? 1 / timer.ns_per_tick : 1;

	if (!json_object_is_type(bins, json_type_object))
		return;
	json_object_object_foreach(bins, ns, count)
		for (int64_t i = json_object_get_int64(count); i > 0; i--) {
			if (record->count == record->room) {
				record->count = 0;
				return;
			}
			record->ticks[record->count++] =
				(uint64_t)((double)strtoull(ns, NULL, 10) * ticks_per_ns);
		}
}

static void take(const struct agree *agree, const char *output, struct record *record)
{
	const char *direction = agree->work == AGREE_COPY_READ ? "read" : "write";
	struct json_object *top = json_object_from_file(output);
	struct json_object *jobs = member(top, "jobs"), *job;

	job = json_object_is_type(jobs, json_type_array) ? json_object_array_get_idx(jobs, 0) :
							   NULL;
	take_bins(member(member(member(job, direction), "clat_ns"), "bins"), record);
	record->figures[AGREE_FAULTS] = (uint64_t)json_object_get_int64(member(job, "minf"));
	json_object_put(top);
	if (record->count != agree->ops)
		record_refuse(record, "fio's result has no bins of %u operations; it needs fio 3 "
			      "or newer", agree->ops);
}

void agree_measure_by_fio(const struct agree *agree, const char *dir, const char *path,
			  const char *output, struct record *record)
{
	struct command command;
	int err;

	make_command(agree, dir, path, output, &command);
	err = run(&command);
	if (err == ENOENT)
		record_refuse(record, "there is no fio on this machine (apt-get install fio)");
	else if (err)
		record_refuse(record, "fio could not do it: is its engine %s there (fio "
			      "--enghelp), and %s writable?",
			      agree->work == AGREE_COPY_PMEM ? "libpmem" : "mmap", dir);
	else
		take(agree, output, record);
}
