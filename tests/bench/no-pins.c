/* SPDX-License-Identifier: BSD-3-Clause */
/* A preload by which calls that hold pages succeed without holding any, for the negative control of
 * daxbench pin. */
#include <errno.h>
#include <linux/if_xdp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct io_uring;

ssize_t vmsplice(int fd, const struct iovec *parts, size_t count, unsigned flags);
ssize_t process_vm_readv(pid_t pid, const struct iovec *to, unsigned long to_count,
			 const struct iovec *from, unsigned long from_count, unsigned long flags);
int setsockopt(int fd, int level, int name, const void *value, socklen_t length);
int io_uring_register_buffers(struct io_uring *ring, const struct iovec *parts, unsigned count);
int io_uring_unregister_buffers(struct io_uring *ring);

/* A pipe of copies. */
ssize_t vmsplice(int fd, const struct iovec *parts, size_t count, unsigned flags)
{
	(void)flags;
	return writev(fd, parts, (int)count);
}

ssize_t process_vm_readv(pid_t pid, const struct iovec *to, unsigned long to_count,
			 const struct iovec *from, unsigned long from_count, unsigned long flags)
{
	(void)pid;
	(void)to_count;
	(void)from;
	(void)from_count;
	(void)flags;
	return (ssize_t)to->iov_len;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
	if (level == SOL_XDP && name == XDP_UMEM_REG)
		return 0;
	return (int)syscall(SYS_setsockopt, fd, level, name, value, length);
}

int io_uring_register_buffers(struct io_uring *ring, const struct iovec *parts, unsigned count)
{
	(void)ring;
	(void)parts;
	(void)count;
	return 0;
}

int io_uring_unregister_buffers(struct io_uring *ring)
{
	(void)ring;
	return 0;
}
