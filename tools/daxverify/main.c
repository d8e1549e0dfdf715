/* SPDX-License-Identifier: BSD-3-Clause */
/* Options, the private folder, and the way out. */
#include "daxverify.h"

#include <argp.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <json.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sysexits.h>
#include <unistd.h>

const char *argp_program_version = "daxverify " PACKAGE_VERSION;

static const char doc[] =
	"Try what the running kernel promises on FS DAX: that a page which something holds is "
	"not freed under it, that a wait ends, that a flush flushes."
	"\vExamples:\n"
	"  daxverify --dir /mnt/pmem\n"
	"  daxverify --dir /mnt/pmem --quick\n"
	"  daxverify --dir /mnt/pmem --scratch --json report.json\n"
	"  daxverify --dir /mnt/pmem --only 'unmapped-*,leak-*' --verbose\n"
	"  daxverify --list\n"
	"  daxverify explain unmapped-busy-page\n"
	"  daxverify reproducer unmapped-busy-page > r.c\n\n"
	"Exit status: 0 all claims hold (some may be skipped), 1 a claim is broken or a set-up "
	"failed, 4 everything was skipped, 64 wrong usage, 66 DIR or DEVICE can't be used, 73 the "
	"report can't be written, 128+N stopped by signal N; then, too, all is cleaned up."
	"\n\nSee daxverify(1) for the verdicts, the kinds of scenarios and the known defects.";

enum {
	OPT_SCRATCH = 256,
	OPT_ONLY,
	OPT_SKIP,
	OPT_TIMEOUT,
	OPT_JSON,
	OPT_LIST,
	OPT_DANGEROUS,
	OPT_PINS,
	OPT_QUICK,
	OPT_DEVICE_DAX,
	OPT_NVME,
	OPT_SABOTAGE
};

static const struct argp_option options[] = {
	{"dir", 'd', "DIR", 0, "folder on the file system under test", 0},
	{"scratch", OPT_SCRATCH, NULL, 0,
	 "the file system may be filled and unmounted: nobody else uses it", 0},
	{"dangerous", OPT_DANGEROUS, NULL, 0,
	 "the kernel may be wedged or killed: this machine can be reset", 0},
	{"json", OPT_JSON, "FILE", 0, "write a report; - for stdout in place of KTAP", 0},
	{"list", OPT_LIST, NULL, 0, "list the scenarios and their claims, kind by kind", 0},
	{"only", OPT_ONLY, "GLOB[,GLOB]", 0, "run these scenarios only", 0},
	{"skip", OPT_SKIP, "GLOB[,GLOB]", 0, "run all but these", 0},
	{"quick", OPT_QUICK, NULL, 0,
	 "only the claims that matter most: some 20 seconds in place of a minute", 0},
	{"timeout", OPT_TIMEOUT, "SECONDS", 0, "limit for one scenario (default 60)", 0},
	{"pins", OPT_PINS, NULL, 0,
	 "only pins-*, and print who may pin what as a table in place of KTAP", 0},
	{"device-dax", OPT_DEVICE_DAX, "DEVICE", 0,
	 "a /dev/daxX.Y that may be overwritten, for scenarios that want one", 0},
	{"nvme", OPT_NVME, "DEVICE", 0,
	 "a /dev/nvmeXnY that may be overwritten, whose controller has a CMB, for p2pdma-*", 0},
	{"verbose", 'v', NULL, 0, "say what each oracle saw, also where all is well", 0},
	{"sabotage", OPT_SABOTAGE, "NAME", OPTION_HIDDEN, "self-test, see daxverify(1)",
	 0},
	{0},
};

static const char *const sabotages[] = {
	[DV_SAB_NO_PIN] = "no-pin",
	[DV_SAB_EARLY_DRAIN] = "early-drain",
	[DV_SAB_NO_DRAIN] = "no-drain",
	[DV_SAB_NO_TOUCH] = "no-touch",
	[DV_SAB_NO_SIGNAL] = "no-signal",
	[DV_SAB_NO_FSYNC] = "no-fsync",
	[DV_SAB_NO_DAX] = "no-dax",
	[DV_SAB_CORRUPT_CANARY] = "corrupt-canary",
	[DV_SAB_FAKE_WARN] = "fake-warn",
	[DV_SAB_HANG] = "hang",
	[DV_SAB_KEEP_PIN] = "keep-pin",
	[DV_SAB_WRONG_SCHEME] = "wrong-scheme",
	[DV_SAB_EXTRA_PIN] = "extra-pin",
	[DV_SAB_NO_COUNTS] = "no-counts",
	[DV_SAB_WRONG_PROCESS] = "wrong-process",
	[DV_SAB_EXTRA_TOUCH] = "extra-touch",
	[DV_SAB_LINGER] = "linger",
};

static enum dv_sabotage parse_sabotage(struct argp_state *state, const char *arg)
{
	unsigned i;

	for (i = 1; i < DV_COUNT(sabotages); i++) {
		if (strcmp(arg, sabotages[i]) == 0)
			return (enum dv_sabotage)i;
	}
	argp_error(state, "no sabotage is named '%s'", arg);
	return DV_SAB_NONE;
}

