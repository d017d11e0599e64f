#include "fs/mount/tree/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/list.h"
#include "fs/base/lock.h"
#include "fs/io/text.h"
#include "fs/mount/read/pages.h"
#include "fs/mount/view/blocks.h"
#include "fs/mount/view/wset.h"
#include "fs/store/store.h"

#define BUCKETS	   4096u
#define DIGEST_HEX (2 * PAGER_DIGEST_SIZE)

static const char hex_digits[] = "0123456789abcdef";

struct slot {
	struct node node;
	uint64_t lookups;      /* protected by the tree's lock */
	struct list_node link; /* likewise */
};

struct tree {
	struct tree_options options;
	struct node_common common;
	struct snaps *snaps;
	struct digests *digests;
	struct node fixed[NODE_FIXED_COUNT];
	struct lock lock; /* innermost: nothing is taken under it */
	struct list_node buckets[BUCKETS]; /* protected by lock */
};

static void free_slot(struct slot *s)
{
	if (!s)
		return;
	free(s->node.name);
	free(s->node.target);
	snap_unref(s->node.snap);
	free(s);
}

DEFINE_CLEANUP(slot, struct slot *, free_slot)

static struct list_node *bucket_of(struct tree *t, uint64_t id)
{
	return &t->buckets[id % BUCKETS];
}

static struct slot *find_slot(struct tree *t, uint64_t id)
{
	lock_assert_held(&t->lock);
	list_foreach (n, bucket_of(t, id)) {
		struct slot *s = container_of(n, struct slot, link);

		if (s->node.id == id)
			return s;
	}
	return NULL;
}

/*
 * The node with the same hash, or this one, entered. Two that want one id at
 * the same time are told apart by the other half of their hash; the later one
 * moves on.
 */
static struct slot *find_or_enter(struct tree *t, struct slot *fresh)
{
	struct slot *s;

	while ((s = find_slot(t, fresh->node.id))) {
		if (s->node.generation == fresh->node.generation)
			return s;
		fresh->node.id = node_next_id(fresh->node.id);
	}
	list_insert(bucket_of(t, fresh->node.id), &fresh->link);
	return fresh;
}

const struct node *tree_node(struct tree *t, uint64_t id)
{
	struct slot *s;

	if (id - 1 < NODE_FIXED_COUNT)
		return &t->fixed[id - 1];
	LOCK_GUARD(&t->lock);
	s = find_slot(t, id);
	return s ? &s->node : NULL;
}

void tree_forget(struct tree *t, uint64_t id, uint64_t lookups)
{
	struct slot *s, *gone = NULL;

	lock_take(&t->lock);
	s = find_slot(t, id);
	if (s) {
		s->lookups -= lookups < s->lookups ? lookups : s->lookups;
		if (s->lookups == 0) {
			list_remove(&s->link);
			gone = s;
		}
	}
	lock_drop(&t->lock);
	free_slot(gone);
}

/*
 * The fill_*() make a node of a name: its kind and what the kind has. What
 * they have set is freed with the slot also where they fail.
 */

static int fill_top(const struct tree *t, struct node *n)
{
	for (int k = NODE_SNAPSHOTS; k < NODE_FIXED_COUNT; k++) {
		if (strcmp(t->fixed[k].name, n->name) != 0)
			continue;
		if (k == NODE_STATUS_DIR && !t->options.status.count)
			return -ENOENT;
		n->kind = (enum node_kind)k;
		return 0;
	}
	return -ENOENT;
}

/* Lower-case hex only: a digest has one name. */
static int parse_digest(const char *name, struct pager_digest *ret_digest)
{
	if (strlen(name) != DIGEST_HEX ||
	    strspn(name, hex_digits) != DIGEST_HEX)
		return -ENOENT;
	return text_from_hex(name, sizeof(ret_digest->bytes),
			     ret_digest->bytes);
}

static int fill_digest(struct tree *t, struct node *n)
{
	struct pager_digest digest;
	int r = parse_digest(n->name, &digest);

	n->kind = NODE_DIGEST;
	return r < 0 ? r : digests_find(t->digests, &digest, &n->target);
}

static int fill_block_dir(struct node *n)
{
	n->kind = NODE_BLOCK_DIR;
	return strlen(n->name) == 2 && strspn(n->name, hex_digits) == 2
		       ? 0
		       : -ENOENT;
}

static int fill_block(struct tree *t, const struct node *folder, struct node *n)
{
	struct pager_digest digest;

	n->kind = NODE_BLOCK;
	n->size = PAGER_PAGE_SIZE;
	if (parse_digest(n->name, &digest) < 0 ||
	    strncmp(n->name, folder->name, 2) != 0)
		return -ENOENT;
	return blocks_find(&t->options.view, &digest, &n->block);
}

static int fill_status(const struct tree *t, struct node *n)
{
	const struct tree_status *s = &t->options.status;
	size_t tail = strlen(NODE_STATUS_TAIL), len = strlen(n->name);

	n->kind = NODE_STATUS;
	if (len <= tail || strcmp(n->name + len - tail, NODE_STATUS_TAIL) != 0)
		return -ENOENT;
	for (unsigned int i = 0; i < s->count; i++)
		if (strlen(s->names[i]) == len - tail &&
		    strncmp(s->names[i], n->name, len - tail) == 0)
			return 0;
	return -ENOENT;
}

