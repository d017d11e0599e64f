/*
 * Who shares the pages of an image: within it, and with other snapshots.
 *
 *   sharing_new()   reads the image's page table
 *   sharing_add()   for each other snapshot: reads its tables, and notes
 *                   which of the image's blocks it has too
 *   sharing_of()    then tells the class of a page
 *
 * Cost: each node of the other snapshots' tables is read once however many of
 * them share it, so a further sibling costs the nodes in which it differs.
 * Memory: about 17 bytes a page of the image, and 16 to 32 bytes for each
 * distinct node of the others (one for 2 MiB of memory); nothing for their
 * pages.
 *
 * One thread at a time. All but sharing_of() and its like block.
 */
#pragma once

#include <stdint.h>

#include "fs/base/cleanup.h"
#include "fs/store/snapshot/pagetable.h"
#include "fs/store/snapshot/snapshot.h"

/* A page that is shared both ways is SHARING_OTHERS. */
enum sharing_class {
	SHARING_ZERO,
	SHARING_OWN,	/* one page of this image alone has the block */
	SHARING_WITHIN, /* several, but no other snapshot has it */
	SHARING_OTHERS, /* another snapshot's image or files have it */
	SHARING_CLASS_COUNT
};

struct sharing;

/* `read` and `arg` read the nodes of all snapshots, and are kept. */
int sharing_new(const struct manifest_file *image, pagetable_read_fn *read,
		void *arg, struct sharing **ret_sharing);
void sharing_free(struct sharing *s); /* accepts NULL */
DEFINE_CLEANUP(sharing, struct sharing *, sharing_free)

/*
 * The tables of one other snapshot: its image and all files. After a failure
 * what was read before it counts.
 */
int sharing_add(struct sharing *s, const struct manifest *other);

uint64_t sharing_pages(const struct sharing *s);
enum sharing_class sharing_of(struct sharing *s, uint64_t page);

/* Nodes that were read so far, of the image and of the others. */
uint64_t sharing_nodes_read(const struct sharing *s);
