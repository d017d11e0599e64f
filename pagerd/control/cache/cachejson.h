/*
 * The JSON of the cache and of its commands. Each returns a new reference, or
 * NULL where memory is short.
 */
#pragma once

#include <jansson.h>

#include "fs/cache/admin/evict.h"
#include "fs/cache/admin/resize.h"
#include "pagerd/control/daemon.h"

/* The figures of stats_cache(), and what is pinned and under way. */
json_t *cachejson_show(const struct daemon *d);
json_t *cachejson_curve(struct cache *c);

/* {"snapshots": [...]}: those that use most of the cache. */
json_t *cachejson_snapshots(const struct daemon *d);
json_t *cachejson_evicted(const struct evict_report *report);
json_t *cachejson_resized(uint64_t asked, const struct resize_report *report);
