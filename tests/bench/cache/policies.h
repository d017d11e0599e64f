/*
 * Other eviction policies, for comparison: simulated over dense items, without
 * data, one thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tests/bench/cache/trace.h"

struct policies_row {
	const char *name;
	/* Runs the trace with so many slots: marks each look-up that hit. */
	int (*run)(const struct trace *t, uint32_t slots, bool *ret_hits);
};

/* lru, clock, sieve, s3fifo (without classes), belady; ends with name NULL. */
extern const struct policies_row policies[];
