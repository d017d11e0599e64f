/* Page tables whose nodes are in memory, equal ones shared as on disk. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fs/store/snapshot/manifest.h"
#include "pager/pagetable.h"

/* Of the running test. */
extern struct nodes {
	uint8_t (*pages)[PAGER_PAGE_SIZE];
	uint8_t *kinds;
	uint64_t *hashes;
	size_t count, room;
	unsigned int reads;
	uint64_t bad; /* a block whose read is -EBADMSG; 0: none */
} nodes;

int nodes_setup(void **state);
int nodes_teardown(void **state);

/* The table of a file whose pages have these blocks, 0 for zero pages. */
struct manifest_file nodes_table(const uint64_t *blocks, uint64_t pages);

/* A pagetable_read_fn. */
int nodes_read(void *arg, uint64_t block, uint8_t *ret_page, uint8_t *ret_kind);

/* The block of some page: no node's, another for each `content`. */
uint64_t nodes_page(uint64_t content);
