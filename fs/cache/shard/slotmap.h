/*
 * Which slots of a shard are in use: a bitmap that gives out the lowest free
 * one below `size`, so that the arena is touched no further than it was ever
 * full, and its far end can be given back. After `size` was made smaller slots
 * past it may still be in use; they are not given out again. Protected by the
 * shard's lock.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slotmap {
	uint64_t *words; /* a set bit: in use */
	uint32_t size;	 /* may be changed at any time, within the memory */
	uint32_t used;	 /* those past `size` too */
	uint32_t lowest; /* no word below this one has a free slot */
};

size_t slotmap_bytes(uint32_t size);

/* `memory`: zeroed, 8-byte aligned, outlives the map. */
void slotmap_init(struct slotmap *m, uint32_t size, void *memory);

/* False when all below `size` are in use. */
bool slotmap_take(struct slotmap *m, uint32_t *ret_slot);
void slotmap_give(struct slotmap *m, uint32_t slot);

/* Whether a slot is in use. */
bool slotmap_has(const struct slotmap *m, uint32_t slot);

/* The first slot from `from` on that is in use and below `end`; or `end`. */
uint32_t slotmap_next(const struct slotmap *m, uint32_t from, uint32_t end);