static int fill_manifest(struct node *n)
{
	_cleanup_free_ char *text = NULL;

	n->kind = NODE_MANIFEST;
	return node_manifest_text(n->snap, &text, &n->size);
}

static int fill_pages(const struct tree *t, struct node *n)
{
	struct image *img cleanup(cleanup_image) = NULL;
	int r = image_open(&t->options.view, n->snap, "memory", &img);

	n->kind = NODE_PAGES;
	return r < 0 ? r : pages_text_size(img, &n->size);
}

static int fill_working_set(const struct tree *t, struct node *n)
{
	struct wset w;
	int r = wset_read(&t->options.view, n->snap, &w);

	n->kind = NODE_WORKING_SET;
	if (r < 0)
		return r;
	n->size = w.len;
	n->text = w.hash;
	n->recorded = w.recorded;
	free(w.text);
	return 0;
}

static int fill_inside(const struct tree *t, const struct node *folder,
		       struct node *n)
{
	const struct manifest_file *file;

	n->snap = snap_ref(folder->snap);
	if (strcmp(n->name, node_fixed_name(NODE_MANIFEST)) == 0)
		return fill_manifest(n);
	if (strcmp(n->name, node_fixed_name(NODE_PAGES)) == 0)
		return fill_pages(t, n);
	if (strcmp(n->name, node_fixed_name(NODE_WORKING_SET)) == 0)
		return fill_working_set(t, n);
	file = manifest_find(&n->snap->manifest, n->name);
	if (!file)
		return -ENOENT;
	n->kind = NODE_FILE;
	n->size = file->size;
	return 0;
}

static int fill(struct tree *t, const struct node *folder, struct node *n)
{
	switch (folder->kind) {
	case NODE_ROOT:
		return fill_top(t, n);
	case NODE_SNAPSHOTS:
		n->kind = NODE_SNAPSHOT;
		return snaps_get(t->snaps, n->name, &n->snap);
	case NODE_DIGESTS:
		return fill_digest(t, n);
	case NODE_BLOCKS:
		return fill_block_dir(n);
	case NODE_BLOCK_DIR:
		return fill_block(t, folder, n);
	case NODE_STATUS_DIR:
		return fill_status(t, n);
	case NODE_SNAPSHOT:
		return fill_inside(t, folder, n);
	default:
		return -ENOTDIR;
	}
}

int tree_lookup(struct tree *t, const struct node *folder, const char *name,
		const struct node **ret_node)
{
	struct slot *fresh cleanup(cleanup_slot) = calloc(1, sizeof(*fresh));
	struct slot *s;
	int r;

	if (strlen(name) > NODE_NAME_MAX)
		return -ENAMETOOLONG;
	if (!fresh || !(fresh->node.name = strdup(name)))
		return -ENOMEM;
	r = fill(t, folder, &fresh->node);
	if (r < 0)
		return r;
	if (fresh->node.kind < NODE_FIXED_COUNT) {
		*ret_node = &t->fixed[fresh->node.kind];
		return 0;
	}
	node_number(&t->common, &fresh->node);
	lock_take(&t->lock);
	s = find_or_enter(t, fresh);
	s->lookups++;
	lock_drop(&t->lock);
	if (s == fresh)
		(void)steal_ptr(fresh);
	*ret_node = &s->node;
	return 0;
}

static void init_nodes(struct tree *t)
{
	for (int k = 0; k < NODE_FIXED_COUNT; k++) {
		t->fixed[k].kind = (enum node_kind)k;
		t->fixed[k].name = (char *)node_fixed_name((enum node_kind)k);
		node_number(&t->common, &t->fixed[k]);
	}
	for (unsigned int i = 0; i < BUCKETS; i++)
		list_init(&t->buckets[i]);
}

static int store_birth(const struct store *s, struct timespec *ret_time)
{
	struct stat st;

	if (fstatat(store_folder_fd(s, STORE_TOP), "format", &st,
		    AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	*ret_time = st.st_mtim;
	return 0;
}

int tree_new(const struct tree_options *options, struct tree **ret_tree)
{
	struct tree *t cleanup(cleanup_tree) = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	t->options = *options;
	t->common = (struct node_common){
		.store = options->view.store,
		.uid = options->uid,
		.gid = options->gid,
	};
	lock_init(&t->lock, "tree");
	init_nodes(t);
	r = store_birth(options->view.store, &t->common.born);
	if (r == 0)
		r = snaps_new(&t->options.view, &t->snaps);
	if (r == 0)
		r = digests_new(&t->options.view, t->snaps, &t->digests);
	if (r < 0)
		return r;
	*ret_tree = steal_ptr(t);
	return 0;
}

void tree_free(struct tree *t)
{
	struct list_node *n;

	if (!t)
		return;
	for (unsigned int i = 0; i < BUCKETS; i++)
		while ((n = list_pop(&t->buckets[i])))
			free_slot(container_of(n, struct slot, link));
	digests_free(t->digests);
	snaps_free(t->snaps);
	lock_release(&t->lock);
	free(t);
}

const struct view *tree_view(const struct tree *t)
{
	return &t->options.view;
}

const struct tree_status *tree_status(const struct tree *t)
{
	return &t->options.status;
}

const struct node_common *tree_common(const struct tree *t)
{
	return &t->common;
}

struct digests *tree_digests(const struct tree *t)
{
	return t->digests;
}
