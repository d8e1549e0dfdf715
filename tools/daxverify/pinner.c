/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pins that last as long as wanted: process_vm_readv pins the pages of the other process
 * (FOLL_PIN), and copies them to a page of its own that userfaultfd holds back. Until
 * that page is given, the call sleeps in the middle of the copy, with the pages pinned.
 */
#include "daxverify.h"

#include "file.h"
#include "userfault.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define START_MS 10000

/* In the child: tell which descriptor the gate is, and read through it. */
static void pinner_main(const struct dv_pinner *p, const void *addr, int tell)
{
	struct iovec local = {.iov_base = p->into, .iov_len = p->len};
	struct iovec remote = {.iov_base = (void *)addr, .iov_len = p->len};
	int gate = dv_userfault_open(p->into, p->len, UFFDIO_REGISTER_MODE_MISSING, 0);

	if (write(tell, &gate, sizeof(gate)) != (ssize_t)sizeof(gate) || gate < 0)
		_exit(1);
	_exit(process_vm_readv(getppid(), &local, 1, &remote, 1, 0) == (ssize_t)p->len
		      ? 0
		      : 1);
}

/* The child's descriptor as one of ours. */
static int take_gate(pid_t pid, int from)
{
	int theirs;

	if (read(from, &theirs, sizeof(theirs)) != (ssize_t)sizeof(theirs))
		return -EPIPE;
	return theirs < 0 ? theirs : dv_fd_borrow(pid, theirs);
}

/* The first fault at the gate: by then the pages are pinned. */
static int wait_at_gate(int gate)
{
	struct pollfd p = {.fd = gate, .events = POLLIN};
	struct uffd_msg msg;

	if (poll(&p, 1, START_MS) <= 0)
		return -ETIMEDOUT;
	if (read(gate, &msg, sizeof(msg)) != (ssize_t)sizeof(msg))
		return -EIO;
	return msg.event == UFFD_EVENT_PAGEFAULT ? 0 : -EIO;
}

int dv_pinner_start(struct dv_pinner *p, const void *addr, unsigned npages)
{
	int tell[2], ret;

	p->len = npages * dv_page_size();
	p->into = mmap(NULL, p->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	if (p->into == MAP_FAILED || pipe2(tell, O_CLOEXEC))
		return -errno;
	p->pid = dv_child_fork();
	if (p->pid == 0)
		pinner_main(p, addr, tell[1]);
	munmap(p->into, p->len);
	close(tell[1]);
	p->gate = p->pid < 0 ? -EAGAIN : take_gate(p->pid, tell[0]);
	close(tell[0]);
	ret = p->gate < 0 ? p->gate : wait_at_gate(p->gate);
	if (ret && p->gate >= 0)
		close(p->gate);
	if (ret && p->pid > 0)
		kill(p->pid, SIGKILL);
	return ret;
}

int dv_pinner_end(struct dv_pinner *p)
{
	struct uffdio_zeropage zero = {.range = {(uintptr_t)p->into, p->len}};
	int ret = ioctl(p->gate, UFFDIO_ZEROPAGE, &zero) ? -errno : 0, status = 0;

	close(p->gate);
	if (!ret)
		ret = dv_child_wait(p->pid, START_MS, &status);
	return ret ? ret : status ? -EIO : 0;
}
