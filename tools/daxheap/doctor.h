/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxheap doctor: what lies under a path, what was tried there, and what follows from it.
 *
 * Each part fills its own struct: doctor_fs.c, doctor_block.c and doctor_pmem.c look,
 * doctor_try.c, doctor_huge.c and doctor_entry.c try, the judges (doctor_judge.h) conclude from all of it and
 * touch nothing, doctor_text.c and doctor_json.c tell.  What could not be seen is noted with the
 * reason, and an answer that depends on it is "unknown", never a guess.
 */
#ifndef DAXHEAP_DOCTOR_H
#define DAXHEAP_DOCTOR_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define DOCTOR_HUGE	  (UINT64_C(2) << 20)
#define DOCTOR_ADVICE_MAX 4u
#define DOCTOR_NOTES_MAX  16u

enum doctor_kind { DOCTOR_FILE, DOCTOR_FOLDER, DOCTOR_BLOCK, DOCTOR_DEVDAX };

/* By libmount and statx. */
struct doctor_fs {
	char type[32];			/* empty: none */
	char options[1024];
	char target[PATH_MAX];		/* the mount point */
	char source[256];
	unsigned block_size;
	bool dax_known, dax;		/* S_DAX of the file, or of a scratch file there */
	bool no_files;			/* nobody can make a file there: proc, sysfs */
};

/* By libblkid and sysfs. */
struct doctor_block {
	char name[64];			/* "pmem0p1"; empty: none seen */
	char whole[64];			/* "pmem0" */
	char stacked_on[64];		/* of device mapper and md: the one device below */
	char disk[64];			/* whole, or what it is made of in the end */
	bool stacked;
	bool dax_known, dax;		/* whether the device offers DAX to file systems */
	uint64_t start;			/* bytes, of a partition */
	char content[32];		/* of a device without a mount: "ext4", "gpt" */
};

/* By libndctl and libdaxctl. */
struct doctor_pmem {
	char provider[64];		/* of the bus: "ACPI.NFIT", "e820" */
	char region[32];
	char name[64];			/* of the namespace; empty: none found */
	char mode[16];			/* "fsdax", "devdax", "sector", "raw" */
	char domain[32];		/* "memory_controller", "cpu_cache", "unknown" */
	uint64_t size, align;		/* bytes; align 0: not known */
	int numa_node;			/* -1: none */
	uint64_t bad_sectors;		/* of 512 bytes */
	unsigned dimms, dimms_telling;	/* how many know their unsafe shutdowns */
	uint64_t unsafe_shutdowns;
	bool read_only;
	bool needs_flush;		/* virtio-pmem: stores need a request to the device */
	bool is_dram;			/* made by memmap= */
};

struct doctor_try {
	bool tried;
	bool scratch;			/* on a scratch file, not on the path itself */
	int err;			/* errno; 0: accepted */
};

/* What a range of 2 MiB of a file gets: one entry of the page table, or why not. */
enum doctor_range {
	DOCTOR_RANGE_HUGE,
	DOCTOR_RANGE_HOLE,		/* no space yet, or in part */
	DOCTOR_RANGE_UNWRITTEN,		/* well-placed space; the first write will show */
	DOCTOR_RANGE_SPLIT,		/* in several extents */
	DOCTOR_RANGE_MISALIGNED,	/* the extent, on its block device */
	DOCTOR_RANGE_DEVICE,		/* the partition, on the namespace */
	DOCTOR_RANGE_SMALL,		/* small all the same */
	DOCTOR_RANGE_FAILED,		/* could not be read: poison */
	DOCTOR_RANGE_KINDS
};

struct doctor_huge {
	bool tried;
	bool thp_disabled;		/* by prctl, for this process and its parents */
	bool congruent;			/* mmap() by itself chose a congruent address */
	const char *how;		/* what told: "PAGEMAP_SCAN" */
	uint64_t step;			/* bytes of a range */
	uint64_t ranges, looked_at;
	uint64_t counts[DOCTOR_RANGE_KINDS];
	uint64_t first_at[DOCTOR_RANGE_KINDS];	/* offset in the file */
};

static inline const char *doctor_step_name(const struct doctor_huge *huge)
{
	return huge->step > DOCTOR_HUGE ? "1 GiB" : "2 MiB";
}

