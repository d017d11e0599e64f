#include "fs/mount/tree.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "fs/base/list.h"
#include "fs/base/lock.h"
#include "fs/io/text.h"
#include "fs/mount/read/pages.h"
#include "fs/mount/view/blocks.h"
#include "fs/mount/view/digests.h"
#include "fs/store/snapshot/snapshot.h"
#include "fs/store/store.h"

#define BUCKETS	    4096u
#define NAME_BYTES  255u
#define SECTOR	    512
#define CONSTANT    86400.0 /* seconds */
#define DIGEST_HEX  (2 * PAGER_DIGEST_SIZE)
#define STATUS_TAIL ".json"

/* Ids below are those of the fixed nodes: kind + 1. */
#define HASHED_IDS 4096u

/* All that is known of the kinds without a look at a node. */
static const struct kind {
	mode_t type;
	bool fixed;    /* one node that is always there */
	bool inside;   /* belongs to the content of a snapshot */
	double name;   /* how long its name lasts */
	double stat;   /* and its attributes */
	bool costly;   /* to look up */
	const char *s; /* its name, where that is fixed */
} kinds[TREE_KIND_COUNT] = {
	[TREE_ROOT] = {S_IFDIR, true, false, CONSTANT, CONSTANT, false, ""},
	[TREE_SNAPSHOTS] = {S_IFDIR, true, false, CONSTANT, 0, false,
			    "snapshots"},
	[TREE_DIGESTS] = {S_IFDIR, true, false, CONSTANT, 0, false, "digests"},
	[TREE_BLOCKS] = {S_IFDIR, true, false, CONSTANT, 0, false, "blocks"},
	[TREE_STATUS_DIR] = {S_IFDIR, true, false, CONSTANT, CONSTANT, false,
			     ".pager"},
	[TREE_SNAPSHOT] = {S_IFDIR, false, true, 0, CONSTANT, false, NULL},
	[TREE_FILE] = {S_IFREG, false, true, CONSTANT, CONSTANT, false, NULL},
	[TREE_MANIFEST] = {S_IFREG, false, true, CONSTANT, CONSTANT, false,
			   "manifest.json"},
	[TREE_PAGES] = {S_IFREG, false, true, CONSTANT, CONSTANT, true,
			"pages"},
	[TREE_DIGEST] = {S_IFLNK, false, false, 0, CONSTANT, false, NULL},
	[TREE_BLOCK_DIR] = {S_IFDIR, false, false, CONSTANT, 0, false, NULL},
	[TREE_BLOCK] = {S_IFREG, false, false, 0, CONSTANT, true, NULL},
	[TREE_STATUS] = {S_IFREG, false, false, CONSTANT, 0, false, NULL},
};

struct slot {
	struct tree_node node;
	uint64_t lookups;      /* protected by the tree's lock */
	struct list_node link; /* likewise */
};

struct tree {
	struct tree_options options;
	struct snaps *snaps;
	struct digests *digests;
	struct timespec born; /* when the store was made */
	struct tree_node fixed[TREE_STATUS_DIR + 1];
	struct lock lock;		   /* innermost but for that of snaps */
	struct list_node buckets[BUCKETS]; /* protected by lock */
};

/* What a node is, before there is one. Strings are borrowed, snap is not. */
struct draft {
	enum tree_kind kind;
	const char *name;
	struct snap *snap;
	char *target; /* owned */
	uint64_t block;
	uint64_t size;
};

static void draft_release(struct draft *d)
{
	snap_unref(d->snap);
	free(d->target);
}

static XXH128_hash_t hash(const struct tree *t, const void *data, size_t len)
{
	return XXH3_128bits_withSecret(data, len,
				       store_secret(t->options.view.store),
				       PAGER_SECRET_SIZE);
}

static uint64_t usable(uint64_t number)
{
	return number < HASHED_IDS ? number + HASHED_IDS : number;
}

static uint64_t place_number(const struct tree *t, enum tree_kind kind,
			     const struct snap *snap, const char *name)
{
	struct {
		uint64_t kind;
		XXH128_hash_t name;
		uint8_t identity[16];
	} all = {.kind = kind, .name = hash(t, name, strlen(name))};

	if (kinds[kind].fixed)
		return (uint64_t)kind + 1;
	if (kinds[kind].inside && kind != TREE_SNAPSHOT)
		memcpy(all.identity, snap->identity, sizeof(all.identity));
	return usable(hash(t, &all, sizeof(all)).low64);
}

