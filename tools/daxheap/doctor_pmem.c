/* SPDX-License-Identifier: BSD-3-Clause */
/* daxheap doctor: namespace, region, DIMMs by libndctl, device DAX by libdaxctl. */
#include <daxctl/libdaxctl.h>
#include <limits.h>
#include <ndctl/libndctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "doctor.h"

static void copy(char *to, size_t room, const char *from)
{
	snprintf(to, room, "%s", from ? from : "");
}

static const char *mode_name(enum ndctl_namespace_mode mode)
{
	switch (mode) {
	case NDCTL_NS_MODE_FSDAX:
		return "fsdax";
	case NDCTL_NS_MODE_DEVDAX:
		return "devdax";
	case NDCTL_NS_MODE_SECTOR:
		return "sector";
	case NDCTL_NS_MODE_RAW:
		return "raw";
	default:
		return "unknown";
	}
}

static const char *domain_name(enum ndctl_persistence_domain domain)
{
	switch (domain) {
	case PERSISTENCE_CPU_CACHE:
		return "cpu_cache";
	case PERSISTENCE_MEM_CTRL:
		return "memory_controller";
	default:
		return "unknown";
	}
}

static const char *block_device_of(struct ndctl_namespace *ndns)
{
	struct ndctl_pfn *pfn = ndctl_namespace_get_pfn(ndns);
	struct ndctl_btt *btt = ndctl_namespace_get_btt(ndns);

	if (pfn)
		return ndctl_pfn_get_block_device(pfn);
	if (btt)
		return ndctl_btt_get_block_device(btt);
	return ndctl_namespace_get_block_device(ndns);
}

static struct daxctl_dev *devdax_of(struct ndctl_namespace *ndns, dev_t dev)
{
	struct ndctl_dax *dax = ndctl_namespace_get_dax(ndns);
	struct daxctl_region *region = dax ? ndctl_dax_get_daxctl_region(dax) : NULL;
	struct daxctl_dev *found;

	if (!region)
		return NULL;
	daxctl_dev_foreach(region, found)
		if (daxctl_dev_get_major(found) == (int)major(dev) &&
		    daxctl_dev_get_minor(found) == (int)minor(dev))
			return found;
	return NULL;
}

static bool is_ours(const struct doctor *doctor, struct ndctl_namespace *ndns)
{
	const struct doctor_block *block = &doctor->block;
	const char *device;

	if (doctor->kind == DOCTOR_DEVDAX)
		return devdax_of(ndns, doctor->dev);
	device = block_device_of(ndns);
	return device && device[0] && !strcmp(device, block->disk);
}

/* From sysfs where the kernel knows it, else by asking the DIMM, which takes root.  -1: no. */
static long long unsafe_shutdowns(struct ndctl_dimm *dimm)
{
	long long count = ndctl_dimm_get_dirty_shutdown(dimm);
	struct ndctl_cmd *cmd;

	if (count >= 0)
		return count;
	cmd = ndctl_dimm_cmd_new_smart(dimm);
	if (!cmd)
		return -1;
	if (!ndctl_cmd_submit(cmd) &&
	    (ndctl_cmd_smart_get_flags(cmd) & ND_SMART_SHUTDOWN_COUNT_VALID))
		count = ndctl_cmd_smart_get_shutdown_count(cmd);
	ndctl_cmd_unref(cmd);
	return count;
}

static void look_at_dimms(struct doctor_pmem *pmem, struct ndctl_region *region)
{
	struct ndctl_dimm *dimm;

	ndctl_dimm_foreach_in_region(region, dimm) {
		long long count = unsafe_shutdowns(dimm);

		pmem->dimms++;
		if (count < 0)
			continue;
		pmem->dimms_telling++;
		pmem->unsafe_shutdowns += (uint64_t)count;
	}
}

/* By the list of the region, since there is none of the device. */
static uint64_t bad_sectors_of_devdax(struct doctor *doctor, struct ndctl_region *region,
				      struct daxctl_dev *devdax)
{
	uint64_t first = daxctl_dev_get_resource(devdax);
	uint64_t region_first = ndctl_region_get_resource(region);
	uint64_t last = first + daxctl_dev_get_size(devdax), all = 0, ours = 0;
	bool known = first && first != ULLONG_MAX && region_first != ULLONG_MAX;
	struct badblock *bad;

	ndctl_region_badblock_foreach(region, bad) {
		uint64_t start = region_first + bad->offset * 512, end = start + bad->len * 512;

		all += bad->len;
		start = start > first ? start : first;
		end = end < last ? end : last;
		if (known && start < end)
			ours += (end - start) / 512;
	}
	if (known || !all)
		return ours;
	doctor_unseen(doctor, "which of the bad blocks of %s are the device's: root is told",
		      ndctl_region_get_devname(region));
	return all;
}

/* What the region knows, or the namespace's block device, which may have learnt of more. */
static uint64_t bad_sectors(struct ndctl_namespace *ndns)
{
	uint64_t by_region = 0, by_device = 0, start, length;
	struct badblock *bad;
	char path[128];
	FILE *file;

	ndctl_namespace_badblock_foreach(ndns, bad)
		by_region += bad->len;
	snprintf(path, sizeof(path), "/sys/class/block/%s/badblocks", block_device_of(ndns));
	file = fopen(path, "re");
	while (file && fscanf(file, "%ju %ju", &start, &length) == 2)
		by_device += length;
	if (file)
		fclose(file);
	return by_device > by_region ? by_device : by_region;
}

