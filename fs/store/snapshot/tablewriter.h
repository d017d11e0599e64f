/*
 * Writing a page table: leaf nodes in, in ascending order, the root out. One
 * node a level is open at a time, so memory does not grow with the image, and
 * a gap between two leaves costs nothing however wide it is. One thread at a
 * time.
 */
#pragma once

#include <stdint.h>

#include "pager/pagetable.h"

struct tablewriter;

/*
 * Stores a node, 4096 bytes as they stand on disk, and gives its block id.
 * Never called for a node of zeros only.
 */
typedef int tablewriter_put_fn(void *arg, enum pager_kind kind,
			       const uint8_t *node, uint64_t *ret_block);

int tablewriter_new(tablewriter_put_fn *put, void *arg,
		    struct tablewriter **ret_writer);
void tablewriter_free(struct tablewriter *t); /* accepts NULL */

/*
 * Leaf node number `leaf`, greater than the one before, with the ids of its
 * 512 pages. Leaves that are left out are zeros. Fails as `put` does.
 */
int tablewriter_leaf(struct tablewriter *t, uint64_t leaf,
		     const uint64_t ids[PAGER_NODE_ENTRIES]);

/*
 * The table of a file of `pages` pages, which the leaves given lie within. The
 * writer is spent then.
 */
int tablewriter_finish(struct tablewriter *t, uint64_t pages,
		       uint64_t *ret_root, unsigned int *ret_levels);
