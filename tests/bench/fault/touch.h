/*
 * Touching the pages of some memory one after the other, and timing each
 * touch: what the fault benchmarks do to every contender alike.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* An order of pages, and room for as many times. */
struct touch {
	uint64_t count;
	uint32_t *order;
	double *times; /* us */
};

struct touch_figures {
	double p50, p99, mean; /* us */
	uint64_t begin, end;   /* CLOCK_MONOTONIC ns */
};

/* `seed` 0: in their order; else in a random one. -ENOMEM. */
int touch_init(struct touch *t, uint64_t count, unsigned int seed);

/* Of pages each of which is `step` behind the one before. */
int touch_init_apart(struct touch *t, uint64_t count, unsigned int step,
		     unsigned int seed);
void touch_release(struct touch *t);

void touch_all(struct touch *t, const uint8_t *data,
	       struct touch_figures *ret_figures);
