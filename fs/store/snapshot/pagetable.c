#include "fs/store/snapshot/pagetable.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"

/*
 * The directory is the table above its leaves, in memory: a node for each
 * distinct node that is stored, so subtrees that are shared on disk are shared
 * here and a table cannot cost more than its blocks, however large the file
 * that it claims to map. A level-2 node's entries are leaf ids; above that
 * they are positions in `nodes`, with 0 for a subtree of zeros.
 *
 * Loading goes level by level from the root, and a node of a level is looked
 * for among those of its own level only. A table therefore ends after as many
 * steps as it has levels, whatever its entries say.
 */

struct dirnode {
	uint64_t entries[PAGER_NODE_ENTRIES];
};

struct pagetable {
	uint64_t pages;
	uint64_t root; /* block id, used where there is one level */
	unsigned int levels;
	struct dirnode **nodes; /* [0] is none; [1] the root's */
	size_t count;
};

/* 256 TiB of image in which no two GiB are alike. */
#define DIRECTORY_NODES_MAX (1u << 18)

/* Block ids of one level's nodes and where they stand: open addressing. */
struct seen {
	uint64_t *blocks; /* 0: free */
	size_t *nodes;
	size_t room, count; /* room is a power of two */
};

struct loader {
	struct pagetable *table;
	pagetable_read_fn *read;
	void *arg;
	size_t room; /* of table->nodes */
	struct seen seen;
};

static void seen_release(struct seen *s)
{
	free(s->blocks);
	free(s->nodes);
	*s = (struct seen){0};
}

/* The place of `block`, or the free one where it belongs. */
static size_t seen_place(const struct seen *s, uint64_t block)
{
	size_t at = (block * UINT64_C(0x9e3779b97f4a7c15)) >> 20;

	for (at &= s->room - 1; s->blocks[at] && s->blocks[at] != block;
	     at = (at + 1) & (s->room - 1))
		;
	return at;
}

static int seen_grow(struct seen *s)
{
	struct seen grown = {.room = s->room ? 2 * s->room : 64};

	grown.blocks = calloc(grown.room, sizeof(*grown.blocks));
	grown.nodes = calloc(grown.room, sizeof(*grown.nodes));
	if (!grown.blocks || !grown.nodes) {
		seen_release(&grown);
		return -ENOMEM;
	}
	for (size_t i = 0; i < s->room; i++) {
		size_t at;

		if (!s->blocks[i])
			continue;
		at = seen_place(&grown, s->blocks[i]);
		grown.blocks[at] = s->blocks[i];
		grown.nodes[at] = s->nodes[i];
		grown.count++;
	}
	seen_release(s);
	*s = grown;
	return 0;
}

bool pagetable_block_is_possible(uint64_t block)
{
	return pager_block_pack(block) >= 1 &&
	       pager_block_pack(block) <= PAGER_PACK_NUMBER_MAX &&
	       pager_block_slot(block) < PAGER_PACK_SLOTS_MAX;
}

static int damaged(const char *what, uint64_t block)
{
	return err_set(-EBADMSG, "damaged page table: %s (block %#llx)", what,
		       (unsigned long long)block);
}

int pagetable_node(pagetable_read_fn *read, void *arg, uint64_t block,
		   unsigned int level, uint64_t ret_entries[PAGER_NODE_ENTRIES])
{
	uint8_t kind;
	int r = read(arg, block, (uint8_t *)ret_entries, &kind);

	if (r < 0)
		return r;
	if (kind != level)
		return damaged("a node of the wrong kind", block);
	for (unsigned int i = 0; i < PAGER_NODE_ENTRIES; i++) {
		ret_entries[i] = le64toh(ret_entries[i]);
		if (ret_entries[i] &&
		    !pagetable_block_is_possible(ret_entries[i]))
			return damaged("an entry that no pack can have", block);
	}
	return 0;
}

static int add_node(struct loader *l, uint64_t block, unsigned int level,
		    size_t *ret_node)
{
	struct pagetable *t = l->table;
	_cleanup_free_ struct dirnode *n = NULL;
	int r;

	if (t->count > DIRECTORY_NODES_MAX)
		return err_set(-EFBIG, "the page table has more than %u nodes",
			       DIRECTORY_NODES_MAX);
	if (t->count == l->room) {
		size_t room = 2 * l->room;
		void *grown = realloc(t->nodes, room * sizeof(*t->nodes));

		if (!grown)
			return -ENOMEM;
		t->nodes = grown;
		l->room = room;
	}
	n = malloc(sizeof(*n));
	if (!n)
		return -ENOMEM;
	r = pagetable_node(l->read, l->arg, block, level, n->entries);
	if (r < 0)
		return r;
	*ret_node = t->count;
	t->nodes[t->count++] = steal_ptr(n);
	return 0;
}

