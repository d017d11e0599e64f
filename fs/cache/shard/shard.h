/*
 * One shard of the cache: its own slots of the arena, a hash table over what
 * they hold, and a policy. A block belongs to one shard for ever, chosen by
 * its hash, so that nothing ever holds two shards' locks.
 *
 * Life of a slot: free -> filling -> ready -> free, as in cache.h. What these
 * calls leave to cache.c are the waiters; a claim says -EBUSY where somebody
 * would have to wait for a slot.
 *
 * Two parts of the slots are kept back (shard_kept_back()): who is not urgent
 * finds the last part taken, and holds leave both parts free. So a fault finds
 * a slot while prefetch and scans hold all they may get, and those find one
 * while everything that may be held is.
 *
 * The size. `limit` slots may be in use, the lowest; tables are sized for it.
 * After a shrink a slot at or past the limit is a straggler: shard_evacuate()
 * moves its block down or evicts it, unless it is pinned; then shard_settle(),
 * which whoever drops the pin calls, does so. With the last one goes the
 * memory. A block that moves is ready and not pinned: nobody knows its address.
 *
 * The caller of everything but shard_bytes() and shard_init() holds the lock.
 */
#pragma once

#include "fs/base/lock.h"
#include "fs/cache/policy/policy.h"
#include "fs/cache/shard/slotmap.h"

/* The least number of slots. */
#define SHARD_MIN CACHE_SHARD_MIN

struct shard {
	struct lock lock;
	uint8_t *data;	       /* the first slot's bytes; NULL: slots only */
	struct entry *entries; /* by slot; protected by lock, as all below */
	uint32_t *buckets;     /* slot + 1; 0: empty */
	uint32_t bucket_count;
	uint32_t limit;	 /* slots that may be in use */
	uint32_t extent; /* slots whose memory may be in use: the limit, or
			  * more while there are stragglers */
	uint32_t most;	 /* slots that there are addresses for */
	struct slotmap slots;
	struct policy policy;
	/*
	 * cache_waiter that could not claim a slot. While one stands here
	 * there is none for its class: whoever changes that wakes all, since
	 * one that was woken may not want the slot any more.
	 */
	struct list_node slot_waiters;
	/* Without `pinned`, which the policy counts, and `evicted_ago`. */
	struct cache_class_stats by_class[CACHE_CLASS_COUNT];
	uint64_t drops, failures;
	/* By class, seconds of shard_now() of its last eviction for room. */
	uint32_t evicted_at[CACHE_CLASS_COUNT];
} __attribute__((aligned(64)));

/* Seconds of CLOCK_MONOTONIC, coarse and cheap; never 0. */
uint32_t shard_now(void);

/* Of tables for `slots`, beside the struct and the slots themselves. */
size_t shard_bytes(uint32_t slots);
size_t shard_ghost_bytes(uint32_t slots); /* of these */

/*
 * A shard of `slots`, which can become one of up to `most`. `memory`:
 * shard_bytes(most) of zeroes, page-aligned; data: `most` pages, or NULL.
 */
struct shard_size {
	uint32_t slots, most;
};
void shard_init(struct shard *s, struct shard_size size, uint8_t *data,
		void *memory);
void shard_release(struct shard *s);

/* Slots that faults alone may take; and as many once more that none may hold.
 */
uint32_t shard_kept_back(uint32_t slots);

/* The most blocks that can be held in a shard of so many slots. */
uint32_t shard_holdable(uint32_t slots);

/* True and the slot if the block is there, filling or ready. */
bool shard_find(struct shard *s, uint64_t block, uint32_t *ret_slot);

/*
 * A slot for a block that is not there, by evicting if need be: filling, with
 * one pin. -EBUSY: there is none for the class.
 */
int shard_claim(struct shard *s, uint64_t block, enum cache_class class,
		uint32_t *ret_slot);

/* The fill is done; the filler's pin stays. */
void shard_ready(struct shard *s, uint32_t slot, uint8_t kind);

/* The fill failed: the slot is free, the block unknown. */
void shard_abandon(struct shard *s, uint32_t slot);

/*
 * One hold more on a ready entry; -ENOSPC where as much is held as may be. One
 * less: a straggler is settled.
 */
int shard_hold(struct shard *s, uint32_t slot);
void shard_unhold(struct shard *s, uint32_t slot);

/* Whether the slot's entry can be evicted: ready, not pinned, not held. */
bool shard_can_drop(const struct shard *s, uint32_t slot);

/* Evicts by command: the slot's memory is given back. */
void shard_drop(struct shard *s, uint32_t slot);

/* As the policy would choose it; false where nothing can be evicted. */
bool shard_drop_coldest(struct shard *s);

/*
 * Changes the limit to between SHARD_MIN and `most`. -EBUSY where more is held
 * than may be then: nothing has changed. After a shrink shard_evacuate() is
 * to be called until it says true, then shard_trim().
 */
int shard_set_limit(struct shard *s, uint32_t slots);

/* Deals with the next `count` slots below the `*at`th; true at the limit. */
bool shard_evacuate(struct shard *s, uint32_t *at, uint32_t count);
void shard_trim(struct shard *s);

/* After an entry's last pin: see above. */
void shard_settle(struct shard *s, uint32_t slot);
