/*
 * Replaying a trace in the cache's own code, and what came of it. Only tables
 * take memory: slots are not written to.
 */
#pragma once

#include <stdbool.h>

#include "fs/cache/cache.h"
#include "tests/bench/cache/trace.h"

/* Misses and look-ups of a class. */
struct score {
	uint64_t lookups[CACHE_CLASS_COUNT], misses[CACHE_CLASS_COUNT];
};

struct score replay_score(const struct trace *t, const bool *hits);
double replay_hit_ratio(const struct score *s, enum cache_class class);

/* The id of a trace's block, and one look-up; true on a hit. */
uint64_t replay_block(uint32_t item);
bool replay_look_up(struct cache *c, uint64_t block, enum cache_class class);

/*
 * With about `wanted` slots: marks each look-up that hit, and tells how many
 * slots it came to. What cache_new() says.
 */
int replay_own(const struct trace *t, uint32_t wanted, bool *ret_hits,
	       uint32_t *ret_slots);
