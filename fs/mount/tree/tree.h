/*
 * The tree of a mount: its nodes by number and by name. Nothing here knows of
 * FUSE; ops.c puts it on the wire.
 *
 * A node is alive while the kernel knows it: tree_lookup() counts one lookup
 * more, tree_forget() as many less as the kernel says, and the node goes with
 * the last. A node never changes: what is published anew under an old name is
 * another node.
 *
 * All calls are safe from any thread.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/cleanup.h"
#include "fs/mount/tree/node.h"
#include "fs/mount/view/digests.h"

struct tree;

/* The live files of .pager, from whoever has something to tell. */
struct tree_status {
	const char *const *names; /* without ".json"; lives as the tree does */
	unsigned int count;
	/* A new reference, or NULL when out of memory. Any thread. */
	json_t *(*get)(void *arg, const char *name);
	void *arg;
};

struct tree_options {
	struct view view; /* copied; what it points at is borrowed */
	struct tree_status status;
	uid_t uid; /* everything belongs to them */
	gid_t gid;
};

int tree_new(const struct tree_options *options, struct tree **ret_tree);
void tree_free(struct tree *t); /* accepts NULL; forgets every node */
DEFINE_CLEANUP(tree, struct tree *, tree_free)

const struct view *tree_view(const struct tree *t);
const struct tree_status *tree_status(const struct tree *t);
const struct node_common *tree_common(const struct tree *t);
struct digests *tree_digests(const struct tree *t);

/* The node the kernel knows by that id (1 is the root), or NULL. */
const struct node *tree_node(struct tree *t, uint64_t id);

/*
 * One name of a folder. -ENOENT, -ENOTDIR, -ENAMETOOLONG, or what reading the
 * store gave (-EBADMSG, -EIO ...).
 */
int tree_lookup(struct tree *t, const struct node *folder, const char *name,
		const struct node **ret_node);
void tree_forget(struct tree *t, uint64_t id, uint64_t lookups);
