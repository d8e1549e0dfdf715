/* SPDX-License-Identifier: BSD-3-Clause */
/* The actor: a process that makes the one call which may hang, and who watches it. */
#include "daxverify.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#define POLL_MS	     4
#define HELD_MS	     250 /* asleep in a layout wait this long: it waits */
#define HELD_SAMPLES 5
#define BLIND_MS     2000 /* the same where the kernel does not say where it sleeps */
#define ASTRAY_MS    6000 /* asleep, but somewhere else */

static struct dv_actor_shm *self;

static void on_signal(int sig)
{
	(void)sig;
	self->signals++;
}

static int catch_signal(enum dv_handler handler)
{
	struct sigaction sa = {.sa_handler = on_signal};

	if (handler == DV_HANDLER_NONE)
		return 0;
	sa.sa_flags = handler == DV_HANDLER_RESTART ? SA_RESTART : 0;
	return sigaction(SIGUSR1, &sa, NULL) ? -errno : 0;
}

static long madv_remove(const struct dv_target *t, size_t page)
{
	const struct dv_action *a = t->action;
	size_t len = a->count * page;
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd,
		       (off_t)(a->first * page));

	return p == MAP_FAILED ? -1 : madvise(p, len, MADV_REMOVE);
}

static int fallocate_mode(enum dv_action_kind kind)
{
	switch (kind) {
	case DV_ACT_PUNCH:
		return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	case DV_ACT_ZERO_RANGE:
		return FALLOC_FL_ZERO_RANGE;
	case DV_ACT_COLLAPSE:
		return FALLOC_FL_COLLAPSE_RANGE;
	default:
		return FALLOC_FL_INSERT_RANGE;
	}
}

/* The call itself: -1 and errno, or something not negative. */
long dv_action_do(struct dv_target *t)
{
	const struct dv_action *a = t->action;
	size_t page = dv_page_size();
	char to[PATH_MAX + 8], byte[64];

	switch (a->kind) {
	case DV_ACT_TRUNCATE:
		return ftruncate(t->fd, (off_t)(a->first * page));
	case DV_ACT_OPEN_TRUNC:
		return open(t->path, O_RDWR | O_TRUNC | O_CLOEXEC);
	case DV_ACT_PUNCH:
	case DV_ACT_ZERO_RANGE:
	case DV_ACT_COLLAPSE:
	case DV_ACT_INSERT:
		return fallocate(t->fd, fallocate_mode(a->kind), (off_t)(a->first * page),
				 (off_t)(a->count * page));
	case DV_ACT_MADV_REMOVE:
		return madv_remove(t, page);
	case DV_ACT_READ:
		return pread(t->fd, byte, sizeof(byte), (off_t)(a->first * page));
	case DV_ACT_UNLINK:
		return unlink(t->path);
	case DV_ACT_RENAME_OVER:
		snprintf(to, sizeof(to), "%s.new", t->path);
		return rename(to, t->path);
	case DV_ACT_CLOSE:
		return close(t->fd);
	case DV_ACT_UMOUNT:
		return umount2(t->mount_point, 0);
	}
	errno = EINVAL;
	return -1;
}

static bool wants_fd(enum dv_action_kind kind)
{
	return kind != DV_ACT_UNLINK && kind != DV_ACT_UMOUNT &&
	       kind != DV_ACT_OPEN_TRUNC && kind != DV_ACT_RENAME_OVER;
}

static void actor_main(struct dv_target *t, enum dv_handler handler)
{
	self->ret = catch_signal(handler);
	self->start_ns = dv_now_ns();
	self->started = 1;
	if (self->ret == 0)
		self->ret = dv_action_do(t);
	self->err = self->ret < 0 ? errno : 0;
	self->end_ns = dv_now_ns();
	self->done = 1;
	_exit(0);
}

/*
 * For DV_ACT_CLOSE the file is unlinked first: the descriptor opened here is the last
 * reference. The opening itself is done before the action is said to have started.
 */