static void look_at_media(struct doctor *doctor, struct ndctl_region *region,
			  struct ndctl_namespace *ndns)
{
	struct ndctl_pfn *pfn = ndctl_namespace_get_pfn(ndns);
	struct daxctl_dev *devdax = doctor->kind == DOCTOR_DEVDAX ?
					    devdax_of(ndns, doctor->dev) : NULL;
	struct doctor_pmem *pmem = &doctor->pmem;

	if (devdax) {
		pmem->size = daxctl_dev_get_size(devdax);
		pmem->align = daxctl_dev_get_align(devdax);
		doctor->size = pmem->size;
		pmem->bad_sectors = bad_sectors_of_devdax(doctor, region, devdax);
	} else if (pfn) {
		pmem->size = ndctl_pfn_get_size(pfn);
		pmem->align = ndctl_pfn_get_align(pfn);
	} else {
		pmem->size = ndctl_namespace_get_size(ndns);
	}
	if (!devdax)
		pmem->bad_sectors = bad_sectors(ndns);
	/* What the libraries say where sysfs says nothing. */
	if (pmem->size == ULLONG_MAX)
		pmem->size = 0;
	if (pmem->align == ULONG_MAX)
		pmem->align = 0;
}

/* Linux takes DRAM for a persistent region where its command line says memmap=SIZE!START. */
static bool is_memmap(void)
{
	char line[4096] = "", *word, *rest = line;
	FILE *file = fopen("/proc/cmdline", "re");
	bool found = false;

	if (!file)
		return false;
	if (fgets(line, sizeof(line), file))
		while ((word = strsep(&rest, " ")))
			found |= !strncmp(word, "memmap=", 7) && strchr(word, '!');
	fclose(file);
	return found;
}

static void look_at_namespace(struct doctor *doctor, struct ndctl_bus *bus,
			      struct ndctl_region *region, struct ndctl_namespace *ndns)
{
	struct doctor_pmem *pmem = &doctor->pmem;
	char real[PATH_MAX], device[128];

	copy(pmem->provider, sizeof(pmem->provider), ndctl_bus_get_provider(bus));
	copy(pmem->region, sizeof(pmem->region), ndctl_region_get_devname(region));
	copy(pmem->name, sizeof(pmem->name), ndctl_namespace_get_devname(ndns));
	copy(pmem->mode, sizeof(pmem->mode), mode_name(ndctl_namespace_get_mode(ndns)));
	copy(pmem->domain, sizeof(pmem->domain),
	     domain_name(ndctl_region_get_persistence_domain(region)));
	pmem->read_only = ndctl_region_get_ro(region) == 1;
	pmem->numa_node = ndctl_namespace_get_numa_node(ndns);
	if (pmem->numa_node < 0)
		pmem->numa_node = ndctl_region_get_numa_node(region);
	look_at_media(doctor, region, ndns);
	look_at_dimms(pmem, region);
	if (pmem->dimms > pmem->dimms_telling)
		doctor_unseen(doctor, "unsafe shutdowns: %u of %u DIMMs below %s don't tell%s",
			      pmem->dimms - pmem->dimms_telling, pmem->dimms, pmem->region,
			      geteuid() ? "; some do when root asks" : "");
	snprintf(device, sizeof(device), "/sys/bus/nd/devices/%s", pmem->region);
	pmem->needs_flush = realpath(device, real) && strstr(real, "/virtio");
	pmem->is_dram = !strncmp(pmem->provider, "e820", 4) && is_memmap();
}

/* Device DAX that belongs to no namespace: memory of another kind, such as HBM or CXL. */
static void look_at_plain_devdax(struct doctor *doctor)
{
	struct daxctl_region *region;
	struct daxctl_dev *dev;
	struct daxctl_ctx *ctx;

	if (daxctl_new(&ctx))
		return;
	daxctl_region_foreach(ctx, region)
		daxctl_dev_foreach(region, dev)
			if (daxctl_dev_get_major(dev) == (int)major(doctor->dev) &&
			    daxctl_dev_get_minor(dev) == (int)minor(doctor->dev)) {
				doctor->size = doctor->pmem.size = daxctl_dev_get_size(dev);
				doctor->pmem.align = daxctl_dev_get_align(dev);
				copy(doctor->pmem.region, sizeof(doctor->pmem.region),
				     daxctl_region_get_devname(region));
			}
	daxctl_unref(ctx);
}

void doctor_look_at_pmem(struct doctor *doctor)
{
	struct ndctl_namespace *ndns;
	struct ndctl_region *region;
	struct ndctl_ctx *ctx;
	struct ndctl_bus *bus;

	if (doctor->kind != DOCTOR_DEVDAX && !doctor->block.whole[0])
		return;
	if (ndctl_new(&ctx)) {
		doctor_unseen(doctor, "namespaces: libndctl can't be set up");
		return;
	}
	ndctl_bus_foreach(ctx, bus)
		ndctl_region_foreach(bus, region)
			ndctl_namespace_foreach(region, ndns)
				if (!doctor->pmem.name[0] && is_ours(doctor, ndns))
					look_at_namespace(doctor, bus, region, ndns);
	if (doctor->kind == DOCTOR_DEVDAX && !doctor->pmem.name[0])
		look_at_plain_devdax(doctor);
	ndctl_unref(ctx);
}
