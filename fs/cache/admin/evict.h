/*
 * Evicting by command, while the cache is in use: what goes is at once free,
 * its memory is given back to the system. What is pinned, being read, or held
 * (cache_hold()) is passed over and counted.
 *
 * All calls are safe from any thread. They take each shard's lock for a few
 * slots at a time, so nobody waits long for it; blocks that come meanwhile may
 * be evicted or not. The figures are added to those in the report, which the
 * caller has zeroed.
 */
#pragma once

#include "fs/cache/admin/pins.h"

struct evict_report {
	uint64_t blocks; /* evicted; each was a page */
	uint64_t pinned; /* passed over: a copy reads it now */
	uint64_t filling;
	uint64_t held;
	uint64_t absent; /* asked for by name, and not there */
	uint64_t recent; /* used since the time that was asked for */
};

void evict_all(struct cache *c, struct evict_report *report);

/* What nobody has used for so long. */
void evict_idle(struct cache *c, uint32_t seconds, struct evict_report *report);

/*
 * So many blocks of those that the policy would evict next. Where there are not
 * so many, what is left is counted as passed over.
 */
void evict_coldest(struct cache *c, uint64_t blocks,
		   struct evict_report *report);

void evict_block(struct cache *c, uint64_t block, struct evict_report *report);

/*
 * All blocks of a snapshot, see blockset.h. With `force` those too that pins
 * hold, its own or others': they lose them. Blocks to read its page tables,
 * and says what that said.
 */
int evict_snapshot(struct cache *c, struct snapshot *snap, struct pins *force,
		   struct evict_report *report);
