/*
 * The workers that serve sessions.
 *
 * A session belongs to one worker from pool_add() to its end: that thread
 * alone touches and closes its userfaultfd, so that no call can hit a
 * descriptor number that was used again. Other threads ask through the pool.
 *
 * The calls are safe from any thread but the workers' own; on_ended() runs on
 * a worker and may call nothing of the pool but pool_stats().
 */
#pragma once

#include "pagerd/uffd/session.h"

struct pool;

struct pool_options {
	unsigned int workers; /* 0: one a processor, at most 16 */
	struct cache *cache;  /* both borrowed for the pool's life */
	const struct block_source *source;

	/*
	 * Called once for each session that pool_add() took, when its socket,
	 * its userfaultfd and its files are gone and its snapshot's lease is
	 * dropped. Must be quick. May be NULL.
	 */
	void (*on_ended)(void *arg, struct session *s, enum session_end end);
	/* As on_ended(), when a session's completion has failed. */
	void (*on_completion_failed)(void *arg, struct session *s);
	void *arg;

	/* The automatic completion of sessions; all 0: there is none. */
	uint64_t complete_age_ns;	/* since the handshake */
	unsigned int complete_parallel; /* at once; 0: no limit */
	uint64_t complete_rate;		/* bytes/s of each; 0: no limit */

	bool no_neighbours; /* see fault/riders.h */
	uint64_t spin_ns;   /* see serve/turn/spin.h; 0: never */
	/* That the workers share with VMs; 0: those that there are. */
	unsigned int processors;
};

/* -ENOMEM, -EMFILE, or what io_uring said. */
int pool_new(const struct pool_options *options, struct pool **ret_pool);

/* Stops the workers. No session may live (pool_stats): that is asserted. */
void pool_free(struct pool *p); /* accepts NULL */

/*
 * Starts serving: the pool takes a reference of its own. -EALREADY where the
 * session was added before. On failure the session was not taken.
 */
int pool_add(struct pool *p, struct session *s);

enum pool_close {
	POOL_CLOSE_IDLE,   /* only where no live VM depends on it */
	POOL_CLOSE_LINGER, /* likewise, else it ends when its VMM does */
	POOL_CLOSE_FORCE,  /* ends the VM by the session's policy first */
};

/*
 * Ends a session. 0 where it is over, or is about to be: on_ended() tells
 * when. -EBUSY where a live VM depends on it: by POOL_CLOSE_IDLE, and by
 * POOL_CLOSE_FORCE where the policy is stall, or nothing could be done to the
 * VM. -ENOENT where it has ended before, or was never added.
 *
 * A VM depends on a session while its VMM lives and has memory registered
 * with the session's userfaultfd. To close the last copy of that would let
 * every page not yet installed read as zero, silently.
 */
int pool_close(struct pool *p, struct session *s, enum pool_close how);

/*
 * Whether the session may be left to a daemon after us: nobody is let in from
 * here on. 0, or -EBUSY with what is in the way, which may pass.
 */
int pool_leave(struct pool *p, struct session *s);

/*
 * Begins to install all that is absent; when that is done and verified, the VM
 * is let go and the session ends as SESSION_END_COMPLETED. At once 0, also
 * where it was begun before. -ENOTCONN no VM has connected yet, -EBUSY its VM
 * is being ended, -ENOENT it has ended or was never added.
 */
int pool_complete(struct pool *p, struct session *s);

/*
 * -EINPROGRESS; -ENOENT: it has ended; 0: none was begun; else the error for
 * which the last completion was given up: the session is served on then.
 */
int pool_completion(struct pool *p, struct session *s);

/*
 * Whether every worker has ended a turn since the last call, or waits for
 * something to do. For one caller at a time.
 */
bool pool_progresses(struct pool *p);

struct pool_stats {
	unsigned int workers;
	uint64_t sessions; /* added and not ended */
	uint64_t ended[SESSION_END_COUNT];
	uint64_t
		counters[SESSION_COUNTER_COUNT]; /* of ended sessions, summed */
};

void pool_stats(struct pool *p, struct pool_stats *ret_stats);
