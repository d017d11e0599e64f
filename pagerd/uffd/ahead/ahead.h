/*
 * Installing pages before a guest waits for them: the working set after a
 * restore, and all that is absent when a session is to be completed. The
 * design note stands in ahead.c. All of it runs on the session's worker.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/list.h"
#include "pagerd/uffd/ahead/plan.h"
#include "pagerd/uffd/serve/timers.h"

struct session;
struct worker;

/* What a page is installed for. In the order in which they are served. */
enum ahead_lane {
	AHEAD_PREFETCH, /* the working set */
	AHEAD_COMPLETE, /* all the rest */
	AHEAD_LANES
};

/* Of one session. */
struct ahead {
	struct plan *plan; /* NULL: no working set */
	size_t next;	   /* of its pieces */
	uint64_t began;	   /* with them */

	/* Where a completion is: in regions.all, and in the image. */
	size_t region;
	uint64_t page;
	uint64_t rate;	     /* of it, bytes/s; 0: as fast as may be */
	uint64_t not_before; /* by the rate */

	struct list_node lanes[AHEAD_LANES];   /* in those of the worker */
	struct list_node batches[AHEAD_LANES]; /* that are not idle */
	struct timer put_off; /* tries again what the kernel put off */
	struct timer rest;    /* of a completion, by its rate */
};

/* Of one worker. */
struct ahead_worker {
	struct list_node lanes[AHEAD_LANES];   /* sessions with more to begin */
	struct list_node waiting[AHEAD_LANES]; /* likewise, for a batch */
	struct list_node idle[2];	       /* batches; [1]: of 2 MiB */
	struct list_node ready;		       /* batches, gathered */
	unsigned int made[2];
};

void ahead_worker_init(struct ahead_worker *a);
void ahead_worker_release(struct ahead_worker *a); /* none may be in use */

void ahead_init(struct ahead *a);
void ahead_release(struct ahead *a);

/* The VM is served from now on: its working set, where it has one. */
void ahead_prefetch(struct session *s);

/*
 * One pass over all that is absent. Its end is told by complete_passed() of
 * complete.h, its failure by complete_failed().
 */
void ahead_complete(struct session *s);

/* Gives up what a lane has begun; what was installed stays. */
void ahead_stop(struct session *s, enum ahead_lane lane);

/* An event was read: what had been put off may go through now. */
void ahead_retry(struct session *s);

/* True where ahead_run() has something to do at once. */
bool ahead_ready(const struct ahead_worker *a);

/* Begins at most one piece of 64 KiB (or one 2 MiB page) and installs one. */
void ahead_run(struct worker *w);
