/*
 * The digest index of a store: all its runs. Only publishing asks it.
 *
 * Opening lists the runs and the packs, drops runs that are damaged, and
 * makes a run for packs that no run covers (a crash between a pack and its
 * run, or a lost index), so the index is always complete for the packs that
 * were there. A pack whose own digest table is damaged is left out: verify
 * tells of it. More than INDEX_RUNS_MAX runs are merged: of the runs sorted
 * by size, the longest row from the smallest on whose last is no larger than
 * the sum of those below it, and at least the two smallest; so each entry is
 * rewritten O(log n) times. A merge writes the new run, renames it in, then
 * removes the old ones, under STORE_LOCK_INDEX; two runs that cover the same
 * pack are harmless.
 *
 * What it finds are hints: an id may be of a pack that is gone, or of other
 * bytes. The caller reads the block and compares.
 *
 * The caller holds STORE_LOCK_PUBLISH shared, since runs are made in tmp/.
 */
#pragma once

#include <stdint.h>

#include "fs/base/cleanup.h"
#include "fs/store/store.h"

struct block_index;

#define INDEX_RUNS_MAX 8

/* Needs STORE_WRITE. */
int index_open(struct store *s, struct block_index **ret_index);
void index_close(struct block_index *index); /* accepts NULL */
DEFINE_CLEANUP(index, struct block_index *, index_close)

/*
 * Adds a run for one finished pack; entries sorted. Merges when due and
 * nobody else does. One thread at a time.
 */
int index_add_pack(struct block_index *index, uint64_t pack,
		   const struct pager_digest_entry *entries, uint64_t count);

/* Up to `max` candidates, newest run first. Any thread. Returns how many. */
unsigned int index_find(struct block_index *index,
			const struct pager_digest *digest, unsigned int max,
			uint64_t *ret_blocks);

/* For show and for tests. */
unsigned int index_runs(struct block_index *index);
uint64_t index_entries(struct block_index *index);

/* Removes every run and makes new ones from the packs; takes its locks. */
int index_rebuild(struct store *s);
