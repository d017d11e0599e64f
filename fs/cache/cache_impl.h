/*
 * What the cache is made of; for fs/cache alone. Lock order: size, then shard.
 */
#pragma once

#include <assert.h>

#include "fs/base/hist.h"
#include "fs/cache/cache.h"
#include "fs/cache/observe/curve.h"
#include "fs/cache/shard/hash.h"
#include "fs/cache/shard/shard.h"
#include "pager/block.h"

#define CACHE_MAGIC UINT32_C(0x43414348)

struct cache {
	uint32_t magic;
	unsigned int shard_count;
	struct shard *shards; /* with their tables in the same mapping */
	size_t table_bytes;   /* of that */
	uint8_t *arena;
	size_t arena_bytes;
	uint32_t most; /* slots a shard that there are addresses for */

	/* One change of size at a time. Held over one, not over a wait. */
	struct lock size_lock;
	size_t limit; /* protected by size_lock, as all below */
	size_t asked; /* the limit that was asked for: less where that is less
		       * than the least */
	size_t charged[CACHE_CHARGE_COUNT]; /* memory of others that counts */
	uint32_t slots;			    /* of each shard */

	struct curve *curve;	   /* safe from any thread */
	struct curve_lookups base; /* protected by size_lock: when it began */
	uint32_t curve_slots;	   /* likewise: a shard's, then */

	struct trace *trace; /* NULL: none; constant once threads run */
	struct hist reads;
};

/*
 * Begins the curve anew for the present size, if that is another by more than
 * CURVE_SLACK: the charge for a pin does not end it. With size_lock held.
 */
#define CURVE_SLACK(size) ((size) / 16)
void cache_fit_curve(struct cache *c);

static inline struct shard *cache_shard(struct cache *c, uint64_t hash)
{
	return &c->shards[hash >> 32 & (c->shard_count - 1)];
}

/* What a cache takes with so many slots a shard, and the other way round. */
size_t cache_bytes_for(const struct cache *c, uint32_t slots);
uint32_t cache_slots_within(const struct cache *c, size_t limit);

/* With no lock held: each asks again. */
void cache_wake_slot_waiters(struct shard *s);
