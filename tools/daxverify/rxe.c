/* SPDX-License-Identifier: BSD-3-Clause */
/* An RDMA device over the loopback network device, made and taken away by netlink. */
#include "daxverify.h"

#include "file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <rdma/rdma_netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLASS	   "/sys/class/infiniband_verbs"
#define NODE_TRIES 200

/* Of the runner, which makes the device; who holds something in it is a child of that. */
static char own_name[32];

struct request {
	struct nlmsghdr head;
	char attrs[256];
};

static void put(struct request *r, unsigned short type, const void *data, size_t len)
{
	struct nlattr *a = (struct nlattr *)((char *)r + NLMSG_ALIGN(r->head.nlmsg_len));

	a->nla_type = type;
	a->nla_len = (unsigned short)(NLA_HDRLEN + len);
	memcpy((char *)a + NLA_HDRLEN, data, len);
	r->head.nlmsg_len =
		(unsigned)(NLMSG_ALIGN(r->head.nlmsg_len) + NLA_ALIGN(a->nla_len));
}

static void put_str(struct request *r, unsigned short type, const char *s)
{
	put(r, type, s, strlen(s) + 1);
}

static void begin(struct request *r, unsigned op)
{
	memset(r, 0, sizeof(*r));
	r->head.nlmsg_len = NLMSG_HDRLEN;
	r->head.nlmsg_type = (unsigned short)RDMA_NL_GET_TYPE(RDMA_NL_NLDEV, op);
	r->head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
}

static int ask(const struct request *r)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr err;
		char rest[512];
	} reply;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_RDMA), ret;
	ssize_t n;

	if (fd < 0)
		return -errno;
	ret = send(fd, r, r->head.nlmsg_len, 0) < 0 ? -errno : 0;
	n = ret ? 0 : recv(fd, &reply, sizeof(reply), 0);
	if (!ret && n < (ssize_t)(NLMSG_HDRLEN + sizeof(reply.err)))
		ret = n < 0 ? -errno : -EPROTO;
	if (!ret)
		ret = reply.head.nlmsg_type == NLMSG_ERROR ? reply.err.error : -EPROTO;
	close(fd);
	return ret;
}

int dv_rxe_add(void)
{
	struct request r;

	snprintf(own_name, sizeof(own_name), DV_NAME_PREFIX "%d", (int)getpid());
	begin(&r, RDMA_NLDEV_CMD_NEWLINK);
	put_str(&r, RDMA_NLDEV_ATTR_DEV_NAME, own_name);
	put_str(&r, RDMA_NLDEV_ATTR_LINK_TYPE, "rxe");
	put_str(&r, RDMA_NLDEV_ATTR_NDEV_NAME, "lo");
	return ask(&r);
}

/* The value of an attribute of a message, or NULL. */
static const void *find_attr(const struct nlmsghdr *head, unsigned short type)
{
	const char *p = (const char *)head + NLMSG_HDRLEN;
	const char *end = (const char *)head + head->nlmsg_len;
	const struct nlattr *a;

	for (; p + NLA_HDRLEN <= end; p += NLA_ALIGN(a->nla_len)) {
		a = (const struct nlattr *)p;
		if (a->nla_len < NLA_HDRLEN || p + a->nla_len > end)
			return NULL;
		if ((a->nla_type & NLA_TYPE_MASK) == type)
			return p + NLA_HDRLEN;
	}
	return NULL;
}

static bool is_own(const char *name)
{
	return strcmp(name, own_name) == 0;
}

static bool is_dead(const char *name)
{
	return dv_dead_owner(name, DV_NAME_PREFIX);
}

/* A device that is meant, among all that one message of an answer lists. */
static bool find_device(const struct nlmsghdr *head, size_t len,
			bool (*meant)(const char *name), uint32_t *index, char found[64])
{
	const char *name;
	const void *value;

	for (; NLMSG_OK(head, len); head = NLMSG_NEXT(head, len)) {
		name = find_attr(head, RDMA_NLDEV_ATTR_DEV_NAME);
		value = find_attr(head, RDMA_NLDEV_ATTR_DEV_INDEX);
		if (name && value && meant(name)) {
			memcpy(index, value, sizeof(*index));
			snprintf(found, 64, "%.63s", name);
			return true;
		}
	}
	return false;
}

/* Asks for all devices: those of a small machine fit into one answer. */
static int get_index(bool (*meant)(const char *name), uint32_t *index, char found[64])
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_RDMA), ret;
	static char answer[65536] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct request r;
	ssize_t n;

	if (fd < 0)
		return -errno;
	begin(&r, RDMA_NLDEV_CMD_GET);
	r.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	ret = send(fd, &r, r.head.nlmsg_len, 0) < 0 ? -errno : 0;
	n = ret ? -1 : recv(fd, answer, sizeof(answer), 0);
	close(fd);
	if (n < 0)
		return ret ? ret : -EIO;
	return find_device((struct nlmsghdr *)answer, (size_t)n, meant, index, found)
		       ? 0
		       : -ENODEV;
}

static int remove_device(uint32_t index)
{
	struct request r;

	begin(&r, RDMA_NLDEV_CMD_DELLINK);
	put(&r, RDMA_NLDEV_ATTR_DEV_INDEX, &index, sizeof(index));
	return ask(&r);
}

void dv_rxe_remove(void)
{
	uint32_t index = 0;
	char name[64];

	if (!get_index(is_own, &index, name))
		remove_device(index);
}

/* There is at most one: the loopback device takes no second. */
void dv_rxe_remove_dead(void)
{
	uint32_t index = 0;
	char name[64];

	if (!get_index(is_dead, &index, name))
		dv_leftover_say("the RDMA device", name, remove_device(index));
}

static int find_once(char path[64])
{
	char file[PATH_MAX], text[64];
	DIR *dir = opendir(CLASS);
	struct dirent *e;
	int ret = -ENODEV;

	if (!dir)
		return -errno;
	while (ret && (e = readdir(dir))) {
		snprintf(file, sizeof(file), CLASS "/%s/ibdev", e->d_name);
		if (dv_read_text(AT_FDCWD, file, text, sizeof(text)) ||
		    !is_own(text))
			continue;
		snprintf(path, 64, "/dev/infiniband/%.40s", e->d_name);
		ret = access(path, R_OK | W_OK) ? -errno : 0;
	}
	closedir(dir);
	return ret;
}

/* The node comes a moment after the device. */
int dv_rxe_find(char path[64])
{
	int tries = NODE_TRIES, ret;

	while ((ret = find_once(path)) && --tries)
		dv_sleep_ms(5);
	return ret;
}
