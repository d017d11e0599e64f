/*
 * The ghost queue: the ids of blocks that left the cache not long ago, oldest
 * forgotten first. It holds ids, no bytes: a block that is asked for again
 * while its ghost stands here was evicted too early.
 *
 * A ring of ids with a chained hash over it. Memory is the caller's, zeroed;
 * links are ring positions + 1, so that zero means none and untouched memory
 * stays untouched. Everything is protected by the shard's lock.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ghost {
	uint64_t *ids;	   /* the ring; 0: vacant */
	uint32_t *chains;  /* next in the same bucket, by ring position */
	uint32_t *buckets; /* as many as the ring has places */
	uint32_t size;
	uint32_t next; /* ring position of the next id, the oldest there is */
};

/* What ghost_init() needs for `size` ids. */
size_t ghost_bytes(uint32_t size);

/* `memory`: zeroed, 8-byte aligned, outlives the ghost. `size` is over 0. */
void ghost_init(struct ghost *g, uint32_t size, void *memory);

/*
 * Makes it one of `size` ids, in the same memory, of which ghost_bytes() of the
 * larger size are there. The newest ids are kept; none where there is no
 * memory for a moment's copy of them.
 */
void ghost_resize(struct ghost *g, uint32_t size);

/* Remembers `block`, which is not 0, as the newest. */
void ghost_add(struct ghost *g, uint64_t block);

/* True if it was remembered; it is not any more. */
bool ghost_take(struct ghost *g, uint64_t block);
