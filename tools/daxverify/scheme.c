/* SPDX-License-Identifier: BSD-3-Clause */
/* In which of two ways this kernel counts, and what it has to count then. See counts.h.
 */
#include "daxverify.h"

#include "file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int look_mapped(const struct dv_observer *o, const char *path,
		       struct dv_page_look *mapped, struct dv_page_look *idle)
{
	size_t page = dv_page_size();
	int fd = open(path, O_RDONLY | O_CLOEXEC), ret;
	volatile char *p =
		fd < 0 ? MAP_FAILED : mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
	uint64_t pfn;

	ret = p == MAP_FAILED ? -errno : 0;
	if (!ret) {
		(void)*p;
		ret = dv_pfn_at(getpid(), (void *)p, &pfn);
		if (!ret)
			ret = dv_observer_look(o, pfn, mapped);
		munmap((void *)p, page);
	}
	if (!ret)
		ret = dv_observer_look(o, pfn, idle);
	if (fd >= 0)
		close(fd);
	return ret;
}

/*
 * 0 and env->scheme; `seen` has the counts in words. -EDOM when they are those of neither
 * way: something counts wrong here, or in a way that is new.
 */
int dv_scheme_find(struct dv_env *env, char *seen, size_t len)
{
	struct dv_page_look mapped, idle;
	char path[PATH_MAX];
	int ret;

	if (snprintf(path, sizeof(path), "%s/scheme", env->folder) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	ret = dv_file_make(path, 1);
	if (!ret)
		ret = look_mapped(env->observer, path, &mapped, &idle);
	unlink(path);
	if (ret)
		return ret;
	snprintf(seen, len,
		 "mapped once: count %d, mapcount %d; unmapped: count %d, mapcount %d",
		 mapped.ref, mapped.map, idle.ref, idle.map);
	if (idle.ref == 1 && mapped.ref == 1 && idle.map == 0 && mapped.map == 0)
		env->scheme = DV_SCHEME_IDLE_1;
	else if (idle.ref == 0 && mapped.ref == 1 && idle.map == 0 && mapped.map == 1)
		env->scheme = DV_SCHEME_IDLE_0;
	return env->scheme == DV_SCHEME_UNKNOWN ? -EDOM : 0;
}

const char *dv_scheme_name(enum dv_scheme s)
{
	switch (s) {
	case DV_SCHEME_IDLE_1:
		return "idle 1, mappings not counted";
	case DV_SCHEME_IDLE_0:
		return "idle 0, mappings counted";
	case DV_SCHEME_UNKNOWN:
		break;
	}
	return NULL;
}

struct dv_page_look dv_scheme_expect(enum dv_scheme s, unsigned order, struct dv_uses u)
{
	struct dv_page_look want = {.order = order, .ref = (int)u.gets};

	if (s == DV_SCHEME_IDLE_1) {
		want.ref += 1;
	} else {
		want.ref += (int)(u.base + u.maps);
		want.map = (int)u.maps;
	}
	if (order) {
		want.ref += (int)u.pins;
		want.pin = (int)u.pins;
	} else {
		want.ref += DV_PIN_BIAS * (int)u.pins;
	}
	return want;
}
