/*
 * Traces of look-ups for the cache's benchmark: made from a seed, or recorded
 * by pagerd --fault-trace. Blocks are numbered densely from 0.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct trace_lookup {
	uint32_t item;
	uint32_t class : 8; /* enum cache_class */
	uint32_t session : 24;
};

struct trace {
	struct trace_lookup *lookups;
	size_t count, room;
	uint32_t items; /* distinct blocks: the footprint */
};

void trace_release(struct trace *t);

/*
 * A fleet: restores of clones of templates, both chosen by Zipf's law, eight at
 * a time. A restore touches most of what all guests share, most of its
 * template's working set and its clone's own tail, each page once, in no
 * order. `scans` full images are read through the mount between.
 */
int trace_make_fleet(uint64_t seed, unsigned int restores, unsigned int scans,
		     struct trace *ret_trace);

/* A fleet, in which half-way one new template is restored over and over. */
int trace_make_burst(uint64_t seed, unsigned int restores,
		     struct trace *ret_trace);

/* One restore after the other, of a few images with nothing in common. */
int trace_make_turns(uint64_t seed, unsigned int images, unsigned int restores,
		     struct trace *ret_trace);

/* True for a page that few restores have in common: no working set has it. */
bool trace_is_tail(const struct trace_lookup *l);

/* What pagerd recorded. -EBADMSG where it is no such file. */
int trace_read(const char *path, struct trace *ret_trace);

/* Without the look-ups of the mount, for comparison. */
int trace_without_scans(const struct trace *t, struct trace *ret_trace);
