/* SPDX-License-Identifier: BSD-3-Clause */
/* Files of which each word says whose it is, and where their blocks lie. */
#ifndef DAXVERIFY_FILE_H
#define DAXVERIFY_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct dv_ctx;

/* file.c: files with a canary in every word */
/* `count` pages of a file, each `stride` pages after the one before. */
struct dv_span {
	unsigned first, count, stride;
};
enum dv_tag { DV_TAG_ORIGINAL = 1, DV_TAG_PROOF, DV_TAG_VICTIM, DV_TAG_DEVICE };
enum dv_page_is {
	DV_PAGE_PROVEN,	  /* original, with the word stored after the pin */
	DV_PAGE_ORIGINAL, /* original, without that word */
	DV_PAGE_VICTIM,
	DV_PAGE_DEVICE, /* what a slow device has on it (slow.c) */
	DV_PAGE_ZERO,
	DV_PAGE_OTHER,
};
int dv_path(const struct dv_ctx *c, char path[PATH_MAX], const char *name);
int dv_file_make(const char *path, unsigned npages);
int dv_file_sparse(const char *path, unsigned npages);
int dv_file_make_as(const char *path, unsigned npages, unsigned index);
int dv_file_make_at(const char *path, unsigned npages, const struct dv_span *span);
int dv_file_prove(const char *path, const struct dv_span *span);
int dv_file_write(const char *path, unsigned npages);
int dv_file_spoil(const char *path, unsigned page);
/* A new file that shares all blocks of the first. */
int dv_file_clone(const char *from, const char *to);
void dv_page_prove(void *page, unsigned index);
void dv_page_fill(void *page, enum dv_tag tag, unsigned index);
enum dv_page_is dv_page_look(const void *page, unsigned index);
/* Sabotage: memory that says the same, and is no file's. NULL when there is none. */
void *dv_page_copy(const void *page);
int dv_write_all(int fd, const void *buf, size_t len, off_t at);
int dv_read_all(int fd, void *buf, size_t len, off_t at);
int dv_read_text(int dirfd, const char *path, char *buf, size_t len);
void *dv_map_dax(int fd, size_t len, bool sync);
size_t dv_page_size(void);

/* fill.c: leave a file system no free block but those that are freed later */
int dv_fill_ballast(const char *path);
int dv_fill_victim(const char *path, unsigned *pages);

/* extents.c */
#define DV_EXTENTS_MAX 2048
struct dv_extents {
	unsigned nr;
	uint64_t from[DV_EXTENTS_MAX], at[DV_EXTENTS_MAX], len[DV_EXTENTS_MAX];
};
int dv_extents_get(const char *path, struct dv_extents *x);
uint64_t dv_extents_where(const struct dv_extents *x, unsigned page);
bool dv_extents_have(const struct dv_extents *x, uint64_t where);

#endif
