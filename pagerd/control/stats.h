/*
 * The daemon's figures at one moment, and their JSON. Times in JSON are
 * microseconds where the key ends in _us, else seconds.
 *
 * The functions that return a json_t give a new reference, or NULL where
 * memory is short.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "fs/store/damage/damage.h"
#include "pagerd/control/daemon.h"

struct stats {
	uint64_t uptime_ns;
	struct cache_stats cache;
	struct registry_totals sessions;
	struct damage_stats damage;
};

/* -ENOMEM. */
int stats_take(const struct daemon *d, struct stats *ret_stats);

json_t *stats_to_json(const struct stats *s);

/* {status, version, draining, sessions, stuck: [{id, ...}], quarantine}. */
json_t *stats_health(const struct daemon *d);
json_t *stats_cache(const struct cache_stats *c);
json_t *stats_session(struct session *s);

/* {"sessions": [...]}, each as stats_session() gives it. */
json_t *stats_sessions(const struct daemon *d);
