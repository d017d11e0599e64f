/*
 * All sessions of the daemon by their ids, with the pool that serves them.
 *
 * A session is known from the end of registry_create() until it has ended;
 * its id is taken from the beginning of registry_create(). All calls are safe
 * from any thread but the pool's workers.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/hist.h"
#include "fs/cache/cache.h"
#include "fs/store/store.h"
#include "pagerd/uffd/pool.h"
#include "pagerd/uffd/session.h"

struct registry;

struct registry_options {
	struct store *store; /* borrowed for its life, as the next two */
	struct cache *cache;
	struct vault *vault; /* may be NULL */
	const char *folder;  /* RUNTIME/sessions, absolute */
	unsigned int workers;
	unsigned int max_sessions;
	uint64_t record_ns; /* of every session; see session.h */
	unsigned int record_pages;
	uint64_t complete_age_ns; /* see pool.h */
	unsigned int complete_parallel;
	uint64_t complete_rate;
	bool no_neighbours;
	uint64_t spin_ns;
};

/* -ENOMEM, -EMFILE, or what pool_new() said. */
int registry_new(const struct registry_options *options,
		 struct registry **ret_registry);

/* registry_count() is 0 and draining is on. Accepts NULL. */
void registry_free(struct registry *r);

struct registry_request {
	const char *id; /* NULL: 16 random hex digits */
	const char *snapshot;
	enum session_policy policy;
	uid_t uid;
	gid_t gid;
	const struct journal *journal; /* NULL, or of one to be taken over */
	bool no_prefetch;
	enum session_record record;
	const struct overlay_piece *overlays; /* see session.h */
	size_t overlay_count;
};

/*
 * Makes a session and has it served; the caller gets a reference.
 * -ESHUTDOWN draining, -EUSERS as many sessions as there may be, -EINVAL bad
 * id or snapshot's name, -ENAMETOOLONG, -ENOENT no such snapshot, -ENOTUNIQ
 * the id is in use, -EBADMSG the snapshot is damaged, or others from below.
 */
int registry_create(struct registry *r, const struct registry_request *request,
		    struct session **ret_session);

/* A reference, or NULL. */
struct session *registry_find(struct registry *r, const char *id);

/* References to all, oldest first; registry_list_free() drops them. */
int registry_list(struct registry *r, struct session ***ret_sessions,
		  size_t *ret_count);
void registry_list_free(struct session **sessions, size_t count);

/*
 * Closes a session, as pool_close() tells, and waits up to `wait_ns` for its
 * end. 0: it is over. -EINPROGRESS: it is about to be, or lingers. -ENOENT no
 * such session, -EBUSY a live VM depends on it.
 */
int registry_close(struct registry *r, const char *id, enum pool_close how,
		   uint64_t wait_ns);

/*
 * Has a session completed, as pool_complete() tells, and waits up to `wait_ns`
 * for its end. 0: its VM needs us no more. -EINPROGRESS: not yet, it goes on;
 * to ask again waits again. -ENOENT: no such session, or it ended otherwise;
 * -ENOTCONN, -EBUSY; else why it was given up: the session is served on then.
 */
int registry_complete(struct registry *r, const char *id, uint64_t wait_ns);

/* Asks all to close. Their ends are told by registry_fd(). */
void registry_close_all(struct registry *r, enum pool_close how);

/* Sessions, those counted that are just being made. */
size_t registry_count(struct registry *r);

/* While draining, registry_create() refuses. */
void registry_drain(struct registry *r);
bool registry_draining(struct registry *r);

/* -ESHUTDOWN after registry_stop(). */
int registry_undrain(struct registry *r);

/*
 * After registry_stop(): whether every session may be left to a daemon after
 * us. 0, or -EBUSY with the reason, which may pass.
 */
int registry_leave(struct registry *r);

/* Whether every worker has made progress since the last call, or is idle. */
bool registry_progresses(struct registry *r);

/* Drains for good: the daemon is ending. */
void registry_stop(struct registry *r);

/* An eventfd, readable when a session has come or gone, or a drain begun. */
int registry_fd(const struct registry *r);

/* Sums over all sessions that ever were; they never go back. */
struct registry_totals {
	bool draining;
	unsigned int workers;
	uint64_t sessions;
	uint64_t by_state[SESSION_STATE_COUNT];
	uint64_t ended[SESSION_END_COUNT];
	uint64_t counters[SESSION_COUNTER_COUNT];
	uint64_t blocked_ns;
	uint64_t outstanding, parked, stalled; /* now */
	uint64_t oldest_fault_ns;	       /* now, of all */
	struct hist latency;		       /* ns */
	struct hist latency_by[SESSION_SOURCE_COUNT];
};

int registry_totals(struct registry *r, struct registry_totals *ret_totals);