/* Of how many ranges it is known what they get: not of those without content. */
static inline uint64_t doctor_known_ranges(const struct doctor_huge *huge)
{
	return huge->looked_at - huge->counts[DOCTOR_RANGE_HOLE] -
	       huge->counts[DOCTOR_RANGE_UNWRITTEN];
}

enum doctor_answer { DOCTOR_UNKNOWN, DOCTOR_NO, DOCTOR_YES };

struct doctor_advice {
	char what[256];
	char command[512];		/* lines for a shell; empty: there are none */
};

struct doctor_verdict {
	enum doctor_answer answer;
	bool hinders;
	char reason[640];
	struct doctor_advice advice[DOCTOR_ADVICE_MAX];
	unsigned advice_count;
};

enum doctor_question {
	DOCTOR_DURABLE,
	DOCTOR_HUGE_PAGES,
	DOCTOR_PINS,
	DOCTOR_HEALTH,			/* bad blocks, unsafe shutdowns */
	DOCTOR_QUESTIONS
};

struct doctor {
	const char *path;		/* as it was given */
	char real[PATH_MAX];
	char folder[PATH_MAX];		/* for scratch files; empty: none */
	enum doctor_kind kind;
	dev_t dev;			/* the path is on it, or it is this device */
	uint64_t size;			/* bytes, of a file */
	unsigned page_size;
	struct doctor_fs fs;
	struct doctor_block block;
	struct doctor_pmem pmem;
	struct doctor_try map_sync, pin;
	struct doctor_huge huge;	/* of the path itself */
	struct doctor_huge scratch_huge; /* of a scratch file, where the path says nothing */
	struct doctor_verdict verdicts[DOCTOR_QUESTIONS];
	const char *reads, *writes;	/* the path of daxheap_uring_*(); NULL: not known */
	char unseen[DOCTOR_NOTES_MAX][256];
	unsigned unseen_count;
};

/* doctor.c: all of it, of one path.  NULL, or a sentence about what is wrong with the path. */
const char *doctor_examine(struct doctor *doctor, const char *path);

/* Notes what could not be seen, and why. */
__attribute__((format(printf, 2, 3))) void doctor_unseen(struct doctor *doctor,
							 const char *format, ...);

/* doctor_fs.c: the mount with statx()'s @mount_id, or for a block device any mount of it, of
 * which the mount point becomes the folder. */
void doctor_look_at_mount(struct doctor *doctor, uint64_t mount_id);
/* S_DAX of an open file. */
void doctor_look_at_file(struct doctor *doctor, int fd);

/* doctor_block.c, doctor_pmem.c: by doctor->dev and what was found before. */
void doctor_look_at_block(struct doctor *doctor);
void doctor_look_at_pmem(struct doctor *doctor);

/* doctor_try.c: MAP_SYNC, long-term pins, and by doctor_huge.c huge pages; on the path itself
 * where that changes nothing, else on a scratch file without a name. */
void doctor_try_all(struct doctor *doctor);
/* doctor_entry.c: whether the 2 MiB at @at, of which one page was faulted in, are mapped by one
 * entry of the page table, as the open /proc/self/pagemap tells; -1: it can't be told.
 * *@by_scan: whether PAGEMAP_SCAN told it, or is to be tried; without it, by whether all of its
 * pages are there, so this must be asked before others of them are touched. */
int doctor_is_huge(int pagemap, const void *at, bool *by_scan);
/* The same of @size bytes, more than 2 MiB, by whether their last page came with the first one. */
bool doctor_is_one_entry(char *at, size_t size);

/* Looks at the ranges of the open file into @huge.  @write: it may be written. */
void doctor_try_huge(struct doctor *doctor, struct doctor_huge *huge, int fd, uint64_t size,
		     bool write);

void doctor_judge(struct doctor *doctor);
/* Whether anything hinders: the exit status. */
bool doctor_hindered(const struct doctor *doctor);

const char *doctor_kind_name(enum doctor_kind kind);
const char *doctor_answer_name(enum doctor_answer answer);
const char *doctor_range_name(enum doctor_range range);

void doctor_print_text(const struct doctor *doctor);
void doctor_print_json(const struct doctor *doctor);

#endif
