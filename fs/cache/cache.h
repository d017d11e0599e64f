/*
 * The bounded block cache: one arena of 4 KiB slots under a hard byte bound
 * that counts its own metadata. Keyed by block id. The design note stands in
 * cache.c; what leaves when it is full, in policy.h.
 *
 * Life of a slot: free -> filling (one filler, any number of waiters) ->
 * ready -> evicted to free. A slot that is filling or pinned is never
 * evicted. Whoever holds a struct cache_ref holds one pin and must drop it
 * with cache_unpin(), soon: a pin is held over a copy, never over a wait for
 * somebody else.
 *
 * All calls are safe from any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/list.h"

struct cache;

/* Who asks; the table in class.c says what each class may do. */
enum cache_class {
	CACHE_FAULT,	/* a guest waits */
	CACHE_NODE,	/* a page-table node, where a guest waits */
	CACHE_PREFETCH, /* a working set; what an operator wants warm */
	CACHE_MOUNT,	/* a reader of the mount */
	CACHE_VERIFY,
	CACHE_BULK,	  /* a session's completion: each page of it once */
	CACHE_MOUNT_NODE, /* a page-table node, for a reader of the mount */
	CACHE_CLASS_COUNT
};

struct cache_options {
	size_t limit;	     /* bytes, metadata counted */
	size_t most;	     /* what it may grow to; 0: all of memory */
	unsigned int shards; /* power of two; 0: chosen from the limit */
};

/* The limits that cache_new() accepts, and the slots it wants in a shard. */
#define CACHE_LIMIT_MIN	 (1u << 20)
#define CACHE_LIMIT_MAX	 (UINT64_C(1) << 46)
#define CACHE_SHARD_MIN	 32
#define CACHE_SHARDS_MAX 64

/*
 * -EINVAL for a limit or a number of shards that cannot be, -ENOMEM. Memory is
 * only reserved: it is used as slots are, the lowest first. Where the system
 * reserves no more than the limit the cache cannot grow.
 */
int cache_new(const struct cache_options *options, struct cache **ret_cache);

/* Nothing may be pinned or filling. */
void cache_free(struct cache *c); /* accepts NULL */

/* One pin on one slot. `data` may be read while it is held, never written. */
struct cache_ref {
	struct cache *cache; /* NULL: holds nothing */
	const uint8_t *data; /* 4096 bytes */
	uint64_t block;
	uint32_t slot;
	uint8_t kind; /* enum pager_kind, as the filler said */
};

/*
 * A place in a queue for somebody else's fill. Owned by the caller, which
 * keeps it alive until wake() was called or cache_cancel() returned true.
 */
struct cache_waiter {
	/*
	 * Called once, from the thread that filled or failed, with no lock of
	 * the cache held; must be quick, must not block and must leave
	 * err_text() alone. error 0: `ref` is pinned for the waiter. -EAGAIN:
	 * a slot may have become free, ask again. Else the filler's error, and
	 * err_text() is the filler's.
	 */
	void (*wake)(struct cache_waiter *w, int error);
	struct cache_ref ref;

	/* The cache's own. */
	uint64_t block;
	struct list_node node; /* protected by the shard's lock */
	bool queued;	       /* likewise */
};

enum cache_result {
	CACHE_HIT,  /* *ret_ref is pinned and readable */
	CACHE_FILL, /* *ret_ref is yours to fill, see below */
	CACHE_WAIT, /* the waiter was queued and will be woken: by a fill of
		     * the same block, or, where every slot is pinned or
		     * filling, by whoever makes one available */
};

/*
 * Asks for a block, any but 0 (the zero page is never stored). With a waiter:
 * always one of the three. With NULL in its place: -EBUSY instead of
 * CACHE_WAIT. Each call counts as one hit, miss, wait or slot wait.
 */
int cache_get(struct cache *c, uint64_t block, enum cache_class class,
	      struct cache_waiter *waiter, struct cache_ref *ret_ref);

/*
 * As cache_get(), but never fills or waits: a hit or -ENOENT. It does not
 * count as a use. For neighbours that ride along.
 */
int cache_peek(struct cache *c, uint64_t block, struct cache_ref *ret_ref);

/*
 * Makes a block that is there count as used once more, by nobody: it is no
 * look-up. For who fills the cache ahead of its users.
 */
void cache_note_use(struct cache *c, uint64_t block);

/*
 * The two ends of a fill. The filler writes 4096 bytes to
 * cache_fill_buffer(), then says done: waiters get their pins, the filler's
 * ref becomes an ordinary one. Or it says failed: waiters get the error, the
 * block is not in the cache, the ref holds nothing any more. `error` is
 * negative and not -EAGAIN, which has a meaning of its own here.
 */
uint8_t *cache_fill_buffer(const struct cache_ref *ref);
void cache_fill_done(struct cache_ref *ref, uint8_t kind);
void cache_fill_failed(struct cache_ref *ref, int error);

