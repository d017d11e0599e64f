/*
 * One thread that serves sessions: the loop, its mailbox, and what its
 * sessions share. Everything here but worker_call() is for the worker's own
 * thread; pool.c makes and stops workers.
 *
 * A turn of the loop: wait for descriptors, timers or mail; handle each; run
 * the fetcher; answer faults, a slice of each session; install a piece ahead;
 * submit new reads at once; wake what had overflowed; bury the sessions that
 * ended. A session that ends within a turn stays in memory
 * until the turn's end, so nobody in between holds a pointer to nothing.
 */
#pragma once

#include <pthread.h>

#include "fs/base/lock.h"
#include "fs/cache/fetch.h"
#include "pagerd/uffd/ahead/ahead.h"
#include "pagerd/uffd/ahead/complete.h"
#include "pagerd/uffd/fault/fault.h"
#include "pagerd/uffd/fault/huge.h"
#include "pagerd/uffd/fault/riders.h"
#include "pagerd/uffd/serve/turn/spin.h"
#include "pagerd/uffd/session_impl.h"

struct worker {
	/* Immutable while the thread runs. */
	unsigned int index;
	pthread_t thread;
	int epoll_fd;
	void (*ended)(void *arg, struct session *s);
	/* Likewise, when a completion has failed; the reference stays. */
	void (*completion_failed)(void *arg, struct session *s);
	void *ended_arg;
	struct keeper *keeper;		  /* NULL: nothing is recorded */
	struct complete_auto *completing; /* NULL: no automatic mode */
	struct spin_shared *spinning;

	/* The worker's own. */
	struct fetcher *fetcher;
	struct timers timers;
	struct watch mail, reads;
	struct list_node sessions, ending, overflowed, demand;
	struct fault_pool faults;
	struct huge_pool huge;
	struct riders riders;
	struct spin spin;
	struct ahead_worker ahead;
	struct timer complete_timer, gauge_timer;
	bool stopping;

	_Atomic uint64_t turns; /* odd while it waits, even while it works */
	_Atomic uint64_t load;	/* sessions; pool.c chooses by it */

	struct lock lock;
	struct list_node calls; /* protected by lock */
};

/* -ENOMEM, -EMFILE, or what io_uring said. */
int worker_new(unsigned int index, struct cache *cache,
	       const struct block_source *source, struct fetch_loader *loader,
	       struct worker **ret_worker);

/*
 * What is to be set in the worker beside the arguments is set before.
 * `ended` is called once for each session at its end, on the worker's thread;
 * it takes over the reference that worker_adopt() was given.
 */
int worker_start(struct worker *w, void (*ended)(void *, struct session *),
		 void *arg);

/* Waits for the thread; it must have no session. Also for one not started. */
void worker_free(struct worker *w); /* accepts NULL */

/*
 * Has `run` called on the worker's thread and returns what it returned, with
 * its error text. From any thread but a worker's.
 */
int worker_call(struct worker *w, int (*run)(struct worker *w, void *arg),
		void *arg);

/*
 * For worker_call(): the session, with one reference to it, becomes the
 * worker's. On failure it does not.
 */
int worker_adopt(struct worker *w, void *session);

/* CLOCK_MONOTONIC in ns. */
uint64_t worker_now(void);

/* Looks at `watch->fd` for `events` of epoll(7), level-triggered. */
int worker_watch(struct worker *w, struct watch *watch, uint32_t events);

/* Looks for other events from here on; what is there already is told anew. */
int worker_rewatch(struct worker *w, struct watch *watch, uint32_t events);

/*
 * Stops looking and closes. A userfaultfd has copies elsewhere, so closing
 * alone would leave it in the epoll set, with a pointer to freed memory.
 */
void worker_unwatch(struct worker *w, struct watch *watch);

/* Goes on to hold the fd, but looks at it no more. */
void worker_mute(struct worker *w, struct watch *watch);

/* Marks the session as over; it is buried at the turn's end. */
void worker_end(struct session *s, enum session_end end);
