/*
 * In which order a working set is installed: in pieces of up to 16 pages that
 * are neighbours, each where its first page was touched. To follow the order
 * page by page would cost a system call a page; the pages of a piece are most
 * often wanted soon after another.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fs/store/workingset/workingset.h"

#define PLAN_PIECE_PAGES 16u

struct plan_piece {
	uint64_t page; /* of the image, a multiple of PLAN_PIECE_PAGES */
	uint16_t mask; /* bit i: page + i is in the working set */
};

struct plan {
	struct plan_piece *pieces;
	size_t count;
	size_t pages;
};

/* NULL when out of memory. */
struct plan *plan_new(const struct workingset *set);
void plan_free(struct plan *p); /* accepts NULL */
