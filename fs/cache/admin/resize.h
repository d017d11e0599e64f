/*
 * Changing the cache's limit while it is in use.
 *
 * A larger limit holds at once. A smaller one evicts the coldest blocks and
 * moves those that stay out of the part of the arena that is given back; a
 * block that a copy reads just then stays where it is until the copy is done
 * (cache_stats: stragglers), and what it takes is counted until then.
 *
 * There is a least size: CACHE_SHARD_MIN slots a shard with all metadata and
 * what was charged. With that every fault still finds a slot in time. A limit
 * below it, 0 too, means the least; one above what there are addresses for
 * is refused.
 *
 * All calls are safe from any thread but one that holds a pin; one resize at
 * a time goes on, others wait for it.
 */
#pragma once

#include "fs/cache/cache.h"

struct resize_report {
	size_t before, limit; /* the limit; at least what was asked for */
	size_t bytes;	      /* in use now; over the limit by stragglers */
	uint64_t evicted;     /* blocks, by whomever, while it went on */
	uint64_t stragglers;
};

/*
 * -EBUSY: more is held than would fit, with the numbers in err_text();
 * -ERANGE: more than cache_new() could reserve. Nothing has changed then.
 * `ret_report` may be NULL.
 */
int resize_cache(struct cache *c, size_t limit,
		 struct resize_report *ret_report);

/*
 * Counts memory of somebody else's within the limit: read buffers, what
 * commands keep. Takes slots away, or raises the limit where those are the
 * least, for as long as it is charged. -EBUSY as above: nothing was charged.
 */
int resize_charge(struct cache *c, enum cache_charge what, size_t bytes);
void resize_uncharge(struct cache *c, enum cache_charge what, size_t bytes);

/* The limit with which each shard has room to hold so many blocks. */
size_t resize_to_hold(struct cache *c, uint32_t blocks);

/* The least and the most that the limit can be. */
size_t resize_least(struct cache *c);
size_t resize_most(struct cache *c);