static void number(const struct tree *t, const struct draft *d,
		   struct tree_node *n)
{
	const char *target = d->target ? d->target : "";
	struct {
		uint64_t kind, block;
		XXH128_hash_t name, target;
		uint8_t identity[16];
	} all = {
		.kind = d->kind,
		.block = d->block,
		.name = hash(t, d->name, strlen(d->name)),
		.target = hash(t, target, strlen(target)),
	};
	XXH128_hash_t of_all;

	if (d->snap)
		memcpy(all.identity, d->snap->identity, sizeof(all.identity));
	of_all = hash(t, &all, sizeof(all));
	n->id = usable(of_all.low64);
	n->generation = of_all.high64;
	n->ino = place_number(t, d->kind, d->snap, d->name);
}

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

/*
 * Enters a node, or finds it there. Two nodes that want one id at the same
 * time are told apart by the other half of their hash; the later one moves on.
 */
static struct slot *enter_locked(struct tree *t, struct slot *fresh)
{
	struct slot *s;

	while ((s = find_slot(t, fresh->node.id))) {
		if (s->node.generation == fresh->node.generation)
			return s;
		fresh->node.id = usable(fresh->node.id + 1);
	}
	list_insert(bucket_of(t, fresh->node.id), &fresh->link);
	return fresh;
}

static int enter(struct tree *t, struct draft *d, struct tree_node **ret_node)
{
	struct slot *fresh cleanup(cleanup_slot) = calloc(1, sizeof(*fresh));
	struct slot *s;

	if (!fresh)
		return -ENOMEM;
	number(t, d, &fresh->node);
	fresh->node.kind = d->kind;
	fresh->node.block = d->block;
	fresh->node.size = d->size;
	fresh->node.snap = steal_ptr(d->snap);
	fresh->node.target = steal_ptr(d->target);
	fresh->node.name = strdup(d->name);
	if (!fresh->node.name)
		return -ENOMEM;
	lock_take(&t->lock);
	s = enter_locked(t, fresh);
	s->lookups++;
	lock_drop(&t->lock);
	if (s == fresh)
		(void)steal_ptr(fresh);
	*ret_node = &s->node;
	return 0;
}

struct tree_node *tree_node(struct tree *t, uint64_t id)
{
	struct slot *s;

	if (id - 1 <= TREE_STATUS_DIR)
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

static int draft_root(struct tree *t, struct draft *d)
{
	for (int k = TREE_SNAPSHOTS; k <= TREE_STATUS_DIR; k++)
		if (strcmp(kinds[k].s, d->name) == 0 &&
		    (k != TREE_STATUS_DIR || t->options.status.count)) {
			d->kind = (enum tree_kind)k;
			return 0;
		}
	return -ENOENT;
}

static int draft_snapshot(struct tree *t, struct draft *d)
{
	d->kind = TREE_SNAPSHOT;
	return snaps_get(t->snaps, d->name, &d->snap);
}

/* Lower-case hex only: a digest has one name. */
static int digest_named(const char *name, struct pager_digest *ret_digest)
{
	if (strspn(name, "0123456789abcdef") != DIGEST_HEX ||
	    text_from_hex(name, sizeof(ret_digest->bytes), ret_digest->bytes))
		return -ENOENT;
	return 0;
}

static int draft_digest(struct tree *t, struct draft *d)
{
	struct pager_digest digest;

	d->kind = TREE_DIGEST;
	if (digest_named(d->name, &digest) < 0)
		return -ENOENT;
	return digests_find(t->digests, &digest, &d->target);
}

static int draft_block_dir(struct draft *d)
{
	d->kind = TREE_BLOCK_DIR;
	if (strlen(d->name) != 2 || strspn(d->name, "0123456789abcdef") != 2)
		return -ENOENT;
	return 0;
}

static int draft_block(struct tree *t, const struct tree_node *parent,
		       struct draft *d)
{
	struct pager_digest digest;

