/*
 * A cache over blocks whose content is derived from their ids: what the tests
 * of the cache and of its commands have in common. Blocks are named by numbers
 * counting from 0, see memory_source.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/cache/cache.h"

struct cache *rig_cache(size_t limit, unsigned int shards);
struct cache_stats rig_stats(struct cache *c);

/* True on a hit. The block is in the cache afterwards, and was checked. */
bool rig_use(struct cache *c, uint64_t block, enum cache_class class);

/* Uses blocks first..first+count-1 once each; returns the hits. */
uint64_t rig_use_run(struct cache *c, uint32_t first, uint32_t count,
		     enum cache_class class);

/* Of these, how many are in the cache; counts as no use. */
uint32_t rig_present(struct cache *c, uint32_t first, uint32_t count);

/* Fixed pseudo-random numbers, skewed: small ones are common. */
uint32_t rig_skewed(uint64_t *seed, uint32_t range);

/* Bytes of this process in memory, by /proc. */
size_t rig_resident(void);
