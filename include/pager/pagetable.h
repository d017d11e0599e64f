/*
 * The page table: a file's map from page number to block id, as a radix tree
 * of nodes that are blocks themselves. A node has 512 little-endian u64
 * entries. A leaf node (level 1) holds ids of pages, a node of level n ids of
 * nodes of level n - 1. Entry 0 is a zero page or a subtree of zero pages; a
 * node of zeros only is never stored, its entry above is 0. Entries past the
 * file's last page are 0. Root 0 is a file of zeros (or of no bytes).
 */
#pragma once

#include <stdint.h>

#include "pager/block.h"

#define PAGER_NODE_ENTRIES 512u
#define PAGER_NODE_BITS	   9u
#define PAGER_LEVELS_MAX   5u

/* Levels of the table of a file of that many pages: 1 for up to 512. */
static inline unsigned int pager_table_levels(uint64_t pages)
{
	unsigned int levels = 1;

	while (levels < PAGER_LEVELS_MAX &&
	       pages > UINT64_C(1) << (PAGER_NODE_BITS * levels))
		levels++;
	return levels;
}
