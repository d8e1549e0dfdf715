/* SPDX-License-Identifier: BSD-3-Clause */
/* What a scenario says while it runs. All of it goes to memory shared with the runner. */
#include "daxverify.h"

#include <stdarg.h>
#include <string.h>

void dv_oracle(struct dv_ctx *c, bool ok, unsigned symptom, const char *name,
	       const char *expected, const char *seen, ...)
{
	struct dv_result *r = c->res;
	struct dv_oracle *o;
	va_list ap;

	if (r->noracles == DV_ORACLES_MAX) {
		if (ok)
			return;
		r->noracles--; /* a failure is never the one that finds no room */
	}
	o = &r->oracles[r->noracles];
	snprintf(o->name, sizeof(o->name), "%s", name);
	snprintf(o->expected, sizeof(o->expected), "%s", expected);
	va_start(ap, seen);
	vsnprintf(o->seen, sizeof(o->seen), seen, ap);
	va_end(ap);
	o->ok = ok;
	o->symptom = ok ? DV_SYM_NONE : symptom;
	/* Counted last: a scenario may be killed half-way through an oracle. */
	r->noracles++;
}

enum dv_verdict dv_broken(struct dv_ctx *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->res->reason, sizeof(c->res->reason), fmt, ap);
	va_end(ap);
	return DV_BROKEN;
}

enum dv_verdict dv_skip(struct dv_ctx *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->res->reason, sizeof(c->res->reason), fmt, ap);
	va_end(ap);
	return DV_SKIP;
}

bool dv_sabotaged(const struct dv_ctx *c, enum dv_sabotage how)
{
	return c->env->opt.sabotage == how;
}

const char *dv_verdict_name(enum dv_verdict v)
{
	switch (v) {
	case DV_OK:
		return "ok";
	case DV_NOT_OK:
		return "not ok";
	case DV_SKIP:
		return "skip";
	case DV_BROKEN:
		break;
	}
	return "broken";
}
