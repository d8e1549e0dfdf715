/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver of a device DAX, or of the namespace that it is in, goes while it is in use.
 */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "file.h"
#include "memory.h"
#include "rig.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum driver { OF_DEVICE, OF_NAMESPACE };

/* The use and the driver of a row, in one number. */
#define ROW_ARG(driver, use) ((driver) << 8 | (use))

static enum dv_verdict find_driver(struct dv_ctx *c)
{
	static const char *const names[] = {
		[OF_DEVICE] = "device_dax", [OF_NAMESPACE] = "dax_pmem"};
	const char *path = c->env->opt.device_dax, *name = names[c->sc->arg >> 8];
	char node[PATH_MAX];

	if (!path)
		return dv_skip(
			c,
			"no device DAX: name one that may be overwritten and taken from "
			"its driver with --device-dax (ndctl create-namespace -m devdax)");
	/* The node comes and goes; a link to it does not. */
	if (!realpath(path, node))
		return dv_broken(c, "cannot find %s: %s", path, strerror(errno));
	if (dv_driver_find(node, name, &c->shm->driver))
		return dv_skip(c, "%s is no device of the driver %s", path, name);
	return DV_OK;
}

/* With its driver again, the device has what was stored. */
static enum dv_verdict judge_again(struct dv_ctx *c)
{
	unsigned i, good = 0;
	int ret = dv_driver_restore(&c->shm->driver), fd;
	char *map;

	dv_oracle(c, !ret, DV_SYM_NONE, "bind", "the device gets its driver again", "%s",
		  ret ? strerrorname_np(-ret) : "it got it");
	if (ret)
		return DV_OK;
	fd = open(c->shm->driver.node, O_RDWR | O_CLOEXEC);
	map = fd < 0 ? MAP_FAILED
		     : mmap(NULL, DV_HUGE_PAGES * dv_page_size(), PROT_READ | PROT_WRITE,
			    MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return dv_broken(c, "cannot map the device again: %s", strerror(errno));
	if (dv_sabotaged(c, DV_SAB_CORRUPT_CANARY))
		map[3 * dv_page_size() + 8] ^= 1;
	for (i = 0; i < DV_FILE_PAGES; i++) {
		enum dv_page_is is = dv_page_look(map + i * dv_page_size(), i);

		good += is == DV_PAGE_ORIGINAL || (i == 0 && is == DV_PAGE_PROVEN);
	}
	munmap(map, DV_HUGE_PAGES * dv_page_size());
	close(fd);
	dv_oracle(c, good == DV_FILE_PAGES, DV_SYM_NONE, "device",
		  "it has what was stored", "%u of %u pages", good, DV_FILE_PAGES);
	return DV_OK;
}

static enum dv_verdict run_dax(struct dv_ctx *c)
{
	struct dv_tear t = {.use = (enum dv_tear_use)(c->sc->arg & 0xff)};
	struct dv_actor a = {0};
	struct dv_memory m;
	enum dv_verdict v = find_driver(c);

	if (v == DV_OK)
		v = dv_memory_open(c, DV_MEM_DEVDAX, &m);
	if (v != DV_OK)
		return v;
	t.map = t.page = m.addr;
	t.len = m.len;
	c->grip->file = m.fd;
	v = (enum dv_verdict)dv_tear_hold(c, &t);
	close(m.fd);
	if (v == DV_OK)
		v = (enum dv_verdict)dv_tear_unbind(c, &t, &a);
	if (v != DV_OK)
		return v;
	dv_tear_touch(c, &t);
	v = (enum dv_verdict)dv_tear_release(c, &t);
	return v == DV_OK && (!a.shm || a.shm->done) ? judge_again(c) : v;
}

#define PIPE "a page of the device vmspliced into a pipe"
#define PIN                                                                              \
	"a page of the device pinned by a process_vm_readv that sleeps in a userfaultfd"
#define LONG "a page of the device registered as a buffer of an io_uring"
#define ROW(what, said, need, with, by_what, driver, how)                                \
	{                                                                                \
		.name = "teardown-dax-" what, .claim = said,                             \
		.needs = DV_NEED_ROOT | (need), .holder = with, .action = &dv_unbind,    \
		.defect = &dv_teardown_frees_pages, .run = run_dax,                      \
		.arg = ROW_ARG(driver, how), .by = by_what                               \
	}

static const struct dv_scenario scenarios[] = {
	/* clang-format off */
	ROW("idle",
	    "a device DAX that nobody has open can be taken from its driver, and keeps what it had",
	    0, NULL, NULL, OF_DEVICE, DV_TEAR_IDLE),
	ROW("mapped",
	    "a store to a mapped device DAX that has lost its driver is a SIGBUS, and what it had "
	    "is there afterwards", 0, NULL, NULL, OF_DEVICE, DV_TEAR_MAPPED),
	ROW("namespace-idle",
	    "a namespace in devdax mode whose device nobody has open can be disabled, and keeps "
	    "what it had", 0, NULL, NULL, OF_NAMESPACE, DV_TEAR_IDLE),
	ROW("namespace-mapped",
	    "a store to a mapped device whose namespace was disabled is a SIGBUS, and what it had "
	    "is there afterwards", 0, NULL, NULL, OF_NAMESPACE, DV_TEAR_MAPPED),
	ROW("pin",
	    "the driver of a device DAX does not go before a page of it is let go",
	    DV_NEED_DANGER, PIPE, NULL, OF_DEVICE, DV_TEAR_HELD),
	ROW("mapped-pin",
	    "the driver of a device DAX does not go before a page that is pinned is let go",
	    DV_NEED_DANGER | DV_NEED_USERFAULT, PIN, NULL, OF_DEVICE, DV_TEAR_PINNED),
	ROW("registered",
	    "the driver of a device DAX does not go before a page that is pinned for long is let "
	    "go",
	    DV_NEED_DANGER | DV_NEED_URING, LONG, &dv_by_uring_buffers, OF_DEVICE,
	    DV_TEAR_HELD),
	/* clang-format on */
};

const struct dv_group dv_group_teardown_dax = {scenarios, DV_COUNT(scenarios)};
