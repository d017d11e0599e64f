#include "fs/cache/admin/blockset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/err.h"
#include "fs/store/snapshot/pagetable.h"
#include "fs/store/workingset/wsfile.h"

struct walk {
	struct cache *cache;
	const struct block_source *source;
	blockset_fn *fn;
	void *arg;
};

DEFINE_CLEANUP(pagetable, struct pagetable *, pagetable_free)

void blockset_release(struct blockset *set)
{
	free(set->blocks);
	*set = (struct blockset){0};
}

static int read_past(const struct walk *w, uint64_t block, uint8_t *ret_page,
		     uint8_t *ret_kind)
{
	struct cache_ref ref;

	if (cache_peek(w->cache, block, &ref) < 0)
		return block_source_read(w->source, block, ret_page, ret_kind);
	memcpy(ret_page, ref.data, PAGER_PAGE_SIZE);
	*ret_kind = ref.kind;
	cache_unpin(&ref);
	return 0;
}

/* For pagetable_open(): each node above the leaves passes here. */
static int visit_node(void *arg, uint64_t block, uint8_t *ret_page,
		      uint8_t *ret_kind)
{
	const struct walk *w = arg;
	int r = w->fn(w->arg, block);

	return r ? r : read_past(w, block, ret_page, ret_kind);
}

/* The leaf node and the pages below it, up to the file's last one. */
static int visit_leaf(const struct walk *w, const struct pagetable *t,
		      uint64_t page, uint8_t *node)
{
	uint64_t leaf = pagetable_leaf(t, page), block;
	uint64_t end = page + PAGER_NODE_ENTRIES;
	uint8_t kind;
	int r;

	if (!leaf)
		return 0;
	if (end > pagetable_pages(t))
		end = pagetable_pages(t);
	r = w->fn(w->arg, leaf);
	if (r == 0)
		r = read_past(w, leaf, node, &kind);
	for (; r == 0 && page < end; page++) {
		r = pagetable_entry(node, kind, page, &block);
		if (r == 0 && block)
			r = w->fn(w->arg, block);
	}
	return r;
}

static int visit_file(struct walk *w, const struct manifest_file *file)
{
	struct pagetable *t cleanup(cleanup_pagetable) = NULL;
	uint8_t node[PAGER_PAGE_SIZE];
	int r = pagetable_open(file, visit_node, w, &t);

	if (r)
		return r;
	for (uint64_t page = 0; r == 0 && page < pagetable_pages(t);
	     page += PAGER_NODE_ENTRIES)
		r = visit_leaf(w, t, page, node);
	return r;
}

int blockset_walk(struct cache *c, struct snapshot *snap, blockset_fn *fn,
		  void *arg)
{
	const struct manifest *m = snapshot_manifest(snap);
	struct walk w = {
		.cache = c,
		.source = store_source(snapshot_store(snap)),
		.fn = fn,
		.arg = arg,
	};
	int r = visit_file(&w, &m->image);

	for (unsigned int i = 0; r == 0 && i < m->file_count; i++)
		r = visit_file(&w, &m->files[i]);
	return r;
}

struct collector {
	struct blockset set;
	size_t room;
};

static int add(void *arg, uint64_t block)
{
	struct collector *c = arg;

	if (c->set.count == c->room) {
		size_t room = c->room ? 2 * c->room : 4096;
		void *grown =
			reallocarray(c->set.blocks, room, sizeof(uint64_t));

		if (!grown)
			return err_set(-ENOMEM,
				       "no memory for a list of %zu "
				       "blocks",
				       room);
		c->set.blocks = grown;
		c->room = room;
	}
	c->set.blocks[c->set.count++] = block;
	return 0;
}

static int block_order(const void *a, const void *b)
{
	uint64_t p = *(const uint64_t *)a, q = *(const uint64_t *)b;

	return p < q ? -1 : p > q;
}

static void sort_unique(struct blockset *set)
{
	size_t kept = 0;

	if (set->count)
		qsort(set->blocks, set->count, sizeof(uint64_t), block_order);
	for (size_t i = 0; i < set->count; i++)
		if (!kept || set->blocks[kept - 1] != set->blocks[i])
			set->blocks[kept++] = set->blocks[i];
	set->count = kept;
}

int blockset_of_snapshot(struct cache *c, struct snapshot *snap,
			 struct blockset *ret_set)
{
	struct collector all = {0};
	int r = blockset_walk(c, snap, add, &all);

	if (r < 0) {
		blockset_release(&all.set);
		return r;
	}
	sort_unique(&all.set);
	*ret_set = all.set;
	return 0;
}

/* A page of the working set, its leaf before it where that is another one. */
static int add_page(const struct walk *w, const struct pagetable *t,
		    uint64_t page, uint64_t *last_leaf)
{
	uint64_t leaf = pagetable_leaf(t, page), block;
	uint8_t node[PAGER_PAGE_SIZE], kind;
	int r = 0;

	if (!leaf)
		return 0;
	if (leaf != *last_leaf)
		r = w->fn(w->arg, leaf);
	*last_leaf = leaf;
	if (r == 0)
		r = read_past(w, leaf, node, &kind);
	if (r == 0)
		r = pagetable_entry(node, kind, page, &block);
	return r == 0 && block ? w->fn(w->arg, block) : r;
}

static int walk_pages(struct walk *w, const struct manifest_file *image,
		      const struct workingset *pages)
{
	struct pagetable *t cleanup(cleanup_pagetable) = NULL;
	uint64_t last_leaf = 0;
	int r = pagetable_open(image, visit_node, w, &t);

	for (size_t i = 0; r == 0 && i < pages->count; i++)
		r = add_page(w, t, pages->entries[i].page, &last_leaf);
	return r;
}

int blockset_of_working_set(struct cache *c, struct snapshot *snap,
			    struct blockset *ret_set)
{
	const struct manifest_file *image = &snapshot_manifest(snap)->image;
	struct collector all = {0};
	struct walk w = {
		.cache = c,
		.source = store_source(snapshot_store(snap)),
		.fn = add,
		.arg = &all,
	};
	struct workingset pages;
	int r = wsfile_load(snapshot_store(snap), &image->digest, image->pages,
			    &pages);

	if (r == -ENOENT)
		return err_set(r, "%s: no working set was recorded",
			       snapshot_name(snap));
	if (r < 0)
		return r;
	r = walk_pages(&w, image, &pages);
	workingset_release(&pages);
	if (r < 0) {
		blockset_release(&all.set);
		return r;
	}
	*ret_set = all.set;
	return 0;
}
