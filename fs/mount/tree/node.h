/*
 * The nodes of a mount's tree: what kinds there are, how they are numbered,
 * and their attributes.
 *
 * Numbers. `id` names the node towards the kernel and is made of all that the
 * node is, so equal ids are equal contents; `generation` tells the rare two
 * apart that were given one id at different times. `ino`, which people see, is
 * made of the place in the tree (and of the snapshot, for what is inside one),
 * so that a listing knows it without a look at each entry. All come from names
 * and the store's secret, so they are the same in every mount.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fs/mount/view/snaps.h"

enum node_kind {
	NODE_ROOT,
	NODE_SNAPSHOTS,
	NODE_DIGESTS,
	NODE_BLOCKS,
	NODE_STATUS_DIR,  /* .pager; the fixed ones end here */
	NODE_SNAPSHOT,	  /* snapshots/NAME */
	NODE_FILE,	  /* memory, vmstate, attached: `name` is the key */
	NODE_MANIFEST,	  /* manifest.json */
	NODE_PAGES,	  /* pages */
	NODE_WORKING_SET, /* working-set */
	NODE_DIGEST,	  /* digests/DIGEST: a symlink */
	NODE_BLOCK_DIR,	  /* blocks/AB */
	NODE_BLOCK,	  /* blocks/AB/DIGEST */
	NODE_STATUS,	  /* .pager/NAME.json */
	NODE_KIND_COUNT
};

#define NODE_FIXED_COUNT (NODE_STATUS_DIR + 1)
#define NODE_NAME_MAX	 255u
#define NODE_STATUS_TAIL ".json"

/* Where a NODE_DIGEST points: this and its target. */
#define NODE_LINK_HEAD "../snapshots/"

/* Never changes once it is in a tree. */
struct node {
	enum node_kind kind;
	uint64_t id;
	uint64_t generation;
	uint64_t ino;
	char *name;	   /* within its folder */
	struct snap *snap; /* of NODE_SNAPSHOT and what is inside, else NULL */
	char *target;	   /* of NODE_DIGEST: the snapshot's name, else NULL */
	uint64_t block;	   /* of NODE_BLOCK, else 0 */
	uint64_t text;	   /* of NODE_WORKING_SET: its hash, else 0 */
	struct timespec recorded; /* of NODE_WORKING_SET */
	uint64_t size;		  /* of files, in bytes; 0 for NODE_STATUS */
};

/* What all nodes of a tree have in common. */
struct node_common {
	const struct store *store;
	struct timespec born; /* of what is as old as the store */
	uid_t uid;
	gid_t gid;
};

/* S_IFDIR, S_IFREG or S_IFLNK. */
mode_t node_type(enum node_kind kind);

/* The name of a kind that has but one, else NULL. */
const char *node_fixed_name(enum node_kind kind);

/* To look one up takes long, so it is not to be done unasked. */
bool node_is_costly(enum node_kind kind);

/*
 * How long the kernel may rely on the name and on the attributes, in seconds:
 * 0 for what comes and goes.
 */
double node_name_timeout(const struct node *n);
double node_stat_timeout(const struct node *n);

/* `snap` is that of the folder, or NULL. */
uint64_t node_ino(const struct node_common *c, enum node_kind kind,
		  const struct snap *snap, const char *name);

/* Sets id, generation and ino from the rest. */
void node_number(const struct node_common *c, struct node *n);

/* The next id for one whose own is taken. */
uint64_t node_next_id(uint64_t id);

/* Read-only for all: folders 0500, files 0400. */
void node_stat(const struct node_common *c, const struct node *n,
	       struct stat *ret_stat);

/* manifest.json: what `show --json` prints. The caller frees; no NUL. */
int node_manifest_text(const struct snap *snap, char **ret_text,
		       uint64_t *ret_len);
