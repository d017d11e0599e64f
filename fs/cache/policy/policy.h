/*
 * Which block leaves next: S3-FIFO over the entries of one shard, with a queue
 * for scans before it.
 *
 * New blocks of admitted classes (class.h) enter the small queue, a fiftieth
 * of the slots. What was used while it went through moves on to the main one;
 * what was not leaves, and its id goes to the ghost queue. Who is asked for
 * while his ghost stands there enters the main queue at once. In the main
 * queue a block that was used gets another round for each use, up to three,
 * before it leaves. So one-time reads pass through a small part of the cache
 * and never displace what is used, and a hit writes a counter and moves
 * nothing. (Yang et al., "FIFO queues are all you need for cache eviction",
 * SOSP'23.)
 *
 * Ours beyond that paper:
 * - Other classes enter the scan queue, which pays before all others once it
 *   has more than a hundredth of the slots, and leave no ghost. In one queue
 *   with the faults' new blocks a scan pushed those out before their second
 *   use: 7 % more fault misses in pagerbench cache's fleet at 10 %, 18 % at
 *   20 %; now 1 % and none. What an admitted class has hit goes on to the small
 *   queue.
 * - One use is enough for the main queue, the small queue is a fifth of the
 *   paper's, and the ghost queue half of it: what a fleet of clones shares is
 *   used again soon. 10 % fewer fault misses in that fleet than plain S3-FIFO
 *   has; 11 % fewer in fleets, and 1 to 7 % in restores in turn, that no number
 *   was chosen by. One trace says little: against SIEVE it is 3 to 7 % fewer
 *   over 40 traces of restores in turn, and still more in 4 to 16 of them.
 * - SIEVE's hand in the main queue, in place of rounds, was tried over 80 such
 *   traces and 16 fleets: within 1.5 % of these, above as often as below.
 * - Pinned entries are passed over; held entries, which an operator wants to
 *   stay, wait in a queue that never pays.
 * - There is an end to the rounds, because the shard's lock is held: after
 *   POLICY_ROUNDS entries that stayed the next one of the main queue leaves,
 *   used or not.
 *
 * An entry stands in a queue exactly while it is ready. Everything is
 * protected by the shard's lock.
 */
#pragma once

#include "fs/base/list.h"
#include "fs/cache/cache.h"
#include "fs/cache/policy/ghost.h"

#define POLICY_ROUNDS 64

enum entry_state { ENTRY_FREE, ENTRY_FILLING, ENTRY_READY };
enum entry_queue {
	QUEUE_SCAN,
	QUEUE_SMALL,
	QUEUE_MAIN,
	QUEUE_HELD,
	QUEUE_COUNT
};

/*
 * What is known of a slot. All zero: free. What a look-up needs comes first:
 * it lies in one line of the processor's cache, or half of it.
 */
struct entry {
	uint64_t block;
	uint32_t chain;		    /* the shard's hash: slot + 1; 0 ends */
	uint32_t pins;		    /* struct cache_ref that hold it */
	enum entry_state state : 8; /* what is not ready is in no queue */
	enum entry_queue queue : 8; /* where it stands, or will when filled */
	enum cache_class class : 8; /* who brought it in */
	uint8_t uses;		    /* 0..3, since it entered the queue */
	uint8_t kind;		    /* enum pager_kind */
	bool admitted;		    /* an admitted class asked for it */
	bool hit;		    /* it was ever used but by its filler */
	union {
		struct list_node waiters; /* cache_waiter, while filling */
		struct {		  /* while ready */
			uint32_t used_at; /* seconds, see shard_now() */
			uint32_t holds;	  /* over 0: in QUEUE_HELD */
		};
	};
	union {
		uint64_t began_ns; /* while filling: CLOCK_MONOTONIC */
		struct {	   /* while ready */
			uint32_t newer, older; /* its queue: slot + 1; 0 ends */
		};
	};
};

struct fifo {
	uint32_t newest, oldest; /* slot + 1; 0: empty */
	uint32_t count;
	uint32_t pinned; /* of these; the rest can be evicted */
};

struct policy {
	struct entry *entries; /* the shard's, by slot */
	struct fifo queues[QUEUE_COUNT];
	uint32_t pinned[CACHE_CLASS_COUNT]; /* by who brought it in */
	struct ghost ghost;
	uint32_t scan_target;  /* above this the scan queue pays */
	uint32_t small_target; /* else, above this, the small queue */
};

size_t policy_bytes(uint32_t slots);

/* `memory` as for ghost_init(). */
void policy_init(struct policy *p, struct entry *entries, uint32_t slots,
		 void *memory);

/* For another number of slots; see ghost_resize(). */
void policy_resize(struct policy *p, uint32_t slots);

/*
 * A miss of `class`: notes in `e` where it will stand, for a fresh entry. True
 * where its ghost was there.
 */
bool policy_miss(struct policy *p, struct entry *e, enum cache_class class);

/* A use of a ready entry, as by a hit of an admitted class; one by a class. */
void policy_use(struct entry *e);
void policy_hit(struct entry *e, enum cache_class class);

/* The entry became ready, pinned as e->pins says, or leaves its queue. */
void policy_insert(struct policy *p, uint32_t slot);
void policy_remove(struct policy *p, uint32_t slot);

/* The ready entry now is in slot `to`, as it was in `from`. */
void policy_move(struct policy *p, uint32_t from, uint32_t to);

/*
 * One hold more or less on a ready entry. Who is let go by the last is as one
 * that the main queue has just taken in.
 */
void policy_hold(struct policy *p, uint32_t slot);
void policy_unhold(struct policy *p, uint32_t slot);

/* One pin more or less on a ready entry. */
void policy_pin(struct policy *p, struct entry *e);
void policy_unpin(struct policy *p, struct entry *e);

/* How many entries policy_evict() could take. */
uint32_t policy_evictable(const struct policy *p);

/*
 * Takes the next entry out of its queue and remembers its ghost if it earned
 * one: the slot that the caller now frees. there must be an evictable one.
 */
uint32_t policy_evict(struct policy *p);
