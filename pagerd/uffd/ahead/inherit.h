/* Which working set serves a snapshot. Blocks; any thread. */
#pragma once

#include <stdbool.h>

#include "fs/cache/cache.h"
#include "fs/store/snapshot/snapshot.h"
#include "fs/store/workingset/workingset.h"

/*
 * The working set of the snapshot's own image; else that of its nearest
 * parent that has one, without the pages whose blocks are other ones here.
 * -ENOENT: there is none. What is damaged counts as none and is logged.
 */
int inherit_workingset(struct snapshot *snapshot, struct cache *cache,
		       struct workingset *ret_set, bool *ret_own);
