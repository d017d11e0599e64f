/*
 * Which blocks a snapshot consists of: the pages of its image and of its
 * attached files, and the nodes of their page tables.
 *
 * The walk reads the page tables, which are taken from the cache where they
 * are there and else read past it, so that looking leaves the cache as it was.
 * The caller keeps the snapshot open. Calls block.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fs/base/cleanup.h"
#include "fs/cache/cache.h"
#include "fs/store/snapshot/snapshot.h"

struct blockset {
	uint64_t *blocks; /* owned */
	size_t count;
};

void blockset_release(struct blockset *set);

/*
 * Calls fn() for every block, for one that is there twice at least once; what
 * is not 0 ends the walk and is returned. Else 0, or what reading a node gave.
 */
typedef int blockset_fn(void *arg, uint64_t block);
int blockset_walk(struct cache *c, struct snapshot *snap, blockset_fn *fn,
		  void *arg);

/* All of them, each once, ascending: the order on disk. Or -ENOMEM. */
int blockset_of_snapshot(struct cache *c, struct snapshot *snap,
			 struct blockset *ret_set);

/*
 * Those of the recorded working set of the image, in the order of its first
 * touches, each leaf node before its pages. What wsfile_load() says.
 */
int blockset_of_working_set(struct cache *c, struct snapshot *snap,
			    struct blockset *ret_set);
