/*
 * What each class of asker may do to the cache: one table, read by the
 * policy (who gets into the main queue), by the shards (who may take the last
 * slots) and by the fetcher (whose reads go first).
 */
#pragma once

#include "fs/cache/cache.h"

struct class_rule {
	const char *name;
	/*
	 * Its misses enter the small queue, or the main one by way of the
	 * ghost queue, and its hits count towards promotion. Without it a
	 * block enters the scan queue and leaves no ghost: a scan of any
	 * length costs the admitted classes nothing but that queue.
	 */
	bool admitted;
	/*
	 * A guest waits: its reads never queue behind those without it, and
	 * it may take the slots that are kept back (shard.h).
	 */
	bool urgent;
};

const struct class_rule *class_rule(enum cache_class class);
