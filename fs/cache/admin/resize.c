#include "fs/cache/admin/resize.h"

#include <errno.h>

#include "fs/base/err.h"
#include "fs/cache/cache_impl.h"

/* Slots dealt with under a shard's lock: up to so many copies of a page. */
#define STEP 32u

static size_t least(const struct cache *c)
{
	return cache_bytes_for(c, CACHE_SHARD_MIN);
}

size_t resize_least(struct cache *c)
{
	LOCK_GUARD(&c->size_lock);
	return least(c);
}

size_t resize_most(struct cache *c)
{
	LOCK_GUARD(&c->size_lock);
	return cache_bytes_for(c, c->most);
}

size_t resize_to_hold(struct cache *c, uint32_t blocks)
{
	uint32_t slots = blocks > CACHE_SHARD_MIN ? blocks : CACHE_SHARD_MIN;

	while (shard_holdable(slots) < blocks)
		slots++;
	LOCK_GUARD(&c->size_lock);
	return cache_bytes_for(c, slots);
}

static int set_limit(struct shard *s, uint32_t slots)
{
	LOCK_GUARD(&s->lock);
	return shard_set_limit(s, slots);
}

/* All shards or none. */
static int set_limits(struct cache *c, uint32_t slots)
{
	for (unsigned int i = 0; i < c->shard_count; i++) {
		int r = set_limit(&c->shards[i], slots);

		if (r == 0)
			continue;
		/* What fitted before fits again: its holds were within. */
		while (i-- > 0)
			(void)set_limit(&c->shards[i], c->slots);
		return r;
	}
	return 0;
}

/* Brings a shard within its limit, and wakes who may find a slot now. */
static void settle(struct shard *s)
{
	bool done = false;
	uint32_t at;

	lock_take(&s->lock);
	at = s->extent;
	lock_drop(&s->lock);
	while (!done) {
		LOCK_GUARD(&s->lock);
		done = shard_evacuate(s, &at, STEP);
		if (done)
			shard_trim(s);
	}
	cache_wake_slot_waiters(s);
}

static int too_much_held(struct cache *c, size_t limit)
{
	uint64_t held = 0;

	for (unsigned int i = 0; i < c->shard_count; i++) {
		LOCK_GUARD(&c->shards[i].lock);
		held += c->shards[i].policy.queues[QUEUE_HELD].count;
	}
	return err_set(-EBUSY,
		       "cache: %zu bytes hold %llu of pinned blocks at most, "
		       "and %llu are pinned; unpin first",
		       limit,
		       (unsigned long long)c->shard_count *
			       shard_holdable(cache_slots_within(c, limit)) *
			       PAGER_PAGE_SIZE,
		       (unsigned long long)held * PAGER_PAGE_SIZE);
}

/* With size_lock held. The least that there can be is what less becomes. */
static int apply(struct cache *c, size_t limit)
{
	uint32_t slots;

	if (limit < least(c))
		limit = least(c);
	slots = cache_slots_within(c, limit);
	if (slots > c->most)
		slots = c->most;
	if (slots == c->slots) {
		c->limit = limit;
		return 0;
	}
	if (set_limits(c, slots) < 0)
		return too_much_held(c, limit);
	c->slots = slots;
	c->limit = limit;
	for (unsigned int i = 0; i < c->shard_count; i++)
		settle(&c->shards[i]);
	cache_fit_curve(c);
	return 0;
}

int resize_cache(struct cache *c, size_t limit,
		 struct resize_report *ret_report)
{
	struct cache_stats before, after;
	int r;

	if (limit > resize_most(c))
		return err_set(-ERANGE,
			       "cache: %zu bytes: at most %zu are possible, "
			       "which is the memory that was to be had at the "
			       "start",
			       limit, resize_most(c));
	cache_stats(c, &before);
	lock_take(&c->size_lock);
	r = apply(c, limit);
	if (r == 0)
		c->asked = limit;
	lock_drop(&c->size_lock);
	if (r < 0 || !ret_report)
		return r;
	cache_stats(c, &after);
	*ret_report = (struct resize_report){
		.before = before.limit,
		.limit = after.limit,
		.bytes = after.bytes,
		.evicted = after.evictions - before.evictions,
		.stragglers = after.stragglers,
	};
	return 0;
}

int resize_charge(struct cache *c, enum cache_charge what, size_t bytes)
{
	int r;

	LOCK_GUARD(&c->size_lock);
	c->charged[what] += bytes;
	r = apply(c, c->asked);
	if (r < 0)
		c->charged[what] -= bytes;
	return r;
}

void resize_uncharge(struct cache *c, enum cache_charge what, size_t bytes)
{
	LOCK_GUARD(&c->size_lock);
	assert(c->charged[what] >= bytes);
	c->charged[what] -= bytes;
	/* More room than before: what is held fits. */
	(void)apply(c, c->asked);
}
