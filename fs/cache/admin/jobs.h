/*
 * The long work of the cache's commands: warming, and loading what is pinned.
 * One thread of low priority does all jobs block by block, in turn, each at
 * its own rate; its reads are of class CACHE_PREFETCH, so they do not go before
 * a fault's. A block that is warmed counts as used once: it displaces what was
 * not used for a round of the main queue, and nothing else.
 *
 * Any thread. A job that has ended can be seen until JOBS_KEPT more have.
 */
#pragma once

#include <stdbool.h>

#include "fs/cache/admin/pins.h"

#define JOBS_KEPT   16
#define JOBS_ACTIVE 64

struct jobs;

/* Starts the thread. Both are borrowed for its life. */
int jobs_new(struct cache *c, struct pins *pins, struct jobs **ret_jobs);

/* Jobs that are under way end where they are. Accepts NULL. */
void jobs_free(struct jobs *j);

struct jobs_options {
	uint64_t rate; /* bytes a second; 0: as fast as it goes */
	bool working_set;
};

/*
 * Reads a snapshot's blocks into the cache, or those of its working set.
 * Blocks to read the page tables; -EBUSY: JOBS_ACTIVE are under way; what
 * blockset.h and, for a pin, pins_begin() say.
 */
int jobs_warm(struct jobs *j, struct snapshot *snap,
	      const struct jobs_options *options, uint64_t *ret_id);
int jobs_pin(struct jobs *j, struct snapshot *snap,
	     const struct jobs_options *options, uint64_t *ret_id);

/*
 * Ends a job after the block that it is at; what was read stays, but a pin
 * whose blocks are being loaded is taken away. Does not wait: the state tells.
 * One that has ended is left as it is. -ENOENT: there is no such job.
 */
int jobs_cancel(struct jobs *j, uint64_t id);

enum job_state {
	JOB_RUNNING,
	JOB_DONE,
	JOB_FAILED,
	JOB_CANCELLED,
	JOB_STATE_COUNT
};

struct job_status {
	uint64_t id;	      /* from 1 on */
	const char *kind;     /* "warm", "pin": not owned */
	const char *snapshot; /* owned with the list */
	enum job_state state;
	uint64_t blocks, done; /* to read, and read or found there */
	uint64_t found;	       /* of these, were in the cache already */
	uint64_t elapsed_ns;   /* until now, or its end */
	const char *error;     /* owned with the list; NULL: none */
};

/* Oldest first. The caller frees by jobs_list_free(). Or -ENOMEM. */
int jobs_list(struct jobs *j, struct job_status **ret_list, size_t *ret_count);
void jobs_list_free(struct job_status *list, size_t count);

/* "running", "done", "failed", "cancelled". */
const char *jobs_state_name(enum job_state state);