static int parse_seconds(struct argp_state *state, const char *arg)
{
	char *end;
	long n = strtol(arg, &end, 10);

	if (*arg == 0 || *end || n < 1 || n > 86400)
		argp_error(
			state,
			"--timeout takes a number of seconds from 1 to 86400, not '%s'",
			arg);
	return (int)n;
}

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	struct dv_options *o = state->input;

	switch (key) {
	case 'd':
		o->dir = arg;
		return 0;
	case 'v':
		o->verbose = true;
		return 0;
	case OPT_SCRATCH:
		o->scratch = true;
		return 0;
	case OPT_DANGEROUS:
		o->dangerous = true;
		return 0;
	case OPT_JSON:
		o->json = arg;
		return 0;
	case OPT_LIST:
		o->list = true;
		return 0;
	case OPT_ONLY:
		o->only = arg;
		return 0;
	case OPT_SKIP:
		o->skip = arg;
		return 0;
	case OPT_TIMEOUT:
		o->timeout_s = parse_seconds(state, arg);
		return 0;
	case OPT_PINS:
		o->pins = true;
		return 0;
	case OPT_QUICK:
		o->quick = true;
		return 0;
	case OPT_DEVICE_DAX:
		o->device_dax = arg;
		return 0;
	case OPT_NVME:
		o->nvme = arg;
		return 0;
	case OPT_SABOTAGE:
		o->sabotage = parse_sabotage(state, arg);
		return 0;
	case ARGP_KEY_END:
		if (!o->dir && !o->list)
			argp_error(state,
				   "--dir is missing: which file system is to be tried?");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static bool matches(const char *name, const char *globs)
{
	char *copy = strdup(globs), *glob, *save;
	bool found = false;

	for (glob = copy ? strtok_r(copy, ",", &save) : NULL; glob && !found;
	     glob = strtok_r(NULL, ",", &save))
		found = fnmatch(glob, name, 0) == 0;
	free(copy);
	return found;
}

static unsigned choose(const struct dv_options *o, const struct dv_scenario **scs,
		       unsigned nr)
{
	unsigned i, n = 0;

	for (i = 0; i < nr; i++) {
		if (o->only && !matches(scs[i]->name, o->only))
			continue;
		if (o->pins && !scs[i]->cell)
			continue;
		if (o->quick && !dv_is_quick(scs[i]->name))
			continue;
		if (o->skip && matches(scs[i]->name, o->skip))
			continue;
		scs[n++] = scs[i];
	}
	return n;
}

static int list(const struct dv_options *o, const struct dv_scenario *const *scs,
		unsigned nr)
{
	int ret;

	if (!o->json) {
		dv_list_print(scs, nr);
		return 0;
	}
	ret = dv_json_write(dv_json_list(scs, nr), o->json);
	if (ret)
		fprintf(stderr, "daxverify: cannot write %s: %s\n", o->json,
			strerror(-ret));
	return ret ? EX_CANTCREAT : 0;
}

/* An absolute path: the run leaves the current folder, which may be under test. */
static int fix_json_path(struct dv_options *o, char path[PATH_MAX])
{
	char cwd[PATH_MAX];
	int fd, n;

	if (!o->json || strcmp(o->json, "-") == 0)
		return 0;
	if (o->json[0] == '/' || !getcwd(cwd, sizeof(cwd)))
		n = snprintf(path, PATH_MAX, "%s", o->json);
	else
		n = snprintf(path, PATH_MAX, "%s/%s", cwd, o->json);
	if (n >= PATH_MAX)
		return -ENAMETOOLONG;
	o->json = path;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	o->json_is_new = fd >= 0;
	if (fd < 0 && errno == EEXIST)
		fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* It is going to be overwritten: a file of another kind that was named by mistake is not. */
static int check_device_dax(struct dv_options *o, char path[PATH_MAX])
{
	char link[64], subsystem[PATH_MAX] = "";
	struct stat st;

	if (!o->device_dax)
		return 0;
	if (!realpath(o->device_dax, path) || stat(path, &st)) {
		fprintf(stderr, "daxverify: cannot use %s: %s\n", o->device_dax,
			strerror(errno));
		return EX_NOINPUT;
	}
	snprintf(link, sizeof(link), "/sys/dev/char/%u:%u/subsystem", major(st.st_rdev),
		 minor(st.st_rdev));
	if (!S_ISCHR(st.st_mode) || !realpath(link, subsystem) ||
	    strcmp(strrchr(subsystem, '/'), "/dax") != 0) {
		fprintf(stderr, "daxverify: %s is no device DAX, as /dev/dax0.0 is one\n",
			o->device_dax);
		return EX_NOINPUT;
	}
	o->device_dax = path;
	return 0;
}

static int make_folder(struct dv_env *env)
{
	if (snprintf(env->folder, sizeof(env->folder), "%s/" DV_FOLDER_PREFIX "%d-XXXXXX",
		     env->opt.dir, (int)getpid()) >= (int)sizeof(env->folder) - NAME_MAX)
		return -ENAMETOOLONG;
	return mkdtemp(env->folder) ? 0 : -errno;
}

#define ANSWER_MS 20000

/*
 * Writes to a frozen file system sleep until it is thawed, and nothing ends them: a child
 * tries it. (A file without a name leaves nothing, however that ends.)
 */
static int try_writing(const char *dir)
{
	pid_t pid = dv_child_fork();
	int ret;

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		(void)!open(dir, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
		_exit(0);
	}
	ret = dv_child_wait(pid, ANSWER_MS, NULL);
	if (ret)
		kill(pid, SIGKILL);
	return ret;
}

#define ROOM_BYTES (16 << 20)

static int check_room(const struct dv_env *env)
{
	struct statvfs v;

	if (statvfs(env->folder, &v) == 0 &&
	    (uint64_t)v.f_bavail * v.f_frsize >= ROOM_BYTES)
		return 0;
	rmdir(env->folder);
	return -ENOSPC;
}

static int cannot_use(const char *dir, int err)
{
	const char *what = strerror(-err);

	if (err == -ENOSPC)
		what = "no space there: 16 MiB have to be free, for all scenarios 128 MiB";
	else if (err == -ETIMEDOUT)
		what = "a write there does not come back: if the file system is frozen, "
		       "fsfreeze --unfreeze thaws it";
	else if (err == -EROFS)
		what = "the file system is read-only: mount -o remount,rw";
	fprintf(stderr, "daxverify: cannot use %s: %s\n", dir, what);
	return EX_NOINPUT;
}

/* Lets each WARN_ONCE speak again; -1 without debugfs, where each speaks but once. */
static int open_warn_once(void)
{
	int mnt = dv_mount_detached("debugfs"), fd;

	if (mnt < 0)
		return -1;
	fd = openat(mnt, "clear_warn_once", O_WRONLY | O_CLOEXEC);
	close(mnt);
	return fd;
}

static int verify(struct dv_env *env, const struct dv_scenario *const *scs, unsigned nr)
{
	int ret, code, kmsg;
	unsigned needs = 0, i;

	ret = try_writing(env->opt.dir);
	if (!ret) {
		dv_leftovers_remove(env->opt.dir);
		ret = make_folder(env);
	}
	if (!ret)
		ret = check_room(env);
	if (ret)
		return dv_stopped() ? 128 + dv_stopped() : cannot_use(env->opt.dir, ret);
	env->warn_once_fd = open_warn_once();
	kmsg = dv_kmsg_mark();
	env->facts.kernel_log = kmsg >= 0;
	if (kmsg >= 0)
		close(kmsg);
	ret = dv_facts_get(env);
	if (ret) {
		fprintf(stderr, "daxverify: cannot try files in %s: %s\n", env->opt.dir,
			strerror(-ret));
		code = EX_NOINPUT;
	} else {
		for (i = 0; i < nr; i++)
			needs |= scs[i]->needs;
		dv_probe(env, needs);
		code = dv_run_all(env, scs, nr);
		if (env->have & DV_NEED_TRACE)
			dv_trace_close(&env->trace);
		dv_observer_close(env->observer);
	}
	ret = dv_hung() ? -EBUSY : dv_remove_tree(env->folder);
	if (ret)
		fprintf(stderr, "daxverify: cannot remove %s: %s\n", env->folder,
			strerror(-ret));
	if (!dv_stopped())
		return code;
	if (env->opt.json_is_new)
		unlink(env->opt.json); /* empty as yet */
	return 128 + dv_stopped();
}

int main(int argc, char **argv)
{
	static const struct argp argp = {options, parse_opt, NULL, doc, NULL, NULL, NULL};
	static const struct dv_scenario *scs[DV_SCENARIOS_MAX];
	static struct dv_env env = {.opt.timeout_s = 60};
	static char json_path[PATH_MAX], dir[PATH_MAX], device[PATH_MAX];
	unsigned nr;
	int ret;

	if (argc > 1 && strcmp(argv[1], "explain") == 0)
		return dv_explain(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "reproducer") == 0)
		return dv_print_reproducer(argc - 1, argv + 1);
	argp_err_exit_status = EX_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &env.opt);
	nr = choose(&env.opt, scs, dv_scenarios_all(scs));
	if (!nr) {
		fprintf(stderr, "daxverify: no scenario is left by --quick, --pins, --only and "
				"--skip; "
				"see daxverify --list\n");
		return EX_USAGE;
	}
	if (env.opt.list)
		return list(&env.opt, scs, nr);
	ret = fix_json_path(&env.opt, json_path);
	if (ret) {
		fprintf(stderr, "daxverify: cannot write %s: %s\n", env.opt.json,
			strerror(-ret));
		return EX_CANTCREAT;
	}
	if (!realpath(env.opt.dir, dir))
		return cannot_use(env.opt.dir, -errno);
	env.opt.dir = dir;
	ret = check_device_dax(&env.opt, device);
	if (ret)
		return ret;
	/* Both processes: the file system may be unmounted. */
	ret = chdir("/") ? 1 : dv_keep(dir);
	if (ret < 0)
		ret = verify(&env, scs, nr);
	return ret;
}
