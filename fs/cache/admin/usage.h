/*
 * Which snapshots use the cache: the blocks of each that are in it now. A
 * block that several share counts for each of them.
 */
#pragma once

#include "fs/cache/admin/blockset.h"

struct usage {
	char *snapshot; /* owned */
	uint64_t blocks;
};

/*
 * The `most` that use most of it, in that order, none without any. Walks the
 * page tables of all snapshots in the store, which takes about 10 ms for each
 * GiB of memory that is not zero; one that cannot be read is left out. Blocks.
 * The caller frees by usage_free(). -ENOMEM, or what snapshot_list() says.
 */
int usage_top(struct cache *c, struct store *s, size_t most,
	      struct usage **ret_list, size_t *ret_count);
void usage_free(struct usage *list, size_t count);
