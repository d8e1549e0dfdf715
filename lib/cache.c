/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"
#include "error.h"
#include "underio.h"

#define EMPTY_UNITS_MAX	64u	/* units of empty spans that a cache keeps */
#define DEFERRED_MAX	(UINT64_C(1) << 20)	/* bytes that may wait for the horizon */
#define FULL_LOOKS	8u	/* full spans in which a refill looks for remote blocks */

__thread struct dh_tls dh_tls;

/* --- spans of the cache --- */

/* Never written to; of no span. */
static atomic_uint_fast64_t no_block;

static void clear_current(struct dh_cache *cache, struct dh_current *current)
{
	if (current->span) {
		current->span->current = &cache->nowhere;
		current->span->state = DH_SPAN_ALONE;
	}
	*current = (struct dh_current){.word = &no_block};
}

static void add_to_all(struct dh_cache *cache, struct dh_span *span)
{
	span->current = &cache->nowhere;
	span->all_prev = NULL;
	span->all_next = cache->all;
	if (cache->all)
		cache->all->all_prev = span;
	cache->all = span;
}

static void remove_from_all(struct dh_cache *cache, struct dh_span *span)
{
	if (span->all_prev)
		span->all_prev->all_next = span->all_next;
	else
		cache->all = span->all_next;
	if (span->all_next)
		span->all_next->all_prev = span->all_prev;
}

/* From the list that it is in; it is not current. */
static void unlist(struct dh_cache *cache, struct dh_span *span)
{
	if (span->state == DH_SPAN_LISTED)
		dh_span_list_remove(&cache->partial[span->class], span);
	else if (span->state == DH_SPAN_FULL)
		dh_span_list_remove(&cache->full[span->class], span);
	if (span->empty)
		cache->empty_units -= span->units;
	span->empty = false;
	span->state = DH_SPAN_ALONE;
}

static void give_up(struct dh_cache *cache, struct dh_span *span)
{
	unlist(cache, span);
	remove_from_all(cache, span);
	dh_space_give_span(&cache->heap->space, span);
}

/*
 * Puts a span, unless it is current, into the list that it belongs to.  An empty one is
 * kept for the next block of its class, up to a number of them.  Behind the others of the list:
 * so a span that was full gathers some more free blocks before it is taken from.
 */
void dh_cache_settle(struct dh_cache *cache, struct dh_span *span)
{
	bool empty = dh_span_empty(span);

	if (span->state == DH_SPAN_CURRENT || (span->state == DH_SPAN_LISTED && !empty))
		return;
	unlist(cache, span);
	if (dh_span_full(span)) {
		dh_span_list_add_last(&cache->full[span->class], span);
		span->state = DH_SPAN_FULL;
		return;
	}
	if (empty && cache->empty_units + span->units > EMPTY_UNITS_MAX) {
		give_up(cache, span);
		return;
	}
	dh_span_list_add_last(&cache->partial[span->class], span);
	span->state = DH_SPAN_LISTED;
	if (empty) {
		span->empty = true;
		cache->empty_units += span->units;
	}
}

/* To the span's next word with a free block, from number @from on; false: there is none. */
static bool set_current(struct dh_current *current, struct dh_span *span, unsigned from)
{
	const unsigned words = (span->blocks + 63) / 64;

	for (unsigned i = 0; i < words; i++) {
		unsigned at = from + i < words ? from + i : from + i - words;

		if (!(atomic_load_explicit(&span->free[at], memory_order_relaxed) &
		      dh_span_word_mask(span, at)))
			continue;
		*current = (struct dh_current){&span->free[at], span};
		span->current = current;
		return true;
	}
	return false;
}

static struct dh_span *find_partial(struct dh_cache *cache, unsigned class, uint16_t tag)
{
	struct dh_span *span = cache->partial[class].first;

	while (span && span->tag != tag)
		span = span->next;
	return span;
}

