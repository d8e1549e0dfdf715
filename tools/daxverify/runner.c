/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs scenarios one after the other, each in a child with a limit. */
#include "daxverify.h"

#include "action.h"
#include "actor.h"
#include "file.h"
#include "pins.h"

#include <fcntl.h>
#include <json.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

static volatile sig_atomic_t stopped_by;
static bool hung;

static void on_stop(int sig)
{
	stopped_by = sig;
}

int dv_stopped(void)
{
	return stopped_by;
}

/* A process that nothing ends is left; whoever touches its folder may hang, too. */
bool dv_hung(void)
{
	return hung;
}

const int dv_stops[DV_STOPS] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

void dv_stops_block(sigset_t *before)
{
	sigset_t set;
	unsigned i;

	sigemptyset(&set);
	for (i = 0; i < DV_STOPS; i++)
		sigaddset(&set, dv_stops[i]);
	sigprocmask(SIG_BLOCK, &set, before);
}

/*
 * Unless nohup(1) has it ignored: a shell that puts us into the background does that to
 * SIGINT, too, and then somebody's kill -INT still means us.
 */
void dv_stops_handle(void (*handler)(int))
{
	struct sigaction sa = {.sa_handler = handler}, old;
	unsigned i;

	for (i = 0; i < DV_STOPS; i++) {
		if (dv_stops[i] == SIGHUP && !sigaction(SIGHUP, NULL, &old) &&
		    old.sa_handler == SIG_IGN)
			continue;
		sigaction(dv_stops[i], &sa, NULL);
	}
}

/* They are blocked but for the waits (dv_child_wait): none is missed in between. */
void dv_catch_stops(void)
{
	dv_stops_block(NULL);
	dv_stops_handle(on_stop);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

/* A pipe whose read end does not block. */
static int open_pipe(int *r, int *w)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC))
		return -errno;
	if (fcntl(p[0], F_SETFL, O_NONBLOCK)) {
		close(p[0]);
		close(p[1]);
		return -EIO;
	}
	*r = p[0];
	*w = p[1];
	return 0;
}

/* Sabotage: a page of a file in the pipe, a child, and no end. */
static void hang(struct dv_ctx *c)
{
	char path[PATH_MAX];
	int fd = dv_path(c, path, "file")
			 ? -1
			 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *p = fd < 0 || ftruncate(fd, (off_t)dv_page_size())
			  ? MAP_FAILED
			  : dv_map_dax(fd, dv_page_size(), false);
	struct iovec iov = {.iov_base = p, .iov_len = dv_page_size()};

	if (p == MAP_FAILED)
		return;
	*(volatile char *)p = 1;
	if (vmsplice(c->pipe_w, &iov, 1, SPLICE_F_NONBLOCK) < 0 || dv_child_fork() < 0)
		return;
	for (;;)
		pause();
}

static void scenario_main(struct dv_ctx *c)
{
	enum dv_verdict v;

	setpgid(0, 0);
	if (mkdir(c->folder, 0700)) {
		dv_broken(c, "cannot make %s: %s", c->folder, strerror(errno));
		_exit(DV_BROKEN);
	}
	if (dv_sabotaged(c, DV_SAB_FAKE_WARN))
		dv_kmsg_write("a line that the kernel log oracle must see");
	if (dv_sabotaged(c, DV_SAB_HANG))
		hang(c);
	v = c->sc->run(c);
	/* A thread of this process may be in a call that ends with the release alone. */
	if (c->grip->pid == getpid())
		dv_grip_release(c->grip, NULL, 0, NULL);
	_exit((int)v);
}

static enum dv_verdict timed_out(struct dv_ctx *c, pid_t pid)
{
	struct dv_sight s;

	dv_look(pid, &s);
	return dv_broken(c, "did not end within %d s%s%s%s", c->env->opt.timeout_s,
			 s.where[0] ? "; it sleeps in " : "", s.where,
			 s.state == 'D' && s.where[0] ? " (D)" : "");
}

