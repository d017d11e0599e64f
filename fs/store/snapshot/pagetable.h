/*
 * Reading a page table: page number to block id. See pager/pagetable.h.
 *
 * The directory of a table, which is the ids of all its leaf nodes, is small
 * (4 KiB for each GiB of image) and is read once; a leaf node then answers
 * for 512 pages and comes through whatever reads blocks for the caller.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/store/snapshot/manifest.h"
#include "fs/store/source.h"
#include "pager/pagetable.h"

struct pagetable;

/*
 * Reads all levels above the leaves. Refuses with -EBADMSG nodes of the wrong
 * kind, entries past the file's last leaf that are not 0, and ids that no pack
 * can have; with -EFBIG a directory of more than 1 GiB (over 256 TiB of image
 * where no two GiB are alike). Entries of the last leaf that are past the
 * file's end are never looked at. Blocks; `read` is the caller's way to read a
 * node.
 */
typedef int pagetable_read_fn(void *arg, uint64_t block, uint8_t *ret_page,
			      uint8_t *ret_kind);
int pagetable_open(const struct manifest_file *file, pagetable_read_fn *read,
		   void *arg, struct pagetable **ret_table);
void pagetable_free(struct pagetable *t); /* accepts NULL */

uint64_t pagetable_pages(const struct pagetable *t);
uint64_t pagetable_leaves(const struct pagetable *t);

/* The leaf node of a page, or 0 where its 512 pages are zero. */
uint64_t pagetable_leaf(const struct pagetable *t, uint64_t page);

/*
 * The entry of `page` in its leaf node's 4096 bytes, checked: the leaf's kind
 * must be PAGER_KIND_NODE_1 and the id one that a pack can have; -EBADMSG.
 */
int pagetable_entry(const uint8_t *leaf, uint8_t kind, uint64_t page,
		    uint64_t *ret_block);

/*
 * Reads a node of `level`, for who walks a table by himself: its entries,
 * checked as pagetable_open() does, undefined on failure.
 */
int pagetable_node(pagetable_read_fn *read, void *arg, uint64_t block,
		   unsigned int level,
		   uint64_t ret_entries[PAGER_NODE_ENTRIES]);

/* An id that a block can have: not 0, nor a pack or slot past the limits. */
bool pagetable_block_is_possible(uint64_t block);

/* For pagetable_open(): reads by block_source_read(); arg is the source. */
int pagetable_read_source(void *arg, uint64_t block, uint8_t *ret_page,
			  uint8_t *ret_kind);