/* Looks for blocks that others gave back, in some of the full spans. */
static void collect_full(struct dh_cache *cache, unsigned class, unsigned looks)
{
	struct dh_span_list *full = &cache->full[class];
	struct dh_span *span = full->first, *last = full->last, *next;

	for (; span && looks--; span = next) {
		next = span == last ? NULL : span->next;
		if (dh_span_collect(span)) {
			dh_cache_settle(cache, span);
			return;
		}
		dh_span_list_remove(full, span);
		dh_span_list_add_last(full, span);
	}
}

static bool give_up_empties(struct dh_cache *cache)
{
	bool any = false;
	struct dh_span *span, *next;

	for (span = cache->all; span; span = next) {
		next = span->all_next;
		dh_span_collect(span);
		if (!dh_span_empty(span)) {
			if (span->state == DH_SPAN_FULL)
				dh_cache_settle(cache, span);
			continue;
		}
		if (span->state == DH_SPAN_CURRENT)
			clear_current(cache, span->current);
		give_up(cache, span);
		any = true;
	}
	return any;
}

/* A span of nobody's, or a new one; when there is no room, what the cache itself can spare. */
static int take_span(struct dh_cache *cache, unsigned class, uint16_t tag,
		     struct dh_span **span)
{
	struct dh_space *space = &cache->heap->space;
	int err = dh_space_take_span(space, &cache->traffic, cache, class, tag, span);

	if (err == -ENOMEM || err == -ENOSPC) {
		dh_cache_reclaim(cache);
		*span = find_partial(cache, class, tag);
		if (*span)
			return 0;
		err = dh_space_take_span(space, &cache->traffic, cache, class, tag, span);
	}
	if (!err)
		add_to_all(cache, *span);
	return err;
}

int dh_cache_refill(struct dh_cache *cache, unsigned class, uint16_t tag,
		    struct dh_current *current)
{
	struct dh_span *span = current->span;
	int err;

	if (span && span->class == class && span->tag == tag) {
		unsigned from = (unsigned)(current->word - span->free);

		if (set_current(current, span, from) ||
		    (dh_span_collect(span) && set_current(current, span, from)))
			return 0;
	}
	clear_current(cache, current);
	if (span)
		dh_cache_settle(cache, span);
	span = find_partial(cache, class, tag);
	if (!span) {
		collect_full(cache, class, FULL_LOOKS);
		span = find_partial(cache, class, tag);
	}
	if (!span) {
		err = take_span(cache, class, tag, &span);
		if (err)
			return err;
	}
	unlist(cache, span);
	span->state = DH_SPAN_CURRENT;
	set_current(current, span, 0);
	return 0;
}

/* --- giving back --- */

void dh_cache_release_other(struct dh_cache *cache, const struct dh_found *found)
{
	if (dh_io_keeps(found))
		return;
	if (found->span &&
	    atomic_load_explicit(&found->span->owner, memory_order_relaxed) == cache)
		dh_cache_release_own(cache, found);
	else
		dh_space_release(&cache->heap->space, found);
}

static void raise(atomic_uint_fast64_t *to, uint64_t seq)
{
	uint64_t seen = atomic_load_explicit(to, memory_order_relaxed);

	while (seen < seq && !atomic_compare_exchange_weak(to, &seen, seq))
		;
}

void dh_cache_note_freed(struct dh_cache *cache, const struct dh_found *found, uint64_t seq)
{
	if (!found->span)
		raise(&found->huge->last_seq, seq);
	else if (atomic_load_explicit(&found->span->owner, memory_order_relaxed) == cache)
		atomic_store_explicit(&found->span->freed_seq,
				      dh_max(seq, atomic_load_explicit(&found->span->freed_seq,
								       memory_order_relaxed)),
				      memory_order_relaxed);
	else
		raise(&found->span->remote_freed_seq, seq);
}

/* --- blocks that wait for the horizon --- */

