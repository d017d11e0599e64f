/*
 * How many pages of a file hold each block: the ids of all its pages that are
 * not zero, sorted. 8 bytes a page; the room is made at once, as memory that
 * is not touched costs nothing.
 *
 * Add all, then sort, then ask. Asking is for any number of threads, as long
 * as each has a hint of its own.
 */
#pragma once

#include <stdint.h>

struct tally {
	uint64_t *blocks; /* owned; sorted by tally_sort() */
	uint64_t count, room;
};

int tally_init(struct tally *t, uint64_t room); /* -ENOMEM */
void tally_release(struct tally *t);

void tally_add(struct tally *t, uint64_t block); /* at most `room` */
void tally_sort(struct tally *t);

/*
 * The first place at which `block` stands, or UINT64_MAX. `hint`, 0 at first,
 * makes it quick to ask for blocks that lie together in the packs.
 */
uint64_t tally_find(const struct tally *t, uint64_t block, uint64_t *hint);

/* How many times a block stands there. */
uint64_t tally_count(const struct tally *t, uint64_t block);
