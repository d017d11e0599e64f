/*
 * Making room before the kernel makes it: where memory gets short the cache's
 * limit goes down step by step, and up again when there is room.
 *
 * Two signs are watched, each second and whenever the kernel says so at once:
 * for how much of the time some task waited for memory (PSI), and how near the
 * control group is to its limit. An eighth of the cache goes each time that
 * memory is short; a sixteenth of what the operator wanted comes back after
 * each PRESSURE_CALM calm seconds. What the operator sets by a resize is what
 * is wanted from then on. Blocks of pinned snapshots stay: the cache shrinks no
 * further than they allow.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/cache/cache.h"

#define PRESSURE_CALM 10

/* The figures of one second. */
struct pressure_figures {
	double stalled;	      /* share of the time that a task waited, 0..1 */
	uint64_t used, limit; /* of the control group; limit 0: none */
};

/* What is remembered from one second to the next; zeroed at first. */
struct pressure_state {
	uint64_t wanted; /* what the operator set */
	uint64_t set;	 /* what we set last; 0: nothing yet */
	unsigned int calm;
};

/* The limit that the cache should have now, whose limit is `limit`. */
uint64_t pressure_decide(struct pressure_state *state,
			 const struct pressure_figures *figures,
			 uint64_t limit);

/*
 * Reads the figures from a control group's folder, or of the whole machine
 * where it has none. `total_us` is what was stalled until the call before, and
 * is updated. -ENOENT: the kernel has no such figures.
 */
int pressure_read(const char *group, uint64_t elapsed_ns, uint64_t *total_us,
		  struct pressure_figures *ret_figures);

struct pressure;

/*
 * Starts a thread that watches and resizes. `group` is a control group's
 * folder; NULL: our own. -EOPNOTSUPP: the kernel tells nothing of its memory.
 */
int pressure_new(struct cache *c, const char *group,
		 struct pressure **ret_pressure);
void pressure_free(struct pressure *p); /* accepts NULL */