int dv_actor_start(struct dv_ctx *c, struct dv_actor *a, const struct dv_action *action,
		   const char *path, enum dv_handler handler)
{
	struct dv_target t = {.action = action, .fd = -1};
	unsigned slot = c->shm->nactors;

	if (slot == DV_ACTORS_MAX)
		return -ENOSPC;
	c->shm->nactors = slot + 1;
	memset(a, 0, sizeof(*a));
	a->action = action;
	a->shm = &c->shm->actors[slot];
	snprintf(t.path, sizeof(t.path), "%s", path);
	t.mount_point = c->env->facts.mount_point;
	a->pid = dv_child_fork();
	if (a->pid < 0)
		return -errno;
	if (a->pid)
		return 0;
	self = a->shm;
	if (wants_fd(action->kind)) {
		t.fd = open(path, O_RDWR | O_CLOEXEC);
		if (t.fd < 0 || (action->kind == DV_ACT_CLOSE && unlink(path))) {
			self->ret = -1;
			self->err = errno;
			self->done = 1;
			_exit(1);
		}
	}
	actor_main(&t, handler);
	return 0; /* not reached */
}

/* Which of the three ways to be asleep this is, and how long it has to last to count. */
enum asleep { AWAKE, IN_LAYOUT, BLIND, ASTRAY };

static enum asleep asleep_how(const struct dv_sight *s)
{
	if (s->state != 'S' && s->state != 'D')
		return AWAKE;
	if (s->in_layout)
		return IN_LAYOUT;
	return s->where[0] ? ASTRAY : BLIND;
}

/*
 * Watch until the call has ended or is seen to wait. Nothing is concluded from time
 * alone: the actor must be seen asleep again and again in the same way. A task that was
 * woken is in state R, however slow the machine.
 */
enum dv_seen dv_actor_watch(struct dv_actor *a)
{
	static const int lasts_ms[] = {
		[IN_LAYOUT] = HELD_MS, [BLIND] = BLIND_MS, [ASTRAY] = ASTRAY_MS};
	enum asleep now, before = AWAKE;
	int64_t since = dv_now_ns(), begin = since;
	unsigned samples = 0;

	for (;;) {
		if (a->shm->done)
			return DV_SEEN_DONE;
		dv_look(a->pid, &a->sight);
		now = a->shm->started ? asleep_how(&a->sight) : AWAKE;
		if (now != before || now == AWAKE) {
			before = now;
			since = dv_now_ns();
			samples = 0;
		} else if (++samples >= HELD_SAMPLES &&
			   dv_now_ns() - since >= lasts_ms[now] * INT64_C(1000000)) {
			return now == ASTRAY ? DV_SEEN_ELSEWHERE : DV_SEEN_ASLEEP;
		}
		if (dv_now_ns() - begin > DV_LIMIT_MS * INT64_C(1000000))
			return DV_SEEN_ELSEWHERE;
		dv_sleep_ms(POLL_MS);
	}
}

/*
 * 0 when the call has ended. -ETIMEDOUT when the actor was seen asleep in one wait for
 * DAX pages for asleep_ms without a break, or after limit_ms in any case.
 */
int dv_actor_wait(struct dv_actor *a, int asleep_ms, int limit_ms)
{
	int64_t begin = dv_now_ns(), since = begin, now;

	while (!a->shm->done) {
		dv_look(a->pid, &a->sight);
		now = dv_now_ns();
		if (asleep_how(&a->sight) != IN_LAYOUT && asleep_how(&a->sight) != BLIND)
			since = now;
		if (now - since > asleep_ms * INT64_C(1000000) ||
		    now - begin > limit_ms * INT64_C(1000000))
			return a->shm->done ? 0 : -ETIMEDOUT;
		dv_sleep_ms(POLL_MS);
	}
	return 0;
}
