/*
 * What it gains and costs that cached neighbours of a page ride along: the
 * time a touch takes by the order in which pages are touched, with and without
 * them. The last order is the worst there is: no neighbour is ever touched.
 */
#pragma once

#include "tests/bench/bench.h"

/* The snapshot "image" of `size` bytes has no zero pages among these. */
int patterns_run(const struct bench_options *options, const char *folder,
		 uint64_t size, struct report *report);