/* The node of `level` that `block` is, read unless it was before. */
static int find_node(struct loader *l, uint64_t block, unsigned int level,
		     size_t *ret_node)
{
	struct seen *s = &l->seen;
	size_t at;
	int r;

	if (2 * s->count >= s->room) {
		r = seen_grow(s);
		if (r < 0)
			return r;
	}
	at = seen_place(s, block);
	if (!s->blocks[at]) {
		r = add_node(l, block, level, &s->nodes[at]);
		if (r < 0)
			return r;
		s->blocks[at] = block;
		s->count++;
	}
	*ret_node = s->nodes[at];
	return 0;
}

/* Loads the nodes of `level` and enters them in those above: [from, to). */
static int load_level(struct loader *l, unsigned int level, size_t from,
		      size_t to)
{
	seen_release(&l->seen);
	for (size_t n = from; n < to; n++) {
		for (unsigned int i = 0; i < PAGER_NODE_ENTRIES; i++) {
			uint64_t block = l->table->nodes[n]->entries[i];
			size_t node;
			int r;

			if (!block)
				continue;
			r = find_node(l, block, level, &node);
			if (r < 0)
				return r;
			l->table->nodes[n]->entries[i] = node;
		}
	}
	return 0;
}

/*
 * The nodes on the table's right edge have no entries past the last leaf.
 * Where a node there is also used elsewhere its tail is zeros there too.
 */
static int check_edge(const struct pagetable *t)
{
	uint64_t last = (t->pages - 1) >> PAGER_NODE_BITS;
	size_t node = 1;

	for (unsigned int level = t->levels; level >= 2; level--) {
		const struct dirnode *n = t->nodes[node];
		unsigned int i = (last >> PAGER_NODE_BITS * (level - 2)) %
				 PAGER_NODE_ENTRIES;

		for (unsigned int past = i + 1; past < PAGER_NODE_ENTRIES;
		     past++)
			if (n->entries[past])
				return err_set(-EBADMSG,
					       "damaged page table: entries "
					       "past the file's end");
		node = n->entries[i];
		if (!node)
			return 0;
	}
	return 0;
}

static int load(struct loader *l)
{
	struct pagetable *t = l->table;
	size_t from, to;
	int r = add_node(l, t->root, t->levels, &from);

	for (unsigned int level = t->levels - 1; r == 0 && level >= 2;
	     level--) {
		to = t->count;
		r = load_level(l, level, from, to);
		from = to;
	}
	seen_release(&l->seen);
	return r < 0 ? r : check_edge(t);
}

DEFINE_CLEANUP(pagetable, struct pagetable *, pagetable_free)

int pagetable_open(const struct manifest_file *file, pagetable_read_fn *read,
		   void *arg, struct pagetable **ret_table)
{
	struct pagetable *t cleanup(cleanup_pagetable) = calloc(1, sizeof(*t));
	struct loader l = {.table = t, .read = read, .arg = arg, .room = 16};
	int r;

	if (!t)
		return -ENOMEM;
	t->pages = file->pages;
	t->levels = file->levels;
	t->root = file->root;
	t->nodes = calloc(l.room, sizeof(*t->nodes));
	if (!t->nodes)
		return -ENOMEM;
	t->count = 1;
	if (t->root && t->levels > 1) {
		r = load(&l);
		if (r < 0)
			return r;
	}
	*ret_table = steal_ptr(t);
	return 0;
}

void pagetable_free(struct pagetable *t)
{
	if (!t)
		return;
	for (size_t i = 1; i < t->count; i++)
		free(t->nodes[i]);
	free(t->nodes);
	free(t);
}

uint64_t pagetable_pages(const struct pagetable *t)
{
	return t->pages;
}

uint64_t pagetable_leaves(const struct pagetable *t)
{
	return t->pages / PAGER_NODE_ENTRIES +
	       (t->pages % PAGER_NODE_ENTRIES != 0);
}

uint64_t pagetable_leaf(const struct pagetable *t, uint64_t page)
{
	uint64_t entry = 1;

	assert(page < t->pages);
	if (!t->root || t->levels == 1)
		return t->root;
	for (unsigned int level = t->levels; level >= 2 && entry; level--)
		entry = t->nodes[entry]->entries[(page >> PAGER_NODE_BITS *
								  (level - 1)) %
						 PAGER_NODE_ENTRIES];
	return entry;
}

int pagetable_entry(const uint8_t *leaf, uint8_t kind, uint64_t page,
		    uint64_t *ret_block)
{
	uint64_t block;

	if (kind != PAGER_KIND_NODE_1)
		return err_set(-EBADMSG,
			       "damaged page table: a leaf node of kind %u",
			       kind);
	memcpy(&block, leaf + page % PAGER_NODE_ENTRIES * sizeof(block),
	       sizeof(block));
	block = le64toh(block);
	if (block && !pagetable_block_is_possible(block))
		return damaged("an entry that no pack can have", block);
	*ret_block = block;
	return 0;
}

int pagetable_read_source(void *arg, uint64_t block, uint8_t *ret_page,
			  uint8_t *ret_kind)
{
	return block_source_read(arg, block, ret_page, ret_kind);
}