void cache_unpin(struct cache_ref *ref); /* a ref that holds nothing is fine */

/* True: the waiter left the queue. False: wake() was or is being called. */
bool cache_cancel(struct cache *c, struct cache_waiter *w);

/*
 * A hold keeps a ready block in the cache until it is let go of, without
 * pinning it: nobody may read by it. Holds of one block add up. -ENOENT: it is
 * not in the cache; -ENOSPC: of its shard as much is held as may be. A command
 * that evicts passes over what is held.
 */
int cache_hold(struct cache *c, uint64_t block);
void cache_unhold(struct cache *c, uint64_t block); /* one that was held */

/* X(member, help): what is counted for each class, from the start. */
#define CACHE_CLASS_COUNTERS(X)                                          \
	X(hits, "lookups that hit")                                      \
	X(misses, "lookups that read")                                   \
	X(waits, "lookups that waited for another's read")               \
	X(slot_waits, "lookups that found every slot taken")             \
	X(inserts, "blocks put in")                                      \
	X(evictions, "blocks it put in, thrown out for room")            \
	X(evictions_unused, "of these, never hit")                       \
	X(evictions_active, "of these, hit since they last were spared") \
	X(ghost_hits, "misses on blocks thrown out not long ago")

/* X(member, help): what is there now of each class. */
#define CACHE_CLASS_GAUGES(X)         \
	X(blocks, "blocks it put in") \
	X(pinned, "blocks that a copy reads now, or that are being read")

struct cache_class_stats {
#define X(member, help) uint64_t member;
	CACHE_CLASS_COUNTERS(X)
	CACHE_CLASS_GAUGES(X)
#undef X
	/* Of the last eviction for room of a block that it put in: */
	bool evicted;		/* there was one */
	uint32_t evicted_ago;	/* seconds */
	uint32_t evicted_after; /* for how many the block was unused */
};

/* X(id, name, help): memory of others that counts, see resize_charge(). */
#define CACHE_CHARGES(X)                                       \
	X(READS, read_buffers, "read buffers and rings")       \
	X(DECODERS, decoders, "contexts of the decompressors") \
	X(LISTS, lists, "lists of blocks of pins and of jobs") \
	X(TRACE, trace_buffers, "what a trace has still to write")

enum cache_charge {
#define X(id, name, help) CACHE_CHARGE_##id,
	CACHE_CHARGES(X)
#undef X
		CACHE_CHARGE_COUNT
};

/* How long reads took: those below 2^14 ns, and below each four times it. */
#define CACHE_READ_STEPS       10
#define CACHE_READ_BELOW(step) (UINT64_C(1) << (14 + 2 * (step)))

struct cache_stats {
	size_t bytes; /* slots in use, metadata and what was charged */
	size_t limit;
	/* Of `bytes`; beside these it is slots in use. */
	size_t tables; /* entries, hash tables, slot maps */
	size_t ghosts;
	size_t curve;
	size_t charged[CACHE_CHARGE_COUNT];
	uint64_t capacity;   /* slots */
	uint64_t held;	     /* blocks, by cache_hold() */
	uint64_t holdable;   /* the most that could be */
	uint64_t stragglers; /* pinned, in the way of a shrink */
	uint64_t drops;	     /* blocks evicted by command */
	uint64_t failures;   /* fills that failed */
	uint64_t contended;  /* calls that waited for another's */
#define X(member, help) uint64_t member;
	CACHE_CLASS_COUNTERS(X) /* sums over the classes */
	CACHE_CLASS_GAUGES(X)
#undef X
	struct cache_class_stats by_class[CACHE_CLASS_COUNT];
	/* Of the last eviction for room: */
	bool evicted;		/* there was one */
	uint32_t evicted_ago;	/* seconds */
	uint32_t evicted_after; /* for how many the block was unused */
	/* Fills, by the ns from the miss to the block: */
	uint64_t reads, read_ns; /* how many, and their sum */
	uint64_t read_p50, read_p99;
	uint64_t read_below[CACHE_READ_STEPS]; /* see CACHE_READ_BELOW() */
};

/* The figures of different shards are of slightly different moments. */
void cache_stats(struct cache *c, struct cache_stats *ret_stats);
const char *cache_class_name(enum cache_class class);

struct trace;

/*
 * Records every look-up by a fetch (fetch.h) from now on; see
 * observe/trace.h. Before other threads use the cache. `trace` is borrowed.
 */
void cache_set_trace(struct cache *c, struct trace *trace);

/* One look-up of a session's, as the trace numbers them; 0: of none. */
void cache_trace(struct cache *c, uint32_t session, uint64_t block,
		 enum cache_class class);

struct curve_report;

/* What the hit ratio would be at other sizes; see observe/curve.h. */
void cache_curve(struct cache *c, struct curve_report *ret_report);