/* How the scenario's process ended, with a reason where it did not end by itself. */
static enum dv_verdict how_it_ended(struct dv_ctx *c, pid_t pid, int ret, int status)
{
	if (ret == -ETIMEDOUT)
		return timed_out(c, pid);
	if (ret)
		return dv_broken(c, "cannot wait for it: %s", strerror(-ret));
	if (WIFSIGNALED(status))
		return dv_broken(c, "died of signal %d", WTERMSIG(status));
	switch (WEXITSTATUS(status)) {
	case DV_OK:
	case DV_SKIP:
	case DV_BROKEN:
		return (enum dv_verdict)WEXITSTATUS(status);
	default: /* not ok is for the oracles to say */
		return dv_broken(c, "exited with status %d", WEXITSTATUS(status));
	}
}

/* The file system may not be mounted when it ends. */
static bool takes_down(const struct dv_scenario *sc)
{
	enum dv_action_kind kind = sc->action ? sc->action->kind : DV_ACT_READ;

	return kind == DV_ACT_UMOUNT || kind == DV_ACT_DETACH ||
	       (kind == DV_ACT_UNBIND && sc->needs & DV_NEED_OWN_MOUNT);
}

/* Leave nothing. What can't be undone makes the verdict, unless there is a worse one. */
static enum dv_verdict clean_up(struct dv_ctx *c, pid_t pid, enum dv_verdict v)
{
	const struct dv_facts *f = &c->env->facts;
	int ret = dv_end_children(pid, c);

	if (ret && c->sc->needs & DV_NEED_DANGER) {
		dv_judge_leftover(c); /* that is what the scenario is about */
		hung = true;
		close(c->pipe_r);
		close(c->tee_r);
		return DV_OK;
	} else if (ret) {
		v = dv_broken(c, "a process of it can't be ended");
	}
	ret = dv_driver_restore(&c->shm->driver);
	if (ret)
		v = dv_broken(c, "cannot bind %s to its driver again: %s",
			      c->shm->driver.device, strerror(-ret));
	if (takes_down(c->sc) && dv_mounted(f) == 0) {
		ret = dv_remount(f);
		if (ret)
			v = dv_broken(c, "cannot mount %s on %s again: %s", f->device,
				      f->mount_point, strerror(-ret));
	}
	if (c->sc->action && c->sc->action->kind == DV_ACT_REMOUNT)
		dv_remount_readonly(f, false);
	ret = dv_remove_tree(c->folder);
	if (ret)
		v = dv_broken(c, "cannot remove %s: %s", c->folder, strerror(-ret));
	dv_grip_close(c->grip);
	close(c->pipe_r);
	close(c->tee_r);
	return v;
}

static int set_up(struct dv_ctx *c)
{
	int n = snprintf(c->folder, sizeof(c->folder), "%s/%s", c->env->folder,
			 c->sc->name);

	if (n >= (int)sizeof(c->folder))
		return -ENAMETOOLONG;
	if (open_pipe(&c->pipe_r, &c->pipe_w))
		return -errno;
	if (open_pipe(&c->tee_r, &c->tee_w)) {
		close(c->pipe_r);
		close(c->pipe_w);
		return -EMFILE;
	}
	return 0;
}

static void close_all(struct dv_ctx *c)
{
	close(c->pipe_r);
	close(c->pipe_w);
	close(c->tee_r);
	close(c->tee_w);
}

static enum dv_verdict run_child(struct dv_ctx *c)
{
	const int pipes[2] = {c->pipe_r, c->pipe_w}, tees[2] = {c->tee_r, c->tee_w};
	enum dv_verdict v;
	int ret, status = 0;
	pid_t pid;

