/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loads observer.bpf.c into the running kernel and asks it. Loaded once for a whole run:
 * each probe that is set or taken away patches the kernel's code, see trace.c.
 */
#include "daxverify.h"

#include <bpf/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "observer.skel.h"

/*
 * The names of one thing in all kernels seen. An event is known when one of them is
 * there; where several are, a call of one may be a call of the next as well.
 */
static const struct hook {
	const char *function;
	enum dv_event event;
	bool returns_page;
} hooks[] = {
	{"dax_layout_busy_page_range", DV_EV_LOOK, false},
	{"dax_layout_busy_page_range", DV_EV_BUSY, true},
	{"dax_break_layout", DV_EV_BREAK, false},
	{"ext4_break_layouts", DV_EV_BREAK, false},
	{"xfs_break_dax_layouts", DV_EV_BREAK, false},
	{"dax_break_layout_final", DV_EV_FINAL, false},
	{"free_zone_device_page", DV_EV_FREE, false},
	{"free_zone_device_folio", DV_EV_FREE, false},
	{"__put_devmap_managed_page_refs", DV_EV_PUT, false},
	{"__put_devmap_managed_folio_refs", DV_EV_PUT, false},
};

struct dv_observer {
	struct observer_bpf *bpf;
	struct bpf_link *links[DV_COUNT(hooks)];
	bool known[DV_EVENTS];
	int look_fd, events_fd;
};

/* libbpf's own last word: it often says more than the errno. */
static char last_word[160];

static int listen(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	if (level == LIBBPF_WARN) {
		vsnprintf(last_word, sizeof(last_word), fmt, ap);
		last_word[strcspn(last_word, "\n")] = 0;
	}
	return 0;
}

static int say_why(int ret, char *why, size_t len)
{
	if (geteuid() != 0)
		snprintf(why, len, "needs root");
	else if (access("/sys/kernel/btf/vmlinux", R_OK))
		snprintf(why, len,
			 "the kernel has no type information (CONFIG_DEBUG_INFO_BTF)");
	else
		snprintf(why, len, "the kernel takes no BPF program: %s%s%s",
			 strerror(-ret), last_word[0] ? "; " : "", last_word);
	return ret;
}

/* In a container the kernel's own process ids are not ours. */
static int set_namespace(struct observer_bpf *bpf)
{
	struct stat st;

	if (stat("/proc/self/ns/pid", &st))
		return -errno;
	bpf->rodata->pid_ns_dev = st.st_dev;
	bpf->rodata->pid_ns_ino = st.st_ino;
	return 0;
}

static void set_hooks(struct dv_observer *o)
{
	struct bpf_program *program;
	unsigned i;

	for (i = 0; i < DV_COUNT(hooks); i++) {
		LIBBPF_OPTS(bpf_kprobe_opts, opts, .bpf_cookie = hooks[i].event,
			    .retprobe = hooks[i].returns_page);

		program = hooks[i].returns_page ? o->bpf->progs.on_page
						: o->bpf->progs.on_call;
		o->links[i] = bpf_program__attach_kprobe_opts(program, hooks[i].function,
							      &opts);
		if (o->links[i])
			o->known[hooks[i].event] = true;
	}
}

int dv_observer_open(struct dv_observer **out, char *why, size_t len)
{
	struct dv_page_look first;
	struct dv_observer *o;
	int ret;

	last_word[0] = 0;
	if (geteuid() != 0)
		return say_why(-EPERM, why, len);
	libbpf_set_print(listen);
	o = calloc(1, sizeof(*o));
	if (!o)
		return say_why(-ENOMEM, why, len);
	o->bpf = observer_bpf__open();
	ret = o->bpf ? set_namespace(o->bpf) : -errno;
	if (!ret)
		ret = observer_bpf__load(o->bpf);
	if (ret) {
		say_why(ret, why, len);
		dv_observer_close(o);
		return ret;
	}
	o->look_fd = bpf_program__fd(o->bpf->progs.look);
	o->events_fd = bpf_map__fd(o->bpf->maps.events);
	if (dv_observer_look(o, 0, &first) == -ENXIO) {
		snprintf(why, len,
			 "the kernel does not tell where its pages are (vmemmap_base; "
			 "CONFIG_KALLSYMS_ALL, and kptr_restrict below 2)");
		dv_observer_close(o);
		return -ENXIO;
	}
	set_hooks(o);
	*out = o;
	return 0;
}

void dv_observer_close(struct dv_observer *o)
{
	unsigned i;

	if (!o)
		return;
	for (i = 0; i < DV_COUNT(hooks); i++)
		bpf_link__destroy(o->links[i]);
	observer_bpf__destroy(o->bpf);
	free(o);
}

int dv_observer_look(const struct dv_observer *o, uint64_t pfn, struct dv_page_look *l)
{
	struct dv_page_look look = {.pfn = pfn};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &look,
		    .ctx_size_in = sizeof(look));
	int ret = bpf_prog_test_run_opts(o->look_fd, &opts);

	if (ret || look.error)
		return ret ? ret : look.error;
	*l = look;
	return 0;
}

void dv_observer_forget(const struct dv_observer *o, pid_t pid)
{
	struct dv_event_key key = {.tgid = (unsigned)pid};

	for (key.event = 0; key.event < DV_EVENTS; key.event++)
		bpf_map_delete_elem(o->events_fd, &key);
}

int64_t dv_observer_events(const struct dv_observer *o, pid_t pid, enum dv_event event)
{
	struct dv_event_key key = {(unsigned)pid, event};
	uint64_t n = 0;

	if (!o->known[event])
		return -ENOENT;
	if (bpf_map_lookup_elem(o->events_fd, &key, &n))
		return errno == ENOENT ? 0 : -errno;
	return (int64_t)n;
}
