/*
 * How much memory a control group uses, and may use: version 2, or the memory
 * controller of version 1.
 *
 * What the kernel can take back at once does not count as used: the cache of
 * files, which grows to any limit as packs are read, and of which nobody is
 * killed.
 */
#pragma once

#include <limits.h>
#include <stdint.h>

struct memgroup {
	char folder[PATH_MAX];		    /* "": there is none */
	const struct memgroup_files *files; /* of its version */
};

/* Our own group. */
void memgroup_find(struct memgroup *ret_group);

/* The one with that folder. */
void memgroup_open(const char *folder, struct memgroup *ret_group);

struct memgroup_figures {
	uint64_t used, limit; /* limit 0: none */
};

/* A limit of a group further up is not seen. Zeroes where nothing is told. */
void memgroup_read(const struct memgroup *group,
		   struct memgroup_figures *ret_figures);

/*
 * For how many microseconds so far some task of the group waited for memory,
 * where the kernel tells it of the group; else of the machine. -ENOENT.
 */
int memgroup_stalled(const struct memgroup *group, uint64_t *ret_us);

/*
 * A descriptor that has POLLPRI whenever a tenth of a second in one was lost
 * so; -1 where there is none.
 */
int memgroup_trigger(const struct memgroup *group);
