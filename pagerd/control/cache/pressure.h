/*
 * Making room before the kernel makes it: where memory gets short the cache's
 * limit goes down step by step, and up again when there is room.
 *
 * Two signs are watched, each second, ten times a second once the control group
 * is half full, and whenever the kernel says so at once: for how much of the
 * time some task waited for memory (PSI), and how near the group is to its
 * limit (memgroup.h). Each time that memory is short an eighth of the cache
 * goes, or what it takes to be a tenth below the group's limit; a sixteenth of
 * what the operator wanted comes back after PRESSURE_CALM_MS of calm. What the
 * operator sets by a resize is what is wanted from then on. Blocks of pinned
 * snapshots stay: the cache shrinks no further than they allow.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/cache/cache.h"
#include "pagerd/control/cache/memgroup.h"

#define PRESSURE_CALM_MS 10000

struct pressure_figures {
	unsigned int elapsed_ms; /* since those before */
	double stalled; /* share of the time that a task waited, 0..1 */
	struct memgroup_figures group;
};

/* What is remembered from one time to the next; zeroed at first. */
struct pressure_state {
	uint64_t wanted; /* what the operator set */
	uint64_t set;	 /* what we set last; 0: nothing yet */
	unsigned int calm_ms;
};

/* The limit that the cache should have now, which has `limit` and `bytes`. */
uint64_t pressure_decide(struct pressure_state *state,
			 const struct pressure_figures *figures, uint64_t limit,
			 uint64_t bytes);

struct pressure;

/*
 * Starts a thread that watches and resizes. `group` is a control group's
 * folder; NULL: our own. -EOPNOTSUPP: the kernel tells nothing of its memory.
 */
int pressure_new(struct cache *c, const char *group,
		 struct pressure **ret_pressure);
void pressure_free(struct pressure *p); /* accepts NULL */
