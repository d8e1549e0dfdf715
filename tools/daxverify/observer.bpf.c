// SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause)
/*
 * The part of the observer that runs in the kernel: reads the counts of a page, and
 * counts what the kernel does about pages that are held. It changes nothing there.
 *
 * The types below have just the members that are read. The loader moves each access to
 * where the running kernel has the member (CO-RE), so one object fits all of them.
 */
#include <linux/bpf.h>
#include <asm/ptrace.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "observer_abi.h"

#define IN_KERNEL __attribute__((preserve_access_index))
#define EFAULT	  14
#define ENXIO	  6

typedef struct {
	int counter;
} atomic_t;

struct page {
	unsigned long compound_head;
	atomic_t _mapcount, _refcount;
} IN_KERNEL;

/* What newer kernels call it. Three underscores and what follows are no part of a name.
 */
struct page___info {
	unsigned long compound_info;
} IN_KERNEL;

struct folio {
	unsigned long _flags_1;
	atomic_t _pincount;
} IN_KERNEL;

/* Of older kernels. */
struct folio___order {
	unsigned char _folio_order;
} IN_KERNEL;

/* Of newer ones. */
struct folio___large {
	atomic_t _large_mapcount;
} IN_KERNEL;

/* A variable of the kernel's; its address is all that the symbol table tells. */
extern const void vmemmap_base __ksym __weak;

/* The namespace whose process ids user space knows; set before the programs are loaded. */
const volatile __u64 pid_ns_dev, pid_ns_ino;

/* With far more room than a run fills: the map gives up entries long before it is full. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct dv_event_key);
	__type(value, __u64);
} events SEC(".maps");

/*
 * The head of the folio that a page is in. The word of a tail page has its lowest bit
 * set, and is the head's address; or, where the kernel makes do without, the mask that
 * turns the tail's address into the head's. A mask is a small negative number, which no
 * address of a struct page is: above them lie at least the kernel's own 2 GiB.
 */
static unsigned long head_of(unsigned long page)
{
	unsigned long word;

	if (bpf_core_field_exists(struct page___info, compound_info))
		word = BPF_CORE_READ((struct page___info *)page, compound_info);
	else
		word = BPF_CORE_READ((struct page *)page, compound_head);
	if (!(word & 1))
		return page;
	word &= ~1UL;
	return word > -(1UL << 31) ? page & word : word;
}

static unsigned int order_of(unsigned long head)
{
	struct folio___order *old = (void *)head;

	if (bpf_core_field_exists(old->_folio_order))
		return BPF_CORE_READ(old, _folio_order);
	return BPF_CORE_READ((struct folio *)head, _flags_1) & 0xff;
}

static void look_at(struct dv_page_look *l, unsigned long page, unsigned long size)
{
	unsigned long head = head_of(page);
	struct folio___large *large = (void *)head;
	struct folio *folio = (void *)head;

	l->head_pfn = l->pfn - (page - head) / size;
	l->ref = BPF_CORE_READ((struct page *)head, _refcount.counter);
	l->map = BPF_CORE_READ((struct page *)page, _mapcount.counter) + 1;
	l->pin = 0;
	l->order = 0;
	/* Large is what has a tail; the flag that says so is a bit that moves. */
	if (head_of(head + size) != head)
		return;
	l->order = order_of(head);
	l->pin = BPF_CORE_READ(folio, _pincount.counter);
	if (bpf_core_field_exists(large->_large_mapcount))
		l->map = BPF_CORE_READ(large, _large_mapcount.counter) + 1;
}

SEC("syscall")
int look(struct dv_page_look *l)
{
	unsigned long size = bpf_core_type_size(struct page), base = 0;
	int probe;

	l->error = -ENXIO;
	if (!&vmemmap_base || bpf_probe_read_kernel(&base, sizeof(base), &vmemmap_base) ||
	    !size)
		return 0;
	base += l->pfn * size;
	l->error = -EFAULT;
	if (bpf_probe_read_kernel(&probe, sizeof(probe), (void *)base))
		return 0;
	look_at(l, base, size);
	l->error = 0;
	return 0;
}

/* Two threads of a process may be the first at once: only one of them puts the entry in. */
static void count(unsigned int event)
{
	struct dv_event_key key = {.event = event};
	struct bpf_pidns_info id;
	__u64 zero = 0, *n;

	if (bpf_get_ns_current_pid_tgid(pid_ns_dev, pid_ns_ino, &id, sizeof(id)))
		return; /* of another namespace: none of ours */
	key.tgid = id.tgid;
	n = bpf_map_lookup_elem(&events, &key);
	if (!n) {
		bpf_map_update_elem(&events, &key, &zero, BPF_NOEXIST);
		n = bpf_map_lookup_elem(&events, &key);
	}
	if (n)
		__sync_fetch_and_add(n, 1);
}

/* Attached to each of the functions that an event is known by. */
SEC("kprobe")
int on_call(struct pt_regs *ctx)
{
	count(bpf_get_attach_cookie(ctx));
	return 0;
}

/* Attached to the return of functions that return a page, or NULL. */
SEC("kretprobe")
int on_page(struct pt_regs *ctx)
{
	if (PT_REGS_RC(ctx))
		count(bpf_get_attach_cookie(ctx));
	return 0;
}

/* The helpers above are for programs under the GPL alone. */
char LICENSE[] SEC("license") = "Dual BSD/GPL";
