/* What a folder of the tree holds, "." and ".." not among it. */
#pragma once

#include "fs/mount/tree/tree.h"

struct listing_entry {
	char *name;
	uint64_t ino;
	enum node_kind kind;
};

struct listing {
	struct listing_entry *entries;
	size_t count;
};

/*
 * As it is now; names of snapshots and digests are sorted. -ENOTDIR, -ENOMEM,
 * or what reading the store gave.
 */
int listing_read(struct tree *t, const struct node *folder,
		 struct listing *ret_listing);
void listing_release(struct listing *l);
