/*
 * Fetching blocks through the cache: from there, or by one checked read.
 *
 * The asynchronous side is a fetcher: one a worker thread, with an io_uring
 * of its own. fetch_start() answers at once on a hit; on a miss it either
 * reads (locate, io_uring read, decode into the slot) or waits for whoever
 * does. A read error or a failed checksum is tried again with a growing
 * pause, FETCH_TRIES times in all, then the error goes to everybody who
 * waits. What another thread filled reaches a fetch through the fetcher's
 * mailbox, so done() always runs on the fetcher's own thread, inside
 * fetcher_run().
 *
 * A source that has to load a pack's tables first (-EAGAIN of locate) does
 * so on a loader thread, which all fetchers share: a worker never blocks.
 */
#pragma once

#include <stdint.h>

#include "fs/cache/cache.h"
#include "fs/store/source.h"

#define FETCH_TRIES 4

struct fetch_loader;
struct fetcher;

/* Starts the loader's thread. `source` is borrowed for its life. */
int fetch_loader_new(const struct block_source *source,
		     struct fetch_loader **ret_loader);
/* All fetchers that use it must be gone. */
void fetch_loader_free(struct fetch_loader *l);

struct fetch {
	/* The caller fills these. */
	uint64_t block;
	enum cache_class class;
	void (*done)(struct fetch *f, int error);

	/* Where error was 0: pinned for the caller, who drops it. */
	struct cache_ref ref;

	/* The fetcher's own. */
	struct fetcher *fetcher;
	struct cache_waiter waiter;
	struct list_node node;
	struct block_place place;
	uint8_t *stored;   /* where the read lands */
	uint64_t retry_at; /* CLOCK_MONOTONIC ns */
	unsigned int tries;
	int error;
};

/* -ENOMEM, or what io_uring_queue_init() said. */
int fetcher_new(struct cache *cache, const struct block_source *source,
		struct fetch_loader *loader, struct fetcher **ret_fetcher);

/* No fetch may be under way. */
void fetcher_free(struct fetcher *f);

/* Becomes readable when fetcher_run() has something to do. */
int fetcher_fd(const struct fetcher *f);

/* When fetcher_run() wants to be called even so (retries); UINT64_MAX never. */
uint64_t fetcher_deadline(const struct fetcher *f);

/* Submits what is queued, takes completions in and calls done(). */
void fetcher_run(struct fetcher *f);

/*
 * 0: f->ref is pinned now, done() is not called. -EINPROGRESS: done() will be
 * called. The read itself is only queued: fetcher_submit() or fetcher_run()
 * starts it, so that a batch of faults costs one system call.
 */
int fetch_start(struct fetcher *fetcher, struct fetch *f);
void fetcher_submit(struct fetcher *f);

/* Fetches under way, those that wait for others counted. */
unsigned int fetcher_pending(const struct fetcher *f);

/*
 * The blocking side, for mounts, commands and the control thread: the block
 * through the cache into `ret_page`, joining a fill that is under way.
 */
int fetch_read(struct cache *cache, const struct block_source *source,
	       uint64_t block, enum cache_class class, uint8_t *ret_page,
	       uint8_t *ret_kind);
