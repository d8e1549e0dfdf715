/* SPDX-License-Identifier: BSD-3-Clause */
/* Finding such memory, mapping it, and how much of it is in use. */
#include "daxverify.h"

#include "file.h"
#include "p2p.h"

#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEVICES "/sys/bus/pci/devices/*/p2pmem/allocate"
/* What an exit gives back comes back a little after it. */
#define SETTLE_MS 1000

long dv_p2p_available(const struct dv_p2p *p)
{
	char path[sizeof(p->device) + 32], text[64];
	int ret;

	snprintf(path, sizeof(path), "%s/p2pmem/available", p->device);
	ret = dv_read_text(AT_FDCWD, path, text, sizeof(text));
	return ret ? ret : atol(text);
}

void *dv_p2p_map(const struct dv_p2p *p, size_t len)
{
	return mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
}

bool dv_p2p_has_drive(const struct dv_p2p *p, const char *name)
{
	char path[sizeof(p->device) + NAME_MAX];
	bool found;
	glob_t g;

	snprintf(path, sizeof(path), "%s/nvme/*/%s", p->device, name);
	found = glob(path, 0, NULL, &g) == 0;
	if (found)
		globfree(&g);
	return found;
}

/* The PCI device whose drive was named on the command line, or else the first one. */
static int choose(struct dv_p2p *p, const glob_t *g, const char *drive)
{
	size_t i, len;

	for (i = 0; i < g->gl_pathc; i++) {
		len = strlen(g->gl_pathv[i]) - strlen("/p2pmem/allocate");
		if (len >= sizeof(p->device))
			continue;
		memcpy(p->device, g->gl_pathv[i], len);
		p->device[len] = 0;
		if (!drive || dv_p2p_has_drive(p, drive))
			return 0;
	}
	return -ENODEV;
}

int dv_p2p_find(struct dv_ctx *c, struct dv_p2p *p)
{
	const char *drive = c->env->opt.nvme;
	char path[sizeof(p->device) + 32];
	glob_t g;
	int ret;

	memset(p, 0, sizeof(*p));
	if (glob(DEVICES, 0, NULL, &g))
		return dv_skip(
			c,
			"no PCI device here has memory for peers (%s): needs a kernel "
			"with CONFIG_PCI_P2PDMA, 6.2 or newer, and a device with such "
			"memory, as an NVMe controller with a CMB",
			DEVICES);
	ret = choose(p, &g,
		     drive && strrchr(drive, '/') ? strrchr(drive, '/') + 1 : drive);
	globfree(&g);
	if (ret)
		return dv_skip(c, "the controller of %s has no memory for peers", drive);
	snprintf(path, sizeof(path), "%s/p2pmem/allocate", p->device);
	p->fd = open(path, O_RDWR | O_CLOEXEC);
	if (p->fd < 0)
		return dv_broken(c, "cannot open %s: %s", path, strerror(errno));
	p->before = dv_p2p_available(p);
	return p->before < 0 ? dv_broken(c, "cannot read how much of %s is free: %s",
					 path, strerror((int)-p->before))
			     : DV_OK;
}

void dv_p2p_judge_allocated(struct dv_ctx *c, const struct dv_p2p *p, const char *name,
			    size_t allocated)
{
	int64_t begin = dv_now_ns();
	char expected[64];
	long used;

	do {
		used = p->before - dv_p2p_available(p);
		if (used == (long)allocated)
			break;
		dv_sleep_ms(4);
	} while (dv_now_ns() - begin < SETTLE_MS * INT64_C(1000000));
	snprintf(expected, sizeof(expected), "%zu bytes more are in use than before",
		 allocated);
	dv_oracle(c, used == (long)allocated, DV_SYM_NONE, name, expected, "%ld bytes",
		  used);
}
