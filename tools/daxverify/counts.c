/* SPDX-License-Identifier: BSD-3-Clause */
/* Oracles on the counts of a page. Without an observer they are silent. */
#include "daxverify.h"

#include <string.h>
#include <unistd.h>

/*
 * References may be let go a little after the call that lets them go has returned (an
 * exit, a socket), so what is not as it must be is looked at again for this long, which a
 * slow machine needs and only a failure takes. What is lost or never given back stays
 * wrong; after a failure that no defect explains the next ones take less.
 */
#define SETTLE_MS       3000
#define SETTLE_AGAIN_MS 200

bool dv_counts_on(const struct dv_ctx *c)
{
	return c->env->observer && c->env->scheme != DV_SCHEME_UNKNOWN;
}

static bool same(const struct dv_page_look *want, const struct dv_page_look *seen)
{
	return seen->ref == want->ref && seen->map == want->map && seen->pin == want->pin;
}

/* Sabotage: as if this kernel counted in the other way. */
static enum dv_scheme scheme_of(const struct dv_ctx *c)
{
	if (!dv_sabotaged(c, DV_SAB_WRONG_SCHEME))
		return c->env->scheme;
	return c->env->scheme == DV_SCHEME_IDLE_1 ? DV_SCHEME_IDLE_0 : DV_SCHEME_IDLE_1;
}

static int patience_ms(const struct dv_ctx *c)
{
	const struct dv_oracle *o = c->res->oracles;
	unsigned i;

	for (i = 0; i < c->res->noracles; i++) {
		/* One that a defect may explain is no reason to say more than is so. */
		if (!o[i].ok && o[i].symptom == DV_SYM_NONE)
			return SETTLE_AGAIN_MS;
	}
	return SETTLE_MS;
}

/* Also false when the counts can't be read; seen->error says why. */
bool dv_counts_fit(const struct dv_ctx *c, uint64_t pfn, struct dv_uses u,
		   struct dv_page_look *want, struct dv_page_look *seen)
{
	int64_t begin = dv_now_ns();
	int limit_ms = patience_ms(c);

	for (;;) {
		memset(seen, 0, sizeof(*seen));
		seen->error = dv_observer_look(c->env->observer, pfn, seen);
		*want = dv_scheme_expect(scheme_of(c), seen->order, u);
		if (seen->error || same(want, seen))
			return !seen->error;
		if (dv_now_ns() - begin > limit_ms * INT64_C(1000000))
			return false;
		dv_sleep_ms(4);
	}
}

void dv_counts_judge(struct dv_ctx *c, const char *name, uint64_t pfn, struct dv_uses u)
{
	struct dv_page_look want, seen;
	char expected[128];
	bool ok;

	if (!dv_counts_on(c))
		return;
	ok = dv_counts_fit(c, pfn, u, &want, &seen);
	snprintf(expected, sizeof(expected), "count %d, mapcount %d, pincount %d",
		 want.ref, want.map, want.pin);
	if (seen.error)
		dv_oracle(c, false, DV_SYM_NONE, name, expected, "they can't be read: %s",
			  strerror(-seen.error));
	else
		dv_oracle(c, ok, DV_SYM_NONE, name, expected,
			  "count %d, mapcount %d, pincount %d (order %u)", seen.ref,
			  seen.map, seen.pin, seen.order);
}

/* Sabotage: another process than the one in question. */
int64_t dv_events_of(const struct dv_ctx *c, pid_t pid, enum dv_event event)
{
	if (dv_sabotaged(c, DV_SAB_WRONG_PROCESS))
		pid = 1;
	return dv_observer_events(c->env->observer, pid, event);
}

int64_t dv_events_since(const struct dv_ctx *c, enum dv_event event, int64_t before)
{
	int64_t n = dv_events_of(c, getpid(), event);

	return n < 0 ? n : n - before;
}
