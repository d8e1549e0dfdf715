/* SPDX-License-Identifier: BSD-3-Clause */
/* In the place of observer.c in a daxverify that was configured --without-bpf. */
#include "daxverify.h"

int dv_observer_open(struct dv_observer **o, char *why, size_t len)
{
	(void)o;
	snprintf(why, len, "this daxverify was built without BPF");
	return -ENOSYS;
}

void dv_observer_close(struct dv_observer *o)
{
	(void)o;
}

int dv_observer_look(const struct dv_observer *o, uint64_t pfn, struct dv_page_look *l)
{
	(void)o;
	(void)pfn;
	(void)l;
	return -ENOSYS;
}

void dv_observer_forget(const struct dv_observer *o, pid_t pid)
{
	(void)o;
	(void)pid;
}

int64_t dv_observer_events(const struct dv_observer *o, pid_t pid, enum dv_event event)
{
	(void)o;
	(void)pid;
	(void)event;
	return -ENOSYS;
}
