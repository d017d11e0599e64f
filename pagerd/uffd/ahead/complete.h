/*
 * Completing a session: all that is absent is installed, every page's state
 * is verified, the memory is unregistered, and the VM goes on without us. The
 * design note stands in complete.c. All of it runs on the session's worker.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pagerd/uffd/serve/timers.h"

struct session;
struct worker;

enum complete_stage {
	COMPLETE_NONE,
	COMPLETE_INSTALLING,
	COMPLETE_VERIFYING,
	COMPLETE_LEAVING, /* unregistered: the last events are awaited */
};

/* Of one session. */
struct complete {
	enum complete_stage stage;
	struct timer timer; /* the next slice of verifying, or of leaving */
	size_t region;	    /* how far verifying has come */
	uint64_t page;
	bool automatic;	     /* counts in complete_auto.running */
	uint64_t not_before; /* the next automatic try */
	int error;	     /* of the last one */
	char *error_text;
};

/* The automatic mode, of one pool; all but `running` are immutable. */
struct complete_auto {
	uint64_t age_ns;       /* since the handshake; 0: never */
	unsigned int parallel; /* at once; 0: no limit */
	uint64_t rate;	       /* bytes/s of each; 0: no limit */
	atomic_uint running;
};

/*
 * Starts, or goes on. -ENOTCONN no VM has connected yet, -EBUSY the VM is
 * being ended, -ENOENT the session has ended. `rate` in bytes/s, 0: no limit.
 * On success the session ends as SESSION_END_COMPLETED.
 */
int complete_begin(struct session *s, uint64_t rate);

/* -EINPROGRESS; 0: none was begun; else why the last one failed. */
int complete_result(const struct session *s);

/* By ahead.c: a pass over all pages has ended, or cannot go on. */
void complete_passed(struct session *s);
void complete_failed(struct session *s, int error);

/* The session is over. */
void complete_end(struct session *s);

/* The automatic mode of a worker's sessions, from now on. */
void complete_watch(struct worker *w);
