/*
 * The tree of a mount: nodes, their numbers, attributes and names. Nothing
 * here knows of FUSE; ops.c puts it on the wire.
 *
 * A node is alive while the kernel knows it: tree_lookup() counts one lookup
 * more, tree_forget() as many less as the kernel says, and the node goes with
 * the last. A node never changes: what is published anew under an old name is
 * another node.
 *
 * Numbers. `id` names the node towards the kernel and is made of all that the
 * node is, so equal ids are equal contents; `generation` tells the rare two
 * apart that were given one id at different times. `ino`, which people see, is
 * made of the place in the tree (and of the snapshot, for what is inside one),
 * so that a listing knows it without a look at each entry. Both come from the
 * store's secret and names, so they are the same in every mount.
 *
 * All calls are safe from any thread.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fs/mount/view/snaps.h"

struct tree;

enum tree_kind {
	TREE_ROOT,
	TREE_SNAPSHOTS,
	TREE_DIGESTS,
	TREE_BLOCKS,
	TREE_STATUS_DIR, /* .pager */
	TREE_SNAPSHOT,	 /* snapshots/NAME */
	TREE_FILE,	 /* memory, vmstate, attached: `name` is the key */
	TREE_MANIFEST,	 /* manifest.json */
	TREE_PAGES,	 /* pages */
	TREE_DIGEST,	 /* digests/DIGEST: a symlink */
	TREE_BLOCK_DIR,	 /* blocks/AB */
	TREE_BLOCK,	 /* blocks/AB/DIGEST */
	TREE_STATUS,	 /* .pager/NAME.json */
	TREE_KIND_COUNT
};

struct tree_node {
	enum tree_kind kind;
	uint64_t id;
	uint64_t generation;
	uint64_t ino;
	char *name;	   /* within its folder */
	struct snap *snap; /* of TREE_SNAPSHOT and what is inside, else NULL */
	char *target;	   /* of TREE_DIGEST: the snapshot's name, else NULL */
	uint64_t block;	   /* of TREE_BLOCK, else 0 */
	uint64_t size;	   /* of files, in bytes; 0 for TREE_STATUS */
};

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

const struct view *tree_view(const struct tree *t);
const struct tree_status *tree_status(const struct tree *t);

/* The node the kernel knows by that id (1 is the root), or NULL. */
struct tree_node *tree_node(struct tree *t, uint64_t id);

/*
 * One name of a folder. -ENOENT, -ENOTDIR, -ENAMETOOLONG, or what reading the
 * store gave (-EBADMSG, -EIO ...).
 */
int tree_lookup(struct tree *t, const struct tree_node *parent,
		const char *name, struct tree_node **ret_node);
void tree_forget(struct tree *t, uint64_t id, uint64_t lookups);

/* Read-only for all: folders 0500, files 0400. */
void tree_stat(const struct tree *t, const struct tree_node *n,
	       struct stat *ret_stat);

/*
 * How long the kernel may rely on the name and on the attributes, in seconds:
 * 0 for what comes and goes.
 */
double tree_name_timeout(const struct tree_node *n);
double tree_stat_timeout(const struct tree_node *n);

/* Where a TREE_DIGEST points: this and its target. */
#define TREE_LINK_HEAD "../snapshots/"

/* manifest.json: what `show --json` prints. The caller frees; no NUL. */
int tree_manifest_text(const struct snap *snap, char **ret_text,
		       uint64_t *ret_len);

/* One name of a listing, "." and ".." not among them. */
struct tree_entry {
	char *name;
	uint64_t ino;
	mode_t type; /* S_IFDIR ... */
	bool costly; /* to look it up takes long: not unasked */
};

int tree_list(struct tree *t, const struct tree_node *n,
	      struct tree_entry **ret_entries, size_t *ret_count);
void tree_entries_free(struct tree_entry *entries, size_t count);