static bool release_deferred(struct dh_cache *cache)
{
	uint64_t horizon = dh_durable_horizon(&cache->heap->log);
	bool any = false;

	while (cache->deferred_count) {
		struct dh_deferred *first = &cache->deferred[cache->deferred_first];
		struct dh_found found;

		if (first->seq > horizon)
			break;
		if (!dh_find(&cache->heap->space, first->offset, &found))
			dh_cache_release(cache, &found);
		cache->deferred_bytes -= first->size;
		cache->deferred_first = (cache->deferred_first + 1) % cache->deferred_capacity;
		cache->deferred_count--;
		any = true;
	}
	return any;
}

static int grow_deferred(struct dh_cache *cache)
{
	uint32_t capacity = cache->deferred_capacity ? 2 * cache->deferred_capacity : 64;
	struct dh_deferred *deferred = malloc(capacity * sizeof(*deferred));

	if (!deferred)
		return dh_fail(ENOMEM, "no memory");
	for (uint32_t i = 0; i < cache->deferred_count; i++)
		deferred[i] = cache->deferred[(cache->deferred_first + i) %
					      cache->deferred_capacity];
	free(cache->deferred);
	cache->deferred = deferred;
	cache->deferred_first = 0;
	cache->deferred_capacity = capacity;
	return 0;
}

int dh_cache_prepare_defer(struct dh_cache *cache)
{
	int err = 0;

	if (cache->deferred_bytes > DEFERRED_MAX)
		err = dh_log_settle(&cache->heap->log, &cache->traffic);
	if (err)
		return err;
	release_deferred(cache);
	return cache->deferred_count < cache->deferred_capacity ? 0 : grow_deferred(cache);
}

void dh_cache_defer(struct dh_cache *cache, uint64_t offset, uint64_t size, uint64_t seq)
{
	uint32_t at = (cache->deferred_first + cache->deferred_count++) %
		      cache->deferred_capacity;

	cache->deferred[at] = (struct dh_deferred){seq, offset, size};
	cache->deferred_bytes += size;
}

bool dh_cache_reclaim(struct dh_cache *cache)
{
	bool any = false;

	if (cache->deferred_count && !dh_log_settle(&cache->heap->log, &cache->traffic))
		any = release_deferred(cache);
	any |= give_up_empties(cache);
	return dh_trim_reclaim(cache->heap) || any;
}

/* --- threads that come and go --- */

static struct dh_lock registry = {.rank = DH_RANK_REGISTRY};
static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static bool key_made;
/* The caches of the calling thread; the key's value is its address. */
static __thread struct dh_cache *of_thread;

static void empty_cache(struct dh_cache *cache)
{
	/* If the horizon can't be moved, blocks that wait for it are the next thread's. */
	if (cache->deferred_count && !dh_log_settle(&cache->heap->log, &cache->traffic))
		release_deferred(cache);
	for (unsigned class = 0; class < DH_CLASSES; class++)
		clear_current(cache, &cache->current[class]);
	for (unsigned i = 0; i < DH_TAGGED; i++)
		clear_current(cache, &cache->tagged[i]);
	while (cache->all)
		give_up(cache, cache->all);
}

/* The registry is not locked while spans are given back, which may wait for other threads;
 * dh_caches_close() waits for it. */
static void thread_exits(void *value)
{
	struct dh_cache *cache;

	(void)value;
	dh_lock(&registry);
	dh_tls = (struct dh_tls){0};
	while ((cache = of_thread)) {
		of_thread = cache->next_of_thread;
		cache->thread = NULL;
		cache->exiting = true;
		dh_unlock(&registry);
		empty_cache(cache);
		dh_lock(&registry);
		cache->lane = NULL;
		cache->exiting = false;
	}
	dh_unlock(&registry);
}

static void make_key(void)
{
	key_made = !pthread_key_create(&key, thread_exits);
}

static struct dh_cache *new_cache(struct daxheap *heap)
{
	struct dh_cache *cache = aligned_alloc(DH_LINE_SIZE, sizeof(*cache));

