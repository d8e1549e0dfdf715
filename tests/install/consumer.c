/* SPDX-License-Identifier: BSD-3-Clause */
/* What README shows, against an installed library, as C and as C++: consumer POOL */
#include <daxheap.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int failed(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, daxheap_errormsg());
	return 1;
}

int main(int argc, char **argv)
{
	struct daxheap *heap;
	daxheap_ref *root;
	void *block;

	if (argc != 2 || daxheap_create(argv[1], 8 << 20, 0, &heap))
		return failed("create");
	if (daxheap_root(heap, "greeting", &root) || daxheap_alloc(heap, 32, &block))
		return failed("alloc");
	strcpy((char *)block, "hello");
	if (daxheap_persist(heap, block, 32) || daxheap_publish(heap, root, block))
		return failed("publish");
	daxheap_close(heap);

	if (daxheap_open(argv[1], DAXHEAP_READ_ONLY, &heap) ||
	    daxheap_root(heap, "greeting", &root))
		return failed("open");
	if (!*root || strcmp((const char *)daxheap_ptr(heap, *root), "hello"))
		return failed("content");
	daxheap_close(heap);
	return unlink(argv[1]) ? 1 : 0;
}
