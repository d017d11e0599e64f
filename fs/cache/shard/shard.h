/*
 * One shard of the cache: its own slots of the arena, a hash table over what
 * they hold, and a policy. A block belongs to one shard for ever, chosen by
 * its hash, so that nothing ever holds two shards' locks.
 *
 * Life of a slot: free -> filling -> ready -> free, as in cache.h. What these
 * calls leave to cache.c are the waiters; a claim says -EBUSY where somebody
 * would have to wait for a slot.
 *
 * The caller of everything but shard_bytes() and shard_init() holds the lock.
 */
#pragma once

#include "fs/base/lock.h"
#include "fs/cache/policy/policy.h"
#include "fs/cache/shard/slotmap.h"

struct shard {
	struct lock lock;
	uint8_t *data;	       /* the first slot's bytes */
	struct entry *entries; /* by slot; protected by lock, as all below */
	uint32_t *buckets;     /* as many as slots: slot + 1; 0: empty */
	struct slotmap slots;
	struct policy policy;
	/*
	 * cache_waiter that found no slot to claim. While one stands here no
	 * slot is free and none can be evicted: whoever changes that wakes
	 * all, since one that was woken may not want the slot any more.
	 */
	struct list_node slot_waiters;
	struct cache_class_stats by_class[CACHE_CLASS_COUNT];
	uint64_t slot_waits, inserts, evictions, failures;
} __attribute__((aligned(64)));

/* Of tables for `slots`, beside the struct and the slots themselves. */
size_t shard_bytes(uint32_t slots);

/* `memory`: shard_bytes() of zeroed bytes, aligned to 64. */
void shard_init(struct shard *s, uint32_t slots, uint8_t *data, void *memory);
void shard_release(struct shard *s);

/* True and the slot if the block is there, filling or ready. */
bool shard_find(struct shard *s, uint64_t block, uint32_t *ret_slot);

/*
 * A slot for a block that is not there, by evicting if need be: filling, with
 * one pin. -EBUSY: every slot is pinned or filling.
 */
int shard_claim(struct shard *s, uint64_t block, enum cache_class class,
		uint32_t *ret_slot);

/* The fill is done; the filler's pin stays. */
void shard_ready(struct shard *s, uint32_t slot, uint8_t kind);

/* The fill failed: the slot is free, the block unknown. */
void shard_abandon(struct shard *s, uint32_t slot);

/*
 * Frees what is ready and not pinned of the `count` slots from `first` on, as
 * far as there are so many; returns how many it freed.
 */
uint32_t shard_drop(struct shard *s, uint32_t first, uint32_t count);
