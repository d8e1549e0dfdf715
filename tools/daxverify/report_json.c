/* SPDX-License-Identifier: BSD-3-Clause */
/* The report as JSON: everything that the KTAP lines say, and what they leave out. */
#include "daxverify.h"

#include "action.h"
#include "pins.h"

#include <json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* All that can fail here is memory, and a report that lacks a part is no report. */
static void put(struct json_object *o, const char *key, struct json_object *v)
{
	if (json_object_object_add(o, key, v) == 0)
		return;
	fprintf(stderr, "daxverify: out of memory while writing the report\n");
	abort();
}

static void put_str(struct json_object *o, const char *key, const char *s)
{
	put(o, key, s && s[0] ? json_object_new_string(s) : NULL);
}

static void put_bool(struct json_object *o, const char *key, bool b)
{
	put(o, key, json_object_new_boolean(b));
}

static void put_int(struct json_object *o, const char *key, int64_t n)
{
	put(o, key, json_object_new_int64(n));
}

static struct json_object *oracles_json(const struct dv_result *r)
{
	struct json_object *list = json_object_new_array(), *o;
	unsigned i;

	for (i = 0; i < r->noracles; i++) {
		o = json_object_new_object();
		put_str(o, "name", r->oracles[i].name);
		put_str(o, "expected", r->oracles[i].expected);
		put_str(o, "seen", r->oracles[i].seen);
		put_bool(o, "ok", r->oracles[i].ok);
		json_object_array_add(list, o);
	}
	return list;
}

/* Of the pin matrix: its row and its column. */
static void put_cell(struct json_object *o, const struct dv_scenario *sc)
{
	if (!sc->cell)
		return;
	put_str(o, "pins", sc->by->name);
	put_str(o, "memory", dv_memory_names[sc->cell->memory]);
}

struct json_object *dv_json_result(const struct dv_scenario *sc,
				   const struct dv_result *r)
{
	struct json_object *o = json_object_new_object(), *log = json_object_new_array();
	unsigned i;

	put_str(o, "name", sc->name);
	put_str(o, "claim", sc->claim);
	put_str(o, "verdict", r->hung ? "hang" : dv_verdict_name(r->verdict));
	put_str(o, "defect", r->defect ? r->defect->name : NULL);
	put_str(o, "reason", r->reason);
	put_cell(o, sc);
	if (sc->cell)
		put_str(o, "answer", r->answer);
	put_str(o, "note", r->note);
	put(o, "oracles", oracles_json(r));
	put_int(o, "duration_ms", r->duration_ms);
	if (r->wake_ns)
		put_int(o, "wake_us", r->wake_ns / 1000);
	for (i = 0; i < r->nlog; i++)
		json_object_array_add(log, json_object_new_string(r->log[i]));
	put(o, "kernel_log", log);
	return o;
}

static struct json_object *facts_json(const struct dv_env *env)
{
	const struct dv_facts *f = &env->facts;
	struct json_object *o = json_object_new_object();

	put_str(o, "kernel", f->kernel);
	put_str(o, "machine", f->machine);
	put_str(o, "fs", f->fs);
	put_str(o, "mount_options", f->super_options);
	put_str(o, "device", f->device);
	put_bool(o, "dax", f->dax);
	put_bool(o, "map_sync", f->map_sync);
	put_str(o, "persistence_domain", f->persistence_domain);
	put_int(o, "page_size", (int64_t)f->page_size);
	put_int(o, "block_size", (int64_t)f->block_size);
	put_bool(o, "kernel_log", f->kernel_log);
	put_str(o, "counts", dv_scheme_name(env->scheme));
	put_str(o, "counts_missing", dv_missing(env, DV_NEED_COUNTS));
	put_str(o, "date", f->date);
	return o;
}

static struct json_object *defects_json(void)
{
	struct json_object *list = json_object_new_array(), *o;
	unsigned i;

	for (i = 0; i < dv_ndefects; i++) {
		o = json_object_new_object();
		put_str(o, "name", dv_defects[i]->name);
		put_str(o, "summary", dv_defects[i]->summary);
		put_str(o, "claim", dv_defects[i]->claim);
		put_str(o, "symptom", dv_defects[i]->symptom);
		put_str(o, "since", dv_defects[i]->since);
		put_str(o, "fixed_by", dv_defects[i]->fixed_by);
		put_str(o, "reference", dv_defects[i]->reference);
		put_str(o, "log_hint", dv_defects[i]->log_hint);
		json_object_array_add(list, o);
	}
	return list;
}

static struct json_object *head_json(void)
{
	struct json_object *root = json_object_new_object();

	put_str(root, "tool", "daxverify");
	put_str(root, "version", PACKAGE_VERSION);
	return root;
}

struct json_object *dv_json_report(const struct dv_env *env,
				   struct json_object *scenarios)
{
	struct json_object *root = head_json();

	put(root, "facts", facts_json(env));
	put(root, "scenarios", scenarios);
	put(root, "defects", defects_json());
	return root;
}

struct json_object *dv_json_list(const struct dv_scenario *const *scs, unsigned nr)
{
	struct json_object *root = head_json(), *list = json_object_new_array(), *o;
	const struct dv_family *family;
	unsigned i;

	for (i = 0; i < nr; i++) {
		o = json_object_new_object();
		put_str(o, "name", scs[i]->name);
		put_str(o, "claim", scs[i]->claim);
		family = dv_family_of(scs[i]->name);
		put_str(o, "family", family ? family->words : NULL);
		put_str(o, "holder", scs[i]->holder);
		put_str(o, "action", scs[i]->action ? scs[i]->action->name : NULL);
		put_str(o, "defect", scs[i]->defect ? scs[i]->defect->name : NULL);
		put_bool(o, "quick", dv_is_quick(scs[i]->name));
		put_bool(o, "scratch", scs[i]->needs & DV_NEED_SCRATCH);
		put_bool(o, "dangerous", scs[i]->needs & DV_NEED_DANGER);
		put_cell(o, scs[i]);
		json_object_array_add(list, o);
	}
	put(root, "scenarios", list);
	put(root, "defects", defects_json());
	return root;
}

/* To a file, or to stdout when the path is "-". Takes the object. */
int dv_json_write(struct json_object *root, const char *path)
{
	const char *text = json_object_to_json_string_ext(
		root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
	FILE *f = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");
	int ret = 0;

	if (!f || !text)
		ret = -errno;
	else if (fprintf(f, "%s\n", text) < 0 || fflush(f))
		ret = -errno;
	if (f && f != stdout && fclose(f) && !ret)
		ret = -errno;
	json_object_put(root);
	return ret;
}
