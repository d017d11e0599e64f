/*
 * Quarantine: the blocks of a store that could not be read, and where another
 * copy of each is. It is the store's block_source, before its packs.
 *
 * A block comes here when a reader has given up on it (verdict). From then on
 *
 *  1. who wants it gets the last error at once, and the disk is left alone,
 *     but for one try in DAMAGE_PAUSE: a pack that was repaired, or came back
 *     with its disk, is seen by that;
 *     What only prefetch, mounts and commands have found is tried in full
 *     by the first fault all the same: they do not wait between their tries
 *     as long, and no VM must end for that;
 *  2. such a try opens the pack anew, as a repair replaces the file;
 *  3. a try that goes well takes the block out (healed);
 *  4. where the store has the same content in another slot, which was stored
 *     when a publish met the damage, locate gives that one (copies.h), for
 *     all snapshots that refer to the damaged one.
 *
 * It lives in memory alone. The daemon has a store that it only reads, and
 * what a file said of a disk would be older than what one try tells: the
 * first read after a start finds a damaged block again, for the price of its
 * retries.
 *
 * Any thread. With no block in it a look costs one atomic load.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/store/source.h"

#define DAMAGE_PAUSE UINT64_C(1000000000) /* ns */

/* More are not noted: each is tried in full, every time. */
#define DAMAGE_BLOCKS_MAX 4096u
#define DAMAGE_TEXT_MAX	  160

struct damage;
struct store;

/* Borrows the store, which need not be whole yet, for its life. */
int damage_new(struct store *s, struct damage **ret_damage);
void damage_free(struct damage *d); /* accepts NULL */

/* The calls of struct block_source_ops; ctx is the damage. */
extern const struct block_source_ops damage_source_ops;

struct damage_stats {
	uint64_t blocks;		  /* in quarantine now */
	uint64_t copies;		  /* of these: another copy is read */
	uint64_t found, healed, refusals; /* since the store was opened */
};

void damage_stats(struct damage *d, struct damage_stats *ret_stats);

struct damage_row {
	uint64_t block;
	bool has_copy;
	int error;
	char text[DAMAGE_TEXT_MAX];
};

/* Fills up to `max` rows, without copies first; returns how many. */
size_t damage_list(struct damage *d, struct damage_row *rows, size_t max);