	d->kind = TREE_BLOCK;
	d->size = PAGER_PAGE_SIZE;
	if (digest_named(d->name, &digest) < 0 ||
	    strncmp(d->name, parent->name, 2) != 0)
		return -ENOENT;
	return blocks_find(&t->options.view, &digest, &d->block);
}

static int draft_status(struct tree *t, struct draft *d)
{
	const struct tree_status *s = &t->options.status;
	size_t len = strlen(d->name), tail = strlen(STATUS_TAIL);

	d->kind = TREE_STATUS;
	if (len <= tail || strcmp(d->name + len - tail, STATUS_TAIL) != 0)
		return -ENOENT;
	for (unsigned int i = 0; i < s->count; i++)
		if (strlen(s->names[i]) == len - tail &&
		    strncmp(s->names[i], d->name, len - tail) == 0)
			return 0;
	return -ENOENT;
}

static int manifest_size(const struct snap *snap, uint64_t *ret_size)
{
	char *text;
	int r = tree_manifest_text(snap, &text, ret_size);

	if (r == 0)
		free(text);
	return r;
}

static int pages_text(const struct tree *t, const struct snap *snap,
		      uint64_t *ret_size)
{
	struct image *img cleanup(cleanup_image) = NULL;
	int r = image_open(&t->options.view, snap, "memory", &img);

	return r < 0 ? r : pages_text_size(img, ret_size);
}

static int draft_inside(struct tree *t, const struct tree_node *parent,
			struct draft *d)
{
	const struct manifest_file *file;

	d->snap = snap_ref(parent->snap);
	if (strcmp(d->name, kinds[TREE_MANIFEST].s) == 0) {
		d->kind = TREE_MANIFEST;
		return manifest_size(d->snap, &d->size);
	}
	if (strcmp(d->name, kinds[TREE_PAGES].s) == 0) {
		d->kind = TREE_PAGES;
		return pages_text(t, d->snap, &d->size);
	}
	file = manifest_find(&d->snap->manifest, d->name);
	if (!file)
		return -ENOENT;
	d->kind = TREE_FILE;
	d->size = file->size;
	return 0;
}

static int draft_any(struct tree *t, const struct tree_node *parent,
		     struct draft *d)
{
	switch (parent->kind) {
	case TREE_ROOT:
		return draft_root(t, d);
	case TREE_SNAPSHOTS:
		return draft_snapshot(t, d);
	case TREE_DIGESTS:
		return draft_digest(t, d);
	case TREE_BLOCKS:
		return draft_block_dir(d);
	case TREE_BLOCK_DIR:
		return draft_block(t, parent, d);
	case TREE_STATUS_DIR:
		return draft_status(t, d);
	case TREE_SNAPSHOT:
		return draft_inside(t, parent, d);
	default:
		return -ENOTDIR;
	}
}

int tree_lookup(struct tree *t, const struct tree_node *parent,
		const char *name, struct tree_node **ret_node)
{
	struct draft d cleanup(draft_release) = {.name = name};
	int r;

	if (strlen(name) > NAME_BYTES)
		return -ENAMETOOLONG;
	r = draft_any(t, parent, &d);
	if (r < 0)
		return r;
	if (kinds[d.kind].fixed) {
		*ret_node = &t->fixed[d.kind];
		return 0;
	}
	return enter(t, &d, ret_node);
}

static struct timespec folder_time(const struct tree *t,
				   enum store_folder folder)
{
	struct stat st;

