/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs the fuzz target over the files of a corpus, without a fuzzer: replay FOLDER.  Prints
 * TAP; what goes wrong ends the process, and so the test.
 */
#include <dirent.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

static void replay(const char *path)
{
	static uint8_t bytes[1 << 16];
	FILE *file = fopen(path, "rb");
	size_t size;
	uint8_t *copy;

	if (!file)
		err(1, "%s", path);
	size = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	/* In a block of its own, so that ASan sees a read behind its end. */
	copy = malloc(size ? size : 1);
	if (!copy)
		err(1, "no memory");
	memcpy(copy, bytes, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

int main(int argc, char **argv)
{
	const char *folder = argc > 1 ? argv[1] : getenv("FUZZ_CORPUS");
	struct dirent **entries;
	int count = folder ? scandir(folder, &entries, NULL, alphasort) : -1;
	unsigned replayed = 0;
	char path[4096];

	if (count < 0)
		err(1, "%s", folder ? folder : "no corpus named");
	LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 0; i < count; i++) {
		if (entries[i]->d_name[0] != '.') {
			snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
			fprintf(stderr, "# %s\n", entries[i]->d_name);
			alarm(60);
			replay(path);
			alarm(0);
			printf("ok %u - %s\n", ++replayed, entries[i]->d_name);
		}
		free(entries[i]);
	}
	free(entries);
	printf("1..%u\n", replayed);
	return replayed ? 0 : 1;
}
