/*
 * Neighbours of a page that was just answered: those of its 64 KiB that are
 * absent and in the cache ride along, one copy for each run of them. The
 * design note stands in riders.c. All of it runs on the session's worker.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pager/block.h"

struct cache;
struct region;
struct session;

#define RIDERS_PAGES 16u /* of an aligned 64 KiB */

/* Of one worker. */
struct riders {
	bool off;
	uint8_t buffer[RIDERS_PAGES * PAGER_PAGE_SIZE];
};

/*
 * The page, of a region of 4 KiB pages, was just installed from a block. Does
 * what it can; a session's faults that wait for a rider are answered.
 */
void riders_install(struct session *s, const struct region *region,
		    uint64_t page, struct cache *cache);
