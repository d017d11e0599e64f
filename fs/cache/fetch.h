/*
 * Fetching blocks through the cache: from there, or by one checked read.
 *
 * The asynchronous side is a fetcher: one a worker thread, with an io_uring
 * of its own. fetch_start() answers at once on a hit; on a miss it either
 * reads (locate, io_uring read, decode into the slot) or waits for whoever
 * does. A read error or a failed checksum is tried again with a growing
 * pause, FETCH_TRIES times in all, then from another copy where the source
 * finds one, then the error goes to everybody who waits; -ENOENT (no such
 * block) is not tried again. Who is urgent and waited
 * for another's read goes on from its failure as from one of its own. What
 * another thread filled reaches a fetch through the fetcher's mailbox, so
 * done() always runs on the fetcher's own thread, inside fetcher_run().
 *
 * A source that has to load a pack's tables first (-EAGAIN of locate) does
 * so on a thread of the loader, which all fetchers share: a worker never
 * blocks.
 *
 * Classes that are not urgent (class.h) read at most FETCH_BACKGROUND blocks
 * at once; what is beyond does not even ask the cache before its turn comes,
 * so a fault on the same block finds no half-begun fill to wait behind.
 *
 * Unless said otherwise a call belongs to the fetcher's thread.
 */
#pragma once

#include <stdint.h>

#include "fs/cache/cache.h"
#include "fs/cache/fetch_loader.h"
#include "fs/store/source.h"

#define FETCH_TRIES	 4
#define FETCH_DEPTH	 256 /* reads under way at once, a power of two */
#define FETCH_BACKGROUND 64  /* of these, for who is not urgent */
#define FETCH_TAKEN	 16  /* completions of reads at a time */

struct fetcher;

/* Where a fetch is. In all but WAITING, LOADING and READING its node is in
 * a list of the fetcher's. */
enum fetch_state {
	FETCH_HELD,    /* not urgent, waits for its turn to ask */
	FETCH_WAITING, /* in the cache: for a fill or a slot */
	FETCH_LOADING, /* on the loader */
	FETCH_QUEUED,  /* located, needs a buffer */
	FETCH_READING,
	FETCH_PAUSED,	/* until retry_at, then tries again */
	FETCH_DELAYED,	/* until retry_at, then its read goes on (faults) */
	FETCH_FINISHED, /* done() is due */
};

struct fetch {
	/* The caller fills these. */
	uint64_t block;
	uint32_t session; /* for the trace: whose it is; 0: nobody's */
	enum cache_class class;
	bool awaited; /* a VM waits: what others gave up is tried in full */
	/*
	 * On 0 `ref` is pinned for the caller, who drops it. Else err_text()
	 * tells of the error. May start fetches, this one too, or free it.
	 */
	void (*done)(struct fetch *f, int error);

	struct cache_ref ref;

	/* The fetcher's own. */
	struct fetcher *fetcher;
	struct cache_waiter waiter;
	struct fetch_load load;
	struct list_node node;
	enum fetch_state state;
	bool filling;	       /* ref is ours to fill */
	bool located;	       /* place is ours to release */
	bool suspect, rescued; /* as the source said; it was asked to */
	struct block_place place;
	uint8_t *stored;   /* where the read lands; NULL: no buffer yet */
	uint32_t got;	   /* bytes of it */
	uint64_t retry_at; /* CLOCK_MONOTONIC ns */
	unsigned int tries, prepares;
	int error;
	char *error_text; /* on its way from another thread, or to done() */
};

/*
 * `source` and `loader` are borrowed for the fetcher's life. Any thread may
 * make it; the thread that then uses it owns it. -ENOMEM, or what
 * io_uring_queue_init() said.
 */
int fetcher_new(struct cache *cache, const struct block_source *source,
		struct fetch_loader *loader, struct fetcher **ret_fetcher);

/* No fetch may be under way. Accepts NULL. */
void fetcher_free(struct fetcher *f);

/* Becomes readable when fetcher_run() has something to do. */
int fetcher_fd(const struct fetcher *f);

/* When fetcher_run() wants to be called even so (retries); UINT64_MAX never. */
uint64_t fetcher_deadline(const struct fetcher *f);

/*
 * Submits what is queued, takes completions in and calls done(). At most
 * FETCH_TAKEN reads are taken in at a time, so that who is on the same thread
 * does not wait for all that a fast disk may have ready: the rest is due anew.
 */
void fetcher_run(struct fetcher *f);

/*
 * True where reads are done, as they often are when they were just submitted
 * and the kernel had their bytes at hand: cheaper to ask than fetcher_fd().
 */
bool fetcher_ready(const struct fetcher *f);

/*
 * 0: f->ref is pinned now, done() is not called. -EINPROGRESS: done() will be
 * called, by a later fetcher_run() or by the one that we are in. The read
 * itself is only queued: fetcher_submit() or fetcher_run() starts it, so that
 * a batch of faults costs one system call.
 */
int fetch_start(struct fetcher *fetcher, struct fetch *f);
void fetcher_submit(struct fetcher *f);

/* Fetches under way, those that wait for others counted. */
unsigned int fetcher_pending(const struct fetcher *f);

/*
 * The most memory that a fetcher uses, for whoever accounts for it beside the
 * cache: read buffers and ring. Any thread.
 */
size_t fetcher_bytes(void);
