/*
 * A histogram of durations that many threads may read while one or more
 * write: log-linear buckets, eight to each power of two, so a percentile is
 * at most 12.5 % too high. Counters are relaxed atomics: a reader may see a
 * sum that is a few records behind its buckets.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define HIST_BUCKETS 320 /* up to 2^42 ns, which is over an hour */

struct hist {
	_Atomic uint64_t buckets[HIST_BUCKETS];
	_Atomic uint64_t count;
	_Atomic uint64_t sum; /* in the unit of the records, wraps */
	_Atomic uint64_t max;
};

void hist_init(struct hist *h);
void hist_record(struct hist *h, uint64_t value);

/* The upper edge of the bucket that holds the given share (0..1); 0 if none. */
uint64_t hist_percentile(const struct hist *h, double share);

/* How many records are below 2^log. */
uint64_t hist_below(const struct hist *h, unsigned int log);

/* Adds all of `from` to `to`; for sums over sessions. */
void hist_add(struct hist *to, const struct hist *from);
