/*
 * Comparing two page tables: the page runs that differ.
 *
 * Both tables are walked together, and a subtree that is one and the same
 * block in both is not looked into. So at most two nodes are read for each
 * node above a page that differs: the cost follows the difference, not the
 * size. Memory: two nodes a level.
 *
 * Pages are compared by their blocks. One block is one content, so what is
 * called the same is the same byte for byte; but two blocks can hold the same
 * content (of two publishers at once, or one that was published again because
 * its first copy was damaged), and then count as different.
 */
#pragma once

#include <stdint.h>

#include "fs/store/snapshot/pagetable.h"

enum tablediff_change {
	TABLEDIFF_CHANGED,   /* another block */
	TABLEDIFF_TO_ZERO,   /* data in a, zero in b */
	TABLEDIFF_FROM_ZERO, /* zero in a, data in b */
	TABLEDIFF_ONLY_A,    /* past the end of b */
	TABLEDIFF_ONLY_B,
	TABLEDIFF_CHANGE_COUNT
};

struct tablediff_run {
	uint64_t first, count; /* pages */
	enum tablediff_change change;
};

/*
 * Called for each run, ascending; neighbouring runs differ in `change`. What
 * is not 0 ends the comparison and is returned.
 */
typedef int tablediff_fn(void *arg, const struct tablediff_run *run);

struct tablediff {
	const struct manifest_file *a, *b;
	pagetable_read_fn *read; /* of both tables */
	void *read_arg;
	tablediff_fn *run;
	void *run_arg;
};

/*
 * The pages that both have, and one run for the pages that only the longer
 * one has. Whether the last page is whole is not looked at: compare sizes.
 * -EBADMSG where a node is damaged, or what `read` gave.
 */
int tablediff_run(const struct tablediff *d);

/* "changed", "to-zero", "from-zero", "only-a", "only-b". */
const char *tablediff_change_name(enum tablediff_change change);