	if (fstat(store_folder_fd(t->options.view.store, folder), &st) < 0)
		return t->born;
	return st.st_mtim;
}

static struct timespec node_time(const struct tree *t,
				 const struct tree_node *n)
{
	switch (n->kind) {
	case TREE_SNAPSHOTS:
	case TREE_DIGESTS:
		return folder_time(t, STORE_SNAPSHOTS);
	case TREE_BLOCKS:
	case TREE_BLOCK_DIR:
		return folder_time(t, STORE_PACKS);
	default:
		break;
	}
	if (!n->snap)
		return t->born;
	return (struct timespec){
		.tv_sec = (time_t)(n->snap->manifest.created / 1000000000),
		.tv_nsec = (long)(n->snap->manifest.created % 1000000000),
	};
}

/* Sectors: what is not zero, so that tools see that a file is sparse. */
static blkcnt_t node_sectors(const struct tree_node *n)
{
	const struct manifest_file *f = NULL;
	uint64_t pages =
		n->size / PAGER_PAGE_SIZE + (n->size % PAGER_PAGE_SIZE != 0);

	if (n->kind == TREE_FILE)
		f = manifest_find(&n->snap->manifest, n->name);
	if (f)
		pages = f->pages - f->zero_pages;
	return (blkcnt_t)(pages * (PAGER_PAGE_SIZE / SECTOR));
}

void tree_stat(const struct tree *t, const struct tree_node *n,
	       struct stat *ret_stat)
{
	mode_t type = kinds[n->kind].type;
	struct stat st = {
		.st_ino = n->ino,
		.st_mode = type | (type == S_IFDIR   ? 0500
				   : type == S_IFLNK ? 0777
						     : 0400),
		.st_nlink = 1, /* of a folder: not known, as elsewhere */
		.st_uid = t->options.uid,
		.st_gid = t->options.gid,
		.st_size = (off_t)n->size,
		.st_blksize = GATHER_READ_MAX,
		.st_blocks = node_sectors(n),
	};

	if (n->target)
		st.st_size =
			(off_t)(strlen(TREE_LINK_HEAD) + strlen(n->target));
	st.st_mtim = st.st_ctim = st.st_atim = node_time(t, n);
	*ret_stat = st;
}

double tree_name_timeout(const struct tree_node *n)
{
	return kinds[n->kind].name;
}

double tree_stat_timeout(const struct tree_node *n)
{
	return kinds[n->kind].stat;
}

int tree_manifest_text(const struct snap *snap, char **ret_text,
		       uint64_t *ret_len)
{
	json_t *json = manifest_to_json(&snap->manifest, snap->name);
	char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
	size_t len;

	json_decref(json);
	if (!text)
		return -ENOMEM;
	len = strlen(text);
	text[len++] = '\n'; /* where the NUL was: the text has a length */
	*ret_text = text;
	*ret_len = len;
	return 0;
}

struct listing {
	struct tree_entry *list;
	size_t count, room;
};

static int add_entry(const struct tree *t, struct listing *l,
		     enum tree_kind kind, const struct snap *snap,
		     const char *name)
{
	struct tree_entry *e;

	if (l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 16;
		void *grown = reallocarray(l->list, room, sizeof(*l->list));

		if (!grown)
			return -ENOMEM;
		l->list = grown;
		l->room = room;
	}
	e = &l->list[l->count];
	e->name = strdup(name);
	if (!e->name)
		return -ENOMEM;
	e->ino = place_number(t, kind, snap, name);
	e->type = kinds[kind].type;
	e->costly = kinds[kind].costly;
	l->count++;
	return 0;
}

static int list_root(const struct tree *t, struct listing *l)
{
	int r = 0;

	for (int k = TREE_SNAPSHOTS; r == 0 && k <= TREE_STATUS_DIR; k++)
		if (k != TREE_STATUS_DIR || t->options.status.count)
			r = add_entry(t, l, (enum tree_kind)k, NULL,
				      kinds[k].s);
	return r;
}

static int list_snapshots(const struct tree *t, struct listing *l)
{
	char **names;
	size_t count;
	int r = snapshot_list(t->options.view.store, &names, &count);

	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < count; i++)
		r = add_entry(t, l, TREE_SNAPSHOT, NULL, names[i]);
	snapshot_names_free(names, count);
	return r;
}

static int list_hex(const struct tree *t, struct listing *l,
		    enum tree_kind kind, const struct pager_digest *digests,
		    size_t count)
{
	char hex[DIGEST_HEX + 1];
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++) {
		text_to_hex(digests[i].bytes, sizeof(digests[i].bytes), hex);
		r = add_entry(t, l, kind, NULL, hex);
	}
	return r;
}

static int list_digests(const struct tree *t, struct listing *l)
{
	_cleanup_free_ struct pager_digest *digests = NULL;
	size_t count;
	int r = digests_list(t->digests, &digests, &count);

	return r < 0 ? r : list_hex(t, l, TREE_DIGEST, digests, count);
}

