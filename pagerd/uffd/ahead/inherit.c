#include "pagerd/uffd/ahead/inherit.h"

#include <errno.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/log.h"
#include "fs/cache/fetch.h"
#include "fs/store/workingset/wsfile.h"

/* A chain of diffs may be longer: what is further off helps little. */
#define PARENTS_MAX 8

DEFINE_CLEANUP(pagetable, struct pagetable *, pagetable_free)

struct reader {
	struct cache *cache;
	const struct block_source *source;
};

static int read_node(void *arg, uint64_t block, uint8_t *ret_page,
		     uint8_t *ret_kind)
{
	const struct reader *r = arg;

	return fetch_read(r->cache, r->source, block, CACHE_NODE, ret_page,
			  ret_kind);
}

/* One leaf of each of two tables, read when it is another one. */
struct leaf {
	uint64_t block; /* 0: zeros, or nothing read yet */
	uint8_t node[PAGER_PAGE_SIZE];
};

static int read_leaf(struct reader *r, uint64_t block, struct leaf *leaf)
{
	uint8_t kind;
	int err;

	if (leaf->block == block)
		return 0;
	leaf->block = 0;
	if (block == 0) {
		memset(leaf->node, 0, sizeof(leaf->node));
		return 0;
	}
	err = read_node(r, block, leaf->node, &kind);
	if (err < 0)
		return err;
	if (kind != PAGER_KIND_NODE_1)
		return err_set(-EBADMSG, "damaged page table: no leaf");
	leaf->block = block;
	return 0;
}

struct comparison {
	struct reader reader;
	const struct pagetable *tables[2];
	struct leaf leaves[2];
};

/* 1: the page has the same block in both; 0: not. */
static int is_same(struct comparison *c, uint64_t page)
{
	uint64_t blocks[2];
	int r;

	for (int i = 0; i < 2; i++) {
		if (page >= pagetable_pages(c->tables[i]))
			return 0;
		blocks[i] = pagetable_leaf(c->tables[i], page);
	}
	if (blocks[0] == blocks[1])
		return 1;
	for (int i = 0; i < 2; i++) {
		r = read_leaf(&c->reader, blocks[i], &c->leaves[i]);
		if (r == 0)
			r = pagetable_entry(c->leaves[i].node,
					    PAGER_KIND_NODE_1, page,
					    &blocks[i]);
		if (r < 0)
			return r;
	}
	return blocks[0] == blocks[1];
}

static int keep_same(struct comparison *c, struct workingset *set)
{
	size_t kept = 0;

	for (size_t i = 0; i < set->count; i++) {
		int r = is_same(c, set->entries[i].page);

		if (r < 0)
			return r;
		if (r > 0)
			set->entries[kept++] = set->entries[i];
	}
	set->count = kept;
	return kept ? 0 : -ENOENT;
}

static int load(struct snapshot *snapshot, struct workingset *ret_set)
{
	const struct manifest_file *image = &snapshot_manifest(snapshot)->image;
	int r = wsfile_load(snapshot_store(snapshot), &image->digest,
			    image->pages, ret_set);

	if (r < 0 && r != -ENOENT)
		log_warn("no working set is used: %s snapshot=%s", err_text(r),
			 snapshot_name(snapshot));
	return r;
}

static int adapt(struct snapshot *child, struct pagetable *table,
		 struct snapshot *parent, struct cache *cache,
		 struct workingset *set)
{
	_cleanup_free_ struct comparison *c = calloc(1, sizeof(*c));
	struct pagetable *other cleanup(cleanup_pagetable) = NULL;
	const struct manifest_file *image = &snapshot_manifest(child)->image;
	int r;

	if (!c)
		return -ENOMEM;
	c->reader.cache = cache;
	c->reader.source = store_source(snapshot_store(child));
	r = pagetable_open(&snapshot_manifest(parent)->image, read_node,
			   &c->reader, &other);
	if (r < 0)
		return r;
	c->tables[0] = table;
	c->tables[1] = other;
	r = keep_same(c, set);
	set->image = image->digest;
	set->pages = image->pages;
	return r;
}

static int open_parent(const struct snapshot *snapshot,
		       struct snapshot **ret_parent)
{
	const char *name = snapshot_manifest(snapshot)->parent;

	if (!name)
		return -ENOENT;
	return snapshot_open(snapshot_store(snapshot), name, ret_parent);
}

int inherit_workingset(struct snapshot *snapshot, struct pagetable *table,
		       struct cache *cache, struct workingset *ret_set,
		       bool *ret_own)
{
	struct snapshot *at cleanup(cleanup_snapshot) = snapshot_ref(snapshot);
	struct workingset set cleanup(workingset_release) = {0};
	int r = load(at, &set);

	for (int i = 0; r < 0 && i < PARENTS_MAX; i++) {
		struct snapshot *parent = NULL;

		if (open_parent(at, &parent) < 0)
			return -ENOENT;
		snapshot_unref(at);
		at = parent;
		r = load(at, &set);
	}
	if (r < 0)
		return -ENOENT;
	*ret_own = at == snapshot;
	if (at != snapshot)
		r = adapt(snapshot, table, at, cache, &set);
	if (r < 0) {
		if (r != -ENOENT)
			log_warn("the parent's working set is not used: %s "
				 "snapshot=%s",
				 err_text(r), snapshot_name(snapshot));
		return -ENOENT;
	}
	*ret_set = set;
	set = (struct workingset){0};
	return 0;
}