	ret = dv_grip_open(c->grip, c->sc->by ? c->sc->by : &dv_by_vmsplice, pipes, tees);
	if (ret) {
		close_all(c);
		return dv_skip(c, "%s", c->grip->why);
	}
	pid = dv_child_fork();
	if (pid == 0)
		scenario_main(c);
	close(c->pipe_w);
	close(c->tee_w);
	if (pid < 0) {
		dv_grip_close(c->grip);
		close(c->pipe_r);
		close(c->tee_r);
		return dv_broken(c, "cannot fork: %s", strerror(errno));
	}
	setpgid(pid, pid);
	do {
		ret = dv_child_wait(pid, c->env->opt.timeout_s * 1000, &status);
	} while (ret == -EINTR && !stopped_by);
	v = how_it_ended(c, pid, ret, status);
	return clean_up(c, pid, v);
}

static void run_one(const struct dv_env *env, const struct dv_scenario *sc,
		    struct dv_shm *shm)
{
	struct dv_ctx c = {.env = env,
			   .sc = sc,
			   .shm = shm,
			   .res = &shm->result,
			   .grip = &shm->grip};
	const char *missing = dv_missing(env, sc->needs);
	int64_t begin = dv_now_ns();
	enum dv_verdict v;
	int kmsg, ret;

	memset(shm, 0, sizeof(*shm));
	if (missing) {
		dv_judge(sc, c.res, dv_skip(&c, "%s", missing), false);
		return;
	}
	if (env->warn_once_fd >= 0 && write(env->warn_once_fd, "1", 1) != 1)
		fprintf(stderr, "daxverify: cannot reset WARN_ONCE: %s\n",
			strerror(errno));
	kmsg = dv_kmsg_mark();
	ret = set_up(&c);
	v = ret ? dv_broken(&c, "cannot set up: %s", strerror(-ret)) : run_child(&c);
	dv_kmsg_collect(kmsg, c.res);
	c.res->duration_ms = (dv_now_ns() - begin) / 1000000;
	dv_judge(sc, c.res, v, kmsg >= 0);
}

static int exit_code(const unsigned count[DV_BROKEN + 1])
{
	if (count[DV_NOT_OK] || count[DV_BROKEN])
		return 1;
	return count[DV_OK] ? 0 : 4;
}

static int write_report(const struct dv_env *env, struct json_object *list)
{
	int ret = dv_json_write(dv_json_report(env, list), env->opt.json);

	if (ret)
		fprintf(stderr, "daxverify: cannot write %s: %s\n", env->opt.json,
			strerror(-ret));
	return ret;
}

/* Returns the exit code. */
int dv_run_all(struct dv_env *env, const struct dv_scenario *const *scs, unsigned nr)
{
	bool json_only = env->opt.json && strcmp(env->opt.json, "-") == 0;
	struct dv_pins_table *pins = env->opt.pins ? dv_pins_table_new() : NULL;
	struct json_object *list = json_object_new_array();
	unsigned count[DV_BROKEN + 1] = {0}, i;
	bool quiet;
	struct dv_shm *shm = mmap(NULL, sizeof(*shm), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shm == MAP_FAILED || !list) {
		fprintf(stderr, "daxverify: out of memory\n");
		return 1;
	}
	quiet = json_only || pins;
	if (!quiet)
		dv_ktap_begin(env, nr);
	for (i = 0; i < nr && !stopped_by; i++) {
		if (!quiet)
			dv_ktap_start(scs[i]);
		run_one(env, scs[i], shm);
		if (stopped_by)
			break;
		count[shm->result.verdict]++;
		if (!quiet)
			dv_ktap_result(i + 1, scs[i], &shm->result, env->opt.verbose);
		if (pins)
			dv_pins_table_add(pins, scs[i], &shm->result);
		json_object_array_add(list, dv_json_result(scs[i], &shm->result));
	}
	munmap(shm, sizeof(*shm));
	if (pins && !json_only)
		dv_pins_table_print(pins);
	free(pins);
	if (stopped_by && !quiet)
		printf("Bail out! stopped by signal %d\n", stopped_by);
	else if (!quiet)
		dv_ktap_end();
	if (stopped_by || !env->opt.json)
		json_object_put(list);
	else if (write_report(env, list))
		return EX_CANTCREAT;
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "daxverify: cannot write to stdout\n");
		return EX_CANTCREAT;
	}
	return exit_code(count);
}
