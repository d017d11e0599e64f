/*
 * The cache curve: the hit ratio that a cache of 1/4 to 4 times the size would
 * have had on the same lookups.
 *
 * Blocks are sampled by their hash, as SHARDS does (Waldspurger et al.,
 * FAST'15): one of a hundred, more in a small cache, and always the same ones,
 * so that the distances at which they are used again are those of the whole
 * scaled by the rate. What SHARDS feeds to LRU's stack of reuse distances goes
 * into five miniature caches of our own policy, each scaled by the same rate
 * (Waldspurger et al., ATC'17): S3-FIFO with classes is no stack algorithm, so
 * LRU's distances would predict another cache than this one. A miniature is a
 * shard without data. Where the sampled blocks were used more or less than
 * their share the difference counts as hits, since it is blocks in frequent
 * use that make it (SHARDS-adj).
 *
 * Any thread. Only a lookup of a sampled block takes the lock.
 */
#pragma once

#include <stdatomic.h>

#include "fs/cache/cache.h"

#define CURVE_POINTS 5

/* How many times a quarter of the size, for each point. */
extern const unsigned int curve_quarters[CURVE_POINTS];

struct curve;

/* For a cache of so many slots. -ENOMEM. */
int curve_new(uint64_t slots, struct curve **ret_curve);
void curve_free(struct curve *cv); /* accepts NULL */

/* Begins anew for another size. -ENOMEM: it goes on for the old one. */
int curve_restart(struct curve *cv, uint64_t slots);

/* The memory of a curve for so many slots. */
size_t curve_bytes(uint64_t slots);

/* `hash` is hash_block() of the block. */
void curve_note(struct curve *cv, uint64_t hash, uint64_t block,
		enum cache_class class);

/* Lookups since the curve began, by class; as the cache has counted them. */
struct curve_lookups {
	uint64_t by_class[CACHE_CLASS_COUNT];
};

struct curve_report {
	double rate;	  /* of blocks that are sampled */
	uint64_t lookups; /* since it began */
	uint64_t sampled; /* of these */
	struct {
		uint64_t slots;
		size_t bytes; /* the cache's limit then; see cache_curve() */
		double hit_ratio; /* of all lookups; 0 where there were none */
		double fault_hit_ratio;
	} points[CURVE_POINTS];
};

void curve_report(struct curve *cv, const struct curve_lookups *lookups,
		  struct curve_report *ret_report);
