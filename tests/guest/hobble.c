/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a command with less than root has: hobble HOW[,HOW...] COMMAND [ARG...]
 *
 * user      as a user without privileges
 * nocaps    as root without a capability, as in a container
 * memlock   with no memory that may be locked
 * bpf, uring, userfaultfd, pidfd
 *	     with that system call refused (EPERM), as seccomp filters of containers do
 */
#include <errno.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY 65534

static int refuse(unsigned nr)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* From the bounding set, too: root gets all of that back with an exec. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {0};
	int i;

	for (i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++) {
		if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0))
			return -1;
	}
	return (int)syscall(SYS_capset, &head, none);
}

static int become_user(void)
{
	return syscall(SYS_setgroups, 0, NULL) ||
	       syscall(SYS_setresgid, NOBODY, NOBODY, NOBODY) ||
	       syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY);
}

static int hobble(const char *how)
{
	static const struct {
		const char *how;
		unsigned nr;
	} calls[] = {
		{"bpf", SYS_bpf},
		{"uring", SYS_io_uring_setup},
		{"userfaultfd", SYS_userfaultfd},
		{"pidfd", SYS_pidfd_getfd},
	};
	struct rlimit none = {0, 0};
	unsigned i;

	if (strcmp(how, "user") == 0)
		return become_user();
	if (strcmp(how, "nocaps") == 0)
		return drop_capabilities();
	if (strcmp(how, "memlock") == 0)
		return setrlimit(RLIMIT_MEMLOCK, &none);
	for (i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (strcmp(how, calls[i].how) == 0)
			return refuse(calls[i].nr);
	}
	errno = EINVAL;
	return -1;
}

int main(int argc, char **argv)
{
	char *how;

	if (argc < 3) {
		fprintf(stderr, "usage: hobble HOW[,HOW...] COMMAND [ARG...]\n");
		return 64;
	}
	for (how = strtok(argv[1], ","); how; how = strtok(NULL, ",")) {
		if (hobble(how)) {
			fprintf(stderr, "hobble: %s: %s\n", how, strerror(errno));
			return 70;
		}
	}
	execvp(argv[2], argv + 2);
	fprintf(stderr, "hobble: %s: %s\n", argv[2], strerror(errno));
	return 70;
}