	if (!cache)
		return NULL;
	memset(cache, 0, sizeof(*cache));
	cache->heap = heap;
	cache->next_in_heap = heap->caches;
	heap->caches = cache;
	for (unsigned class = 0; class < DH_CLASSES; class++)
		clear_current(cache, &cache->current[class]);
	for (unsigned i = 0; i < DH_TAGGED; i++)
		clear_current(cache, &cache->tagged[i]);
	return cache;
}

static struct dh_cache *idle_cache(struct daxheap *heap)
{
	struct dh_cache *cache = heap->caches;

	while (cache && (cache->thread || cache->exiting))
		cache = cache->next_in_heap;
	return cache ? cache : new_cache(heap);
}

/* One that no other cache has, or the last one, which is shared. */
static struct dh_lane *free_lane(struct daxheap *heap)
{
	struct dh_log *log = &heap->log;

	for (unsigned i = 0; i < log->lane_count - 1; i++) {
		struct dh_cache *cache = heap->caches;

		while (cache && cache->lane != &log->lanes[i])
			cache = cache->next_in_heap;
		if (!cache)
			return &log->lanes[i];
	}
	return &log->lanes[log->lane_count - 1];
}

/* Under the registry's lock. */
static struct dh_cache *add_cache(struct daxheap *heap)
{
	struct dh_cache *cache = idle_cache(heap);

	if (!cache)
		return NULL;
	cache->lane = free_lane(heap);
	cache->thread = &of_thread;
	cache->next_of_thread = of_thread;
	of_thread = cache;
	return cache;
}

struct dh_cache *dh_cache_find(struct daxheap *heap, int *err)
{
	struct dh_cache *cache;

	*err = dh_check_writable(heap);
	if (*err)
		return NULL;
	pthread_once(&key_once, make_key);
	/* So that thread_exits() is called. */
	if (!key_made || pthread_setspecific(key, &of_thread)) {
		*err = dh_fail(ENOMEM, "no memory for the thread");
		return NULL;
	}
	dh_lock(&registry);
	cache = of_thread;
	while (cache && cache->heap != heap)
		cache = cache->next_of_thread;
	if (!cache)
		cache = add_cache(heap);
	dh_unlock(&registry);
	if (!cache)
		*err = dh_fail(ENOMEM, "no memory for the thread");
	else
		dh_tls = (struct dh_tls){heap->id, cache};
	return cache;
}

static void leave_thread(struct dh_cache *cache)
{
	struct dh_cache **at = cache->thread;

	while (at && *at != cache)
		at = &(*at)->next_of_thread;
	if (at)
		*at = cache->next_of_thread;
}

static bool any_exiting(const struct daxheap *heap)
{
	const struct dh_cache *cache = heap->caches;

	while (cache && !cache->exiting)
		cache = cache->next_in_heap;
	return cache != NULL;
}

void dh_caches_close(struct daxheap *heap)
{
	dh_lock(&registry);
	for (unsigned round = 0; any_exiting(heap); round++) {
		dh_unlock(&registry);
		dh_wait(round);
		dh_lock(&registry);
	}
	while (heap->caches) {
		struct dh_cache *cache = heap->caches;

		heap->caches = cache->next_in_heap;
		leave_thread(cache);
		free(cache->deferred);
		free(cache);
	}
	dh_unlock(&registry);
}

void dh_caches_forked(void)
{
	/* The parent's threads, and their locks, are not here. */
	dh_lock_init(&registry, DH_RANK_REGISTRY);
	dh_tls = (struct dh_tls){0};
	of_thread = NULL;
}

void dh_caches_traffic(struct daxheap *heap, uint64_t *fences, uint64_t *flushed_lines)
{
	*fences = atomic_load(&heap->traffic.fences);
	*flushed_lines = atomic_load(&heap->traffic.flushed_lines);
	dh_lock(&registry);
	for (struct dh_cache *cache = heap->caches; cache; cache = cache->next_in_heap) {
		*fences += atomic_load(&cache->traffic.fences);
		*flushed_lines += atomic_load(&cache->traffic.flushed_lines);
	}
	dh_unlock(&registry);
}