static int list_block_dirs(const struct tree *t, struct listing *l)
{
	char name[3];
	int r = 0;

	for (unsigned int byte = 0; r == 0 && byte < 256; byte++) {
		(void)snprintf(name, sizeof(name), "%02x", byte);
		r = add_entry(t, l, TREE_BLOCK_DIR, NULL, name);
	}
	return r;
}

static int list_blocks(const struct tree *t, const struct tree_node *n,
		       struct listing *l)
{
	_cleanup_free_ struct pager_digest *digests = NULL;
	size_t count;
	uint8_t first;
	int r = text_from_hex(n->name, 1, &first);

	if (r == 0)
		r = blocks_list(&t->options.view, first, &digests, &count);
	return r < 0 ? r : list_hex(t, l, TREE_BLOCK, digests, count);
}

static int list_status(const struct tree *t, struct listing *l)
{
	const struct tree_status *s = &t->options.status;
	char name[NAME_BYTES + 1];
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < s->count; i++) {
		(void)snprintf(name, sizeof(name), "%s" STATUS_TAIL,
			       s->names[i]);
		r = add_entry(t, l, TREE_STATUS, NULL, name);
	}
	return r;
}

static int list_inside(const struct tree *t, const struct snap *snap,
		       struct listing *l)
{
	const struct manifest *m = &snap->manifest;
	int r = add_entry(t, l, TREE_FILE, snap, m->image.key);

	for (unsigned int i = 0; r == 0 && i < m->file_count; i++)
		r = add_entry(t, l, TREE_FILE, snap, m->files[i].key);
	if (r == 0)
		r = add_entry(t, l, TREE_MANIFEST, snap,
			      kinds[TREE_MANIFEST].s);
	if (r == 0)
		r = add_entry(t, l, TREE_PAGES, snap, kinds[TREE_PAGES].s);
	return r;
}

static int list_any(const struct tree *t, const struct tree_node *n,
		    struct listing *l)
{
	switch (n->kind) {
	case TREE_ROOT:
		return list_root(t, l);
	case TREE_SNAPSHOTS:
		return list_snapshots(t, l);
	case TREE_DIGESTS:
		return list_digests(t, l);
	case TREE_BLOCKS:
		return list_block_dirs(t, l);
	case TREE_BLOCK_DIR:
		return list_blocks(t, n, l);
	case TREE_STATUS_DIR:
		return list_status(t, l);
	case TREE_SNAPSHOT:
		return list_inside(t, n->snap, l);
	default:
		return -ENOTDIR;
	}
}

int tree_list(struct tree *t, const struct tree_node *n,
	      struct tree_entry **ret_entries, size_t *ret_count)
{
	struct listing l = {0};
	int r = list_any(t, n, &l);

	if (r < 0) {
		tree_entries_free(l.list, l.count);
		return r;
	}
	*ret_entries = l.list;
	*ret_count = l.count;
	return 0;
}

void tree_entries_free(struct tree_entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(entries[i].name);
	free(entries);
}

static void init_nodes(struct tree *t)
{
	for (int k = 0; k <= TREE_STATUS_DIR; k++)
		t->fixed[k] = (struct tree_node){
			.kind = (enum tree_kind)k,
			.id = (uint64_t)k + 1,
			.ino = (uint64_t)k + 1,
			.name = (char *)kinds[k].s,
		};
	for (unsigned int i = 0; i < BUCKETS; i++)
		list_init(&t->buckets[i]);
}

DEFINE_CLEANUP(tree, struct tree *, tree_free)

int tree_new(const struct tree_options *options, struct tree **ret_tree)
{
	struct tree *t cleanup(cleanup_tree) = calloc(1, sizeof(*t));
	struct stat st;
	int r;

	if (!t)
		return -ENOMEM;
	t->options = *options;
	lock_init(&t->lock, "tree");
	init_nodes(t);
	if (fstatat(store_folder_fd(options->view.store, STORE_TOP), "format",
		    &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	t->born = st.st_mtim;
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
	if (!t)
		return;
	for (unsigned int i = 0; i < BUCKETS; i++) {
		struct list_node *n;

		while ((n = list_pop(&t->buckets[i])))
			free_slot(container_of(n, struct slot, link));
	}
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
