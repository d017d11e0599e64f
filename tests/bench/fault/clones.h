/*
 * Many VMs at once: processes, each with memory and a userfaultfd of its own
 * that a handler serves, which all begin to touch at the same moment.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tests/bench/fault/touch.h"

struct served;

struct clone_plan {
	unsigned int count;
	uint64_t size;	       /* of each one's memory, which is the image */
	const uint8_t *image;  /* what a bare handler of its own serves */
	struct served *served; /* pagerd serves; NULL: bare handlers do */
	/*
	 * One more, that scans another image from end to end, over and over,
	 * while the others touch; it begins first. 0: none.
	 */
	uint64_t scan_size;
	const uint8_t *scan_image;
};

/*
 * `ret_figures` has `count` places; `ret_seconds` is from the first touch to
 * the last. Every byte of each clone is compared with the image afterwards.
 */
int clones_run(const struct clone_plan *plan, struct touch_figures *ret_figures,
	       double *ret_seconds);
