/* SPDX-License-Identifier: BSD-3-Clause */
/* daxbench pin: what is measured. */
#include "pin.h"

#define OPS	  96u
#define OPS_LARGE 32u		/* of 256 pages */

static const char *const part_names[] = {"pin", "unpin", "both"};
static const char *const memory_names[] = {"file", "device", "anonymous"};

static const char *entry_name(size_t size)
{
	return size == PIN_PAGE ? "4k" : size == PIN_HUGE ? "2m" : "1g";
}

static void add(struct plan *plan, const struct pin *pin)
{
	const char *part = part_names[pin->part], *memory = memory_names[pin->memory];
	const char *entry = entry_name(pin->entry);
	struct cell *cell = plan_add(plan, pin, sizeof(*pin), "%s-%s/%s-%s/%u-page%s",
				     pin->by->name, part, memory, entry, pin->pages,
				     pin->pages == 1 ? "" : "s");

	if (!cell)
		return;
	cell->room = plan->options->ops ? plan->options->ops :
		     pin->pages == PIN_PAGES_MAX ? OPS_LARGE : OPS;
	/* A value is a call, and what is shown of it the share of a page. */
	cell->batch = pin->pages;
	report_add_string(cell->params, "holder", pin->by->name);
	report_add_string(cell->params, "part", part);
	report_add_string(cell->params, "memory", memory);
	report_add_string(cell->params, "entry", entry);
	json_object_object_add(cell->params, "pages", json_object_new_uint64(pin->pages));
}

static void add_of_entry(struct plan *plan, struct pin pin, enum pin_memory memory, size_t entry)
{
	static const unsigned pages[] = {1, 16, PIN_PAGES_MAX};

	pin.memory = memory;
	pin.entry = entry;
	for (unsigned i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		pin.pages = pages[i];
		add(plan, &pin);
	}
}

/* Beside anonymous memory, so that what differs is what the file costs. */
static void add_of_part(struct plan *plan, const struct pin_holder *by, enum pin_part part,
			size_t devdax_align)
{
	struct pin pin = {.by = by, .part = part};

	if (devdax_align) {
		add_of_entry(plan, pin, PIN_OF_DEVICE, devdax_align);
	} else {
		add_of_entry(plan, pin, PIN_OF_FILE, PIN_PAGE);
		add_of_entry(plan, pin, PIN_OF_FILE, PIN_HUGE);
	}
	add_of_entry(plan, pin, PIN_ANONYMOUS, PIN_PAGE);
	add_of_entry(plan, pin, PIN_ANONYMOUS, PIN_HUGE);
}

void pin_list(struct plan *plan, size_t devdax_align)
{
	static const struct pin_holder *const holders[] = {
		&pin_by_vmsplice, &pin_by_zerocopy, &pin_by_uring, &pin_by_xdp, &pin_by_rdma,
		&pin_by_direct_write, &pin_by_direct_read, &pin_by_vm_read, &pin_by_vm_write};

	for (unsigned i = 0; i < sizeof(holders) / sizeof(holders[0]); i++) {
		const struct pin_holder *by = holders[i];

		add_of_part(plan, by, by->let_go ? PIN_TAKE : PIN_BOTH, devdax_align);
		if (by->let_go && !by->late)
			add_of_part(plan, by, PIN_RELEASE, devdax_align);
	}
}
