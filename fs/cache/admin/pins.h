/*
 * Pinned snapshots: their blocks stay in the cache until the pin is taken away.
 *
 * Life of a pin: pins_begin() checks that all will fit, opens the snapshot and
 * makes the list of its blocks; pins_load() reads them, block by block, on the
 * caller's thread (a job of jobs.h), each held from then on; pins_remove()
 * ends it at any time. While it is pinned a snapshot is leased, so it cannot
 * be removed from the store. Blocks that two pinned snapshots share are held
 * by both. The lists count within the cache's limit.
 *
 * A hold that an operator broke by force (pins_break()) is lost for that pin
 * until the snapshot is pinned anew.
 *
 * Any thread. What blocks says so.
 */
#pragma once

#include <stdbool.h>

#include "fs/cache/admin/blockset.h"

struct pins;

int pins_new(struct cache *c, struct pins **ret_pins);

/* Lets all go. No pins_load() is going on. Accepts NULL. */
void pins_free(struct pins *p);

/*
 * -ENOTUNIQ: it is pinned already; -ENOSPC: it does not fit, with the numbers
 * in err_text(); or what reading its page tables says. Blocks. Takes a
 * reference of `snap`, and tells of how many blocks it is.
 */
int pins_begin(struct pins *p, struct snapshot *snap, uint64_t *ret_blocks);

/*
 * Reads and holds the next block; pins_begin() came before. 1: there are more;
 * 0: that was the last, or the pin is gone. A negative errno ends the pin:
 * what reading a block says, or -ENOSPC. Blocks. One thread at a time for one
 * snapshot.
 */
int pins_load(struct pins *p, const char *snapshot);

/* -ENOENT: it is not pinned. */
int pins_remove(struct pins *p, const char *snapshot);

/* Ends every hold of the block. */
void pins_break(struct pins *p, uint64_t block);

struct pin_status {
	char *snapshot; /* owned */
	uint64_t blocks, held;
};

/* All, the oldest first. The caller frees by pins_list_free(). Or -ENOMEM. */
int pins_list(struct pins *p, struct pin_status **ret_list, size_t *ret_count);
void pins_list_free(struct pin_status *list, size_t count);
